"""A client for Redis: bounded in time, one pipeline at a time, one error for all failures."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from itertools import islice
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ReadOnlyError, RedisClusterException, RedisError, ResponseError

from messaging.backends.availability import Availability
from messaging.backends.redis.url import RedisURL, parse_redis_url, sentinel_options
from messaging.background import lasting

logger = logging.getLogger(__name__)

TOGETHER = 500  # callers per pipeline: Redis serves no other client meanwhile
# TimeoutError is an OSError. RedisClusterException (no node of a cluster can be reached) is not a RedisError.
_FAILURES = (RedisError, RedisClusterException, OSError)

Command = tuple[str | int | float, ...]


class RedisClient:
    """A client for a single Redis, for Sentinel or for Cluster.

    `timeout`: seconds for one command. `purpose`: for log messages. `rehearsal`: one of each command that the purpose
    needs, on keys of their own. `probe_seconds`: between two rehearsals of a Redis that failed. Each is made over new
    connections: the old ones may lead to a server that was the primary, and serve none of what is needed now.

    Only one pipeline is under way at a time, and the next one takes all commands that were requested meanwhile, so that
    1,000 callers at once cost a few round trips, and few connections.
    """

    def __init__(
        self,
        url: str,
        password: str | None,
        *,
        timeout: float,
        purpose: str,
        rehearsal: Sequence[Command],
        probe_seconds: float = 1.0,
    ) -> None:
        self.redis, self._sentinels = _connect(parse_redis_url(url, password), timeout)
        self._patience = 2 * timeout
        self._rehearsal = rehearsal
        self._probe_seconds = probe_seconds
        self._demoted = False  # whether the failure is that the server is read-only
        self._waiting: list[tuple[Sequence[Command], asyncio.Future[list[Any]]]] = []
        self._sender: asyncio.Task[None] | None = None  # runs while commands wait
        self._probe: asyncio.Task[None] | None = None  # runs while Redis is down
        self._availability = Availability("Redis", purpose, logger)

    async def run(self, *commands: Command) -> list[Any]:
        """Return the answers to `commands`. They are no transaction: a cluster keeps their keys on different nodes.

        Raise StoreUnavailable if Redis fails: it is unknown which of them were done. After a failure every call raises
        it at once, until a rehearsal has succeeded.
        """
        if self._probe is not None:
            raise self._availability.unavailable()
        answers: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, answers))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        return await answers

    async def rehearse(self) -> None:
        """Do all that the purpose needs. Raise StoreUnavailable if Redis fails or refuses any of it."""
        await self.run(*self._rehearsal)

    async def version(self) -> str:
        """Return the version that the server tells; "" if it does not. Raise StoreUnavailable if it does not answer."""
        try:
            async with asyncio.timeout(self._patience):
                info: dict[str, Any] = await self.redis.info("server")
        except ResponseError:  # many proxies, and accounts without the right to ask
            return ""
        except _FAILURES as error:
            raise self._availability.failed(error) from error
        return str(info.get("redis_version", ""))

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
            try:
                results = await self._execute([command for commands, _ in batch for command in commands])
            except _FAILURES as error:
                self._fail([answers for _, answers in batch + self._waiting], error)
                self._waiting = []
                continue
            except Exception as error:  # not an error of Redis: the callers must get it, instead of waiting for ever
                for _, answers in batch:
                    _settle(answers, error)
                continue
            left = iter(results)
            for commands, answers in batch:
                own = list(islice(left, len(commands)))
                refusal = next((result for result in own if isinstance(result, Exception)), None)
                if refusal is not None:
                    self._fail([answers], refusal)
                else:
                    self._availability.answered()
                    _settle(answers, own)
        self._sender = None

    def _fail(self, waiting: Sequence[asyncio.Future[list[Any]]], error: Exception) -> None:
        self._demoted |= _is_read_only(error)
        self._probe = self._probe or asyncio.create_task(lasting(self._until_it_serves))
        unavailable = self._availability.failed(error)
        for answers in waiting:
            _settle(answers, unavailable)

    async def _execute(self, commands: Sequence[Command]) -> list[Any]:
        pipeline = self.redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            async with asyncio.timeout(self._patience):
                results: list[Any] = await pipeline.execute(raise_on_error=False)
                return results
        except TimeoutError:
            raise TimeoutError(f"no answer within {self._patience:g} s") from None

    async def _until_it_serves(self) -> None:
        serves = False
        while not serves:
            await asyncio.sleep(self._probe_seconds)
            with contextlib.suppress(*_FAILURES):
                async with asyncio.timeout(self._patience):
                    await self.redis.aclose()  # it connects again when it is used
                results = await self._execute(self._rehearsal)
                refusals = [result for result in results if isinstance(result, Exception)]
                self._demoted |= any(map(_is_read_only, refusals))
                serves = not refusals
        if self._demoted:
            self._availability.moves += 1
            self._demoted = False
        self._availability.answered()
        self._probe = None

    async def close(self) -> None:
        if self._sender is not None:
            await self._sender
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.wait([self._probe])
        await self.redis.aclose()
        if self._sentinels is not None:
            await self._sentinels.aclose()


def _is_read_only(error: Exception) -> bool:
    """Return whether the server is a replica. Redis 6 and older say so in the middle of the error of a script."""
    return isinstance(error, ReadOnlyError) or "READONLY" in str(error)


def _settle(answers: asyncio.Future[list[Any]], outcome: list[Any] | Exception) -> None:
    if answers.done():
        return  # the caller does not wait any more
    if isinstance(outcome, Exception):
        answers.set_exception(outcome)
    else:
        answers.set_result(outcome)


class _Sentinels(Sentinel):
    """Sentinels that are all asked at once, so that silent ones do not use up the time of one that knows the master."""

    def __init__(self, nodes: Sequence[tuple[str, int]], options: dict[str, Any]) -> None:
        super().__init__(())  # type: ignore[no-untyped-call]
        self._each = [Sentinel([node], sentinel_kwargs=options) for node in nodes]  # type: ignore[no-untyped-call]

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the master's host and port, from the first sentinel that knows them.

        Raise MasterNotFoundError, with the errors of all sentinels, if none does.
        """
        asked = [asyncio.create_task(one.discover_master(service_name)) for one in self._each]
        refusals = []
        try:
            for answer in asyncio.as_completed(asked):
                try:
                    found: tuple[str, int] = await answer
                    return found
                except RedisError as error:
                    refusals.append(str(error))
        finally:
            for question in asked:
                question.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        raise MasterNotFoundError("; ".join(refusals))

    async def aclose(self) -> None:
        for one in self._each:
            await one.aclose()


def _connect(url: RedisURL, timeout: float) -> tuple[Redis | RedisCluster, _Sentinels | None]:
    """Return the client for the data, and the sentinels that know the master, if there are any."""
    options: dict[str, Any] = {
        "username": url.username,
        "password": url.password,
        "ssl": url.tls,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "protocol": 2,  # understood by every server and proxy: Redis knows the third from version 6 on
        # The pauses take at most half of the client's patience, so that the reason is known before it ends.
        "retry": Retry(ExponentialWithJitterBackoff(base=timeout / 10, cap=timeout / 2), 2),
    }
    match url.kind:
        case "cluster":
            return RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in url.nodes], **options), None
        case "sentinel":
            sentinels = _Sentinels(url.nodes, sentinel_options(url, timeout))
            master: Redis = sentinels.master_for(url.master, db=url.db, **options)
            return master, sentinels
        case _:
            ((host, port),) = url.nodes
            return Redis(host=host, port=port, db=url.db, **options), None
