"""The connection store that several pods share."""

import asyncio
import json
import time
from dataclasses import asdict
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError

from messaging.contracts import StoredConnection, StoreUnavailable
from messaging.redis_url import RedisURL, parse_redis_url
from messaging.stores.base import ConnectionStore

_FIELDS = {
    "connectionId": "connection_id",
    "connectionType": "connection_type",
    "conversation": "conversation",
    "principal": "principal",
    "version": "version",
    "pod": "pod",
    "connectedAt": "connected_at",
}


class RedisStore(ConnectionStore):
    """Layout (no key touches another's slot, so Redis Cluster serves it too):

    - `connection:{id}`: the row as JSON, with the time to live (SET EX)
    - `connections:{group}`: sorted set of connection ids scored by expiry, seconds since 1970 (ZADD); it can't
      rot: members past their score, or whose row is gone, are dropped by the next reader, and the whole set expires
      with its last member.
    """

    def __init__(
        self,
        *,
        url: str,
        password: str | None = None,
        ttl: int = 86_400,
        timeout: float = 1.0,
        max_connections: int = 16,
    ) -> None:
        """`timeout`: seconds for one command; `max_connections`: to each server, more commands wait their turn."""
        super().__init__(ttl=ttl)
        self._redis, self._sentinels = _clients(parse_redis_url(url, password), timeout, max_connections)
        # redis-py's pools raise where a turn could be waited for.
        self._turns = asyncio.Semaphore(max_connections)
        self._patience = 2 * timeout

    async def store_connection(self, connection: StoredConnection) -> None:
        row = asdict(connection)
        text = json.dumps({wire: row[name] for wire, name in _FIELDS.items()}, separators=(",", ":"))
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.set(_row_key(connection.connection_id), text, ex=self.ttl)
        for group in connection.groups:
            pipeline.zadd(_index_key(group), {connection.connection_id: time.time() + self.ttl})
            pipeline.expire(_index_key(group), self.ttl)
        await self._run(pipeline)

    async def remove_connection(self, connection: StoredConnection) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.delete(_row_key(connection.connection_id))
        for group in connection.groups:
            pipeline.zrem(_index_key(group), connection.connection_id)
        await self._run(pipeline)

    async def get_connections(self, group: str) -> list[StoredConnection]:
        index = _index_key(group)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.zremrangebyscore(index, "-inf", time.time())
        pipeline.zrange(index, 0, -1)
        _, ids = await self._run(pipeline)
        if not ids:
            return []
        pipeline = self._redis.pipeline(transaction=False)
        for connection_id in ids:
            pipeline.get(_row_key(connection_id.decode()))
        rows = await self._run(pipeline)
        if gone := [connection_id for connection_id, row in zip(ids, rows, strict=True) if row is None]:
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.zrem(index, *gone)
            await self._run(pipeline)
        found = [_connection(row) for row in rows if row is not None]
        return sorted(found, key=lambda connection: connection.age)

    async def count(self, group: str) -> int:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.zcount(_index_key(group), time.time(), "+inf")
        (number,) = await self._run(pipeline)
        return int(number)

    async def close(self) -> None:
        await self._redis.aclose()
        for sentinel in self._sentinels:
            await sentinel.aclose()

    async def _run(self, pipeline: Any) -> list[Any]:
        try:
            async with asyncio.timeout(self._patience), self._turns:
                results: list[Any] = await pipeline.execute()
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            raise StoreUnavailable(f"Redis: {error!r}") from error
        return results


def _row_key(connection_id: str) -> str:
    return f"connection:{connection_id}"


def _index_key(group: str) -> str:
    return f"connections:{group}"


def _connection(text: bytes) -> StoredConnection:
    row = json.loads(text)
    return StoredConnection(**{name: row[wire] for wire, name in _FIELDS.items()})


def _clients(url: RedisURL, timeout: float, max_connections: int) -> "tuple[Redis | RedisCluster, list[Redis]]":
    """The client for the data, and those for the sentinels that know where it is."""
    retry = Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 2)
    options: dict[str, Any] = {
        "username": url.username,
        "password": url.password,
        "ssl": url.tls,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "max_connections": max_connections,
        "retry": retry,
    }
    match url.kind:
        case "cluster":
            return RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in url.nodes], **options), []
        case "sentinel":
            # A sentinel has a password of its own, seldom the data servers': it is asked without one.
            sentinel = Sentinel(url.nodes, sentinel_kwargs={"socket_timeout": timeout, "ssl": url.tls})  # type: ignore[no-untyped-call]
            master: Redis = sentinel.master_for(url.master, db=url.db, **options)
            return master, sentinel.sentinels
        case _:
            ((host, port),) = url.nodes
            return Redis(host=host, port=port, db=url.db, **options), []
