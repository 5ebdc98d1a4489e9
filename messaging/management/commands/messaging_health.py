"""`messaging_health`, which asks for people and scripts what a probe asks: may this server get traffic?"""

import asyncio
import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from django.core.management.base import BaseCommand, CommandError, CommandParser

from messaging.operations import round_trip
from messaging.runtime import runtime
from messaging_site.conf.env import stop_on_bad_configuration

SECONDS = 5


class Command(BaseCommand):
    help = (
        "Print whether a server may get traffic, as its /ready answers: the exit code is 0 if it may, 1 if not. By "
        "default, ask the server on this machine, on HEALTH_CHECK_PORT. --url asks another server. --here asks the "
        "backends from this process, as a server with these settings would; no server is needed. On AWS, where no "
        "server runs, --here is the default."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012  a probe has little time

    def add_arguments(self, parser: CommandParser) -> None:
        asked = parser.add_mutually_exclusive_group()
        asked.add_argument(
            "--url", help="URL of a server's probes: http://10.0.0.7:8081, or http://127.0.0.1:8000 for `runserver`"
        )
        asked.add_argument("--here", action="store_true", help="ask the backends from this process")

    def handle(self, *args: Any, **options: Any) -> None:
        url = options["url"]
        if not url and not options["here"] and (url := runtime.holder.probes):
            stop_on_bad_configuration("MESSAGING_HOST", "HEALTH_CHECK_PORT")
        if not url:
            ready, parts = asyncio.run(round_trip.readiness())
            answer = json.dumps({"status": "ready" if ready else "not ready", **parts})
        else:
            ready, answer = _asked(url)
        self.stdout.write(answer)
        self.stdout.flush()  # before the error, which goes to the other stream
        if not ready:
            raise CommandError("not ready")


def _asked(url: str) -> tuple[bool, str]:
    """Return whether the server at `url` is ready, and its answer. Raise CommandError if there is no valid answer."""
    if not url.startswith(("http://", "https://")):
        raise CommandError(f"{url!r} must be a URL such as http://127.0.0.1:8081")
    opener = build_opener(ProxyHandler({}))  # probes are internal: never through a proxy
    try:
        with opener.open(f"{url.rstrip('/')}/ready", timeout=SECONDS) as answer:
            ready, body = True, answer.read()
    except HTTPError as error:
        with error:
            ready, body = False, error.read()
    except (URLError, OSError, HTTPException) as error:
        raise CommandError(f"no server answers on {url}: {getattr(error, 'reason', error)}") from error
    try:
        return ready, json.dumps(json.loads(body))
    except ValueError:
        raise CommandError(f"{url}/ready does not belong to this product: its answer is not JSON") from None
