"""daphne's WebSocket protocol with backpressure both ways and close reasons.

daphne itself reads as fast as a client sends, whatever its handler can follow, and buffers all that a reader does not
take: one client could fill the memory of a pod.
"""

import asyncio
import logging
from collections import deque
from typing import Any

from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from messaging.protocol.codes import CloseCode

logger = logging.getLogger(__name__)

READ_FRAMES = 64  # frames that wait for the handler before reading pauses
READ_BYTES = 256 * 1024
WRITE_BYTES = 256 * 1024  # bytes that wait for the reader before writing waits
STALL_SECONDS = 10  # how long a reader may take nothing before it is closed with 4008


@implementer(IPushProducer)
class Flow:
    """How far the handler and the reader of one socket are behind."""

    def __init__(self, socket: "Socket") -> None:
        self._socket = socket
        self._waiting: deque[int] = deque()  # sizes of the frames that were read, the one being handled included
        self._waiting_bytes = 0
        self._handling = False
        self._reading = True
        self._writable = asyncio.Event()
        self._writable.set()
        self._stall: asyncio.TimerHandle | None = None

    # Reading.

    def arrived(self, size: int) -> None:
        self._waiting.append(size)
        self._waiting_bytes += size
        if self._reading and (len(self._waiting) >= READ_FRAMES or self._waiting_bytes >= READ_BYTES):
            self._reading = False
            self._socket.transport.pauseProducing()

    async def receive(self, receive: Any) -> Any:
        """The next event; asking for it says that the one before has been handled."""
        if self._handling:
            self._waiting_bytes -= self._waiting.popleft()
            if not self._reading and len(self._waiting) < READ_FRAMES // 2 and self._waiting_bytes < READ_BYTES // 2:
                self._reading = True
                self._socket.transport.resumeProducing()
        event = await receive()
        self._handling = event["type"] == "websocket.receive"
        return event

    # Writing: the transport calls these when WRITE_BYTES wait for the reader, and when they are gone.

    async def writable(self) -> None:
        await self._writable.wait()

    def pauseProducing(self) -> None:
        self._writable.clear()
        self._stall = asyncio.get_running_loop().call_later(STALL_SECONDS, self._socket.drop_slow_reader)

    def resumeProducing(self) -> None:
        self.stopProducing()

    def stopProducing(self) -> None:
        self._writable.set()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None


class Socket(WebSocketProtocol):  # type: ignore[misc]  # daphne has no types
    """One WebSocket of the server."""

    def onConnect(self, request: Any) -> Any:
        self.flow = Flow(self)
        return super().onConnect(request)

    def onOpen(self) -> None:
        super().onOpen()
        self.transport.bufferSize = WRITE_BYTES
        self.transport.unregisterProducer()  # twisted.web's, from before the upgrade
        self.transport.registerProducer(self.flow, True)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.flow.arrived(len(payload))
        super().onMessage(payload, isBinary)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.flow.stopProducing()
        super().onClose(wasClean, code, reason)

    def handle_reply(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "websocket.close", "code": code} if self.state == self.STATE_OPEN:
                self.sendClose(code=code, reason=message.get("reason"))
            case {"type": "websocket.send"} if self.state != self.STATE_OPEN:
                pass  # the client has gone; what it missed is in the log
            case {"type": "websocket.send", "text": str(text)}:
                self.serverSend(text)  # daphne would drop an empty one
            case {"type": "websocket.send", "bytes": bytes(data)}:
                self.serverSend(data, True)
            case _:
                super().handle_reply(message)

    def drop_slow_reader(self) -> None:
        """Close; autobahn drops the connection a second later if even this is not read."""
        logger.warning("reader stalled")
        self.sendClose(code=int(CloseCode.SLOW_READER))
