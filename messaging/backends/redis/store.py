"""The connection store that several pods share."""

import json
from dataclasses import asdict

from messaging.backends.base import ConnectionStore
from messaging.backends.redis.client import Command, RedisClient
from messaging.backends.redis.timeouts import STORE_SECONDS
from messaging.service.contracts import StoredConnection

_FIELDS = {
    "connectionId": "id",
    "connectionType": "connection_type",
    "conversation": "conversation",
    "principal": "principal",
    "version": "version",
    "pod": "pod",
    "connectedAt": "connected_at",
}

SILENT_SECONDS = 150  # how long a connection counts after a touch; its first ping after 60 seconds touches it again
LEAST_VERSION = 5  # of Redis: the first in which a script may write after it has asked for the time

# One key per call, so that it works on Redis Cluster too. The clock is that of Redis: pods' clocks may differ.
_NOW = "local now = redis.call('TIME'); now = now[1] + now[2] / 1e6"
_FORGET = f"{_NOW}; redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)"
_JOIN = f"{_NOW}; redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1]); redis.call('EXPIRE', KEYS[1], ARGV[2])"
_MEMBERS = f"{_FORGET}; return redis.call('ZRANGE', KEYS[1], 0, -1)"
_COUNT = f"{_FORGET}; return redis.call('ZCARD', KEYS[1])"


class RedisStore(ConnectionStore):
    """Layout (each command has one key, so that it works on Redis Cluster too):

    - `connection:{id}`: the row as JSON, with the time to live (SET EX)
    - `connections:{site}:{group}`: sorted set of connection ids scored by the time until which they count, in seconds
      since 1970 by Redis' clock: SILENT_SECONDS from the last touch, so that the connections of a killed pod do not
      count for long. Stale members do not stay: the next reader drops those whose score has passed or whose row is
      gone, and the whole set expires with its last member. The next touch adds a dropped connection again.

    `prefix`: of all these keys.
    """

    def __init__(
        self,
        *,
        url: str,
        password: str | None = None,
        prefix: str = "",
        ttl: int = 86_400,
        timeout: float = STORE_SECONDS,
    ) -> None:
        super().__init__(ttl=ttl)
        self._prefix = prefix
        row, index = self._row("probe"), f"{prefix}connections:probe"
        self._client = RedisClient(
            url,
            password,
            timeout=timeout,
            purpose="connections",
            rehearsal=(
                ("SET", row, "", "EX", 1),
                ("GET", row),
                ("EVAL", _JOIN, 1, index, "probe", 1),
                ("EVAL", _MEMBERS, 1, index),
                ("EVAL", _COUNT, 1, index),
                ("ZREM", index, "probe"),
                ("DEL", row),
            ),
        )

    async def store_connection(self, connection: StoredConnection) -> None:
        row = asdict(connection)
        text = json.dumps({wire: row[name] for wire, name in _FIELDS.items()}, separators=(",", ":"))
        seconds = min(self.ttl, SILENT_SECONDS)
        indexes = [await self._index(group) for group in connection.groups]
        join: list[Command] = [("EVAL", _JOIN, 1, index, connection.id, seconds) for index in indexes]
        await self._client.run(("SET", self._row(connection.id), text, "EX", self.ttl), *join)

    async def remove_connection(self, connection: StoredConnection) -> None:
        leave: list[Command] = [("ZREM", await self._index(group), connection.id) for group in connection.groups]
        await self._client.run(("DEL", self._row(connection.id)), *leave)

    async def get_connections(self, group: str) -> list[StoredConnection]:
        index = await self._index(group)
        (found,) = await self._client.run(("EVAL", _MEMBERS, 1, index))
        ids = [connection_id.decode() for connection_id in found]
        if not ids:
            return []
        rows = await self._client.run(*(("GET", self._row(connection_id)) for connection_id in ids))
        if gone := [connection_id for connection_id, row in zip(ids, rows, strict=True) if row is None]:
            await self._client.run(("ZREM", index, *gone))
        connections = [_connection(row) for row in rows if row is not None]
        return sorted(connections, key=lambda connection: connection.age)

    async def count(self, group: str) -> int:
        (number,) = await self._client.run(("EVAL", _COUNT, 1, await self._index(group)))
        return int(number)

    async def rehearse(self) -> None:
        await self._client.rehearse()

    async def outdated(self) -> str:
        version = await self._client.version()
        major = version.partition(".")[0]
        if not major.isdigit() or int(major) >= LEAST_VERSION:
            return ""
        return f"Redis {version} is too old: it must be {LEAST_VERSION}.0 or newer"

    async def close(self) -> None:
        await self._client.close()

    def _row(self, connection_id: str) -> str:
        return f"{self._prefix}connection:{connection_id}"

    async def _index(self, group: str) -> str:
        return f"{self._prefix}connections:{await self.site()}:{group}"


def _connection(text: bytes) -> StoredConnection:
    row = json.loads(text)
    return StoredConnection(**{name: row[wire] for wire, name in _FIELDS.items()})
