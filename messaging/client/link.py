"""A connection that keeps track of unanswered requests, and notices when it is dead."""

import asyncio
import random

from messaging.client.frames import CLOSES, Frame, answers, request
from messaging.client.socket import Socket

HEARTBEAT_SECONDS = 25.0  # until the server states its own
LIFE_SECONDS = 110 * 60.0  # API Gateway cuts a connection after two hours: replace it before that


class Link:
    """One WebSocket. `heartbeat`: seconds between pings, instead of the server's.

    It is dead if a request is unanswered and no frame comes for `silence` seconds, or its answer does not come within
    `answer` seconds. It also ends after about LIFE_SECONDS.
    """

    def __init__(self, socket: Socket, *, heartbeat: float | None, silence: float, answer: float) -> None:
        self.socket = socket
        self.identified = False
        self.dropped = False  # the client has given it up
        self.hint: float | None = None  # seconds after which the server asked to reconnect
        self.pause = 0.0  # minimum seconds before the next attempt
        self._code: int | None = None
        self._heartbeat = heartbeat
        self._silence = silence
        self._answer = answer
        self._owed: dict[str, float] = {}  # when each unanswered request was sent, by id, oldest first
        self._clock = asyncio.get_running_loop().time
        self._heard = now = self._clock()
        self._next_ping = now + (heartbeat or HEARTBEAT_SECONDS)
        self._ends = now + LIFE_SECONDS * random.uniform(0.95, 1.05)  # noqa: S311  not a secret

    @property
    def code(self) -> int | None:
        """The close code that an error frame announced, or else the one that was received."""
        return self._code or self.socket.close_code

    async def send(self, frame: Frame) -> None:
        """Send a request. Raise ConnectionClosed if the connection has ended."""
        self._owed.setdefault(frame["id"], self._clock())
        await self.socket.send(frame)

    async def receive(self) -> Frame | None:
        """Return the next frame, sending pings meanwhile; None if the link is dead or has reached its age limit.

        Raise ConnectionClosed if the connection has ended.
        """
        while (now := self._clock()) < (dead_at := self._dead_at()):
            if now >= self._next_ping:
                await self._ping(now)
                continue
            try:
                async with asyncio.timeout_at(min(dead_at, self._next_ping)):
                    frame = await self.socket.receive()
            except TimeoutError:
                continue
            self._heard = self._clock()
            self._obey(frame)
            return frame
        self.socket.cut()
        return None

    def drop(self, pause: float = 0.0) -> None:
        """Give up the link; the next attempt has to wait for at least `pause` seconds."""
        self.dropped = True
        self.pause = pause

    def _dead_at(self) -> float:
        if not self._owed:
            return self._ends
        oldest = next(iter(self._owed.values()))
        return min(max(self._heard, oldest) + self._silence, oldest + self._answer, self._ends)

    async def _ping(self, now: float) -> None:
        self._next_ping = now + (self._heartbeat or HEARTBEAT_SECONDS)
        await self.send(request("ping"))

    def _obey(self, frame: Frame) -> None:
        """Apply what `frame` says about the link itself."""
        if answers(frame, frame.get("id", "")):
            self._owed.pop(frame["id"], None)
        match frame:
            case {"type": "connection", "heartbeatMs": milliseconds} if self._heartbeat is None:
                self._heartbeat = milliseconds / 1000
                self._next_ping = self._heard + self._heartbeat
            case {"type": "serverShutdown", "reconnectAfterMs": milliseconds}:
                self.hint = milliseconds / 1000
            case {"type": "error", "code": code} if code in CLOSES:
                self._code, self.dropped = CLOSES[code], True
