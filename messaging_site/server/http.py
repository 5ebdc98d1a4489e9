"""HTTP connections with limits in time and memory, of which daphne has only a time-out for the answer.

Without them, a client could hold a connection for as long as bytes of its request trickle in, and fill the memory of a
pod with the body of a request, or with answers that it does not read.
"""

import asyncio
import io
from collections.abc import Iterable
from typing import Any

from daphne.http_protocol import WebRequest
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.web.http import NO_BODY_CODES, HTTPChannel
from zope.interface import implementer

from messaging_site.server.answers import ANSWER_BYTES, LOOK_SECONDS, Answers

REQUEST_SECONDS = 10  # from accepting a connection, or the first byte of a later request, to the request's end
ANSWER_SECONDS = 30  # for the application, to answer one request
IDLE_SECONDS = 75  # between two requests; load balancers close after 60, so they do not reuse a closing connection
LINGER_SECONDS = 5  # in which a client that was refused can read why, while it still sends

BODY_BYTES = 64 * 1024  # of a request: settings.DATA_UPLOAD_MAX_MEMORY_SIZE
HEAD_BYTES = 16 * 1024  # of a request line with all headers, and of each line
HEADERS = 100  # of a request: a thousand short ones would take a megabyte
TRAILER_BYTES = 1024  # of the headers after a chunked body, which nobody reads
READ_BYTES = 4 * 1024  # at once: Twisted takes 50 ms for 64 KiB of the shortest chunks

TOO_LARGE = (b"413 Content Too Large", b"The body of a request may have at most %d bytes.\n" % BODY_BYTES)
LONG_HEAD = (
    b"431 Request Header Fields Too Large",
    b"A request may have at most %d headers, and %d bytes before its body.\n" % (HEADERS, HEAD_BYTES),
)
MALFORMED = (b"400 Bad Request", b"This is not a valid HTTP request.\n")


UntypedChannel: Any = HTTPChannel  # Twisted has types for parts of it


class Request(WebRequest):  # type: ignore[misc]  # daphne has no types
    """One request of a Channel."""

    def __init__(self, channel: "Channel", queued: object = False) -> None:
        # Django parses forms, on another thread and with limits; Twisted would do it here, without any.
        super().__init__(channel, queued, parsePOSTFormSubmission=False)

    def process(self) -> Any:
        # daphne decodes both as ASCII. It would believe the first one, from any client; the second one is not offered.
        for name in (b"daphne-root-path", b"sec-websocket-protocol"):
            self.requestHeaders.removeHeader(name)
        return super().process()

    def gotLength(self, length: int | None) -> None:
        """Keep the body in memory: it is small. Twisted would make a file for a chunked one."""
        self.content = io.BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        if self.content.tell() + len(data) > BODY_BYTES:
            self.channel.refuse(*TOO_LARGE)
        else:
            super().handleContentChunk(data)

    async def send(self, event: dict[str, Any]) -> None:
        """Send an event (ASGI), after waiting for a client that reads a large answer too slowly."""
        if (channel := self._open_channel()) is not None:
            await channel.readable()
        await self.server.handle_reply(self, event)

    def handle_reply(self, message: dict[str, Any]) -> None:
        bodiless = self.method == b"HEAD" or self.code in NO_BODY_CODES
        if bodiless and message.get("type") == "http.response.body":
            message = message | {"body": b""}  # daphne would send the second part of it and those after
        super().handle_reply(message)

    def finish(self) -> None:
        """End the answer without "http.disconnect", which daphne would send to the application.

        With it, each answer would stay in memory until Python's cyclic garbage collector runs: Django raises an
        exception for it that refers to itself. Django does not need it to notice that its answer is complete.
        """
        self.application_queue = None
        super().finish()

    def check_timeouts(self) -> None:
        """Limit the time of the application, but not that of a client that reads on, or that is gone."""
        channel = self._open_channel()
        if channel is not None and not (self._response_started and channel.unread):
            super().check_timeouts()

    def _open_channel(self) -> "Channel | None":
        """Return the connection, or None if the request is answered or its client is gone."""
        return getattr(self, "channel", None)


