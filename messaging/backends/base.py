"""The interfaces of the backends. Each implementation passes the suites in tests/backends/."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from messaging.service.contracts import StoredConnection


async def _the_only_site() -> str:
    return ""


class ConnectionStore(ABC):
    """The live connections, shared by all processes. One instance per process serves all its connections.

    A connection that is neither touched nor removed is forgotten after `ttl` seconds. Every method raises
    StoreUnavailable if the backend does not answer within a bounded time, and may then be called again.

    `site`: returns the identity of the site whose connections these are, for a backend that several sites may share.
    """

    def __init__(self, *, ttl: int = 86_400) -> None:
        self.ttl = ttl
        self.site: Callable[[], Awaitable[str]] = _the_only_site

    @abstractmethod
    async def store_connection(self, connection: StoredConnection) -> None:
        """Add `connection` to its groups, or refresh it; visible to every process when this returns."""

    async def touch(self, connection: StoredConnection) -> None:
        """Restart the time to live of `connection`. The whole row is written: a store recovers from data loss."""
        await self.store_connection(connection)

    @abstractmethod
    async def remove_connection(self, connection: StoredConnection) -> None:
        """Forget `connection`. An unknown one is no error."""

    @abstractmethod
    async def get_connections(self, group: str) -> list[StoredConnection]:
        """Return the live connections of `group`, oldest first."""

    @abstractmethod
    async def count(self, group: str) -> int:
        """Return the number of live connections in `group`."""

    async def rehearse(self) -> None:  # noqa: B027  not abstract: within a process, nothing can fail
        """Do all that serving needs of the backend, under a name of its own, and leave nothing behind.

        Raise StoreUnavailable if any of it fails.
        """

    async def outdated(self) -> str:
        """Return a sentence that says that the backend's server is too old; "" if it is not, or if that is unknown.

        Raise StoreUnavailable if it does not answer.
        """
        return ""

    async def differences(self) -> list[str]:
        """Return the differences of the backend's schema from what is needed. Most backends have no schema."""
        return []

    async def migrate(self) -> None:  # noqa: B027  not abstract: most backends have no schema
        """Remove the schema's differences. Several processes may do so at once. Raise StoreUnavailable if it fails."""

    @abstractmethod
    async def close(self) -> None:
        """Release the store's resources."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate limit: `burst` at once, then one every `seconds`."""

    burst: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """The allowance of one key, from which `cost` tokens are taken, at most the burst of `rate`.

    Keys contain only pseudonyms of people and addresses.
    """

    key: str
    rate: Rate
    cost: int = 1

    @property
    def seconds(self) -> float:
        """The seconds in which as many tokens come back as are taken."""
        return self.cost * self.rate.seconds

    @property
    def most(self) -> float:
        """The seconds in which the empty bucket is full again."""
        return self.rate.burst * self.rate.seconds


class Limiter(ABC):
    """Rate limits: token buckets, by the generic cell rate algorithm (ITU-T I.371).

    A bucket is stored as one number, the time at which it will be full again. One limiter per process.
    """

    @abstractmethod
    async def take(self, bucket: Bucket) -> float:
        """Take its cost from `bucket`. Return 0 if that succeeds, else the seconds until the bucket has enough.

        No error is raised if the backend is down: the limits then apply to this process alone.
        """

    async def rehearse(self) -> None:  # noqa: B027  not abstract: within a process, nothing can fail
        """Do all that serving needs of the backend, under a name of its own, and leave nothing behind.

        Raise StoreUnavailable if any of it fails.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release the limiter's resources."""


class Addresses(ABC):
    """The number of sockets of each client address, so that one address can't take all.

    Addresses are known by pseudonyms only. One instance per process. Entering or leaving twice, or leaving without
    having entered, changes nothing.
    """

    @abstractmethod
    async def enter(self, address: str, socket: str) -> int:
        """Count the socket with the id `socket`. Return the number of sockets of its address, this one included.

        No error is raised if the backend is down, and the wait for it is bounded: the count is then that of this
        process alone.
        """

    @abstractmethod
    async def leave(self, address: str, socket: str) -> None:
        """Stop counting a socket that has ended. No error is raised if the backend is down: its count expires."""

    async def rehearse(self) -> None:  # noqa: B027  not abstract: within a process, nothing can fail
        """Do all that serving needs of the backend, under a name of its own, and leave nothing behind.

        Raise StoreUnavailable if any of it fails.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release the resources of this instance."""
