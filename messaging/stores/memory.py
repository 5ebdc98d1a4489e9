"""The connection store of a single process: nothing to install, gone with the process."""

import time

from messaging.contracts import StoredConnection
from messaging.stores.base import ConnectionStore


class MemoryStore(ConnectionStore):
    """Layout: connection id -> (row, expiry on the monotonic clock)."""

    def __init__(self, *, ttl: int = 86_400) -> None:
        super().__init__(ttl=ttl)
        self._rows: dict[str, tuple[StoredConnection, float]] = {}
        self._groups: dict[str, dict[str, None]] = {}

    async def store_connection(self, connection: StoredConnection) -> None:
        self._rows[connection.connection_id] = (connection, time.monotonic() + self.ttl)
        for group in connection.groups:
            self._groups.setdefault(group, {})[connection.connection_id] = None

    async def remove_connection(self, connection: StoredConnection) -> None:
        self._rows.pop(connection.connection_id, None)
        for group in connection.groups:
            members = self._groups.get(group, {})
            members.pop(connection.connection_id, None)
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
