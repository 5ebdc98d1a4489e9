"""The time-outs of HTTP connections, of which daphne has only one: for the answer.

Without them, a client could hold a connection for as long as bytes of its request trickle in.
"""

from typing import Any

from twisted.web.http import HTTPChannel

REQUEST_SECONDS = 10  # from accepting a connection, or the first byte of a later request, to the request's end
ANSWER_SECONDS = 30  # for the answer to one request
IDLE_SECONDS = 75  # between two requests; load balancers close after 60, so they do not reuse a closing connection


class Channel(HTTPChannel):
    """A connection while it speaks HTTP, with a time-out per request: Twisted's own starts anew with every byte."""

    def connectionMade(self) -> None:
        self.timeOut = REQUEST_SECONDS
        super().connectionMade()  # type: ignore[no-untyped-call]

    def resetTimeout(self) -> None:
        """Start the time-out of a request only if the connection was idle; Twisted calls this for all bytes."""
        if self.timeOut == IDLE_SECONDS:
            self.setTimeout(REQUEST_SECONDS)  # type: ignore[no-untyped-call]

    def requestDone(self, request: Any) -> None:
        self._savedTimeOut = IDLE_SECONDS  # Twisted sets this time-out if the connection stays open
        super().requestDone(request)  # type: ignore[no-untyped-call]
