"""The connections to a port, bounded in number, so that those to one port never take the descriptors of another."""

import logging
import time
from typing import Any

from daphne.http_protocol import HTTPFactory
from twisted.internet import tcp
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure

from messaging_site.server.http import Channel, Request

logger = logging.getLogger(__name__)

UntypedConnection: Any = tcp.Server  # Twisted has types for parts of it
SAY_SECONDS = 60  # between two log lines about connections that were refused


class Factory(HTTPFactory):  # type: ignore[misc]  # daphne has no types
    """The protocols of the connections to one port. `limit`: how many may be open; more are closed at once."""

    protocol = Channel

    def __init__(self, server: Any, limit: int) -> None:
        super().__init__(server)
        self.limit = limit
        self.open = 0
        self._said = -float(SAY_SECONDS)

    def buildProtocol(self, addr: Any) -> Channel | None:
        if self.open >= self.limit:
            self._say()
            return None
        channel: Channel = super().buildProtocol(addr)
        channel.requestFactory = Request
        return channel

    def _say(self) -> None:
        if (now := time.monotonic()) - self._said >= SAY_SECONDS:
            self._said = now
            logger.warning("connections refused: %s are open on one port, the most for it", self.open)


class Connection(UntypedConnection):  # type: ignore[misc]
    """A connection that its port's Factory counts, also when it has become a WebSocket."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.server.factory.open += 1

    def startWriting(self) -> None:
        try:
            super().startWriting()
        except RuntimeError:
            # The connection has failed: uvloop has closed its watcher, and Twisted has not been told yet.
            failure = Failure(CONNECTION_LOST)  # type: ignore[no-untyped-call]
            self.reactor.callLater(0, self.connectionLost, failure)

    def connectionLost(self, reason: Any) -> None:
        if hasattr(self, "socket"):  # else Twisted calls this a second time
            self.server.factory.open -= 1
        super().connectionLost(reason)
