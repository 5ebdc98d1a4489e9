"""The product behind nginx, before a Redis and a PostgreSQL that a test may break; bad networks between them all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import uuid4

import psycopg

from tests.support.chaos_proxy import ChaosProxy
from tests.support.connections import admin, connect, error, new_id
from tests.support.deployments import PREPARED, Deployment, Kubernetes, Pod, probe
from tests.support.nginx import Nginx
from tests.support.redis_services import Redis, RedisSentinel
from tests.support.services import HOST, Postgres, started
from tests.support.traffic import CALM_SECONDS, GOING_ON, HINT_SECONDS, Crowd
from tests.support.waiting import eventually

PODS = 3
# The limits are far away, but asked for: they too depend on Redis.
LIMITS = {f"RATE_LIMIT_{who}": "10000/0.001" for who in ("VISITOR", "ADDRESS", "ADMIN")}
LIMITS |= {"SOCKETS_PER_ADDRESS": "1000", "TRUSTED_PROXY_COUNT": "1"}
UNAVAILABLE_SECONDS = 4.5  # until a writer is told that the database does not answer, 2 s and what a busy machine adds


@dataclass
class Stage:
    """Pods behind nginx, the network before it, and the people who come that way: others in each test."""

    deployment: Deployment[Pod]
    network: ChaosProxy

    async def fresh(self) -> None:
        """Nothing is said yet, everything works, and nobody is here."""
        await self.until_ready(200, CALM_SECONDS, database="ok", redis="ok")
        with psycopg.connect(self.deployment.database) as session:
            session.execute("DELETE FROM messaging_message")
            session.execute("DELETE FROM messaging_conversation")
        self.crowd = Crowd(self.deployment, self.network)

    async def until_ready(self, status: int, within: float = HINT_SECONDS, **parts: object) -> None:
        """Returns when every pod's /ready answers with `status` and with `parts` among the rest."""
        await eventually(lambda: self.is_ready(status, parts), f"every pod answers {status} with {parts}", within)

    async def is_ready(self, status: int, parts: dict[str, object]) -> bool:
        answers = await asyncio.gather(*(asyncio.to_thread(probe, p, "/ready") for p in self.deployment.servers))
        return all(found == status and body | parts == body for found, body in answers)

    async def admins_present(self) -> int:
        """What a visitor is told."""
        async with connect(self.deployment.servers[0].websocket_url) as page:
            admins: int = (await page.identify())["presence"]["admins"]
        return admins


@dataclass
class SentinelStage(Stage):
    sentinel: RedisSentinel


@dataclass
class FragileStage(Stage):
    """Its pods reach Redis and PostgreSQL through `to_redis` and `to_postgres`."""

    redis: Redis
    postgres: Postgres
    to_redis: ChaosProxy
    to_postgres: ChaosProxy

    async def fresh(self) -> None:
        await super().fresh()
        with self.redis.client() as client:
            client.flushall()  # who was on a killed pod counts until its time is up

    async def stays_ready(self, seconds: float) -> None:
        """Redis is seen to be down; /ready stays 200 and people go on for so long."""
        await self.until_ready(200, redis="degraded")
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            assert await self.is_ready(200, {"database": "ok"})
            await self.crowd.goes_on()

    @contextlib.asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """What the body has begun makes the log unavailable: a writer is told so in time, and probes are."""
        token = await self.deployment.admin_token("colleague")
        async with admin(self.deployment.servers[0].websocket_url, token) as writer:
            yield
            id = new_id()
            async with asyncio.timeout(UNAVAILABLE_SECONDS):
                # To nobody: whatever its outcome, it will not be in the log.
                await writer.send("sendMessage", id=id, content="hello", to=str(uuid4()))
                while (answer := await writer.receive()).get("id") != id:
                    pass
            assert answer == error("unavailable", id=id, retryAfterMs=1000)

    async def recovers(self) -> None:
        await self.until_ready(200, database="ok")
        await self.crowd.goes_on(HINT_SECONDS + GOING_ON * self.crowd.pace)


AnyStage = TypeVar("AnyStage", bound=Stage)


class Stages(Generic[AnyStage]):
    """So many stages, side by side. They serve test after test, until one fails on them."""

    def __init__(self, build: Callable[[], AbstractContextManager[AnyStage]], number: int) -> None:
        self._build = build
        self._number = number
        self._stages: list[AnyStage] = []
        self._stack = contextlib.ExitStack()

    @contextlib.contextmanager
    def set_up(self) -> Iterator[list[AnyStage]]:
        if not self._stages:
            with ThreadPoolExecutor() as pool:
                entered = [pool.submit(self._stack.enter_context, self._build()) for _ in range(self._number)]
            self._stages = [stage.result() for stage in entered]
        try:
            yield self._stages
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._stages.clear()
        self._stack.close()


@contextlib.contextmanager
def fragile_stage() -> Iterator[FragileStage]:
    redis, postgres = Redis(), Postgres()
    with contextlib.ExitStack() as stack:
        stack.enter_context(started(redis, postgres))
        kubernetes = Kubernetes(postgres, postgres.directory / "static")
        to_redis, to_postgres = (stack.enter_context(ChaosProxy([(HOST, to.port)])) for to in (redis, postgres))
        database = postgres.create_database(uuid4().hex, PREPARED)
        reached = database.replace(f":{postgres.port}/", f":{to_postgres.port}/")
        redis_url = f"redis://{HOST}:{to_redis.port}/0"
        deployment, network = stack.enter_context(behind_nginx(kubernetes, redis_url, DATABASE_URL=reached))
        deployment.database = database
        yield FragileStage(deployment, network, redis, postgres, to_redis, to_postgres)


@contextlib.contextmanager
def sentinel_stage(kubernetes: Kubernetes) -> Iterator[SentinelStage]:
    sentinel = RedisSentinel(down_after=1000)  # its end is what the test is about
    with sentinel.started(), behind_nginx(kubernetes, sentinel.url) as (deployment, network):
        yield SentinelStage(deployment, network, sentinel)


@contextlib.contextmanager
def behind_nginx(
    kubernetes: Kubernetes, redis_url: str, **environment: str
) -> Iterator[tuple[Deployment[Pod], ChaosProxy]]:
    with kubernetes.deployed(redis_url, LIMITS | environment, pods=PODS) as deployment:
        nginx = Nginx({"/": [pod.port for pod in deployment.servers]})
        with started(nginx), ChaosProxy([(HOST, nginx.port)]) as network:
            yield deployment, network


def heal(network: ChaosProxy) -> None:
    """Connections from before a cut end with it: part of what they carried is missing."""
    network.blackhole = False
    network.cut_all()
