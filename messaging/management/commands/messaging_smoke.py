"""`messaging_smoke`: does a deployment do what it is for, seen from outside?"""

from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from messaging.smoke import SmokeFailed, trip
from messaging_site import env


class Command(BaseCommand):
    help = (
        "Make a visitor's trip to the staff and back through the deployment at URL, as browsers would, logged in as "
        "the staff account SMOKE_USERNAME with SMOKE_PASSWORD (or SMOKE_PASSWORD_FILE). Exit code 0: all went well."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012  this installation's settings don't matter

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("url", metavar="URL", help="as visitors type it: https://chat.example.org")
        parser.add_argument("--timeout", type=float, default=10.0, help="seconds for each answer (default: 10)")

    def handle(self, *args: Any, **options: Any) -> None:
        url = urlsplit(options["url"])
        if url.scheme not in ("http", "https") or not url.netloc:
            raise CommandError(f"{options['url']!r} must be a URL, as in https://chat.example.org")
        try:
            username = env.required("SMOKE_USERNAME", "a staff account that may read and answer messages")
            password = env.required("SMOKE_PASSWORD", "that account's password")
            for step in trip(options["url"], username, password, options["timeout"]):
                self.stdout.write(f"ok: {step}")
        except (ImproperlyConfigured, SmokeFailed) as error:
            raise CommandError(str(error)) from error
