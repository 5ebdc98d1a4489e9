"""`messaging_erase`, which erases a person's data on request."""

import sys
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from messaging.journal import conversations
from messaging.management.arguments import conversation
from messaging.models import Conversation, Message
from messaging.observability import audit
from messaging.pages.visitor_names import visitor_name
from messaging.runtime import runtime
from messaging.service.conversation_state import told_erased


class Command(BaseCommand):
    help = (
        "Erase conversations with all their messages, permanently; open pages remove them too. The id of a "
        "conversation is on its page in the Django admin. Backups and exported files are not erased: take care of "
        "them yourself."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("conversation", type=conversation, nargs="+", metavar="ID", help="id of a conversation")
        parser.add_argument("--no-input", action="store_true", help="do not ask for confirmation")

    def handle(self, *args: Any, **options: Any) -> None:
        wanted: list[UUID] = options["conversation"]
        found = set(Conversation.objects.filter(pk__in=wanted).values_list("pk", flat=True))
        if unknown := [str(id) for id in wanted if id not in found]:
            raise CommandError(f"no such conversation: {', '.join(unknown)}. Nothing was erased.")
        messages = {id: Message.objects.filter(conversation=id).count() for id in wanted}
        for id, number in messages.items():
            self.stdout.write(f"{id} ({visitor_name(id)}), messages: {number}")
        if not options["no_input"] and not _agreed():
            raise CommandError("Nothing was erased.")
        erased = [state for id in wanted if (state := conversations.erase(str(id)))]
        runtime.announce([told for state in erased for told in told_erased(state)])
        gone = sum(messages[UUID(state.conversation)] for state in erased)
        audit.note("conversations erased", conversations=len(erased), messages=gone)
        self.stdout.write(f"erased: {len(erased)}")


def _agreed() -> bool:
    """Ask for confirmation and return whether it was given. Raise CommandError if the standard input is no terminal."""
    if not sys.stdin.isatty():
        raise CommandError("Nothing was erased: without a terminal there is no confirmation, so use --no-input.")
    return input("Erase permanently? Type yes: ") == "yes"
