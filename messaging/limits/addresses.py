"""How many sockets each client address holds, so that one can't take all. Addresses are known by pseudonyms only."""

from abc import ABC, abstractmethod


class Addresses(ABC):
    """One per process. Entering or leaving again, or leaving without having entered, changes nothing."""

    @abstractmethod
    async def enter(self, address: str, socket: str) -> int:
        """Count the socket with the id `socket` in: which one of its address it is, from 1.

        Never raises for a backend that is down, and waits for it a bounded time: the count is then this process' own.
        """

    @abstractmethod
    async def leave(self, address: str, socket: str) -> None:
        """The socket has ended. Never raises either; what could not be told is forgotten in time."""

    @abstractmethod
    async def close(self) -> None:
        """Give back what this holds open."""


class MemoryAddresses(Addresses):
    """Of this process alone."""

    def __init__(self) -> None:
        self._open: dict[str, set[str]] = {}

    async def enter(self, address: str, socket: str) -> int:
        return self.enter_now(address, socket)

    async def leave(self, address: str, socket: str) -> None:
        self.leave_now(address, socket)

    def enter_now(self, address: str, socket: str) -> int:
        sockets = self._open.setdefault(address, set())
        sockets.add(socket)
        return len(sockets)

    def leave_now(self, address: str, socket: str) -> None:
        sockets = self._open.get(address, set())
        sockets.discard(socket)
        if not sockets:
            self._open.pop(address, None)

    async def close(self) -> None:
        self._open.clear()
