"""The product behind nginx, before a Redis and a PostgreSQL that a test may break; bad networks between them all."""

import asyncio
import contextlib
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
# The limits are far away, but asked for: they too depend on Redis.
LIMITS = {f"RATE_LIMIT_{who}": "10000/0.001" for who in ("VISITOR", "ADDRESS", "ADMIN")}
LIMITS |= {"SOCKETS_PER_ADDRESS": "1000", "TRUSTED_PROXY_COUNT": "1"}
# Each says whether a pod had its last answer of Redis, for one of the purposes that it has Redis for.
ANSWERED = [("messaging_layer_up", ()), *(("messaging_store_up", (s,)) for s in ("addresses", "connections", "limits"))]
# Transactions that have written and wait for a lock, with the pod that each belongs to.
# Those that wait since a moment ago: after 2 s they are given up, and roll back.
WAITING_TRANSACTIONS = (
    "SELECT application_name, backend_xid::text FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock' AND backend_xid IS NOT NULL"
    " AND query_start > clock_timestamp() - interval '1 s'"
)


@dataclass
class Stage:
    """Pods behind nginx, the network before it, and the people who come that way: others in each test."""

    deployment: Deployment[Pod]
    network: ChaosProxy

    async def fresh(self) -> None:
        """Nothing is said yet, everything works, and nobody is here."""
        await self.until_ready(200, database="ok", redis="ok")
        with psycopg.connect(self.deployment.database) as session:
            session.execute("DELETE FROM messaging_message")
            session.execute("DELETE FROM messaging_conversation")
        self.crowd = Crowd(self.deployment, self.network)

    async def until_ready(self, status: int, **parts: object) -> None:
        """Return when every pod's /ready answers with `status` and with `parts` among the rest."""
        answer = f"every pod answers {status} with {parts}"
        await eventually(lambda: self.is_ready(status, parts), answer, CALM_SECONDS)

    async def until_redis_serves(self) -> None:
        """Return when every pod has had answers of Redis again for everything that it keeps there.

        Not all at once: on a busy machine one or the other answer comes too late.
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
        """Return when a visitor who comes is told that so many admins are here."""
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
    """Its pods reach Redis and PostgreSQL through `to_redis` and `to_postgres`."""

    pods: dict[str, Pod]  # by the names that PostgreSQL knows them by
    redis: Redis
    postgres: Postgres
    to_redis: ChaosProxy
    to_postgres: ChaosProxy

    async def fresh(self) -> None:
        await super().fresh()
        with self.redis.client() as client:
            client.flushall()  # who was on a killed pod counts until its time is up

    @contextlib.asynccontextmanager
    async def in_the_middle(self) -> AsyncIterator[tuple[Pod, str]]:
        """Hold a pod in the middle of a transaction, whose id is yielded, until the body ends.

        More messages wait there for the next transaction. Whatever the body does to the pod meets both.
        """
        with (
            psycopg.connect(self.deployment.database, autocommit=True) as observer,
            psycopg.connect(self.deployment.database) as locking,
        ):
            locking.execute("LOCK TABLE messaging_message IN SHARE MODE")

            async def held() -> tuple[Pod, str] | None:
                waiting: dict[str, str] = dict(observer.execute(WAITING_TRANSACTIONS).fetchall())
                for name, pod in self.pods.items():
                    if name in waiting and await asyncio.to_thread(_has_more, pod):
                        return pod, waiting[name]
                return None

            found = await eventually(held, "a pod is in the middle of a transaction", CALM_SECONDS)
            assert found is not None
            yield found

    async def has_committed(self, transaction: str) -> bool:
        """Return whether a transaction was committed, once it has ended."""
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
        """Every pod sees that Redis is down and stays ready, and messages still reach everybody."""
        await self.until_ready(200, redis="degraded")
        await self.crowd.goes_on()
        await self.until_ready(200, redis="degraded")

    async def goes_on_with_redis(self) -> None:
        """Every pod has all of Redis again, and hears of messages through it."""
        await self.until_redis_serves()
        with self.redis.client() as client:
            await eventually(
                lambda: len(client.client_list(_type="pubsub")) == PODS, "all pods have subscribed", CALM_SECONDS
            )
        await self.crowd.goes_on()

    @contextlib.asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """Break the log in the body: a writer is told while it is broken."""
        token = await self.deployment.admin_token("colleague")
        async with admin(self.deployment.servers[0].websocket_url, token) as writer:
            yield
            # To nobody: whatever its outcome, it will not be in the log.
            id = new_id()
            await writer.send("sendMessage", id=id, content="hello", to=str(uuid4()))
            while (answer := await writer.receive(CALM_SECONDS)).get("id") != id:
                pass
            assert answer == error("unavailable", id=id, retryAfterMs=1000)

    async def recovers(self) -> None:
        await self.until_ready(200, database="ok")
        await self.crowd.goes_on()


def _has_more(pod: Pod) -> bool:
    """Return whether messages wait there for the next transaction."""
    return value(pod, "messaging_log_waiting_messages") > 0


class FragileStages:
    """A stage that serves test after test, and a new one after each that fails."""

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
    sentinel = RedisSentinel(down_after=1000)  # its end is what the test is about
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
    """Connections from before a cut end with it: part of what they carried is missing."""
    network.blackhole = False
    network.cut_all()
