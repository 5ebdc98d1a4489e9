"""The visitor's page; mounted at /user/."""

from django.urls import path

from messaging.userpage import views

app_name = "userpage"
urlpatterns = [path("", views.page, name="page")]
