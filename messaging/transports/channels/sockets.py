"""The open WebSockets of this process: their limits, and the drain that sends them elsewhere when it stops."""

import asyncio
import random
from collections.abc import Iterator

from messaging.service.actions import Refusal
from messaging.transports.admission import Admission
from messaging.transports.base import HeldTransport

STAFF_RESERVE = 64  # sockets with a pass that are accepted beyond the limit; the server has the descriptors for them


class Sockets:
    """The open sockets of a process. `limit`: how many may be open. `admission`: the limits of each client address.

    Its length and its iterator leave out refused sockets: they end as soon as their clients have read the reason, and
    must not take the places of others meanwhile.
    """

    def __init__(self, limit: int, admission: Admission) -> None:
        self.limit = limit
        self._admission = admission
        self._served: set[HeldTransport] = set()
        self._refused: set[HeldTransport] = set()
        self._changed = asyncio.Event()
        self.draining = False

    def __len__(self) -> int:
        return len(self._served)

    def __iter__(self) -> Iterator[HeldTransport]:
        return iter(self._served)

    async def add(self, socket: HeldTransport) -> Refusal | None:
        """Add `socket`; return why it must be refused, or None. In either case `remove` has to be called later."""
        most = self.limit + (STAFF_RESERVE if socket.connection.has_pass else 0)
        full = len(self._served) >= most or self.draining
        (self._refused if full else self._served).add(socket)  # before the wait below, in which others come
        refusal = await self._admission.enter(socket.connection, full=full)
        if refusal and not full:
            self._served.discard(socket)
            self._refused.add(socket)
        return refusal

    async def remove(self, socket: HeldTransport) -> None:
        served = socket in self._served
        self._served.discard(socket)
        self._refused.discard(socket)
        self._changed.set()
        if served:
            await self._admission.leave(socket.connection)

    async def drain(self, spread: float, patience: float) -> int:
        """Restart every socket, evenly over `spread` seconds and in random order, and wait until all have ended.

        The wait lasts for at most `spread` + `patience` seconds. Return how many are still open then.
        """
        self.draining = True
        sockets = [*self._served, *self._refused]
        random.shuffle(sockets)
        loop = asyncio.get_running_loop()
        for index, socket in enumerate(sockets):
            # Each socket has its own slot, so clients come back elsewhere at an even rate, never faster.
            loop.call_later((index + random.random()) * spread / len(sockets), socket.restart)  # noqa: S311
        deadline = loop.time() + (spread if sockets else 0) + patience
        while (self._served or self._refused) and loop.time() < deadline:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                break
        return len(self._served) + len(self._refused)
