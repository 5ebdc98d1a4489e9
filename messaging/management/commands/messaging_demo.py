"""`messaging_demo`, which fills a deployment with invented visitors for a demonstration."""

import asyncio
import contextlib
from argparse import ArgumentTypeError
from collections import Counter
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from messaging_site.conf import env

THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class Command(BaseCommand):
    help = (
        "Let invented visitors write plausible messages to the deployment at URL, over real WebSockets, until Ctrl-C "
        "or for --seconds. With --answer, the staff account SMOKE_USERNAME with SMOKE_PASSWORD (or "
        "SMOKE_PASSWORD_FILE) answers some of them; without it, you can answer at /admin/live/. Visitors that lose "
        "their connection reconnect, and send again what was not acknowledged: you can stop a server meanwhile, and no "
        "message is lost. The deployment's limits apply: one address may have SOCKETS_PER_ADDRESS connections and "
        "write at RATE_LIMIT_ADDRESS. The messages stay until they are erased (--forget does that at the end), so a "
        "site on another machine needs --yes. The exit code is 1 if no message was acknowledged."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012  this installation's settings don't matter

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("url", metavar="URL", help="as visitors type it: http://localhost:8000")
        parser.add_argument("--rate", type=_rate, default=1.0, help="messages a second by all visitors (default: 1)")
        parser.add_argument("--visitors", type=_people, default=5, help="number of visitors, at most 1000 (default: 5)")
        parser.add_argument("--seconds", type=_rate, help="duration (default: until Ctrl-C)")
        parser.add_argument("--answer", action="store_true", help="a staff account answers as well")
        parser.add_argument("--forget", action="store_true", help="visitors erase their messages at the end")
        parser.add_argument("--yes", action="store_true", help="URL may be a site that real people use")

    def handle(self, *args: Any, **options: Any) -> None:
        site = urlsplit(options["url"])
        if site.scheme not in ("http", "https") or not site.hostname:
            raise CommandError(f"{options['url']!r} must be a URL such as http://localhost:8000")
        if site.hostname not in THIS_MACHINE and not options["yes"]:
            raise CommandError(
                f"{site.hostname} is not this machine: its staff would take the invented visitors for real ones, and "
                "the messages stay. If you want that, add --yes. Nothing was written."
            )
        counts: Counter[str] = Counter()
        with contextlib.suppress(KeyboardInterrupt):
            self._run(options, counts)
        if counts:
            self.stdout.write(", ".join(f"{name}: {number}" for name, number in counts.items()))
        self.stdout.flush()  # before the error, which goes to the other stream
        if not counts["acknowledged"]:
            raise CommandError("no message was acknowledged: run `messaging_smoke` to find out why")

    def _run(self, options: dict[str, Any], counts: Counter[str]) -> None:
        try:
            from messaging import demo
            from messaging.operations import smoke
        except ImportError as error:
            raise CommandError(f"{error}. A Lambda function can't run this: use another machine.") from error
        staff = smoke.Browser(options["url"], 10)
        live = mint = None
        try:
            if options["answer"]:
                username = env.required("SMOKE_USERNAME", "a staff account that may read and answer messages")
                live = staff.log_in(username, env.required("SMOKE_PASSWORD", "that account's password"))
                mint = partial(staff.token, live)
            plan = demo.Plan(
                options["url"], options["rate"], options["visitors"], options["seconds"], options["forget"], mint
            )
            self.stdout.write(f"{options['visitors']} visitors write to {options['url']}. Ctrl-C ends it.")
            asyncio.run(demo.run(plan, counts))
        except (ImproperlyConfigured, smoke.SmokeFailed) as error:
            raise CommandError(str(error)) from error
        finally:
            if live is not None:
                with contextlib.suppress(smoke.SmokeFailed):
                    staff.log_out(live)


def _rate(text: str) -> float:
    """Return a positive number, at most 86400. Raise ArgumentTypeError for any other text."""
    with contextlib.suppress(ValueError):
        if 0 < (number := float(text)) <= 86_400:
            return number
    raise ArgumentTypeError(f"{text!r} must be a number greater than 0 and at most 86400")


def _people(text: str) -> int:
    """Return a whole number from 1 to 1000. Raise ArgumentTypeError for any other text."""
    if not text.isdecimal() or not 1 <= int(text) <= 1_000:
        raise ArgumentTypeError(f"{text!r} must be a whole number from 1 to 1000")
    return int(text)
