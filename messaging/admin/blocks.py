"""The admin of blocks: visitors and addresses that may not write for a while. Deleting a block ends it early."""

from collections.abc import Iterator
from contextlib import contextmanager
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
from messaging.models import AddressBlock, Block, Conversation, display_name
from messaging.pages.visitor_names import visitor_name
from messaging.protocol.fields import Op
from messaging.runtime import runtime
from messaging.service.conversation_state import told

NAMED = 3  # visitors of a blocked address, by whom staff recognise it


class DateAndTime(AdminSplitDateTime):
    """Django's two fields, each with an accessible name: the words beside them are no labels."""

    def __init__(self, attrs: Any = None) -> None:
        super().__init__(attrs)
        for field, name in zip(self.widgets, (_("Date"), _("Time")), strict=True):
            field.attrs["aria-label"] = name


class EndingAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """An admin of rows that end by themselves, at a time that staff may change."""

    formfield_overrides = {DateTimeField: {"widget": DateAndTime}}  # noqa: RUF012  the form that Django documents
    paginator = BoundedPaginator
    list_per_page = SHOWN
    show_full_result_count = False

    class Media:
        css = {"all": (STYLE,)}  # noqa: RUF012  the form that Django documents


@admin.register(Block)
class BlockAdmin(EndingAdmin):
    list_display = ("visitor", "until", "created_at")
    list_filter = ("until",)
    raw_id_fields = ("conversation",)

    @admin.display(description=_("conversation"))
    def visitor(self, block: Block) -> str:
        return visitor_name(block.pk)

    def save_model(self, request: HttpRequest, obj: Block, form: Any, change: Any) -> None:
        with _changing(request, [obj.pk], "block"):
            super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: Block) -> None:
        with _changing(request, [obj.pk], "unblock"):
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Block]) -> None:
        with _changing(request, list(queryset.values_list("pk", flat=True)), "unblock"):
            super().delete_queryset(request, queryset)


class ByTheRightsOfBlocks:
    """A mixin for admins of what keeps visitors from writing: whoever may manage blocks may manage these."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("messaging.view_block") or self.has_change_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("messaging.change_block")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("messaging.delete_block")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)


@admin.register(AddressBlock)
class AddressBlockAdmin(ByTheRightsOfBlocks, EndingAdmin):
    """Blocks of addresses begin with "Block with the address" in a conversation: here only their ends change."""

    list_display = ("pseudonym", "visitors", "until", "created_at")
    list_filter = ("until",)
    fields = ("visitors", "until")
    readonly_fields = ("visitors",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.display(description=_("address"))
    def pseudonym(self, block: AddressBlock) -> str:
        return str(block)

    @admin.display(description=_("latest visitors"))
    def visitors(self, block: AddressBlock) -> str:
        found = conversations.newest_from(block.address).values_list("pk", flat=True)[: NAMED + 1]
        names = [visitor_name(id) for id in found]
        return ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")

    def save_model(self, request: HttpRequest, obj: AddressBlock, form: Any, change: Any) -> None:
        with _changing(request, _told_of(obj.address), "block"):
            super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: AddressBlock) -> None:
        with _changing(request, _told_of(obj.address), "unblock"):
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[AddressBlock]) -> None:
        with _changing(request, [id for block in queryset for id in _told_of(block.address)], "unblock"):
            super().delete_queryset(request, queryset)


def _told_of(address: str) -> list[UUID]:
    return list(conversations.newest_from(address).values_list("pk", flat=True)[: conversations.TOLD])


@contextmanager
def _changing(request: HttpRequest, ids: list[UUID], op: Op) -> Iterator[None]:
    """Lock conversations while their blocks change, note the time, and announce the change to open pages.

    It needs a transaction, and announces after its commit.
    """
    # Conversations before their blocks, and in the order of the writers, so that nobody waits for each other.
    list(Conversation.objects.select_for_update().filter(pk__in=ids).order_by("pk").values_list("pk"))
    yield
    Conversation.objects.filter(pk__in=ids).update(changed_at=conversations.next_version(F("changed_at")))

    def tell() -> None:
        states = conversations.states([str(id) for id in ids])
        runtime.announce(told(states, op, display_name(request.user)))

    transaction.on_commit(tell)
