"""The flow of a WebSocket: backpressure in both directions, and the reasons to close.

daphne itself reads as fast as a client sends, even if its handler is slower, and buffers all that the client does not
read: one client could fill the memory of a pod.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from messaging.protocol.codes import CloseCode
from messaging_site.server.framing import text_frame, whole_text

logger = logging.getLogger(__name__)

READ_FRAMES = 64  # frames that wait for the handler before reading pauses
READ_BYTES = 256 * 1024
PARSE_SECONDS = 0.0001  # for one turn of a socket: 64 KiB can be 10,000 pings, for which all other sockets would wait
PARSE_PAUSE_SECONDS = 0.005
STALL_SECONDS = 10  # how long a client may read nothing before it is closed with 4008
FRAGMENTS = 64  # that one message may come in; more close with 4400
MESSAGE_SECONDS = 30  # from the first byte of a message to its last one; clients give up a request after that time
PIECES = 64  # of one frame, each as it came from the network, before they are joined


@implementer(IPushProducer)
class Flow:
    """The flow of one socket: events that wait for its handler, and whether its client reads fast enough."""

    def __init__(self, socket: "Socket") -> None:
        self._socket = socket
        self._events: list[dict[str, Any]] = []
        self._bytes = 0  # of the frames among the events, and of the one being handled
        self._handled = 0  # bytes of the frame being handled
        self._arrival: asyncio.Future[None] | None = None
        self._reading = True
        self._writable: asyncio.Event | None = None  # None: the transport is writable
        self._stall: asyncio.TimerHandle | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._late: asyncio.TimerHandle | None = None  # runs while a message is incomplete

    # Reading. daphne's own queue takes three times as much memory as all of this, even empty.

    def put_nowait(self, event: dict[str, Any]) -> None:
        """Add an event for the application; daphne calls this."""
        self._events.append(event)
        self._bytes += _size(event)
        self._expect_rest(False)
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    async def receive(self) -> dict[str, Any]:
        """Wait for the next event and return it. A call means that the event before has been handled."""
        self._bytes -= self._handled
        self._handled = 0
        if not self._reading:
            self.parse()
        if self._events:
            await asyncio.sleep(0)  # a client that sends without a pause must not keep others from a turn
        while not self._events:
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        event = self._events.pop(0)
        self._handled = _size(event)
        return event

    def parse(self) -> None:
        """Parse received frames while there is room for them; continue to read if none is left."""
        if self._rest is not None:
            return
        until = time.monotonic() + PARSE_SECONDS
        while self._has_room():
            if not self._socket.processData():
                self._expect_rest(self._socket.is_within_message())
                return self._read(True)
            if self._socket.data and time.monotonic() > until:
                self._rest = asyncio.get_running_loop().call_later(PARSE_PAUSE_SECONDS, self._parse_on)
                break
        self._read(False)

    def _parse_on(self) -> None:
        self._rest = None
        self.parse()

    def _has_room(self) -> bool:
        """Return whether to parse another frame. Not while the client reads nothing: parsed pings are answered."""
        room = len(self._events) < READ_FRAMES and self._bytes < READ_BYTES
        return room and self._writable is None and self._socket.is_upgraded()

    def _expect_rest(self, incomplete: bool) -> None:
        """Limit the time until an incomplete message is complete. Pings between its fragments don't prolong it."""
        if incomplete and self._late is None:
            fail = partial(self._socket.fail, CloseCode.NO_IDENTIFY, "unfinished message")
            self._late = asyncio.get_running_loop().call_later(MESSAGE_SECONDS, fail)
        elif not incomplete and self._late is not None:
            self._late.cancel()
            self._late = None

    def _read(self, reading: bool) -> None:
        if reading != self._reading and self._socket.state != self._socket.STATE_CLOSED:
            self._reading = reading
            transport = self._socket.transport
            transport.resumeProducing() if reading else transport.pauseProducing()

    # Writing. The transport calls pauseProducing when 64 KiB wait for the client, resumeProducing when they are gone.

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
        """End all waiting, after the socket has ended."""
        self.stopProducing()
        self._expect_rest(False)
        if self._rest is not None:
            self._rest.cancel()


