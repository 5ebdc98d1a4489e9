"""A client that keeps every rule which docs/protocol.md states for clients.

It reconnects for ever, resends what was not acked with the same id, resumes by cursor, and shows no message twice.
"""

import asyncio
import contextlib
import json
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.support.connections import SOON, Frame, eventually, new_id

# The errors that end a connection, and how. On AWS the close that follows may have any code.
CLOSES = {"unauthorized": 4401, "forbidden": 4403, "blocked": 4403, "too_large": 4413}
SILENCE = 10.0  # seconds without any frame after a ping: the connection is dead
STABLE = 10.0  # seconds of connection after which back-off begins anew


@dataclass
class Client:
    """A visitor's or an admin's page that never gives up. `async with` connects it.

    `mint` makes the token of each connection attempt of an admin; a visitor gets its token from the server.
    `heartbeat` overrides what the server asks for. `on_message` is called once for every message, when it is shown.
    """

    url: str
    mint: Callable[[], Awaitable[str]] | None = None
    on_message: Callable[[Frame], None] = lambda frame: None
    heartbeat: float | None = None
    first_delay: float = 0.5
    longest_delay: float = 30.0

    sent: list[str] = field(default_factory=list)  # contents
    outbox: dict[str, Frame] = field(default_factory=dict)  # what is not acked yet, in the order of sending
    acked: dict[str, Frame] = field(default_factory=dict)  # by id: the ack, or the message where it came first
    not_sent: dict[str, str] = field(default_factory=dict)  # by id: the error code
    thread: dict[str, Frame] = field(default_factory=dict)  # what is shown, by messageId, in the order of arrival
    token: str | None = None
    conversation: str | None = None
    stopped: int | None = None  # the close code that ended it for good
    connections: int = 0
    resets: int = 0  # how often the server could not resume, so that the thread was loaded anew

    _socket: ClientConnection | None = None  # while identified
    _since: str | None = None
    _newest: str = ""
    _request: Frame | None = None  # the history request that is under way
    _complete: bool = False  # the oldest message is loaded
    _hint: float | None = None
    _end: int | None = None  # the close code that an error has announced

    async def __aenter__(self) -> "Client":
        self._sending = asyncio.Lock()
        self._tasks: set[asyncio.Future[Any]] = {asyncio.create_task(self._run())}
        return self

    async def __aexit__(self, *exception: object) -> None:
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    @property
    def messages(self) -> list[Frame]:
        """The thread as a person sees it."""
        return sorted(self.thread.values(), key=lambda frame: frame["cursor"])

    @property
    def contents(self) -> list[str]:
        return [frame["content"] for frame in self.messages]

    @property
    def ready(self) -> bool:
        """Identified, with the thread loaded."""
        return self._socket is not None and self._request is None

    async def send(self, content: str, **fields: Any) -> str:
        """Puts a message into the outbox; returns its id."""
        id = new_id()
        self.sent.append(content)
        self.outbox[id] = {"action": "sendMessage", "id": id, "content": content} | fields
        await self._write(id)
        self.soon(self._write_again(id))
        return id

    def soon(self, work: Awaitable[Any]) -> None:
        """Runs `work` beside the client, for instance a `send` from within `on_message`."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, done: "asyncio.Future[Any]") -> None:
        """Drop a task that has ended well; `__aexit__` raises what another one ended with."""
        if not done.cancelled() and done.exception() is None:
            self._tasks.discard(done)

    async def settled(self, within: float = SOON) -> None:
        """Returns when everything sent is acked or refused for good."""
        await eventually(lambda: not self.outbox, "the outbox is empty", within)

    # --- One connection after another -------------------------------------------------------------------------

    async def _run(self) -> None:
        attempt = refusals = 0
        while True:
            began = time.monotonic()
            code = None
            with contextlib.suppress(OSError, WebSocketException):
                token = await self.mint() if self.mint else self.token
                async with websocket(
                    self.url, proxy=None, ping_interval=None, max_size=None, close_timeout=1
                ) as socket:
                    self.connections += 1
                    try:
                        await self._converse(socket, token)
                    finally:
                        self._socket = self._request = None
                        code, self._end = self._end or socket.close_code, None
            refusals = refusals + 1 if code == 4401 else 0
            if code is not None and 4400 <= code <= 4499 and refusals != 1:
                self.stopped = code
                return
            if refusals:
                self.token = None
            if time.monotonic() - began > STABLE:
                attempt = 0
            delay = random.uniform(0, min(self.longest_delay, self.first_delay * 2 ** min(attempt, 10)))
            attempt += 1
            hint, self._hint = self._hint, None
            await asyncio.sleep(delay if hint is None else hint)

    async def _converse(self, socket: ClientConnection, token: str | None) -> None:
        """Returns when the server is silent for too long. Raises ConnectionClosed."""
        role = "admin" if self.mint else "user"
        await _send(socket, action="identify", v=2, type=role, token=token, since=self._since)
        heartbeat = self.heartbeat or 25.0
        next_ping, dead_at = time.monotonic() + heartbeat, time.monotonic() + SILENCE
        while (now := time.monotonic()) < dead_at:
            if now >= next_ping:
                await _send(socket, action="ping")
                next_ping, dead_at = now + heartbeat, min(dead_at, now + SILENCE)
            try:
                async with asyncio.timeout(min(next_ping, dead_at) - now):
                    frame = json.loads(await socket.recv())
            except TimeoutError:
                continue
            dead_at = math.inf
            if frame["type"] == "connection":
                heartbeat = self.heartbeat or frame["heartbeatMs"] / 1000
                next_ping = now + heartbeat
            if frame["type"] == "error":
                self._end = CLOSES.get(frame["code"])
            await self._take(socket, frame)

    async def _take(self, socket: ClientConnection, frame: Frame) -> None:
        match frame:
            case {"type": "identified"}:
                await self._identified(socket, frame)
            case {"type": "message"} if self._socket is None:
                pass  # before `identified`: the history that is asked for then has it, in its place
            case {"type": "message"}:
                self._show(frame)
            case {"type": "ack"}:
                self._acked(frame)
            case {"type": "history", "id": id} if self._request and id == self._request["id"]:
                await self._page(socket, frame)
            case {"type": "pong", "cursor": head} if head and self._request is None:
                if head == self._newest:
                    self._since = head
                else:
                    await self._ask(socket, since=self._since)
            case {"type": "serverShutdown"}:
                self._hint = frame["reconnectAfterMs"] / 1000
            case {"type": "error", "id": id} if id in self.outbox:
                self._refused(id, frame)
            case {"type": "error", "retryAfterMs": delay}:  # its identify or history
                self.soon(self._come_back(socket, delay / 1000))

    async def _identified(self, socket: ClientConnection, frame: Frame) -> None:
        self.token, self.conversation = frame.get("token"), frame.get("conversation")
        if self._since is not None and frame["recovered"]:
            await self._ask(socket, since=self._since)
        else:
            self.resets += self._since is not None
            self.thread.clear()
            self._since, self._newest, self._complete = None, "", False
            await self._ask(socket)
        async with self._sending:
            self._socket = socket
            for unacked in list(self.outbox.values()):
                await _send(socket, **unacked)

    async def _come_back(self, socket: ClientConnection, delay: float) -> None:
        await asyncio.sleep(delay)
        await socket.close()

    # --- The outbox -------------------------------------------------------------------------------------------

    async def _write(self, id: str) -> None:
        """Sends an unacked message if there is a connection; otherwise the next one will."""
        async with self._sending:  # while another connection is resending the outbox, in order
            if self._socket and id in self.outbox:
                with contextlib.suppress(ConnectionClosed):
                    await _send(self._socket, **self.outbox[id])

    def _acked(self, ack: Frame) -> None:
        if sent := self.outbox.pop(ack["id"], None):
            self.acked[ack["id"]] = ack
            conversation = sent.get("to", self.conversation)
            own = {"type": "message", "from": "admin" if self.mint else "user", "conversation": conversation}
            self._show(ack | own | {"content": sent["content"]})

    def _refused(self, id: str, error: Frame) -> None:
        if "retryAfterMs" in error:
            self.soon(self._write_later(id, error["retryAfterMs"] / 1000))
        else:
            self.not_sent[id] = error["code"]
            del self.outbox[id]

    async def _write_again(self, id: str) -> None:
        """Its ack alone may be lost, on a connection that lives."""
        while id in self.outbox:
            await asyncio.sleep(SILENCE)
            await self._write(id)

    async def _write_later(self, id: str, delay: float) -> None:
        await asyncio.sleep(delay)
        await self._write(id)

    # --- The thread -------------------------------------------------------------------------------------------

    def _show(self, frame: Frame) -> None:
        self._newest = max(self._newest, frame["cursor"])
        if self.outbox.pop(frame.get("id", ""), None):
            self.acked[frame["id"]] = frame
        if frame["messageId"] not in self.thread:
            self.thread[frame["messageId"]] = frame
            self.on_message(frame)

    async def _ask(self, socket: ClientConnection, **fields: Any) -> None:
        self._request = {"action": "history", "id": new_id(), "limit": 100} | fields
        await _send(socket, **self._request)

    async def _page(self, socket: ClientConnection, page: Frame) -> None:
        """Takes one frame of a history run: towards the newest message, then back to the oldest."""
        assert self._request is not None
        for frame in page["messages"]:
            self._show(frame)
        going_back = "before" in self._request
        if not going_back:
            self._since = page["cursor"]
        if page.get("partial"):
            return
        resuming = "since" in self._request
        if resuming and page["more"]:
            await self._ask(socket, since=self._since)
            return
        self._complete = self._complete or not (resuming or page["more"])
        if self._complete:
            self._request = None
        else:
            await self._ask(socket, before=self.messages[0]["cursor"])


async def _send(socket: ClientConnection, **fields: Any) -> None:
    await socket.send(json.dumps({key: value for key, value in fields.items() if value is not None}))
