"""The live page; mounted under /admin/, before the Django admin's own URLs, the last of which matches everything."""

from django.contrib import admin
from django.urls import path
from django.views.decorators.http import require_http_methods
from django.views.i18n import set_language

from messaging.pages import staff

app_name = "adminpage"
urlpatterns = [
    path("live/", admin.site.admin_view(staff.live), name="live"),
    # Without admin_view, which would redirect a signed-out script to the login page.
    path("live/token/", staff.token, name="token"),
    path("live/tally/", staff.tally, name="tally"),
    path("live/sharing/", staff.sharing, name="sharing"),
    path(
        "language/", require_http_methods(["GET", "HEAD", "POST"])(set_language), name="language"
    ),  # a process that serves /admin/ may not serve /user/
]
