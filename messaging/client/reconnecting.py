"""A client that connects again and again, for as long as the server lets it."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, Self

from websockets.exceptions import WebSocketException

from messaging.client.frames import Frame, stops
from messaging.client.link import Link
from messaging.client.socket import Credentials, connect
from messaging.protocol.codes import CloseCode
from messaging.protocol.fields import Role


@dataclass(eq=False)
class Reconnecting:
    """A visitor, or a staff member if `mint` makes credentials for each connection. `async with` connects.

    `mint` raises OSError if it fails. `heartbeat`: seconds between pings, instead of the server's. `proxy` None: ignore
    the environment's. A connection is dead if a request is unanswered and no frame comes for `silence_seconds`, or its
    answer does not come within `answer_seconds`. After a connection of `stable_seconds`, the delays between attempts
    start with a short one again; `draw` picks each between 0 and the longest allowed.

    Subclasses define the first frame (`greeting`) and the handling of frames (`take`).
    """

    url: str
    _: KW_ONLY
    mint: Callable[[], Awaitable[Credentials]] | None = None
    origin: str | None = None
    proxy: Literal[True] | None = True
    heartbeat: float | None = None
    silence_seconds: float = 10.0
    answer_seconds: float = 30.0
    stable_seconds: float = 10.0
    first_delay: float = 0.5
    longest_delay: float = 30.0
    draw: Callable[[float, float], float] = random.uniform

    token: str | None = field(default=None, init=False)
    stopped: int | None = field(default=None, init=False)  # the close code that asked the client to stay away

    def __post_init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def role(self) -> Role:
        return "admin" if self.mint else "user"

    def greeting(self, token: str | None) -> Frame:
        """Return the frame that begins a connection."""
        raise NotImplementedError

    async def take(self, link: Link, frame: Frame) -> None:
        """Handle `frame`. May raise ConnectionClosed."""
        raise NotImplementedError

    def on_connected(self) -> None:
        """Called when a WebSocket is open."""

    def on_silence(self) -> None:
        """Called when a connection is given up: an answer did not come, or the connection reached its age limit."""

    def on_lost(self) -> None:
        """Called when a connection has ended."""

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    def start(self) -> None:
        self.soon(self.run())

    async def stop(self) -> None:
        """End the connection and all background tasks. Raise the first error that a task had."""
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background, until the client stops."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:  # a failed task is kept, so that `stop` raises its error
            self._tasks.discard(task)

    async def run(self) -> None:
        """Connect again and again; return once the server asks the client to stay away."""
        clock = asyncio.get_running_loop().time
        failures, refused = 0, False
        while True:
            began = clock()
            link = await self._live()
            code = link.code if link else None
            if link and link.identified:
                refused = False
                failures = 0 if clock() - began >= self.stable_seconds else failures
            if code == CloseCode.UNAUTHORIZED and not refused:
                refused, self.token = True, None  # once more, with a fresh token
            elif stops(code):
                self.stopped = code
                return
            elif link and link.hint is not None:
                await asyncio.sleep(link.hint)
            else:
                longest = min(self.longest_delay, self.first_delay * 2 ** min(failures, 10))
                failures += 1
                await asyncio.sleep(self.draw(0, longest) + (link.pause if link else 0))

    async def _live(self) -> Link | None:
        """Connect and exchange frames; return the link when it has ended, None if there was no connection."""
        link = None
        with contextlib.suppress(OSError, WebSocketException):
            token, with_pass = await self.mint() if self.mint else Credentials(self.token)
            async with connect(self.url, origin=self.origin, proxy=self.proxy, with_pass=with_pass) as socket:
                link = Link(socket, heartbeat=self.heartbeat, silence=self.silence_seconds, answer=self.answer_seconds)
                self.on_connected()
                try:
                    await self._converse(link, token)
                finally:
                    link.drop(link.pause)
                    self.on_lost()
        return link

    async def _converse(self, link: Link, token: str | None) -> None:
        """Exchange frames until the link is given up. Raise ConnectionClosed if it ends before that."""
        await link.send(self.greeting(token))
        while not link.dropped:
            frame = await link.receive()
            if frame is None:
                self.on_silence()
                return
            await self.take(link, frame)
