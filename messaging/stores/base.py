"""The promise of every connection store; `tests/backends/test_stores.py` is the suite that each one passes."""

from abc import ABC, abstractmethod

from messaging.contracts import StoredConnection


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
