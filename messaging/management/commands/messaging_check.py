"""`messaging_check`, which prints the effective settings and tests whether the backends answer."""

import asyncio
import json
import re
from typing import Any

from django.core.checks import run_checks
from django.core.management.base import BaseCommand, CommandError, CommandParser

from messaging import checks
from messaging.operations import round_trip
from messaging_site.conf import env

MASK = "***"
SECRETS = re.compile("SECRET|PASSWORD|TOKEN")  # in the name of a variable
IN_URLS = (
    re.compile(r"(://[^:/?#@]*:).*(@)"),  # user:password@
    re.compile(r"([?&][^=&]*(?:password|secret|token|key)[^=&]*=)[^&]*()", re.IGNORECASE),
)


class Command(BaseCommand):
    help = (
        "Print the effective configuration as JSON: each variable of docs/configuration.md with the value that counts, "
        "its default included, and secrets masked; and what `check --deploy --tag messaging` says. With --online each "
        "backend is tried as well, with the time that it took: the database and the connection store by a row that is "
        "written and taken back, the channel layer by a message to itself, and on AWS the management API by a post to "
        "nobody. ok: it works. degraded: messages are late, and none is lost. failed: nobody is served. The exit code "
        "is 1 where an error was found or a backend has failed. It disturbs nobody, and runs wherever a server's "
        "settings are."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012  their findings are in the report

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--online", action="store_true", help="try every backend, some seconds at most")

    def handle(self, *args: Any, **options: Any) -> None:
        found = run_checks(tags=[checks.TAG], include_deployment_checks=True)
        report: dict[str, Any] = {
            "status": "ok",
            "configuration": {name: masked(name, value) for name, value in sorted(env.effective.items())},
            "checks": [checks.line(message) for message in found],
        }
        wrong = [str(message.id) for message in found if message.is_serious()]
        if options["online"]:
            trips = asyncio.run(round_trip.trips())
            report["online"] = {trip.backend: _part(trip) for trip in trips}
            wrong += [trip.backend for trip in trips if trip.state == "failed"]
            if any(trip.state != "ok" for trip in trips):
                report["status"] = "degraded"
        if wrong:
            report["status"] = "failed"
        # One line if no terminal reads it: the log of a function has a separate entry for each line.
        self.stdout.write(json.dumps(report, indent=2 if self.stdout.isatty() else None))
        self.stdout.flush()  # before the error, which goes to the other stream
        if wrong:
            raise CommandError(f"failed: {', '.join(wrong)}")


def masked(name: str, value: object) -> object:
    """Return `value` with its secrets masked: operators see what is set, but nobody can log in with the output."""
    if not isinstance(value, str):
        return value
    if SECRETS.search(name):
        return MASK
    for pattern in IN_URLS:
        value = pattern.sub(rf"\1{MASK}\2", value)
    return value


def _part(trip: round_trip.Trip) -> dict[str, str | float]:
    return {"state": trip.state, "ms": trip.ms} | ({"why": trip.why} if trip.why else {})
