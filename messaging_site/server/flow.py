"""What a connection may cost: time-outs before it is a WebSocket, then backpressure both ways and close reasons.

daphne itself waits as long as bytes drip in, reads as fast as a client sends, whatever its handler can follow, and
buffers all that a reader does not take: one client could fill the memory of a pod.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.interfaces import IPushProducer
from twisted.web.http import HTTPChannel
from zope.interface import implementer

from messaging.protocol.codes import CloseCode
from messaging_site.server.framing import text_frame, whole_text

logger = logging.getLogger(__name__)

REQUEST_SECONDS = 10  # from accepting a connection, or the first byte of a later request, to the request's end
IDLE_SECONDS = 75  # between two requests: longer than the 60 of load balancers, which else meet a closing connection
READ_FRAMES = 64  # frames that wait for the handler before reading pauses
READ_BYTES = 256 * 1024
PARSE_SECONDS = 0.0001  # at once, for one socket: 64 KiB can be 10,000 pings, and everybody else would wait for them
PARSE_PAUSE_SECONDS = 0.005
STALL_SECONDS = 10  # how long a reader may take nothing before it is closed with 4008


class Channel(HTTPChannel):
    """A connection as long as it speaks HTTP. Twisted's own time-out begins anew with every byte."""

    def connectionMade(self) -> None:
        self.timeOut = REQUEST_SECONDS
        super().connectionMade()  # type: ignore[no-untyped-call]

    def resetTimeout(self) -> None:
        """Twisted calls this for all that arrives: what ends an idle time begins that of a request, no more."""
        if self.timeOut == IDLE_SECONDS:
            self.setTimeout(REQUEST_SECONDS)  # type: ignore[no-untyped-call]

    def requestDone(self, request: Any) -> None:
        self._savedTimeOut = IDLE_SECONDS  # what Twisted sets where the connection stays
        super().requestDone(request)  # type: ignore[no-untyped-call]


@implementer(IPushProducer)
class Flow:
    """What one socket's handler has still to be given, and how far its reader is behind."""

    def __init__(self, socket: "Socket") -> None:
        self._socket = socket
        self._events: list[dict[str, Any]] = []
        self._bytes = 0  # of the frames among them, and of the one being handled
        self._handled = 0  # bytes of the frame being handled
        self._arrival: asyncio.Future[None] | None = None
        self._reading = True
        self._writable: asyncio.Event | None = None  # None: it is
        self._stall: asyncio.TimerHandle | None = None
        self._rest: asyncio.TimerHandle | None = None

    # Reading. daphne's own queue, empty, takes three times as much memory as all that is here.

    def put_nowait(self, event: dict[str, Any]) -> None:
        """daphne hands over an event for the application."""
        self._events.append(event)
        self._bytes += _size(event)
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    async def receive(self) -> dict[str, Any]:
        """The next event; asking for it says that the one before has been handled."""
        self._bytes -= self._handled
        self._handled = 0
        if not self._reading:
            self.parse()
        if self._events:
            await asyncio.sleep(0)  # whoever sends without a pause must not keep the others from having a turn
        while not self._events:
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        event = self._events.pop(0)
        self._handled = _size(event)
        return event

    def parse(self) -> None:
        """Take frames out of what has arrived, as long as there is room for them; read on where nothing is left."""
        if self._rest is not None:
            return
        until = time.monotonic() + PARSE_SECONDS
        while self._has_room():
            if not self._socket.processData():
                return self._read(True)
            if self._socket.data and time.monotonic() > until:
                self._rest = asyncio.get_running_loop().call_later(PARSE_PAUSE_SECONDS, self._parse_on)
                break
        self._read(False)

    def _parse_on(self) -> None:
        self._rest = None
        self.parse()

    def _has_room(self) -> bool:
        """Pings are answered as they are parsed: a client that takes no answer must not ask on."""
        room = len(self._events) < READ_FRAMES and self._bytes < READ_BYTES
        return room and self._writable is None and self._socket.is_upgraded()

    def _read(self, reading: bool) -> None:
        if reading != self._reading and self._socket.state != self._socket.STATE_CLOSED:
            self._reading = reading
            transport = self._socket.transport
            transport.resumeProducing() if reading else transport.pauseProducing()

    # Writing: the transport calls these when 64 KiB wait for the reader, and when they are gone.

    async def writable(self) -> None:
        if self._writable is not None:
            await self._writable.wait()

    def pauseProducing(self) -> None:
        self._writable = asyncio.Event()
        self._stall = asyncio.get_running_loop().call_later(STALL_SECONDS, self._socket.drop_slow_reader)

    def resumeProducing(self) -> None:
        self.stopProducing()
        self.parse()

    def stopProducing(self) -> None:
        if self._writable is not None:
            self._writable.set()
            self._writable = None
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def stop(self) -> None:
        """The socket has ended: nobody waits for it any more."""
        self.stopProducing()
        if self._rest is not None:
            self._rest.cancel()


