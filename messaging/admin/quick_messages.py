"""The admin of quick messages."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from messaging.admin.lists import STYLE
from messaging.models import QuickMessage


@admin.register(QuickMessage)
class QuickMessageAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("label", "label_de", "kind", "content", "position", "active")
    list_filter = ("kind", "active")
    ordering = ("kind", "position", "key")
    search_fields = ("key", "label", "label_de", "content", "content_de")
    prepopulated_fields = {"key": ("label",)}  # noqa: RUF012  the form that Django documents
    fieldsets = (
        (None, {"fields": ("kind", "label", "content", "key", "position", "active")}),
        (
            _("In German"),
            {"fields": ("label_de", "content_de"), "description": _("If a field is empty, the text above is used.")},
        ),
    )

    class Media:
        css = {"all": (STYLE,)}  # noqa: RUF012  the form that Django documents
