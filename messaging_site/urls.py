"""The URLs of a process: those of its SERVICE_ROLE; `all` means everything."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.urls.resolvers import URLPattern, URLResolver
from django.views.generic import RedirectView

urlpatterns: list[URLPattern | URLResolver] = []

if settings.SERVICE_ROLE in ("all", "user"):
    urlpatterns += [
        path("", RedirectView.as_view(url="/user/", http_method_names=["get", "head", "options"])),
        path("user/", include("messaging.pages.visitor_urls")),
    ]
if settings.SERVICE_ROLE in ("all", "admin"):
    urlpatterns += [
        path("admin/", include("messaging.pages.staff_urls")),
        path("admin/", admin.site.urls),
    ]
