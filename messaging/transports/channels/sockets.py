"""The open WebSockets of this process: how many there may be, and how they are sent elsewhere when it stops."""

import asyncio
import random
from collections.abc import Iterator
from typing import Protocol

from messaging.backends.base import Addresses
from messaging.service.actions import Connection, Refusal


class Restartable(Protocol):
    """A socket that can tell its client to reconnect elsewhere. `outbox_bytes`: what waits for that client."""

    outbox_bytes: int

    @property
    def connection(self) -> Connection: ...

    def restart(self) -> None:
        """Tell the client and close, after the handshake or the frame that is being served."""


class Sockets:
    """One per process. `limit`: how many may be open.

    `limit_per_address`: how many one client may have in all processes, 0 for as many as it likes; `addresses` counts.
    """

    def __init__(self, limit: int, limit_per_address: int, addresses: Addresses) -> None:
        self.limit = limit
        self._limit_per_address = limit_per_address
        self._addresses = addresses
        self._open: set[Restartable] = set()
        self._changed = asyncio.Event()
        self.draining = False

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Restartable]:
        return iter(self._open)

    async def add(self, socket: Restartable) -> Refusal | None:
        """Count `socket` in, which is to be removed whatever this says: why it is one too many, None if it is not."""
        self._open.add(socket)
        if len(self._open) > self.limit or self.draining:
            return "full"
        if not self._limit_per_address:
            return None
        number = await self._addresses.enter(socket.connection.address, socket.connection.id)
        return "address" if number > self._limit_per_address else None

    async def remove(self, socket: Restartable) -> None:
        self._open.discard(socket)
        self._changed.set()
        if self._limit_per_address:
            await self._addresses.leave(socket.connection.address, socket.connection.id)

    async def drain(self, spread: float, patience: float) -> int:
        """Restart every socket, evenly over `spread` seconds and in random order; wait for their ends.

        Returns how many are still open `patience` seconds after that.
        """
        self.draining = True
        sockets = list(self._open)
        random.shuffle(sockets)
        loop = asyncio.get_running_loop()
        for index, socket in enumerate(sockets):
            # A slot of its own for each: that many come back per second somewhere else, and never more.
            loop.call_later((index + random.random()) * spread / len(sockets), socket.restart)  # noqa: S311
        deadline = loop.time() + (spread if sockets else 0) + patience
        while self._open and loop.time() < deadline:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                break
        return len(self._open)
