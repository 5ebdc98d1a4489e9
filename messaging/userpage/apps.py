from django.apps import AppConfig


class UserPageConfig(AppConfig):
    name = "messaging.userpage"
    label = "userpage"
