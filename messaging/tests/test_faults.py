"""One thing breaks while people write, and comes back: nothing is lost, nothing shown twice, order kept.

Each fault has a function, which also asserts what else must hold meanwhile. `RUNS=50` repeats them all so many times.
"""

import asyncio
import glob
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from messaging.tests.deployments import Kubernetes
from messaging.tests.proxy import ChaosProxy
from messaging.tests.redis_services import RedisSentinel
from messaging.tests.services import HOST, Postgres, started
from messaging.tests.stage import LIMITS, Stage, heal, staged
from messaging.tests.traffic import Crowd, traffic
from messaging.tests.wire import visitor

RUNS = int(os.environ.get("RUNS", "1"))
STANDING_TRANSACTIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND state = 'idle in transaction' AND clock_timestamp() - state_change > '0.15 s'"
)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(params=range(RUNS), autouse=True)
def run(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    postgres = Postgres()
    with started(postgres):
        yield postgres


@pytest.fixture(scope="module")
def own_kubernetes(own_postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Kubernetes:
    return Kubernetes(own_postgres, tmp_path_factory.mktemp("static"))


@pytest.fixture
def stage(own_kubernetes: Kubernetes, own_postgres: Postgres) -> Iterator[Stage]:
    with staged(own_kubernetes, own_postgres) as stage:
        yield stage


async def every_pod_restarts(stage: Stage) -> None:
    for pod in stage.deployment.servers:
        await asyncio.to_thread(pod._end, signal.SIGTERM)
        await stage.crowd.goes_on()
        await asyncio.to_thread(pod.start)
        await stage.crowd.goes_on()
    assert [client.errors for client in stage.crowd.everybody] == [[] for _ in stage.crowd.everybody]


async def a_pod_stands_still_in_the_middle_of_a_transaction(stage: Stage) -> None:
    pod = stage.deployment.servers[1]
    pod.send_signal(signal.SIGSTOP)
    try:
        with psycopg.connect(stage.deployment.database, autocommit=True) as session:
            while session.execute(STANDING_TRANSACTIONS).fetchone() == (0,):
                pod.send_signal(signal.SIGCONT)
                await asyncio.sleep(random.uniform(0.05, 0.1))
                pod.send_signal(signal.SIGSTOP)
                await asyncio.sleep(0.2)
        await asyncio.sleep(10)  # longer than a reader's overlap
    finally:
        pod.send_signal(signal.SIGCONT)


async def redis_is_killed_and_comes_back_empty(stage: Stage) -> None:
    async with stage.crowd.unnoticed():
        stage.redis.kill()
        await stage.stays_ready(5)
        await asyncio.to_thread(stage.redis.start)
        await stage.until_ready(200, redis="ok")


async def redis_stands_still(stage: Stage) -> None:
    async with stage.crowd.unnoticed():
        stage.redis.send_signal(signal.SIGSTOP)
        try:
            await stage.stays_ready(8)
        finally:
            stage.redis.send_signal(signal.SIGCONT)
        await stage.until_ready(200, redis="ok")


async def redis_is_out_of_reach(stage: Stage) -> None:
    async with stage.crowd.unnoticed():
        stage.to_redis.blackhole = True
        await stage.stays_ready(5)
        heal(stage.to_redis)
        await stage.until_ready(200, redis="ok")


async def redis_is_flushed(stage: Stage) -> None:
    async with stage.crowd.unnoticed():
        with stage.redis.client() as client:
            for _ in range(3):
                client.flushall()
                await stage.crowd.goes_on()


async def redis_drops_its_clients(stage: Stage) -> None:
    async with stage.crowd.unnoticed():
        with stage.redis.client() as client:
            for kind in ("normal", "pubsub") * 3:
                client.client_kill_filter(_type=kind)
                await asyncio.sleep(0.5)


async def redis_is_full(stage: Stage) -> None:
    async with stage.crowd.unnoticed():
        with stage.redis.client() as client:
            client.config_set("maxmemory", "1mb")
            await stage.crowd.goes_on()
            async with visitor(stage.deployment.servers[0].websocket_url) as newcomer:
                assert await newcomer.until_pong() == []
            client.config_set("maxmemory", "0")


async def postgres_restarts_at_once(stage: Stage) -> None:
    async with stage.refusing():
        await asyncio.to_thread(stage.postgres._end, signal.SIGQUIT)
    await stage.until_ready(503, database="unavailable")
    await asyncio.to_thread(stage.postgres.start)
    await stage.recovers()


async def postgres_is_out_of_reach(stage: Stage) -> None:
    async with stage.refusing():
        stage.to_postgres.blackhole = True
    await stage.until_ready(503, database="unavailable")
    heal(stage.to_postgres)
    await stage.recovers()


async def postgres_holds_a_lock(stage: Stage) -> None:
    with psycopg.connect(stage.deployment.database) as session:
        async with stage.refusing():
            session.execute("LOCK TABLE messaging_conversation, messaging_message IN ACCESS EXCLUSIVE MODE")
        await asyncio.sleep(4)
        session.rollback()
    await stage.recovers()


FAULTS: list[Callable[[Stage], Awaitable[None]]] = [
    every_pod_restarts,
    a_pod_stands_still_in_the_middle_of_a_transaction,
    redis_is_killed_and_comes_back_empty,
    redis_stands_still,
    redis_is_out_of_reach,
    redis_is_flushed,
    redis_drops_its_clients,
    redis_is_full,
    postgres_restarts_at_once,
    postgres_is_out_of_reach,
    postgres_holds_a_lock,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_nothing_is_lost_or_doubled_when(fault: Callable[[Stage], Awaitable[None]], stage: Stage) -> None:
    async with traffic(stage.crowd, stage.deployment.database):
        await fault(stage)


async def test_nothing_is_lost_or_doubled_when_sentinel_chooses_another_master(kubernetes: Kubernetes) -> None:
    redis = RedisSentinel()
    with (
        redis.started(),
        kubernetes.deployed(redis.url, **LIMITS) as deployment,
        ChaosProxy([(HOST, pod.port) for pod in deployment.servers]) as proxy,
    ):
        crowd = Crowd(deployment, proxy)
        async with traffic(crowd, deployment.database), crowd.unnoticed():
            redis.master.kill()
            while redis.sentinels[0].master()["port"] == redis.master.port:
                await crowd.goes_on()


@pytest.mark.parametrize("offset", [HOUR, -HOUR], ids=["ahead", "behind"])
async def test_nothing_is_lost_or_doubled_when_the_clock_of_a_pod_is_an_hour(offset: timedelta, stage: Stage) -> None:
    right, wrong = stage.deployment.servers
    for client in stage.crowd.admins:
        client.url = right.websocket_url  # a staff token is good for 60 s, by the clock that checks it
    async with traffic(stage.crowd, stage.deployment.database):
        await asyncio.to_thread(wrong._end, signal.SIGTERM)
        wrong.environment |= {"LD_PRELOAD": faketime(), "FAKETIME": f"{offset.total_seconds():+.0f}"}
        wrong.environment["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
        await asyncio.to_thread(wrong.start)
        logged = datetime.fromisoformat(wrong.log.splitlines()[-1][:19]).replace(tzinfo=UTC)
        assert abs(logged - datetime.now(UTC) - offset) < timedelta(minutes=1)


def faketime() -> str:
    """The library that moves a process' wall clock."""
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    assert found, "The tests need libfaketime. Install it: `apt-get install libfaketime`."
    return found[0]
