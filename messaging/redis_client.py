"""A Redis as this product uses one: bounded in time and in connections, one error for all that can go wrong."""

import asyncio
import contextlib
import logging
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisClusterException, RedisError

from messaging.availability import Availability
from messaging.contracts import StoreUnavailable
from messaging.redis_url import RedisURL, parse_redis_url

logger = logging.getLogger(__name__)

PROBE_SECONDS = 1.0  # between two looks at whether a Redis that failed is back
# TimeoutError is an OSError; what says that no node of a cluster can be reached is no RedisError.
_FAILURES = (RedisError, RedisClusterException, OSError)


class RedisClient:
    """`timeout`: seconds for one command; `max_connections`: to each server, more commands wait their turn.

    `purpose`: for the log.
    """

    def __init__(self, url: str, password: str | None, *, timeout: float, max_connections: int, purpose: str) -> None:
        self.redis, self._sentinels = _connect(parse_redis_url(url, password), timeout, max_connections)
        # redis-py's pools raise where a turn could be waited for.
        self._turns = asyncio.Semaphore(max_connections)
        self._patience = 2 * timeout
        self._probe: asyncio.Task[None] | None = None  # runs while Redis is down
        self._availability = Availability("Redis", purpose, logger)

    def pipeline(self) -> Any:
        """Commands that travel together; no transaction, since a cluster keeps their keys in different places."""
        return self.redis.pipeline(transaction=False)

    async def run(self, pipeline: Any) -> list[Any]:
        """The answers to `pipeline`. Raises StoreUnavailable: unknown which of its commands were done.

        Once Redis has failed, nobody waits for it any more until a probe of our own has had its answer.
        """
        if self._probe is not None:
            raise StoreUnavailable("Redis: down a moment ago")
        try:
            results = await self._execute(pipeline)
        except _FAILURES as error:
            self._probe = self._probe or asyncio.create_task(self._until_it_answers())
            raise self._availability.failed(error) from error
        self._availability.answered()
        return results

    async def _execute(self, pipeline: Any) -> list[Any]:
        async with asyncio.timeout(self._patience), self._turns:
            results: list[Any] = await pipeline.execute()
            return results

    async def _until_it_answers(self) -> None:
        answered = False
        while not answered:
            await asyncio.sleep(PROBE_SECONDS)
            with contextlib.suppress(*_FAILURES):
                await self._execute(self.pipeline().exists("probe"))  # a key, for a cluster to find a node by
                answered = True
        self._probe = None

    async def close(self) -> None:
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.wait([self._probe])
        await self.redis.aclose()
        for sentinel in self._sentinels:
            await sentinel.aclose()


def _connect(url: RedisURL, timeout: float, max_connections: int) -> "tuple[Redis | RedisCluster, list[Redis]]":
    """The client for the data, and those for the sentinels that know where it is."""
    options: dict[str, Any] = {
        "username": url.username,
        "password": url.password,
        "ssl": url.tls,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "max_connections": max_connections,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 2),
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
