"""The limits on what visitors, staff, connections and client addresses may ask for (docs/limits.md)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from messaging.backends.base import Bucket, Limiter, Rate
from messaging.backends.memory import MemoryLimiter
from messaging.protocol import frames
from messaging.protocol.codes import ErrorCode, ProtocolError, Scope
from messaging.protocol.frames import ClientFrame
from messaging.service.actions import Action, Connection, Reply
from messaging.service.leases import Leases

Request = type[ClientFrame] | Literal["handshake", "refused"]

# The cost of each request in units: tenths of a millisecond of processor time of a server process, as
# `python -m bench.weights` measures them, rounded up. A refused frame, or one that can't be read, costs as much as
# "refused".
WEIGHTS: dict[Request, int] = {
    "handshake": 8,
    frames.Identify: 13,
    frames.SetConnectionType: 13,
    frames.SendMessage: 4,
    frames.History: 10,
    frames.MarkRead: 18,
    frames.ChangeConversation: 64,
    frames.ChangePause: 64,
    frames.Forget: 55,
    frames.Ping: 1,
    "refused": 1,
}
# A page of history costs one more unit for so many messages, and for so many characters of their contents.
PAGE_MESSAGES, PAGE_CHARACTERS = 3, 5_000
LEAST = 100  # units that a budget must have at once, so that every request fits into it


@dataclass(frozen=True, slots=True)
class Rates:
    """The limits, in the units of WEIGHTS, in messages or in conversations. None: no limit.

    `visitor`: messages of a visitor. `admin`: messages of a staff member. `connection`: units of a connection.
    `address`: units of all visitors of an address. `conversations`: conversations that visitors of an address begin.
    """

    visitor: Rate | None
    admin: Rate | None
    connection: Rate | None
    address: Rate | None
    conversations: Rate | None


class Throttle:
    """The limits of connections.

    The budget of an address is shared by all processes, that of a connection is kept by the process that serves its
    frames. Staff do not spend the budget of their address.

    Its methods raise ProtocolError (rate_limited), with the limit, and the time after which the same frame may be sent
    again.
    """

    def __init__(self, limiter: Limiter, rates: Rates, clock: Callable[[], float]) -> None:
        self._limiter = limiter
        self._rates = rates
        self._connections = MemoryLimiter(clock)
        self._leases = Leases(limiter, clock)

    async def handshake(self, connection: Connection) -> None:
        await self._spend_of_address(connection, WEIGHTS["handshake"], None)

    async def frame(self, connection: Connection, frame: ClientFrame | None, id: str | None = None) -> None:
        """Spend the cost of a frame. `frame`: None if it can't be read."""
        cost = WEIGHTS["refused" if frame is None else type(frame)]
        if self._rates.connection is not None:
            bucket = Bucket(connection.id, self._rates.connection, cost)
            try:
                _refuse("connection", self._connections.take_now(bucket), id)
            except ProtocolError:
                self._owe_of_address(connection, WEIGHTS["refused"])
                raise
        await self._spend_of_address(connection, cost, id)

    async def conversation(self, connection: Connection, id: str | None) -> None:
        """Count the conversation that a message of `connection` begins, if it begins one."""
        if bucket := self._conversation(connection):
            _refuse("conversations", await self._leases.take(bucket), id)

    def not_begun(self, connection: Connection) -> None:
        """Give back what `conversation` has counted: the message was not stored, or had been stored before."""
        if bucket := self._conversation(connection):
            self._leases.give_back(bucket)

    async def message(self, connection: Connection, id: str | None) -> None:
        """Count a message of a visitor or a staff member."""
        scope: Scope
        if connection.role == "admin":
            scope, rate = "staff", self._rates.admin
        else:
            scope, rate = "visitor", self._rates.visitor
        if rate is not None:
            _refuse(scope, await self._limiter.take(Bucket(connection.principal, rate)), id)

    def page(self, connection: Connection, actions: list[Action]) -> None:
        """Charge for the size of the history page in `actions`, which is known only once it was read."""
        pages = [action.frame for action in actions if isinstance(action, Reply)]
        messages = [message for page in pages if isinstance(page, frames.HistoryPage) for message in page.messages]
        characters = sum(len(message.content) for message in messages)
        cost = math.ceil(len(messages) / PAGE_MESSAGES + characters / PAGE_CHARACTERS)
        if self._rates.connection is not None and cost:
            self._connections.owe_now(Bucket(connection.id, self._rates.connection, cost))
        self._owe_of_address(connection, cost)

    def _conversation(self, connection: Connection) -> Bucket | None:
        if self._rates.conversations is None or connection.role == "admin" or connection.has_written:
            return None
        return Bucket(f"conversations:{connection.address}", self._rates.conversations)

    async def _spend_of_address(self, connection: Connection, cost: int, id: str | None) -> None:
        if self._rates.address is None or connection.is_staff:
            return
        bucket = Bucket(f"address:{connection.address}", self._rates.address, cost)
        try:
            _refuse("address", await self._leases.take(bucket), id)
        except ProtocolError:
            self._owe_of_address(connection, WEIGHTS["refused"])
            raise

    def _owe_of_address(self, connection: Connection, cost: int) -> None:
        if self._rates.address is not None and not connection.is_staff:
            self._leases.owe(Bucket(f"address:{connection.address}", self._rates.address, cost))


def _refuse(scope: Scope, wait: float, id: str | None) -> None:
    if wait > 0:
        text = "Too many requests; try again later."
        retry_after_ms = math.ceil(wait * 1000)
        raise ProtocolError(ErrorCode.RATE_LIMITED, text, id=id, scope=scope, retry_after_ms=retry_after_ms)
