"""`messaging_drain`, which an operator runs before a process stops, or to send a gateway's clients elsewhere."""

import time
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from messaging.observability import audit
from messaging.service.contracts import StoreUnavailable

SECONDS = 5.0  # for one answer


class Command(BaseCommand):
    help = (
        "Drain the server on this machine: it sends its clients elsewhere, finishes its work and stops. On AWS: send "
        "all clients of the WebSocket API to wherever its name points now; no process stops."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.MESSAGING_STATES:  # a gateway holds the connections, not a process
            self._drain_gateway()
        else:
            self._drain_server()

    def _drain_gateway(self) -> None:
        from messaging.transports.apigateway.draining import drain

        audit.note("drain asked for")
        try:
            told, left = drain()
        except StoreUnavailable as error:
            raise CommandError(f"connections: {error}") from error
        self.stdout.write(f"sent elsewhere: {told}, connected now: {left}")

    def _drain_server(self) -> None:
        probes = f"http://127.0.0.1:{settings.HEALTH_CHECK_PORT}"
        opener = build_opener(ProxyHandler({}))  # probes are internal: never through a proxy
        drain = Request(f"{probes}/drain", method="POST")  # noqa: S310  loopback
        try:
            opener.open(drain, timeout=SECONDS).close()
        except OSError as error:
            raise CommandError(f"No server answers on {probes}: {getattr(error, 'reason', error)}") from error
        while True:
            try:
                opener.open(f"{probes}/health", timeout=SECONDS).close()
            except TimeoutError:
                continue  # it hangs, but has not ended
            except (URLError, ConnectionError):
                break
            time.sleep(0.2)
        self.stdout.write("The server has stopped.")
