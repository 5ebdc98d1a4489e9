"""The Django admin with a site of our own."""

from django.contrib.admin.apps import AdminConfig


class CheckedAdminConfig(AdminConfig):
    default_site = "messaging_site.admin.CheckedSite"
