"""The visitor's page; mounted at /user/."""

from django.urls import path
from django.views.decorators.http import require_http_methods
from django.views.i18n import set_language

from messaging.pages import visitor

app_name = "userpage"
urlpatterns = [
    path("", visitor.page, name="page"),
    path("send/", visitor.send, name="send"),
    path("forget/", visitor.forget, name="forget"),
    path("language/", require_http_methods(["GET", "HEAD", "POST"])(set_language), name="language"),
]
