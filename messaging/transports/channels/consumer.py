"""The Channels transport: one consumer at /ws. It translates frames and performs actions; the rules are elsewhere."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

from channels.consumer import AsyncConsumer

from messaging.observability.context import bind
from messaging.protocol.codec import encode
from messaging.protocol.codes import ABNORMAL, CloseCode
from messaging.protocol.frames import ServerFrame
from messaging.protocol.limits import IDENTIFY_SECONDS
from messaging.runtime import runtime
from messaging.service.actions import Action, Close, CloseGroup, Connection, Join, Publish
from messaging.tokens import is_pass
from messaging.transports.base import HeldTransport
from messaging.transports.client_address import client, client_address, pseudonyms_of
from messaging.transports.origin import allowed_origin

logger = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

OUTBOX_BYTES = 1024 * 1024  # limit for one client; beyond it the connection closes, and `history` recovers


class MessagingConsumer(HeldTransport, AsyncConsumer):
    """One WebSocket. Its frames are served one after another; frames for its client wait in a bounded outbox.

    `identify_seconds`: the limit until the first frame. `outbox_bytes`: the limit of the outbox.
    """

    def __init__(self, *, identify_seconds: float = IDENTIFY_SECONDS, outbox_bytes: int = OUTBOX_BYTES) -> None:
        self.identify_seconds = identify_seconds
        self.outbox_limit = outbox_bytes
        self.connection = Connection(id=uuid4().hex)
        self.groups: tuple[str, ...] = ()
        self.outbox: list[str] = []
        self.outbox_bytes = 0
        self.closing: Close | None = None
        self.writer: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None  # of the writer
        self.serving = True  # true from the start: before the handshake is accepted, nothing can be sent
        self.restarting = False

    # The transport.

    def deliver(self, frame: ServerFrame) -> None:
        self.push(encode(frame))

    def join(self) -> None:
        self.hub.leave(self, self.groups)
        self.groups = self.connection.groups
        self.hub.join(self, self.groups)

    def publish(self, action: Publish | CloseGroup) -> None:
        self.hub.publish(action)

    def push(self, text: str, cursor: str = "") -> None:
        """Put a frame in the outbox; beyond its limit, close the connection instead."""
        if self.closing is not None:
            return
        if self.outbox_bytes + len(text) > self.outbox_limit:
            logger.warning("reader too slow", extra={"connection": self.connection.id, "bytes": self.outbox_bytes})
            self.outbox.clear()
            runtime.meter.dropped("outbox")
            self.close(Close(CloseCode.SLOW_READER))
            return
        self.connection.handed(cursor)
        self.outbox.append(text)
        self.outbox_bytes += len(text)
        self._write_soon()

    def close(self, closing: Close) -> None:
        """Close after the outbox is sent; from now on, no frame is accepted from the client or for it."""
        if self.closing is None:
            self.closing = closing
            self._write_soon()

    def restart(self) -> None:
        """Send the client elsewhere, after the handshake or the frame that is being served."""
        if self.serving:
            self.restarting = True
        else:
            self.perform(self.service.restart())

    # ASGI.

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one connection.

        Channels' own loop also listens to the channel layer (the hub does that, once for all connections), makes a task
        for each event, and switches to the shared database thread before it. Nothing here needs that.
        """
        self.meter, self.tracer = runtime.meter, runtime.tracer
        if not allowed_origin(scope):
            self.meter.opened("origin")
            await receive()
            await send({"type": "websocket.close"})
            return
        self.send_event = send
        self.sends_many = "websocket.send_many" in scope.get("extensions", {})
        bind(connection=self.connection.id)
        self.service, self.hub, self.sockets = runtime.service, runtime.hub, runtime.sockets
        self.admission = runtime.admission
        self.client = client(scope)
        self.connection.address = self.client.key
        self.connection.addresses = pseudonyms_of(client_address(scope))
        (text,) = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("pass", [""])[:1]
        self.connection.has_pass = is_pass(text)
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        event: dict[str, Any] = {}
        self.application = asyncio.current_task()
        self.deadline = loop.call_later(self.identify_seconds, self.close, Close(CloseCode.NO_IDENTIFY))
        try:
            self.refusal = await self.sockets.add(self)
            self.meter.opened(self.refusal)
            while (event := await receive())["type"] != "websocket.disconnect":
                await self.dispatch(event)
        except asyncio.CancelledError:
            if self.failure is None:
                raise
            raise self.failure from None
        finally:
            self.application = None
            self.deadline.cancel()
            self.meter.closed(self.connection, self._close_code(event), time.monotonic() - began)
            self.hub.leave(self, self.groups)
            if self.writer is not None:
                self.writer.cancel()
            try:
                await self.service.disconnect(self.connection)
            finally:
                await self.sockets.remove(self)

    async def dispatch(self, event: dict[str, Any]) -> None:
        self.serving = True
        match event:
            case {"type": "websocket.connect"} if self.refusal and not self.admission.tells(self.connection):
                await self.send_event({"type": "websocket.close"})
            case {"type": "websocket.connect"}:
                await self.send_event({"type": "websocket.accept"})
                self.perform(await self.service.connect(self.connection, self.refusal))
            case {"type": "websocket.receive"} if self.closing is None:
                self.deadline.cancel()
                text = event.get("text")
                frame = event.get("bytes", b"") if text is None else text
                with self.tracer.served(frame):
                    actions = await self._served(frame)
                    self.perform(actions)
                if Join() in actions and self.connection.role == "admin":
                    await self.admission.leave(self.connection)
        self.serving = False
        if self.restarting:
            self.restart()

    async def _served(self, frame: str | bytes) -> list[Action]:
        began = time.monotonic()
        actions = await self.service.receive(self.connection, frame)
        seconds = time.monotonic() - began
        self.meter.answered(self.connection, actions, seconds)
        logger.debug("frame served", extra={"seconds": seconds})
        return actions

    def _close_code(self, event: dict[str, Any]) -> int:
        """Return the connection's close code: our own, or that of its last event, or ABNORMAL if there is neither."""
        return int(self.closing.code if self.closing else event.get("code") or ABNORMAL)

    def _write_soon(self) -> None:
        if self.writer is None:
            self.writer = asyncio.create_task(self._write())
            self.writer.add_done_callback(self._written)

    def _written(self, writer: asyncio.Task[None]) -> None:
        """End the connection as any failure does if its writer has failed: it could no longer be told or closed."""
        if not writer.cancelled() and (failure := writer.exception()) and self.application is not None:
            self.failure = failure
            self.application.cancel()

    async def _write(self) -> None:
        while self.outbox:
            texts, self.outbox = self.outbox, []
            self.outbox_bytes = 0
            if self.sends_many:
                await self.send_event({"type": "websocket.send_many", "texts": texts})
            else:
                for text in texts:
                    await self.send_event({"type": "websocket.send", "text": text})
        self.writer = None
        if self.closing is not None:
            code, reason = int(self.closing.code), self.closing.reason
            await self.send_event({"type": "websocket.close", "code": code, "reason": reason})
