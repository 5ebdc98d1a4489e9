"""The time-outs of HTTP connections, of which daphne has only one: for the answer.

Without them, a client could hold a connection for as long as bytes of its request trickle in.
"""

from typing import Any

from daphne.http_protocol import WebRequest
from twisted.web.http import HTTPChannel

REQUEST_SECONDS = 10  # from accepting a connection, or the first byte of a later request, to the request's end
ANSWER_SECONDS = 30  # for the answer to one request
IDLE_SECONDS = 75  # between two requests; load balancers close after 60, so they do not reuse a closing connection


class Request(WebRequest):  # type: ignore[misc]  # daphne has no types
    """A request whose body only the application parses, and without headers on which daphne raises."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, parsePOSTFormSubmission=False)  # Twisted's parser raises on some multipart forms

    def process(self) -> Any:
        # daphne decodes both as ASCII. It would believe the first one, from any client; the second one is not offered.
        for name in (b"daphne-root-path", b"sec-websocket-protocol"):
            self.requestHeaders.removeHeader(name)
        return super().process()


class Channel(HTTPChannel):
    """A connection while it speaks HTTP, with a time-out per request: Twisted's own starts anew with every byte."""

    def connectionMade(self) -> None:
        self.timeOut = REQUEST_SECONDS
        self.requestFactory: Any = Request
        super().connectionMade()  # type: ignore[no-untyped-call]

    def resetTimeout(self) -> None:
        """Start the time-out of a request only if the connection was idle; Twisted calls this for all bytes."""
        if self.timeOut == IDLE_SECONDS:
            self.setTimeout(REQUEST_SECONDS)  # type: ignore[no-untyped-call]

    def requestDone(self, request: Any) -> None:
        self._savedTimeOut = IDLE_SECONDS  # Twisted sets this time-out if the connection stays open
        super().requestDone(request)  # type: ignore[no-untyped-call]
