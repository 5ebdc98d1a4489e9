"""The promises of every backend; tests/backends/ has the suites that each one passes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from messaging.service.contracts import StoredConnection


class ConnectionStore(ABC):
    """Who is connected, seen by every process. One instance per process serves all its connections.

    A connection that is neither touched nor removed is forgotten after `ttl` seconds. Every method raises
    StoreUnavailable when the backend does not answer in a bounded time, and may then be called again.
    """

    def __init__(self, *, ttl: int = 86_400) -> None:
        self.ttl = ttl

    @abstractmethod
    async def store_connection(self, connection: StoredConnection) -> None:
        """Add `connection` to its groups, or refresh it; visible to every process when this returns."""

    async def touch(self, connection: StoredConnection) -> None:
        """Start its time to live anew. Whole rows are written, so that a store that lost its data heals."""
        await self.store_connection(connection)

    @abstractmethod
    async def remove_connection(self, connection: StoredConnection) -> None:
        """Forget it; forgetting an unknown one is no error."""

    @abstractmethod
    async def get_connections(self, group: str) -> list[StoredConnection]:
        """The live connections of `group`, oldest first."""

    @abstractmethod
    async def count(self, group: str) -> int:
        """How many live connections `group` has."""

    async def differences(self) -> list[str]:
        """How the backend's schema differs from what this store needs; most backends have none."""
        return []

    async def migrate(self) -> None:  # noqa: B027  not abstract, for the same reason
        """Bring the schema to that; several processes may do it at once. Raises StoreUnavailable where it can't be."""

    @abstractmethod
    async def close(self) -> None:
        """Give back what the store holds open."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, then one every `seconds`."""

    burst: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """One key's allowance. Keys name people and addresses by pseudonyms only."""

    key: str
    rate: Rate


class Limiter(ABC):
    """How often somebody may do something: token buckets, kept by the generic cell rate algorithm (ITU-T I.371).

    A bucket is one number, the time at which it will be full again. One limiter per process.
    """

    @abstractmethod
    async def take(self, buckets: Sequence[Bucket]) -> float:
        """Take one from every bucket, or from none: the seconds until all have one, 0 where they were taken.

        Never raises for a backend that is down: limits then hold for this process alone.
        """

    @abstractmethod
    async def close(self) -> None:
        """Give back what the limiter holds open."""


class Addresses(ABC):
    """How many sockets each client address holds, so that one can't take all. Addresses are known by pseudonyms only.

    One per process. Entering or leaving again, or leaving without having entered, changes nothing."""

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