@implementer(IHalfCloseableProtocol)
class Channel(UntypedChannel):  # type: ignore[misc]
    """A connection while it speaks HTTP."""

    totalHeadersSize = MAX_LENGTH = HEAD_BYTES
    maxHeaders = HEADERS
    answers = Answers()  # of this process

    _transferDecoder: Any  # of the body that is arriving
    _refused = False
    _answered: Any = None  # the request whose answer the client has not read yet
    _emptied: asyncio.Event | None = None  # set when nothing waits for the client any more

    def connectionMade(self) -> None:
        self.timeOut = REQUEST_SECONDS
        self.transport.bufferSize = READ_BYTES
        super().connectionMade()

    def resetTimeout(self) -> None:
        """Start the time-out of a request only if the connection was idle; Twisted calls this for all bytes."""
        if self.timeOut == IDLE_SECONDS:
            self.setTimeout(REQUEST_SECONDS)

    def timeoutConnection(self) -> None:
        if self._refused:
            self.drop()
        else:
            super().timeoutConnection()

    def connectionLost(self, reason: Any) -> None:
        self._nothing_waits()
        super().connectionLost(reason)
        self._transferDecoder = None  # it refers to this object

    # The request.

    def dataReceived(self, data: bytes) -> None:
        if not self._refused:
            super().dataReceived(data)

    def headerReceived(self, line: bytes) -> bool:
        try:
            valid: bool = super().headerReceived(line)
        except ValueError:  # Python refuses numbers of more than 4,300 digits
            self.refuse(*TOO_LARGE)
            return False
        return valid

    def allHeadersReceived(self) -> None:
        if self.length is None:
            self._transferDecoder._maxTrailerHeadersSize = TRAILER_BYTES
        elif self.length > BODY_BYTES:
            return self.refuse(*TOO_LARGE)  # also to a client that expects "100 Continue" before it sends the body
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        if not self._refused:
            super().allContentReceived()

    def rawDataReceived(self, data: bytes) -> None:
        super().rawDataReceived(data)
        # Twisted itself goes on reading if the answer to an earlier request waits for the client.
        if self._handlingRequest and sum(map(len, self._dataBuffer)) > self._optimisticEagerReadSize:
            self._networkProducer.pauseProducing()

    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse(*LONG_HEAD)

    def _respondToBadRequestAndDisconnect(self) -> None:
        large = self._receivedHeaderSize > HEAD_BYTES or self._receivedHeaderCount > HEADERS
        self.refuse(*(LONG_HEAD if large else MALFORMED))

    def refuse(self, status: bytes, text: bytes) -> None:
        """Answer with an error and close. Until the client has read that, drop what it sends.

        To close at once would reset the connection, and the client would lose the answer.
        """
        if self._refused:
            return
        self._refused = True
        self.clearLineBuffer()
        self.setRawMode()
        head = b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
        body = b"" if getattr(self, "_command", b"") == b"HEAD" else text
        self.transport.write(head % (status, len(text)) + body)
        self.transport.loseWriteConnection()
        self.setTimeout(LINGER_SECONDS)

    def readConnectionLost(self) -> None:
        """The client sends nothing more: close, but only after answering the requests that have arrived.

        Twisted calls this again when it has begun to read again, after each answer.
        """
        if self._refused or not self._handlingRequest:
            self.loseConnection()

    def writeConnectionLost(self) -> None:
        """The client has been refused, and told so."""

    # The answer.

    @property
    def unread(self) -> int:
        """The number of bytes that wait for the client. Twisted has no public way to look into its buffer."""
        transport: Any = self.transport
        waiting: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
        return waiting

    def writeHeaders(self, version: Any, code: Any, reason: Any, headers: Any) -> None:
        super().writeHeaders(version, code, reason, headers)
        self.answers.wrote(self, 0)

    def write(self, data: bytes) -> None:
        super().write(data)
        self.answers.wrote(self, len(data))

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        data = b"".join(iovec)
        super().write(data)
        self.answers.wrote(self, len(data))

    def requestDone(self, request: Any) -> None:
        """End `request`, and begin the next one when the client has read the answer: answers must not pile up."""
        self._savedTimeOut = IDLE_SECONDS  # Twisted sets this time-out if the connection stays open
        if self.persistent and self.unread:
            self.requests.remove(request)
            self._answered = request
            self.transport.producerPaused = True  # so that it calls resumeProducing
        else:
            super().requestDone(request)

    def resumeProducing(self) -> None:
        """Go on after the client has read all that waited; the transport calls this."""
        self._nothing_waits()
        super().resumeProducing()
        if self._answered is not None:
            request, self._answered = self._answered, None
            self.requests.insert(0, request)
            super().requestDone(request)

    async def readable(self) -> None:
        """Wait while more than ANSWER_BYTES wait for the client."""
        if self.unread > ANSWER_BYTES:
            self._emptied = self._emptied or asyncio.Event()
            await self._emptied.wait()

    def after_a_look(self) -> None:
        self.callLater(LOOK_SECONDS, self.answers.look)

    def drop(self) -> None:
        transport = self.transport
        transport.abortConnection()
        # daphne keeps a request, and with it this connection, for up to a second after its end.
        transport.dataBuffer, transport.offset = b"", 0
        transport._tempDataBuffer, transport._tempDataLen = [], 0

    def _nothing_waits(self) -> None:
        self.answers.forget(self)
        if self._emptied is not None:
            self._emptied.set()
            self._emptied = None
