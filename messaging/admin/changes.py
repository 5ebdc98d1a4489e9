"""Admin actions that change conversations, as client frames do: recorded in Django's log, announced to open pages."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.models import DELETION, LogEntry
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext, gettext_lazy, ngettext_lazy

from messaging.journal import conversations
from messaging.models import Conversation, Message, display_name
from messaging.pages.visitor_names import visitor_name
from messaging.protocol.fields import Op
from messaging.runtime import runtime
from messaging.service.contracts import (
    AddressUnknown,
    AlreadyClaimed,
    ConversationNotFound,
    ConversationState,
    staff_id,
)
from messaging.service.conversation_state import told, told_erased

NO_LEASE = timedelta(0)  # no action here claims a conversation
MOST = 500  # conversations per action: each is changed and announced by itself

_DONE = {
    "close": ngettext_lazy("%(count)d conversation closed.", "%(count)d conversations closed.", "count"),
    "reopen": ngettext_lazy("%(count)d conversation reopened.", "%(count)d conversations reopened.", "count"),
    "block": ngettext_lazy(
        "%(count)d visitor blocked for 24 hours.", "%(count)d visitors blocked for 24 hours.", "count"
    ),
    "erase": ngettext_lazy("%(count)d conversation erased.", "%(count)d conversations erased.", "count"),
}


class ChangeActions:
    """The actions for the admin of conversations."""

    admin_site: admin.AdminSite

    def has_manage_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.change_conversation")

    def has_block_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.add_block")

    def has_erase_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.delete_conversation")

    @admin.action(description=gettext_lazy("Close"), permissions=("manage",))
    def close(self, request: HttpRequest, chosen: QuerySet[Conversation]) -> None:
        _change(request, chosen, "close")

    @admin.action(description=gettext_lazy("Reopen"), permissions=("manage",))
    def reopen(self, request: HttpRequest, chosen: QuerySet[Conversation]) -> None:
        _change(request, chosen, "reopen")

    @admin.action(description=gettext_lazy("Block for 24 hours"), permissions=("block",))
    def block(self, request: HttpRequest, chosen: QuerySet[Conversation]) -> None:
        _change(request, chosen, "block")

    @admin.action(description=gettext_lazy("Erase with all messages"), permissions=("erase",))
    def erase(self, request: HttpRequest, chosen: QuerySet[Conversation]) -> HttpResponseBase | None:
        ids = _ids(request, chosen)
        if request.POST.get("post"):
            _erase(request, ids)
        elif ids:
            return self._asked(request, ids)
        return None

    def _asked(self, request: HttpRequest, ids: list[UUID]) -> HttpResponseBase:
        """Return the page that asks for confirmation."""
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Erase conversations"),
            "names": {id: visitor_name(id) for id in ids},
            "messages_count": Message.objects.filter(conversation__in=ids).count(),
            "opts": Conversation._meta,
            "action_checkbox_name": helpers.ACTION_CHECKBOX_NAME,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/messaging/conversation/erase.html", context)


def _ids(request: HttpRequest, chosen: QuerySet[Conversation]) -> list[UUID]:
    ids = list(chosen.order_by().values_list("pk", flat=True)[: MOST + 1])
    if len(ids) <= MOST:
        return ids
    messages.error(request, gettext("Choose at most %(most)d conversations.") % {"most": MOST})
    return []


def _change(request: HttpRequest, chosen: QuerySet[Conversation], op: Op) -> None:
    changed: list[ConversationState] = []
    claimed: dict[UUID, str] = {}
    count = 0
    staff = staff_id(request.user.pk)
    for id in _ids(request, chosen):
        try:
            states, has_changed = conversations.change(str(id), op, staff, NO_LEASE)
        except AlreadyClaimed as error:
            claimed[id] = error.by
        except (AddressUnknown, ConversationNotFound):
            continue  # erased since the list was shown, or too old to have an address
        else:
            changed += states * has_changed
            count += has_changed
    runtime.announce(told(changed, op, display_name(request.user)))
    _report(request, op, count)
    for id, by in claimed.items():
        text = gettext("%(by)s has claimed %(conversation)s; it was not changed.")
        messages.warning(request, text % {"by": by, "conversation": visitor_name(id)})


def _erase(request: HttpRequest, ids: Iterable[UUID]) -> None:
    states = []
    staff = staff_id(request.user.pk)
    for id in ids:
        with transaction.atomic():
            state = conversations.erase(str(id))
            if state is None:
                continue
            LogEntry.objects.log_actions(staff, [Conversation(id=id)], DELETION, gettext("Erased."), single_object=True)
        states.append(state)
    runtime.announce([action for state in states for action in told_erased(state)])
    _report(request, "erase", len(states))


def _report(request: HttpRequest, op: str, count: int) -> None:
    level = messages.SUCCESS if count else messages.INFO
    messages.add_message(request, level, _DONE[op] % {"count": count} if count else gettext("Nothing was changed."))
