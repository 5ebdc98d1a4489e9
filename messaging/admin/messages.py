"""The admin of messages, to find and read them."""

import contextlib
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from messaging.admin.exports import ExportActions
from messaging.admin.lists import FOUND, SEARCHED, LongList, newest
from messaging.models import Message, QuickMessage, named
from messaging.pages.visitor_names import ending_of, visitor_name
from messaging.service.contracts import staff_id

EXCERPT = 80  # characters of a message that a list shows


class QuickFilter(admin.SimpleListFilter):
    """A filter with the existing quick messages: Django's own would search all rows for them."""

    title = _("quick message")
    parameter_name = "quick"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return list(QuickMessage.objects.values_list("key", "label"))

    def queryset(self, request: HttpRequest, rows: QuerySet[Message]) -> QuerySet[Message]:
        return rows if self.value() is None else rows.filter(quick=self.value())


@admin.register(Message)
class MessageAdmin(ExportActions, LongList):
    list_display = ("created_at", "visitor", "sender", "author", "excerpt", "quick")
    list_filter = ("sender", QuickFilter, "created_at")
    search_fields = ("content", "author")
    search_help_text = _(
        "Words of a message or the name of an author (among the newest 20,000 that match the filters), "
        "the name of a visitor, or the id of a conversation"
    )
    date_hierarchy = "created_at"
    sortable_by = ("created_at",)
    actions = ("export_csv", "export_json")
    fields = ("visitor", "created_at", "sender", "author", "quick", "content")
    readonly_fields = ("visitor",)

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Return an order that has an index: by number for one thread, else by time, as dates narrow other lists."""
        return ("-seq",) if "conversation__id__exact" in request.GET else ("-created_at", "-seq")

    def get_search_results(
        self, request: HttpRequest, rows: QuerySet[Message], term: str
    ) -> tuple[QuerySet[Message], bool]:
        """Search by the id or name of a conversation, which reads no other messages, or else by words."""
        if (ending := ending_of(term)) is not None:
            return rows.filter(conversation__in=named(ending)), False
        with contextlib.suppress(ValueError):
            return rows.filter(conversation=UUID(term.strip())), False
        if not term:
            return rows, False
        found, _ = super().get_search_results(request, newest(rows, "created_at", SEARCHED), term)
        return rows.filter(pk__in=list(found.values_list("pk", flat=True)[:FOUND])), False

    def messages_of(self, chosen: QuerySet[Message]) -> QuerySet[Message]:
        return chosen.select_related(None)

    def note_export(self, request: HttpRequest, chosen: QuerySet[Message], note: str) -> None:
        LogEntry.objects.log_actions(staff_id(request.user.pk), chosen, CHANGE, note)

    @admin.display(description=_("conversation"))
    def visitor(self, message: Message) -> str:
        address = reverse("admin:messaging_conversation_change", args=[message.conversation_id])
        return format_html('<a href="{}">{}</a>', address, visitor_name(message.conversation_id))

    @admin.display(description=_("content"))
    def excerpt(self, message: Message) -> str:
        content = message.content
        return content if len(content) <= EXCERPT else f"{content[: EXCERPT - 1]}…"
