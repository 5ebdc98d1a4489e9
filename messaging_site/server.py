"""The server of pods: daphne, started as `python -m messaging_site.server`.

Two listeners in one event loop, the application on PORT and the probes on HEALTH_CHECK_PORT: a loop that hangs fails
its liveness probe.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from messaging_site.env import stop_on_bad_configuration

with contextlib.suppress(ImportError):
    import uvloop

    # Before daphne is imported: it makes its event loop at import.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server as DaphneServer
from twisted.internet import defer, reactor

logger = logging.getLogger(__name__)

ASGIApplication = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

BACKLOG = 4096  # Twisted's own 50 makes 1,000 clients that come back at once wait for SYN retries of up to 15 s
SOCKET_BYTES = 64 * 1024  # of one frame; a larger one closes with 1009 (RFC 6455 section 7.4.1)
HTTP_SECONDS = 30  # for one request
PING_SECONDS = 20


class Server(DaphneServer):
    """daphne with our limits; closes the messaging runtime when it stops."""

    def __init__(self, application: ASGIApplication, **options: Any) -> None:
        options["endpoints"] = [f"{endpoint}:backlog={BACKLOG}" for endpoint in options.get("endpoints", ())]
        options["websocket_max_message_size"] = options["websocket_max_frame_size"] = SOCKET_BYTES
        options.update(server_name="", http_timeout=HTTP_SECONDS, ping_interval=PING_SECONDS, ping_timeout=PING_SECONDS)
        super().__init__(application, **options)

    def run(self) -> None:
        from messaging import runtime

        reactor.callWhenRunning(self._begin)
        # twisted's interface declares this method's arguments wrong
        reactor.addSystemEventTrigger("during", "shutdown", lambda: _deferred(runtime.close()))  # type: ignore[arg-type]
        super().run()

    def _begin(self) -> None:
        from messaging import runtime

        # Close with 1009 what is too large; by default the TCP connection just ends (1006 in the browser).
        self.ws_factory.setProtocolOptions(failByDrop=False)
        runtime.get_hub()


def _deferred(coroutine: Coroutine[Any, Any, None]) -> defer.Deferred[None]:
    return defer.Deferred.fromFuture(asyncio.ensure_future(coroutine))


def by_port(application: ASGIApplication, health: ASGIApplication, health_port: int) -> ASGIApplication:
    """`health` on its own port, `application` on every other one."""

    async def choose(scope: dict[str, Any], receive: Any, send: Any) -> None:
        server = scope.get("server")
        chosen = health if server and server[1] == health_port else application
        await chosen(scope, receive, send)

    return choose


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "messaging_site.settings")
    stop_on_bad_configuration()
    from django.conf import settings

    from messaging_site import asgi  # sets Django up

    endpoints = [
        *build_endpoint_description_strings(host=settings.HOST, port=settings.PORT),
        *build_endpoint_description_strings(host=settings.HOST, port=settings.HEALTH_CHECK_PORT),
    ]
    logger.info("server starts on %s, probes on %s", settings.PORT, settings.HEALTH_CHECK_PORT)
    application = by_port(asgi.application, asgi.health.application, settings.HEALTH_CHECK_PORT)
    Server(application, endpoints=endpoints).run()


if __name__ == "__main__":
    main()
