"""The admin of the pause: no new conversations for a while. Deleting it takes new ones again."""

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from messaging.admin.blocks import ByTheRightsOfBlocks, EndingAdmin
from messaging.journal import blocks
from messaging.models import Pause, display_name
from messaging.runtime import runtime
from messaging.service.gate import told


@admin.register(Pause)
class PauseAdmin(ByTheRightsOfBlocks, EndingAdmin):
    list_display = ("since", "until", "who")
    fields = ("until",)

    @admin.display(description=_("paused by"))
    def who(self, pause: Pause) -> str:
        return display_name(pause.by) if pause.by else ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pause]:
        """Return the pause, unless it has ended: the row of an ended one stays until the next one begins."""
        return super().get_queryset(request).filter(until__gt=Now())

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.add_block") and not self.get_queryset(request).exists()

    def save_model(self, request: HttpRequest, obj: Pause, form: Any, change: Any) -> None:
        if not change:
            blocks.remove_ended_pause()
            obj.by = request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)
        _tell()

    def delete_model(self, request: HttpRequest, obj: Pause) -> None:
        super().delete_model(request, obj)
        _tell()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Pause]) -> None:
        super().delete_queryset(request, queryset)
        _tell()


def _tell() -> None:
    transaction.on_commit(lambda: runtime.announce(told(blocks.pause())))
