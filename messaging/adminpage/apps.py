from django.apps import AppConfig


class AdminPageConfig(AppConfig):
    name = "messaging.adminpage"
    label = "adminpage"
