"""The server of pods: daphne, hardened, started as `python -m messaging_site.server`.

Two listeners in one event loop, the application on PORT and the probes on HEALTH_CHECK_PORT: a loop that hangs fails
its liveness probe. SIGTERM, SIGINT and SIGHUP drain it; a second signal ends it at once.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from messaging_site.conf.env import stop_on_bad_configuration

with contextlib.suppress(ImportError):
    import uvloop

    # Before daphne is imported, because it creates its event loop at import.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server as DaphneServer
from twisted.internet import defer, reactor
from twisted.logger import STDLibLogObserver, globalLogPublisher

from messaging.protocol.limits import SOCKET_LIMIT
from messaging_site.server import descriptors
from messaging_site.server.flow import Socket
from messaging_site.server.http import ANSWER_SECONDS, Channel
from messaging_site.server.ports import Connection, Factory

logger = logging.getLogger(__name__)

ASGIApplication = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

BACKLOG = 4096  # with Twisted's 50, 1,000 clients that come back at once wait for SYN retries of up to 15 s
END_SECONDS = 5  # after SHUTDOWN_TIMEOUT, for sockets and requests to end; then as long again, for the last commits
LOOK_SECONDS = 0.05  # between two checks for requests in progress when the process stops
SPREAD = 0.75  # of SHUTDOWN_TIMEOUT: the rest is for the last sockets to end
GC_THRESHOLDS = (10_000, 20, 100)  # with Python's own, (700, 10, 10), the collector is a tenth of all the work
# A socket's `websocket.send_many` takes `texts` and writes them in one go.
EXTENSIONS: dict[str, dict[str, Any]] = {"websocket.send_many": {}}


class Server(DaphneServer):
    """daphne with limits, backpressure and a drain."""

    def __init__(self, application: ASGIApplication, *, shutdown_timeout: float = 0.0, **options: Any) -> None:
        from django.conf import settings

        options["endpoints"] = [f"{endpoint}:backlog={BACKLOG}" for endpoint in options.get("endpoints", ())]
        options["websocket_max_message_size"] = options["websocket_max_frame_size"] = SOCKET_LIMIT
        # No age limit for sockets: a visitor may stay. No server name: it only helps attackers who look for a version.
        options |= {"websocket_timeout": -1, "server_name": "", "http_timeout": ANSWER_SECONDS}
        options |= {"ping_interval": settings.PING_SECONDS, "ping_timeout": settings.PING_SECONDS}
        super().__init__(application, **options)
        # daphne drops Twisted's log. It has the errors that end a connection before any application is called.
        globalLogPublisher.addObserver(STDLibLogObserver("twisted"))  # type: ignore[arg-type]  # it is one
        self._room = _make_room(settings.MAX_CONNECTIONS)
        self._shutdown_timeout = shutdown_timeout
        self._ports: list[Any] = []
        self._drain: asyncio.Task[None] | None = None

    def run(self) -> None:
        # Called by the event loop, which runs only after this; Twisted would swallow an exception into its log.
        reactor.callWhenRunning(lambda: asyncio.get_event_loop().call_soon(self._begin))
        super().run()

    def listen_success(self, port: Any) -> None:
        # The first endpoint is the application's, the second one that of the probes.
        port.factory = Factory(self, descriptors.PROBES if self._ports else self._room.connections)
        port.transport = Connection
        self._ports.append(port)
        super().listen_success(port)

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        scope |= {"asgi": {"version": "3.0"}}
        events: Any
        if isinstance(protocol, Socket):
            scope["extensions"] = EXTENSIONS
            events, receive = protocol.flow, protocol.flow.receive
        else:
            events = asyncio.Queue()
            receive = events.get
        running = self.application(scope, receive, protocol.send)
        self.connections[protocol]["application_instance"] = asyncio.ensure_future(running)
        return events

    def protocol_disconnected(self, protocol: Any) -> None:
        """Forget a request that no application has seen at once; daphne keeps it for up to a second."""
        if "application_instance" in self.connections.get(protocol, {}):
            super().protocol_disconnected(protocol)
        else:
            self.connections.pop(protocol, None)

    def kill_all_applications(self) -> Any:
        """Cancel all applications. daphne's method raises KeyError if a connection has none (yet, or no longer)."""
        tasks = [details.get("application_instance") for details in self.connections.values()]
        running = [task for task in tasks if task is not None and not task.done()]
        for task in running:
            task.cancel()
        return defer.Deferred.fromFuture(asyncio.gather(*running, return_exceptions=True))

    def drain(self) -> None:
        """Send every connection elsewhere, finish what is under way and stop. A second call stops at once."""
        if self._drain is None:
            self._drain = asyncio.ensure_future(self._drained())
        else:
            logger.warning("second signal: server stops at once")
            self.stop()

    def _begin(self) -> None:
        from messaging.runtime import runtime

        self.ws_factory.protocol = Socket
        # Close with 1009 if a frame is too large; by default the TCP connection just ends (1006 in the browser).
        self.ws_factory.setProtocolOptions(failByDrop=False)
        for name in Socket.CONFIG_ATTRS:  # else every socket has a copy of each option
            option = getattr(self.ws_factory, name)
            setattr(Socket, name, staticmethod(option) if callable(option) else option)
        Socket.CONFIG_ATTRS = ()  # else autobahn pretty-prints them all for each socket, for a log line
        runtime.sockets.limit = self._room.sockets
        runtime.journal.connect()
        # Existing objects stay, so collections skip them. They also run rarely: few new objects become cyclic garbage.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        if self.signal_handlers:
            # Not the loop's add_signal_handler: the reactor has taken the wake-up descriptor that it relies on.
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` does to SIGHUP
                    signal.signal(number, lambda *_: reactor.callFromThread(self.drain))

    async def _drained(self) -> None:
        from messaging.runtime import runtime

        sockets = runtime.sockets
        logger.info("server drains %s sockets over %s s", len(sockets), self._shutdown_timeout)
        sockets.draining = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._shutdown_timeout + END_SECONDS
        # The probes stay, and answer that this process is not ready.
        await defer.maybeDeferred(self._ports[0].stopListening).asFuture(loop)
        left = await sockets.drain(self._shutdown_timeout * SPREAD, patience=END_SECONDS)
        requests = await self._answered(deadline)
        try:
            async with asyncio.timeout(END_SECONDS):
                await runtime.close()
        except TimeoutError:
            logger.warning("a backend did not close in time")
        logger.info("server stops: %s sockets still open, %s requests unanswered", left, requests)
        self.stop()

    async def _answered(self, deadline: float) -> int:
        """Wait for the requests in progress. Return how many still are at `deadline`."""
        if requests := self._requests():
            logger.info("server waits for %s requests", requests)
        while requests and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(LOOK_SECONDS)  # no event says when an answer is sent
            requests = self._requests()
        return requests

    def _requests(self) -> int:
        """Return the number of requests in progress: still arriving, being served, or answered but not fully sent."""
        open_ones = [protocol for protocol, details in self.connections.items() if "disconnected" not in details]
        served = [protocol for protocol in open_ones if not isinstance(protocol, Socket)]
        writers = reactor.getWriters()  # type: ignore[misc]  # Twisted's interfaces have no self
        return len(served) + sum(isinstance(getattr(writer, "protocol", None), Channel) for writer in writers)


def _make_room(sockets: int) -> descriptors.Room:
    """Return the room for connections of this process. End it if there is none; warn if there is less than asked."""
    room = descriptors.make_room(sockets)
    if room.sockets < 1:
        least = descriptors.PROBES + descriptors.OTHERS + 2
        sys.exit(
            f"configuration: this process may open {room.limit} files (ulimit -Hn); a server needs {least} or more"
        )
    if room.sockets < sockets:
        logger.warning(
            "MAX_CONNECTIONS lowered from %s to %s: this process may open %s files (ulimit -Hn)",
            sockets, room.sockets, room.limit,
        )  # fmt: skip
    return room


def by_port(application: ASGIApplication, health: ASGIApplication, health_port: int) -> ASGIApplication:
    """Return an application that calls `health` on its own port, and `application` on every other one."""

    def choose(scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        server = scope.get("server")
        chosen = health if server and server[1] == health_port else application
        return chosen(scope, receive, send)

    return choose


def stop_on_errors() -> None:
    """End the process if errors would keep this server from working, with a line for each."""
    from messaging import checks

    if found := [*checks.errors(), *map(checks.line, checks.static_files())]:
        sys.exit("\n".join(f"configuration: {line}" for line in found))


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "messaging_site.settings")
    stop_on_bad_configuration("MESSAGING_HOST", "PORT", "HEALTH_CHECK_PORT")
    logging.captureWarnings(True)
    import django
    from django.conf import settings

    django.setup()
    stop_on_errors()
    from messaging_site.asgi import application, health

    endpoints = [
        *build_endpoint_description_strings(host=settings.HOST, port=settings.PORT),
        *build_endpoint_description_strings(host=settings.HOST, port=settings.HEALTH_CHECK_PORT),
    ]
    logger.info("server starts on %s: port %s, probes %s", settings.HOST, settings.PORT, settings.HEALTH_CHECK_PORT)
    chosen = by_port(application, health.application, settings.HEALTH_CHECK_PORT)
    Server(chosen, shutdown_timeout=settings.SHUTDOWN_TIMEOUT, endpoints=endpoints).run()
