"""`messaging_smoke`, which tests a deployment from outside."""

import asyncio
import json
import time
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from messaging_site.conf import env


class Command(BaseCommand):
    help = (
        "Send a message from a visitor to staff, and an answer back, through the deployment at URL, as browsers would, "
        "logged in as the staff account SMOKE_USERNAME with SMOKE_PASSWORD (or SMOKE_PASSWORD_FILE). Exit code 0: "
        "everything works, or is degraded (no message is lost, but some are late). 1: a step failed; the error gives "
        "the reason. The test leaves one conversation, whose messages say that they are a test."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012  this installation's settings don't matter

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("url", metavar="URL", help="as visitors type it: https://chat.example.org")
        parser.add_argument("--timeout", type=float, default=10.0, help="seconds for each answer (default: 10)")
        parser.add_argument("--json", action="store_true", help="print one JSON object at the end, not a line per step")

    def handle(self, *args: Any, **options: Any) -> None:
        report: dict[str, Any] = {"url": options["url"], "status": "ok", "steps": []}
        try:
            asyncio.run(self._run(options, report))
        except CommandError as error:
            report |= {"status": "failed", "error": str(error)}
            raise
        finally:
            if options["json"]:
                self.stdout.write(json.dumps(report))
                self.stdout.flush()  # before the error, which goes to the other stream

    async def _run(self, options: dict[str, Any], report: dict[str, Any]) -> None:
        url = urlsplit(options["url"])
        if url.scheme not in ("http", "https") or not url.netloc:
            raise CommandError(f"{options['url']!r} must be a URL such as https://chat.example.org")
        try:
            from messaging.operations.smoke import SmokeFailed, trip
        except ImportError as error:
            raise CommandError(f"{error}. A Lambda function can't run this: use another machine.") from error
        began = time.monotonic()
        try:
            username = env.required("SMOKE_USERNAME", "a staff account that may read and answer messages")
            password = env.required("SMOKE_PASSWORD", "that account's password")
            env.stop_on_problems()
            async for step in trip(options["url"], username, password, options["timeout"]):
                state = "degraded" if step.degraded else "ok"
                ms, began = round((time.monotonic() - began) * 1000), time.monotonic()
                report["steps"].append({"state": state, "step": step.text, "ms": ms})
                if step.degraded:
                    report["status"] = state
                if not options["json"]:
                    self.stdout.write(f"{state}: {step.text}")
        except (ImproperlyConfigured, SmokeFailed) as error:
            raise CommandError(str(error)) from error