class Socket(WebSocketProtocol):  # type: ignore[misc]  # daphne has no types
    """One WebSocket of the server."""

    data: bytes  # what has arrived and was not parsed yet; autobahn keeps it

    def onConnect(self, request: Any) -> Any:
        self.flow = Flow(self)
        return super().onConnect(request)

    def onOpen(self) -> None:
        super().onOpen()
        self._forget_handshake()
        self.transport.unregisterProducer()  # twisted.web's, from before the upgrade
        self.transport.registerProducer(self.flow, True)

    def _forget_handshake(self) -> None:
        """Nobody asks autobahn for it again, and it is a seventh of a socket's memory."""
        del self.http_headers, self.http_request_data, self.http_response_data, self.websocket_extensions
        del self._transport_details
        self.request.headers = self.request.extensions = None  # daphne looks at its path
        self.send_queue = ()  # for frames that are sent in pieces, which daphne never does

    def is_upgraded(self) -> bool:
        """Whether what arrives are frames."""
        return self.state in (self.STATE_OPEN, self.STATE_CLOSING)

    def consumeData(self) -> None:
        """autobahn calls this when bytes have arrived; its own parses them all."""
        if hasattr(self, "flow"):
            self.flow.parse()
        else:
            super().consumeData()  # the handshake

    def dataReceived(self, data: bytes) -> None:
        """autobahn's own first colours a line of the log that nobody reads, which takes as long as all the rest."""
        self._dataReceived(data)

    def processData(self) -> bool:
        """Take one frame out of `data`; False: what is left of it is none yet.

        What clients send but for a few frames is one short text, whole: autobahn takes four times as long for it.
        """
        between_messages = self.current_frame is None and not self.inside_message
        if self.state == self.STATE_OPEN and between_messages and (found := whole_text(self.data)) is not None:
            payload, self.data = found
            self.onMessage(payload, False)
            return bool(self.data)
        more: bool = super().processData()
        return more

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.flow.stop()
        super().onClose(wasClean, code, reason)

    async def send(self, event: dict[str, Any]) -> None:
        """ASGI's: waits for a reader that is behind."""
        await self.flow.writable()
        await self.server.handle_reply(self, event)

    def handle_reply(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "websocket.close", "code": code} if self.state == self.STATE_OPEN:
                self.sendClose(code=code, reason=message.get("reason"))
            case {"type": "websocket.send" | "websocket.send_many"} if self.state != self.STATE_OPEN:
                pass  # the client has gone, or has said that it goes; what it missed is in the journal
            case {"type": "websocket.send", "text": str(text)}:
                self.send_texts([text])  # daphne would drop an empty one
            case {"type": "websocket.send_many", "texts": texts}:
                self.send_texts(texts)
            case {"type": "websocket.send", "bytes": bytes(data)}:
                self.serverSend(data, True)
            case _:
                super().handle_reply(message)

    def send_texts(self, texts: Sequence[str]) -> None:
        """Write `texts`, a frame each, in one go. autobahn's way takes five times as long for each of them."""
        data = b"".join(map(text_frame, texts))
        transport = self.transport
        # Straight to the kernel, where nothing waits before it: the reactor would ask first whether it may, which takes
        # as long as all the rest. Twisted has no public way to know what waits.
        if not transport.dataBuffer and not transport._tempDataBuffer:
            written = transport.writeSomeData(data)
            # An error is the reactor's to meet and to act upon, when it tries again.
            data = data if isinstance(written, Exception) else data[written:]
        if data:
            transport.write(data)

    def drop_slow_reader(self) -> None:
        """Close; autobahn drops the connection a second later if even this is not read."""
        from messaging import runtime

        logger.warning("reader stalled")
        runtime.get_meter().dropped("stalled")
        self.sendClose(code=int(CloseCode.SLOW_READER))


def _size(event: dict[str, Any]) -> int:
    return len(event.get("text") or event.get("bytes") or "")
