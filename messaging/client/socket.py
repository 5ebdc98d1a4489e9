"""One WebSocket of a client, frame by frame."""

import contextlib
from collections.abc import AsyncIterator
from typing import Literal, NamedTuple
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.typing import Origin

from messaging.client.frames import Frame, answers, decode, encode

OPEN_SECONDS = 10.0
CLOSE_SECONDS = 1.0  # for the other side's close frame, which is not needed


class Credentials(NamedTuple):
    """A token, and a staff member's pass for the handshake before it, as the live page gets them."""

    token: str | None
    with_pass: str = ""


class Socket:
    """An open WebSocket. Its methods raise websockets.exceptions.ConnectionClosed once it has ended."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket

    @property
    def close_code(self) -> int | None:
        """The code with which the connection ended; None while it is open."""
        return self.websocket.close_code

    async def send(self, frame: Frame) -> None:
        await self.websocket.send(encode(frame))

    async def receive(self) -> Frame:
        return decode(await self.websocket.recv())

    async def ask(self, frame: Frame) -> Frame:
        """Send a request, which needs an id; return its answer and skip the frames that come before it."""
        await self.send(frame)
        while not answers(answer := await self.receive(), frame["id"]):
            pass
        return answer

    def cut(self) -> None:
        """End the connection without a close frame, as a network failure does."""
        self.websocket.transport.abort()


@contextlib.asynccontextmanager
async def connect(
    url: str,
    *,
    origin: str | None = None,
    proxy: Literal[True] | None = True,
    patience: float = OPEN_SECONDS,
    with_pass: str = "",
) -> AsyncIterator[Socket]:
    """Open a WebSocket; close it on exit. `proxy` None: ignore the environment's. `patience`: seconds for opening.

    `with_pass`: the pass with which staff have a place even when visitors take all others.
    Raise OSError (TimeoutError included) or websockets.exceptions.WebSocketException if that fails.
    """
    async with open_websocket(
        f"{url}?{urlencode({'pass': with_pass})}" if with_pass else url,
        origin=Origin(origin) if origin else None,
        proxy=proxy,
        open_timeout=patience,
        close_timeout=CLOSE_SECONDS,
        ping_interval=None,  # the protocol has a heartbeat of its own
    ) as websocket:
        yield Socket(websocket)
