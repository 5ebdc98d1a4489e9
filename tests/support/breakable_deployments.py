"""The product behind nginx, with a Redis and a PostgreSQL that a test may break, and bad networks between them all."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

import psycopg

from tests.support.chaos_proxy import ChaosProxy
from tests.support.connections import admin, connect, error, new_id
from tests.support.deployments import PREPARED, UNMEASURED, Deployment, Kubernetes, Pod, probe
from tests.support.metrics import scrape, value
from tests.support.nginx import Nginx
from tests.support.redis_services import Redis, RedisSentinel
from tests.support.services import HOST, Postgres, started
from tests.support.traffic import CALM_SECONDS, Crowd
from tests.support.waiting import eventually

PODS = 3
# Limits that no test reaches, but that are checked: they too depend on Redis.
LIMITS = {f"RATE_LIMIT_{who}": "10000/0.001" for who in ("VISITOR", "ADMIN")}
LIMITS |= {"SOCKETS_PER_ADDRESS": "1000", "TRUSTED_PROXY_COUNT": "1"}
# Gauges: each is 1 if Redis answered a pod's last request for one of the purposes that the pod has Redis for.
ANSWERED = [("messaging_layer_up", ()), *(("messaging_store_up", (s,)) for s in ("addresses", "connections", "limits"))]
# For how long a table stays locked until a pod is in the middle of a transaction. If all clients' messages are in the
# transactions that wait, no more arrive, and each resends its own after the same time: a longer wait would not help.
LOCK_SECONDS = 1.0
# Transactions that have written and wait for a lock, with the pod that each belongs to. Only those that have waited for
# less than a second: after 2 s they are given up and roll back.
WAITING_TRANSACTIONS = (
    "SELECT application_name, backend_xid::text FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock' AND backend_xid IS NOT NULL"
    " AND query_start > clock_timestamp() - interval '1 s'"
)


@dataclass
class Stage:
    """Pods behind nginx, the network in front of it, and a crowd of clients that is new in each test."""

    deployment: Deployment[Pod]
    network: ChaosProxy

    async def fresh(self) -> None:
        """Wait until everything works, delete all messages, and make a new crowd."""
        await self.until_ready(200, database="ok", redis="ok")
        with psycopg.connect(self.deployment.database) as session:
            session.execute("DELETE FROM messaging_message")
            session.execute("DELETE FROM messaging_conversation")
        self.crowd = Crowd(self.deployment, self.network)

    async def until_ready(self, status: int, **parts: object) -> None:
        """Return when every pod's /ready answers with `status` and with `parts` in its body."""
        answer = f"every pod answers {status} with {parts}"
        await eventually(lambda: self.is_ready(status, parts), answer, CALM_SECONDS)

    async def until_redis_serves(self) -> None:
        """Return when Redis has answered every pod at least once for each of its purposes.

        The answers need not coincide: on a busy machine one or another of them comes too late.
        """
        missing = {(pod, gauge) for pod in self.deployment.servers for gauge in ANSWERED}

        async def all_served() -> bool:
            for pod in self.deployment.servers:
                samples = await asyncio.to_thread(scrape, pod)
                missing.difference_update((pod, gauge) for gauge in ANSWERED if samples[gauge])
            return not missing

        await eventually(all_served, "every pod has had answers of Redis", CALM_SECONDS)

    async def is_ready(self, status: int, parts: dict[str, object]) -> bool:
        answers = await asyncio.gather(*(asyncio.to_thread(probe, p, "/ready") for p in self.deployment.servers))
        return all(found == status and body | parts == body for found, body in answers)

    async def until_admins_present(self, number: int) -> None:
        """Return when the presence that a new visitor gets counts `number` staff connections."""
        here = f"{number} admins are here"
        await eventually(self._admins_present, here, CALM_SECONDS, until=lambda found: found == number)

    async def _admins_present(self) -> int:
        async with connect(self.deployment.servers[0].websocket_url) as page:
            admins: int = (await page.identify())["presence"]["admins"]
        return admins


@dataclass
class SentinelStage(Stage):
    sentinel: RedisSentinel


