"""`messaging_prune`, which deletes expired messages. It has to run once a day (docs/operations.md)."""

from collections import Counter
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from messaging.journal.retention import prune
from messaging.management.arguments import days
from messaging.observability import audit


class Command(BaseCommand):
    help = (
        "Delete messages older than MESSAGE_RETENTION_DAYS, conversations that are then empty, and expired logins. It "
        "deletes a thousand rows at a time, with pauses: it may run while people write, as often as you like, and be "
        "stopped at any time. Run it once a day."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=days, help="instead of MESSAGE_RETENTION_DAYS, at least 1")

    def handle(self, *args: Any, **options: Any) -> None:
        before = timezone.now() - timedelta(days=options["days"] or settings.MESSAGE_RETENTION_DAYS)
        deleted: Counter[str] = Counter()
        try:
            for name, number in prune(before):
                deleted[name] += number
                if self.stderr.isatty():
                    self.stderr.write(f"\r{deleted[name]:,} {name}", ending="")
        finally:  # an interrupted run has deleted something too
            if deleted and self.stderr.isatty():
                self.stderr.write("")
            audit.note("old messages deleted", before=f"{before:%Y-%m-%dT%H:%MZ}", deleted=dict(deleted))
        found = ", ".join(f"{number} {name}" for name, number in deleted.items()) or "nothing"
        self.stdout.write(f"deleted data older than {before:%Y-%m-%d %H:%M} UTC: {found}")