class Socket(WebSocketProtocol):  # type: ignore[misc]  # daphne has no types
    """One WebSocket of the server."""

    # autobahn maintains these: what is received and not parsed yet, and the parts of the message that is arriving.
    data: bytes
    message_data: list[bytes]
    frame_data: list[bytes]

    def onConnect(self, request: Any) -> Any:
        self.flow = Flow(self)
        return super().onConnect(request)

    def onOpen(self) -> None:
        super().onOpen()
        self._forget_handshake()
        self.transport.unregisterProducer()  # twisted.web's, from before the upgrade
        del self.transport.bufferSize  # that of HTTP
        self.transport.registerProducer(self.flow, True)

    def _forget_handshake(self) -> None:
        """Free the data of the handshake: it is not needed again, and is a seventh of a socket's memory."""
        del self.http_headers, self.http_request_data, self.http_response_data, self.websocket_extensions
        del self._transport_details
        self.request.headers = self.request.extensions = None  # daphne still reads its path
        self.send_queue = ()  # for frames in pieces, which daphne never sends

    def is_upgraded(self) -> bool:
        """Return whether received bytes are WebSocket frames."""
        return self.state in (self.STATE_OPEN, self.STATE_CLOSING)

    def consumeData(self) -> None:
        """Parse received bytes as far as there is room; autobahn's own method, which this replaces, parses them all."""
        if hasattr(self, "flow"):
            self.flow.parse()
        else:
            super().consumeData()  # the handshake

    def dataReceived(self, data: bytes) -> None:
        """Receive `data` without autobahn's unused, coloured log line, which takes as long as all the rest."""
        self._dataReceived(data)

    def processData(self) -> bool:
        """Parse one frame of `self.data`. Return False if the rest holds no complete frame yet.

        Nearly every frame of a client is one short, whole text, for which autobahn takes four times as long.
        """
        between_messages = self.current_frame is None and not self.inside_message
        if self.state == self.STATE_OPEN and between_messages and (found := whole_text(self.data)) is not None:
            payload, self.data = found
            self.onMessage(payload, False)
            return bool(self.data)
        more: bool = super().processData()
        return more

    def is_within_message(self) -> bool:
        """Return whether a message has begun to arrive, and has not ended yet."""
        return bool(self.data) or self.current_frame is not None or self.inside_message

    # autobahn keeps the fragments of a message, and the pieces of a frame, in lists: an empty one takes memory too.

    def onMessageFrameBegin(self, length: int) -> None:
        if len(self.message_data) >= FRAGMENTS:
            self.fail(CloseCode.BAD_FRAMES, "too many fragments")
        super().onMessageFrameBegin(length)

    def onMessageFrameData(self, payload: bytes) -> None:
        super().onMessageFrameData(payload)
        if len(self.frame_data) > PIECES:
            self.frame_data = [b"".join(self.frame_data)]

    def onMessageFrame(self, payload: list[bytes]) -> None:
        super().onMessageFrame([b"".join(payload)])

    def fail(self, code: CloseCode, reason: str) -> None:
        """Close with `code`, and keep nothing of the message that is arriving."""
        self._fail_connection(int(code), reason)
        self.message_data = []

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if hasattr(self, "flow"):  # else its handshake was refused, before any application was called
            self.flow.stop()
            super().onClose(wasClean, code, reason)

    async def send(self, event: dict[str, Any]) -> None:
        """Send an event (ASGI) after waiting for a client that reads too slowly."""
        await self.flow.writable()
        await self.server.handle_reply(self, event)

    def handle_reply(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "websocket.close", "code": code} if self.state == self.STATE_OPEN:
                self.sendClose(code=code, reason=message.get("reason"))
            case {"type": "websocket.send" | "websocket.send_many"} if self.state != self.STATE_OPEN:
                pass  # the client has closed or is closing; what it missed is in the journal
            case {"type": "websocket.send", "text": str(text)}:
                self.send_texts([text])  # daphne would drop an empty one
            case {"type": "websocket.send_many", "texts": texts}:
                self.send_texts(texts)
            case {"type": "websocket.send", "bytes": bytes(data)}:
                self.serverSend(data, True)
            case _:
                super().handle_reply(message)

    def send_texts(self, texts: Sequence[str]) -> None:
        """Write `texts`, each as a frame, at once. autobahn takes five times as long for each of them."""
        data = b"".join(map(text_frame, texts))
        transport = self.transport
        # Directly to the kernel if nothing waits in Twisted's buffer: the reactor would first poll whether it may
        # write, which takes as long as all the rest. Twisted has no public way to look into its buffer.
        if not transport.dataBuffer and not transport._tempDataBuffer:
            written = transport.writeSomeData(data)
            # On an error, the reactor will try again, get the same error, and handle it.
            data = data if isinstance(written, Exception) else data[written:]
        if data:
            transport.write(data)

    def drop_slow_reader(self) -> None:
        """Close with 4008; autobahn drops the connection a second later if the client does not even read that."""
        from messaging.runtime import runtime

        logger.warning("reader stalled")
        runtime.meter.dropped("stalled")
        self.sendClose(code=int(CloseCode.SLOW_READER))


def _size(event: dict[str, Any]) -> int:
    return len(event.get("text") or event.get("bytes") or "")
