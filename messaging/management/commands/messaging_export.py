"""`messaging_export`, which exports messages for other programs and for spreadsheets."""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from messaging.management.arguments import conversation, moment
from messaging.models import Conversation, Message
from messaging.observability import audit
from messaging.operations.export import FORMATS, Row, pages, written


class Command(BaseCommand):
    help = (
        "Write messages to the standard output, oldest first. csv is for spreadsheets: a cell that looks like a "
        "formula gets an apostrophe in front. ndjson (one JSON object a line) and json (one array) are exact. "
        "Messages that arrive during the export are included. Progress is shown if the standard error is a terminal."
    )

    _count = 0  # messages written so far

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=sorted(FORMATS), default="ndjson", help="default: ndjson")
        parser.add_argument(
            "--conversation",
            type=conversation,
            action="append",
            metavar="ID",
            help="only this conversation (may be repeated)",
        )
        parser.add_argument("--since", type=moment, metavar="TIME", help="only messages sent at TIME or later (UTC)")
        parser.add_argument("--until", type=moment, metavar="TIME", help="only messages sent before TIME (UTC)")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.OUTPUT_IS_LOGGED:
            raise CommandError(
                "This would leave the messages in the function's log. Export them in the Django admin, or on a machine "
                "that reaches the database, with only DATABASE_URL set."
            )
        messages = Message.objects.all()
        if wanted := options["conversation"]:
            self._check(wanted)
            messages = messages.filter(conversation__in=wanted)
        if since := options["since"]:
            messages = messages.filter(created_at__gte=since)
        if until := options["until"]:
            messages = messages.filter(created_at__lt=until)
        try:
            for part in written(self._counted(pages(messages)), FORMATS[options["format"]]):
                self.stdout.write(part, ending="")
            self.stdout.flush()
        except BrokenPipeError:  # the reader has ended, as in `| head`
            # Python flushes once more at exit: https://docs.python.org/3/library/signal.html#note-on-sigpipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        finally:
            audit.note("messages exported", messages=self._count, format=options["format"])

    def _check(self, wanted: list[UUID]) -> None:
        found = set(Conversation.objects.filter(pk__in=wanted).values_list("pk", flat=True))
        if unknown := [str(id) for id in wanted if id not in found]:
            raise CommandError(f"no such conversation: {', '.join(unknown)}")

    def _counted(self, pages: Iterable[list[Row]]) -> Iterator[list[Row]]:
        """Yield `pages` and count their messages; show the count if the standard error is a terminal."""
        for page in pages:
            yield page
            self._count += len(page)
            if self.stderr.isatty():
                self.stderr.write(f"\r{self._count:,} messages", ending="")
        if self.stderr.isatty():
            self.stderr.write("" if self._count else "no messages")
