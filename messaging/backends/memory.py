"""The backends of a single process: nothing to install, and the data ends with the process."""

import time
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice

from messaging.backends.base import Addresses, Bucket, ConnectionStore, Limiter
from messaging.service.contracts import StoredConnection

LOOKS = 2  # buckets that each call looks at, to forget them if they are full: one more than it adds


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
    """The rate limits of this process alone. `clock`: the seconds by which buckets fill.

    Layout: key -> the time at which the bucket is full again. Each call looks at a few buckets, one after another, and
    forgets those that are full, so that no call takes long and few are kept for nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    async def take(self, bucket: Bucket) -> float:
        return self.take_now(bucket)

    def take_now(self, bucket: Bucket) -> float:
        now = self._clock()
        full_at = max(self._full_at.get(bucket.key, now), now) + bucket.seconds
        empty = now + bucket.most  # the sum, as `full_at` is one: both are rounded alike
        if full_at > empty:
            return full_at - empty
        self._keep(bucket.key, full_at, now)
        return 0.0

    def owe_now(self, bucket: Bucket) -> None:
        """Take the cost of `bucket` even if it has not enough: later takers wait until it has come back."""
        now = self._clock()
        self._keep(bucket.key, max(self._full_at.get(bucket.key, now), now) + bucket.seconds, now)

    async def close(self) -> None:
        self._full_at.clear()

    def _keep(self, key: str, full_at: float, now: float) -> None:
        self._full_at[key] = full_at
        for oldest in list(islice(self._full_at, LOOKS)):
            if self._full_at[oldest] > now:
                self._full_at.move_to_end(oldest)
            else:
                del self._full_at[oldest]


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
