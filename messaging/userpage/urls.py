"""The visitor's page; mounted at /user/."""

from django.urls import path
from django.views.i18n import set_language

from messaging.userpage import views

app_name = "userpage"
urlpatterns = [
    path("", views.page, name="page"),
    path("send/", views.send, name="send"),
    path("forget/", views.forget, name="forget"),
    path("language/", set_language, name="language"),
]
