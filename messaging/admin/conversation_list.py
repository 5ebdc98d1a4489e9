"""The admin of conversations: their state, their latest messages, and the actions on them."""

import contextlib
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import Exists, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Now
from django.forms import BaseInlineFormSet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from messaging.admin.changes import ChangeActions
from messaging.admin.exports import ExportActions
from messaging.admin.lists import FOUND, SEARCHED, LongList, newest
from messaging.models import Block, Conversation, Message, display_name, named
from messaging.pages.visitor_names import ending_of, visitor_name
from messaging.service.contracts import staff_id

LATEST = 50  # messages that a conversation's page shows
UNREAD = 100  # unread messages of one conversation are counted up to here
RECENT = 2_000  # the newest conversations, in which the filter finds unread messages, as its label says


def _unread() -> QuerySet[Message]:
    """Return the visitor's messages that staff have not read, for the conversation of the outer query."""
    return Message.objects.filter(
        conversation=OuterRef("pk"), seq__gt=OuterRef("read_by_staff"), sender=Message.Sender.USER
    ).order_by()


def _blocked() -> Exists:
    return Exists(Block.objects.filter(conversation=OuterRef("pk"), until__gt=Now()))


class Counted(Subquery):
    """The number of rows of a query, which may have a limit."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted)"
    output_field = IntegerField()


class StatusFilter(admin.SimpleListFilter):
    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        return [
            ("open", _("open")),
            ("closed", _("closed")),
            ("unread", _("unread (among the newest 2,000)")),
            ("blocked", _("blocked")),
        ]

    def queryset(self, request: HttpRequest, rows: QuerySet[Conversation]) -> QuerySet[Conversation]:
        match self.value():
            case "open":
                return rows.filter(closed_at=None)
            case "closed":
                return rows.filter(closed_at__isnull=False)
            case "unread":
                # A column, not Exists(): PostgreSQL would turn that into a join, and might read all messages.
                oldest = Subquery(_unread().values("pk")[:1])
                rows = newest(rows, "last_message_at", RECENT)
                return rows.alias(oldest=oldest).exclude(oldest=None)
            case "blocked":
                return rows.filter(_blocked())
        return rows


class LatestMessages(BaseInlineFormSet):  # type: ignore[type-arg]
    """The newest messages, oldest first: a thread may have thousands."""

    def get_queryset(self) -> list[Message]:  # type: ignore[override]
        if not hasattr(self, "_latest"):
            self._latest = list(reversed(super().get_queryset().order_by("-seq")[:LATEST]))
        return self._latest


class MessageInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Message
    template = "admin/messaging/latest_messages.html"
    formset = LatestMessages
    verbose_name_plural = _("latest messages")
    fields = ("created_at", "sender", "author", "content")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Conversation)
class ConversationAdmin(ChangeActions, ExportActions, LongList):
    list_display = ("name", "status", "claim", "unread", "last_message_at")
    list_filter = (StatusFilter, "last_message_at")
    list_select_related = ("claimed_by",)
    search_fields = ("pk",)  # enables the search; get_search_results does it
    search_help_text = _(
        "Words of a message (among the newest 20,000), the name of a visitor, or the id of a conversation"
    )
    date_hierarchy = "last_message_at"
    sortable_by = ("last_message_at",)
    inlines = (MessageInline,)
    fields = readonly_fields = ("id", "name", "status", "claim", "unread", "created_at", "last_message_at", "messages")
    actions = ("close", "reopen", "block", "export_csv", "export_json", "erase")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        rows: QuerySet[Conversation] = super().get_queryset(request)
        return rows.annotate(unread=Counted(_unread().values("pk")[:UNREAD]), blocked=_blocked(), now=Now())

    def get_search_results(
        self, request: HttpRequest, rows: QuerySet[Conversation], term: str
    ) -> tuple[QuerySet[Conversation], bool]:
        """Search by name or id, or else, if the user may read messages, by the words of a message."""
        if (ending := ending_of(term)) is not None:
            return rows.filter(pk__in=named(ending)), False
        with contextlib.suppress(ValueError):
            return rows.filter(pk=UUID(term.strip())), False
        if not term or not self.has_export_permission(request):
            return (rows.none() if term else rows), False
        found = newest(Message.objects.all(), "created_at", SEARCHED)
        for word in term.split():
            found = found.filter(content__icontains=word)
        hits = found.order_by("-created_at").values_list("conversation", flat=True)[:FOUND]
        return rows.filter(pk__in=set(hits)), False

    def messages_of(self, chosen: QuerySet[Conversation]) -> QuerySet[Message]:
        return Message.objects.filter(conversation__in=chosen.order_by().values("pk"))

    def note_export(self, request: HttpRequest, chosen: QuerySet[Conversation], note: str) -> None:
        LogEntry.objects.log_actions(staff_id(request.user.pk), chosen, CHANGE, note)

    @admin.display(description=_("visitor"))
    def name(self, conversation: Conversation) -> str:
        return visitor_name(conversation.pk)

    @admin.display(description=_("status"))
    def status(self, conversation: Any) -> str:
        status = gettext("open") if conversation.closed_at is None else gettext("closed")
        return f"{status}, {gettext('blocked')}" if conversation.blocked else status

    @admin.display(description=_("claimed by"))
    def claim(self, conversation: Any) -> str:
        claimed = conversation.claimed_until is not None and conversation.claimed_until > conversation.now
        return display_name(conversation.claimed_by) if claimed and conversation.claimed_by else ""

    @admin.display(description=_("unread"))
    def unread(self, conversation: Any) -> str:
        return f"{UNREAD - 1}+" if conversation.unread >= UNREAD else str(conversation.unread)

    @admin.display(description=_("messages"))
    def messages(self, conversation: Conversation) -> str:
        address = f"{reverse('admin:messaging_message_changelist')}?conversation__id__exact={conversation.pk}"
        return format_html('<a href="{}">{}</a>', address, gettext("All messages"))
