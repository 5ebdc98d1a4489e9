"""The product in front of stores that a test may break: its own PostgreSQL, its own Redis, and the networks between."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from uuid import uuid4

from messaging.tests.deployments import PREPARED, Deployment, Kubernetes
from messaging.tests.proxy import ChaosProxy
from messaging.tests.redis_services import Redis
from messaging.tests.services import HOST, Postgres, started
from messaging.tests.test_server import probe
from messaging.tests.traffic import HINT_SECONDS, Crowd
from messaging.tests.wire import admin, error, new_id

# The limits are far away, but asked for: they too depend on Redis.
LIMITS = {f"RATE_LIMIT_{who}": "10000/0.001" for who in ("VISITOR", "ADDRESS", "ADMIN")}
UNAVAILABLE_SECONDS = 2.5  # until a writer is told that the database does not answer


@dataclass
class Stage:
    """Pods that reach Redis and PostgreSQL through `to_redis` and `to_postgres`, and the people who use them."""

    deployment: Deployment
    crowd: Crowd
    redis: Redis
    postgres: Postgres
    to_redis: ChaosProxy
    to_postgres: ChaosProxy

    async def until_ready(self, status: int, **parts: object) -> None:
        """Returns when /ready answers with `status` and with `parts` among the rest, within HINT_SECONDS."""
        async with asyncio.timeout(HINT_SECONDS):
            while not await self._ready(status, parts):
                await asyncio.sleep(0.05)

    async def _ready(self, status: int, parts: dict[str, object]) -> bool:
        found, body = await asyncio.to_thread(probe, self.deployment.servers[0], "/ready")
        return found == status and body | parts == body

    async def stays_ready(self, seconds: float) -> None:
        """Redis is seen to be down; /ready stays 200 and people go on for so long."""
        await self.until_ready(200, redis="degraded")
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            assert await self._ready(200, {"database": "ok"})
            await self.crowd.goes_on()

    @contextlib.asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """What the body has begun makes the log unavailable: a writer is told so in time."""
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
        await self.crowd.goes_on(HINT_SECONDS)


@contextlib.contextmanager
def staged(kubernetes: Kubernetes, postgres: Postgres) -> Iterator[Stage]:
    """A stage on a database of `postgres`, which `kubernetes` has prepared."""
    redis = Redis()
    with contextlib.ExitStack() as stack:
        stack.enter_context(started(redis))
        to_redis, to_postgres = (stack.enter_context(ChaosProxy([(HOST, to.port)])) for to in (redis, postgres))
        database = postgres.create_database(uuid4().hex, PREPARED)
        reached = database.replace(f":{postgres.port}/", f":{to_postgres.port}/")
        redis_url = f"redis://{HOST}:{to_redis.port}/0"
        pods = stack.enter_context(kubernetes.deployed(redis_url, DATABASE_URL=reached, **LIMITS)).servers
        proxy = stack.enter_context(ChaosProxy([(HOST, pod.port) for pod in pods]))
        deployment = Deployment(pods, database)
        yield Stage(deployment, Crowd(deployment, proxy), redis, postgres, to_redis, to_postgres)


def heal(network: ChaosProxy) -> None:
    """Connections from before a cut end with it: part of what they carried is missing."""
    network.blackhole = False
    network.cut_all()
