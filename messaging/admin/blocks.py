"""The admin of blocks: visitors who may not write for a while. Deleting a block ends it early."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime
from django.db import transaction
from django.db.models import DateTimeField, F, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from messaging.admin.lists import SHOWN, STYLE, BoundedPaginator
from messaging.journal import conversations
from messaging.models import Block, Conversation, display_name
from messaging.pages.visitor_names import visitor_name
from messaging.protocol.fields import Op
from messaging.runtime import runtime
from messaging.service.conversation_state import told


class DateAndTime(AdminSplitDateTime):
    """Django's two fields, each with an accessible name: the words beside them are no labels."""

    def __init__(self, attrs: Any = None) -> None:
        super().__init__(attrs)
        for field, name in zip(self.widgets, (_("Date"), _("Time")), strict=True):
            field.attrs["aria-label"] = name


@admin.register(Block)
class BlockAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("visitor", "until", "created_at")
    list_filter = ("until",)
    raw_id_fields = ("conversation",)
    formfield_overrides = {DateTimeField: {"widget": DateAndTime}}  # noqa: RUF012  the form that Django documents
    paginator = BoundedPaginator
    list_per_page = SHOWN
    show_full_result_count = False

    class Media:
        css = {"all": (STYLE,)}  # noqa: RUF012  the form that Django documents

    @admin.display(description=_("conversation"))
    def visitor(self, block: Block) -> str:
        return visitor_name(block.pk)

    def save_model(self, request: HttpRequest, obj: Block, form: Any, change: Any) -> None:
        super().save_model(request, obj, form, change)
        _tell(request, [obj.pk], "block")

    def delete_model(self, request: HttpRequest, obj: Block) -> None:
        conversation = obj.pk  # None after the deletion
        super().delete_model(request, obj)
        _tell(request, [conversation], "unblock")

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Block]) -> None:
        ended = list(queryset.values_list("pk", flat=True))
        super().delete_queryset(request, queryset)
        _tell(request, ended, "unblock")


def _tell(request: HttpRequest, ids: list[UUID], op: Op) -> None:
    """Note the time of the change, and announce it to open pages once it is committed."""
    Conversation.objects.filter(pk__in=ids).update(changed_at=conversations.next_version(F("changed_at")))

    def tell() -> None:
        states = conversations.states([str(id) for id in ids])
        runtime.announce(told(states, op, display_name(request.user)))

    transaction.on_commit(tell)
