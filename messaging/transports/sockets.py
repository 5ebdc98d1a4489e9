"""The open WebSockets of this process: how many there may be, and how they are sent elsewhere when it stops."""

import asyncio
import random
from collections import Counter
from typing import Protocol

from messaging.service.actions import Refusal


class Restartable(Protocol):
    """A socket that can tell its client to reconnect elsewhere."""

    def restart(self) -> None:
        """Tell the client and close, after the frame that is being served."""


class Sockets:
    """One per process. `limit`: how many may be open; `limit_per_address`: by one client, 0 for as many as it likes."""

    def __init__(self, limit: int, limit_per_address: int) -> None:
        self._limit = limit
        self._limit_per_address = limit_per_address
        self._open: set[Restartable] = set()
        self._addresses: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self.draining = False

    def __len__(self) -> int:
        return len(self._open)

    def add(self, socket: Restartable, address: str) -> Refusal | None:
        """Count `socket` in; says why where it is one too many."""
        self._open.add(socket)
        self._addresses[address] += 1
        if len(self._open) > self._limit or self.draining:
            return "full"
        return "address" if 0 < self._limit_per_address < self._addresses[address] else None

    def remove(self, socket: Restartable, address: str) -> None:
        self._open.discard(socket)
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
        self._changed.set()

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