@dataclass
class FragileStage(Stage):
    """A stage whose pods reach Redis and PostgreSQL through `to_redis` and `to_postgres`."""

    pods: dict[str, Pod]  # by the names that PostgreSQL knows them by
    redis: Redis
    postgres: Postgres
    to_redis: ChaosProxy
    to_postgres: ChaosProxy

    async def fresh(self) -> None:
        await super().fresh()
        with self.redis.client() as client:
            client.flushall()  # connections of a killed pod count until they expire

    @contextlib.asynccontextmanager
    async def in_the_middle(self) -> AsyncIterator[tuple[Pod, str]]:
        """Hold a pod in the middle of a transaction until the body ends. Yield the pod and the transaction's ID.

        More messages wait in the pod for the next transaction, so whatever the body does to the pod affects both.
        """
        with (
            psycopg.connect(self.deployment.database, autocommit=True) as observer,
            psycopg.connect(self.deployment.database) as locking,
        ):
            locked_at = -LOCK_SECONDS

            async def held() -> tuple[Pod, str] | None:
                nonlocal locked_at
                if time.monotonic() - locked_at >= LOCK_SECONDS:
                    locking.rollback()
                    await asyncio.to_thread(locking.execute, "LOCK TABLE messaging_message IN SHARE MODE")
                    locked_at = time.monotonic()
                waiting: dict[str, str] = dict(observer.execute(WAITING_TRANSACTIONS).fetchall())
                for name, pod in self.pods.items():
                    if name in waiting and await asyncio.to_thread(_has_more, pod):
                        return pod, waiting[name]
                return None

            found = await eventually(held, "a pod is in the middle of a transaction", CALM_SECONDS)
            assert found is not None
            yield found

    async def has_committed(self, transaction: str) -> bool:
        """Wait until `transaction` has ended. Return whether it was committed."""
        with psycopg.connect(self.deployment.database, autocommit=True) as observer:

            def status() -> str:
                ((found,),) = observer.execute("SELECT pg_xact_status(%s::xid8)", [transaction]).fetchall()
                return str(found)

            await eventually(lambda: status() != "in progress", "the transaction has ended", CALM_SECONDS)
            return status() == "committed"

    def duplicates(self) -> float:
        """Return how many messages of visitors the pods have acked as duplicates."""
        return sum(value(pod, "messaging_messages_total", "duplicate", "user") for pod in self.deployment.servers)

    async def goes_on_without_redis(self) -> None:
        """Check that every pod notices that Redis is down and stays ready, and that messages still arrive."""
        await self.until_ready(200, redis="degraded")
        await self.crowd.goes_on()
        await self.until_ready(200, redis="degraded")

    async def goes_on_with_redis(self) -> None:
        """Check that every pod can use Redis for all purposes again, and is subscribed to messages there."""
        await self.until_redis_serves()
        with self.redis.client() as client:
            await eventually(
                lambda: len(client.client_list(_type="pubsub")) == PODS, "all pods have subscribed", CALM_SECONDS
            )
        await self.crowd.goes_on()

    @contextlib.asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """Check that a message is refused as unavailable after the body has made the journal unavailable."""
        token = await self.deployment.admin_token("colleague")
        async with admin(self.deployment.servers[0].websocket_url, token) as writer:
            yield
            # To a conversation that does not exist: whatever the outcome, it will not be in the journal.
            id = new_id()
            await writer.send("sendMessage", id=id, content="hello", to=str(uuid4()))
            while (answer := await writer.receive(CALM_SECONDS)).get("id") != id:
                pass
            assert answer == error("unavailable", id=id, retryAfterMs=1000)

    async def recovers(self) -> None:
        await self.until_ready(200, database="ok")
        await self.crowd.goes_on()


def _has_more(pod: Pod) -> bool:
    """Return whether messages wait in `pod` for the next transaction."""
    return value(pod, "messaging_log_waiting_messages") > 0


class FragileStages:
    """A stage that one test after another uses; a failed test gets it replaced."""

    def __init__(self) -> None:
        self._stage: FragileStage | None = None
        self._stack = contextlib.ExitStack()

    @contextlib.contextmanager
    def set_up(self) -> Iterator[FragileStage]:
        if self._stage is None:
            self._stage = self._stack.enter_context(fragile_stage())
        try:
            yield self._stage
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._stage = None
        self._stack.close()


@contextlib.contextmanager
def fragile_stage() -> Iterator[FragileStage]:
    redis, postgres = Redis(), Postgres()
    with contextlib.ExitStack() as stack:
        stack.enter_context(started(redis, postgres))
        kubernetes = Kubernetes(postgres, postgres.directory / "static")
        to_redis, to_postgres = (stack.enter_context(ChaosProxy([(HOST, to.port)])) for to in (redis, postgres))
        database = postgres.create_database(uuid4().hex, PREPARED)
        environment = {
            "DATABASE_URL": database.replace(f":{postgres.port}/", f":{to_postgres.port}/"),
            "DJANGO_SETTINGS_MODULE": "tests.support.fault_settings",
        }
        redis_url = f"redis://{HOST}:{to_redis.port}/0"
        pods: dict[str, Pod] = {}

        def make(**environment: str) -> Pod:
            name = f"pod-{len(pods)}"
            pods[name] = Pod(PGAPPNAME=name, **environment)
            return pods[name]

        deployment, network = stack.enter_context(behind_nginx(kubernetes, redis_url, make, **environment))
        deployment.database = database
        yield FragileStage(deployment, network, pods, redis, postgres, to_redis, to_postgres)


@contextlib.contextmanager
def sentinel_stage(kubernetes: Kubernetes) -> Iterator[SentinelStage]:
    sentinel = RedisSentinel(down_after=1000)  # ms; short, because the tests end the master on purpose
    with sentinel.started(), behind_nginx(kubernetes, sentinel.url) as (deployment, network):
        yield SentinelStage(deployment, network, sentinel)


@contextlib.contextmanager
def behind_nginx(
    kubernetes: Kubernetes, redis_url: str, make: Callable[..., Pod] = Pod, **environment: str
) -> Iterator[tuple[Deployment[Pod], ChaosProxy]]:
    with kubernetes.deployed(redis_url, LIMITS | UNMEASURED | environment, pods=PODS, make=make) as deployment:
        nginx = Nginx({"/": [pod.port for pod in deployment.servers]})
        with started(nginx), ChaosProxy([(HOST, nginx.port)]) as network:
            yield deployment, network


def heal(network: ChaosProxy) -> None:
    """End the blackhole, and all connections from before: part of their data is missing."""
    network.blackhole = False
    network.cut_all()
