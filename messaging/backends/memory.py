"""The backends of a single process: nothing to install, and the data ends with the process."""

import time
from collections.abc import Callable

from messaging.backends.base import Addresses, Bucket, ConnectionStore, Limiter
from messaging.service.contracts import StoredConnection

KEYS = 100_000  # number of buckets above which the full ones are forgotten


class MemoryStore(ConnectionStore):
    """Layout: connection id -> (row, expiry on the monotonic clock)."""

    def __init__(self, *, ttl: int = 86_400) -> None:
        super().__init__(ttl=ttl)
        self._rows: dict[str, tuple[StoredConnection, float]] = {}
        self._groups: dict[str, dict[str, None]] = {}

    async def store_connection(self, connection: StoredConnection) -> None:
        self._rows[connection.id] = (connection, time.monotonic() + self.ttl)
        for group in connection.groups:
            self._groups.setdefault(group, {})[connection.id] = None

    async def remove_connection(self, connection: StoredConnection) -> None:
        self._rows.pop(connection.id, None)
        for group in connection.groups:
            members = self._groups.get(group, {})
            members.pop(connection.id, None)
            if not members:
                self._groups.pop(group, None)

    async def get_connections(self, group: str) -> list[StoredConnection]:
        now = time.monotonic()
        rows = [self._rows[connection_id] for connection_id in self._groups.get(group, ())]
        for connection, expiry in rows:
            if expiry <= now:
                await self.remove_connection(connection)
        live = [connection for connection, expiry in rows if expiry > now]
        return sorted(live, key=lambda connection: connection.age)

    async def count(self, group: str) -> int:
        return len(await self.get_connections(group))

    async def close(self) -> None:
        self._rows.clear()
        self._groups.clear()


class MemoryLimiter(Limiter):
    """The rate limits of this process alone. `clock`: the seconds by which buckets fill."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at: dict[str, float] = {}

    async def take(self, bucket: Bucket) -> float:
        return self.take_now(bucket)

    def take_now(self, bucket: Bucket) -> float:
        now = self._clock()
        full_at = max(self._full_at.get(bucket.key, now), now) + bucket.seconds
        wait = full_at - now - bucket.most
        if wait > 0:
            return wait
        if len(self._full_at) > KEYS:
            self._full_at = {key: at for key, at in self._full_at.items() if at > now}
        self._full_at[bucket.key] = full_at
        return 0.0

    def owe_now(self, bucket: Bucket) -> None:
        """Take the cost of `bucket` even if it has not enough: later takers wait until it has come back."""
        self._full_at[bucket.key] = max(self._full_at.get(bucket.key, 0.0), self._clock()) + bucket.seconds

    async def close(self) -> None:
        self._full_at.clear()


class MemoryAddresses(Addresses):
    """The sockets of this process alone."""

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
