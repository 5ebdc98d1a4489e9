"""One WebSocket of a client, frame by frame."""

import contextlib
from collections.abc import AsyncIterator
from typing import Literal

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.typing import Origin

from messaging.client.frames import Frame, answers, decode, encode

OPEN_SECONDS = 10.0
CLOSE_SECONDS = 1.0  # for the other side's farewell, which nobody needs


class Socket:
    """An open WebSocket. Its methods raise websockets.exceptions.ConnectionClosed once it has ended."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket

    @property
    def close_code(self) -> int | None:
        """The code with which it ended; None while it lives."""
        return self.websocket.close_code

    async def send(self, frame: Frame) -> None:
        await self.websocket.send(encode(frame))

    async def receive(self) -> Frame:
        return decode(await self.websocket.recv())

    async def ask(self, frame: Frame) -> Frame:
        """Send a request, which needs an id; return its answer, whatever comes before it."""
        await self.send(frame)
        while not answers(answer := await self.receive(), frame["id"]):
            pass
        return answer

    def cut(self) -> None:
        """End the connection without a word, as a network does."""
        self.websocket.transport.abort()


@contextlib.asynccontextmanager
async def connect(
    url: str, *, origin: str | None = None, proxy: Literal[True] | None = True, patience: float = OPEN_SECONDS
) -> AsyncIterator[Socket]:
    """Open a WebSocket; close it on exit. `proxy` None: go past the one that the environment names.

    Raises OSError (TimeoutError among them) or websockets.exceptions.WebSocketException where that fails.
    """
    async with open_websocket(
        url,
        origin=Origin(origin) if origin else None,
        proxy=proxy,
        open_timeout=patience,
        close_timeout=CLOSE_SECONDS,
        ping_interval=None,  # the protocol has a heartbeat of its own
    ) as websocket:
        yield Socket(websocket)
