"""The client addresses of a process' connections, and the warning when hundreds of connections share one.

Limits that count by address are void, or stop everybody, if a proxy hides the addresses of its clients. A hall behind
one NAT looks alike, so the warning says only what is known.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from messaging.transports.base import HeldTransport

logger = logging.getLogger(__name__)

CROWD = 200  # connections of one address
NEARLY_ALL = 0.9
LOOK_SECONDS = 5.0  # between two looks; one takes a millisecond for 10,000 connections

Sign = Literal["doubted", "private", "alone"]

CAUSES: dict[Sign, str] = {
    "doubted": "their X-Forwarded-For names addresses that were not believed. Probably a proxy in front is missing in "
    "TRUSTED_PROXY_COUNT or TRUSTED_PROXIES (docs/proxies.md)",
    "private": "it is a private address. Unless the visitors are in that network, it belongs to a proxy in front that "
    "passes no X-Forwarded-For on or is missing in TRUSTED_PROXY_COUNT and TRUSTED_PROXIES, or to a node that hides "
    "its clients (externalTrafficPolicy: Cluster; docs/proxies.md)",
    "alone": "hardly any connection has another one. A network behind one NAT looks like this, and so does a load "
    "balancer in front that passes no addresses on (docs/proxies.md)",
}


@dataclass(frozen=True, slots=True)
class Crowd:
    """The connections of a process by address. `most`: those of the address with the most connections.

    `private`: whether that address is private. `doubted`: how many of its connections named further addresses in
    X-Forwarded-For, which were not believed.
    """

    connections: int = 0
    addresses: int = 0
    most: int = 0
    private: bool = False
    doubted: int = 0

    def sign(self, ease: float = 1.0) -> Sign | None:
        """Return the strongest sign that the address with the most connections is not that of one client, or None.

        `ease`: the part of each limit that is enough.
        """
        if self.most < ease * CROWD:
            return None
        if self.doubted >= ease * NEARLY_ALL * self.most:
            return "doubted"
        if self.private:
            return "private"
        return "alone" if self.most >= ease * NEARLY_ALL * self.connections else None

    def warning(self, sign: Sign | None) -> str | None:
        """Return the warning of `sign` for an operator, or None."""
        if sign is None:
            return None
        return f"{self.most} of {self.connections} connections come from one client address; {CAUSES[sign]}."


def crowd(sockets: Iterable[HeldTransport]) -> Crowd:
    """Return the crowd of `sockets`."""
    clients = [socket.client for socket in sockets if socket.client is not None]
    numbers = Counter(client.key for client in clients)
    if not numbers:
        return Crowd()
    ((key, most),) = numbers.most_common(1)
    theirs = [client for client in clients if client.key == key]
    private, doubted = any(client.private for client in theirs), sum(client.doubted for client in theirs)
    return Crowd(len(clients), len(numbers), most, private, doubted)


class CrowdWatch:
    """A look at the crowd every LOOK_SECONDS until `close`, with a log line whenever its sign changes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sockets: Iterable[HeldTransport]) -> None:
        self._loop = loop
        self._sockets = sockets
        self._sign: Sign | None = None
        self._look_later()

    def close(self) -> None:
        self._timer.cancel()

    def look(self) -> None:
        """Log the state of the crowd if it differs from that of the last look."""
        seen = crowd(self._sockets)
        sign = seen.sign(ease=0.5 if self._sign else 1.0)  # so that no number is at the limit again and again
        if sign == self._sign:
            return
        self._sign = sign
        if warning := seen.warning(sign):
            logger.warning(warning)
        else:
            logger.info("no client address has most connections any more")

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self.look()
        self._look_later()
