"""`messaging_check`, which prints the effective settings and tests whether the backends answer."""

import asyncio
import json
import re
from http.client import HTTPException
from typing import Any
from urllib.request import ProxyHandler, build_opener

from django.conf import settings
from django.core.checks import run_checks
from django.core.management.base import BaseCommand, CommandError, CommandParser

from messaging import checks
from messaging.operations import round_trip
from messaging.runtime import runtime
from messaging.transports.base import TRIP_SECONDS
from messaging_site.conf import env
from messaging_site.server import descriptors

MASK = "***"
SECRETS = re.compile("SECRET|PASSWORD|TOKEN")  # in the name of a variable
IN_URLS = (
    re.compile(r"(://[^:/?#@]*:).*(@)"),  # user:password@
    re.compile(r"([?&][^=&]*(?:password|secret|token|key)[^=&]*=)[^&]*()", re.IGNORECASE),
)


class Command(BaseCommand):
    help = (
        "Print the effective configuration as JSON: each variable of docs/configuration.md with its value or default, "
        "secrets masked, the most connections to the database that a process opens, the most WebSockets that a server "
        "started with this command's limit of open files would serve, and the results of `check --deploy --tag "
        "messaging`. With --online, also test each backend and print how long it took: the database and the "
        "connection store by writing and removing a row, the limits and the counts of addresses by each of their "
        "commands, the channel layer by a message to itself, and on AWS the management API by a post to a connection "
        "that does not exist; and ask the server on this machine how many addresses its clients have. "
        "ok: it works. degraded: messages are late, but none is lost. failed: no client is served. The exit code is 1 "
        "if a check finds an error or a backend fails. It is safe at any time, and runs wherever a server's settings "
        "are available."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012  their findings are in the report

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--online", action="store_true", help="test every backend (takes some seconds at most)")

    def handle(self, *args: Any, **options: Any) -> None:
        env.stop_on_bad_configuration("MESSAGING_HOST", "PORT", "HEALTH_CHECK_PORT")
        found = run_checks(tags=[checks.TAG], include_deployment_checks=True)
        report: dict[str, Any] = {
            "status": "ok",
            "configuration": {name: masked(name, value) for name, value in sorted(env.effective.items())},
            "database_connections": settings.DATABASE_CONNECTIONS,
            **_connections(),
            "checks": [checks.line(message) for message in found],
        }
        wrong = [str(message.id) for message in found if message.is_serious()]
        if options["online"]:
            if probes := runtime.holder.probes:
                report["clients"] = _clients(probes)
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


def _connections() -> dict[str, dict[str, int]]:
    """Return the most WebSockets that a server would serve if it was started as this process was; {} on a gateway."""
    if settings.WEBSOCKET_API_ENDPOINT is not None:
        return {}
    room = descriptors.room(settings.MAX_CONNECTIONS)
    return {"connections_if_started_here": {"most": room.sockets, "open_files": room.limit}}


def _clients(probes: str) -> dict[str, Any]:
    """Return what the server on this machine knows of its clients' addresses, or why it is not known."""
    opener = build_opener(ProxyHandler({}))  # probes are internal: never through a proxy
    try:
        with opener.open(f"{probes}/addresses", timeout=TRIP_SECONDS) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found
    except (OSError, HTTPException, ValueError) as error:
        return {"why": f"no server answers on {probes}: {getattr(error, 'reason', error)}"}


def masked(name: str, value: object) -> object:
    """Return `value` with its secrets masked: operators see what is set, but nobody can log in with the output."""
    if value and SECRETS.search(name):
        return MASK
    if not isinstance(value, str):
        return value
    for pattern in IN_URLS:
        value = pattern.sub(rf"\1{MASK}\2", value)
    return value


def _part(trip: round_trip.Trip) -> dict[str, str | float]:
    return {"state": trip.state, "ms": trip.ms} | ({"why": trip.why} if trip.why else {})
