"""The limits on how often people may write, and connections may identify."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from messaging.backends.base import Bucket, Limiter, Rate
from messaging.backends.memory import MemoryLimiter
from messaging.protocol.codes import ErrorCode, ProtocolError
from messaging.service.actions import Connection


@dataclass(frozen=True, slots=True)
class Rates:
    """The rate limits of the wire protocol. None: no limit."""

    visitor: Rate | None
    address: Rate | None
    admin: Rate | None
    identify: Rate | None


class Throttle:
    """The rate limits of connections.

    Its methods raise ProtocolError (rate_limited), with the time after which the same frame may be sent again.
    """

    def __init__(self, limiter: Limiter, rates: Rates, clock: Callable[[], float]) -> None:
        self._limiter = limiter
        self._rates = rates
        # Each bucket belongs to one connection, so only the process that holds the connection needs it.
        self._identifies = MemoryLimiter(clock)

    async def identify(self, connection: Connection, id: str | None) -> None:
        if self._rates.identify is not None:
            limiter = self._identifies if connection.held else self._limiter
            _refuse(await limiter.take([Bucket(f"identify:{connection.id}", self._rates.identify)]), id)

    async def message(self, connection: Connection, id: str | None) -> None:
        buckets = self._buckets(connection)
        if buckets:
            _refuse(await self._limiter.take(buckets), id)

    def _buckets(self, connection: Connection) -> Sequence[Bucket]:
        if connection.role == "admin":
            limits = [(connection.principal, self._rates.admin)]
        else:
            limits = [
                (connection.principal, self._rates.visitor),
                (f"address:{connection.address}", self._rates.address),
            ]
        return [Bucket(key, rate) for key, rate in limits if rate is not None]


def _refuse(wait: float, id: str | None) -> None:
    if wait > 0:
        text = "Too many requests; try again later."
        raise ProtocolError(ErrorCode.RATE_LIMITED, text, id=id, retry_after_ms=math.ceil(wait * 1000))
