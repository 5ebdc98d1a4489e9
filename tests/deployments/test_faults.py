"""One thing breaks while people write, and comes back: nothing is lost, nothing shown twice, order kept.

Each fault has a function, which also asserts what else must hold meanwhile. It runs three times, `RUNS=50` for more:
on several stages at once, since most of its time is waiting; one after another where acks are timed.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.support.breakable_deployments import (
    AnyStage,
    FragileStage,
    SentinelStage,
    Stages,
    fragile_stage,
    heal,
    sentinel_stage,
)
from tests.support.connections import visitor
from tests.support.deployments import Kubernetes, Server
from tests.support.services import wrong_clock
from tests.support.traffic import ACK_SECONDS, CALM_SECONDS, VISITORS, traffic
from tests.support.waiting import eventually

RUNS = int(os.environ.get("RUNS", "3"))
AT_ONCE = min(RUNS, 3)  # more would be late for their own reasons on two cores
BUSY = 50  # messages of visitors a second
OPEN_TRANSACTIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND xact_start < clock_timestamp() - interval '0.2 s' AND pid <> pg_backend_pid()"
)
STOLEN_ACKS = 20
GONE_SECONDS = 55.0  # the server pings every 20 s, waits for 20 s, and looks every 2 s
HOUR = timedelta(hours=1)

Fault = Callable[[AnyStage], Awaitable[None]]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def fragile_stages() -> Iterator[Stages[FragileStage]]:
    stages = Stages(fragile_stage, AT_ONCE)
    yield stages
    stages.close()


@pytest.fixture
def sentinel_stages(kubernetes: Kubernetes) -> Iterator[Stages[SentinelStage]]:
    stages = Stages(lambda: sentinel_stage(kubernetes), AT_ONCE)
    yield stages
    stages.close()


@contextlib.asynccontextmanager
async def lasting(seconds: float) -> AsyncIterator[None]:
    """The body, and what is left of so many seconds."""
    end = asyncio.get_running_loop().time() + seconds
    yield
    await asyncio.sleep(end - asyncio.get_running_loop().time())


# --- Servers --------------------------------------------------------------------------------------------------


async def a_pod_is_killed(stage: FragileStage) -> None:
    pod = stage.deployment.servers[0]
    pod.kill()
    await stage.crowd.goes_on()
    await asyncio.to_thread(pod.start)
    await stage.crowd.goes_on()


async def every_pod_restarts_in_busy_times(stage: FragileStage) -> None:
    stage.crowd.pace = len(VISITORS) / BUSY
    for pod in stage.deployment.servers:
        await asyncio.to_thread(pod.end, signal.SIGTERM)
        await stage.crowd.goes_on()
        await asyncio.to_thread(pod.start)
        await stage.crowd.goes_on()
    stage.crowd.check_errors()


async def a_pod_stands_still(stage: FragileStage) -> None:
    """Whenever that is, nobody waits for it: its transactions were sent as a whole, and end without it."""
    pod = stage.deployment.servers[1]
    with psycopg.connect(stage.deployment.database, autocommit=True) as session:

        def all_have_ended() -> bool:
            return session.execute(OPEN_TRANSACTIONS).fetchone() == (0,)

        for seconds in (0, 0, 0, 0, 15):  # the last time longer than a reader's overlap
            pod.send_signal(signal.SIGSTOP)
            try:
                async with asyncio.timeout(ACK_SECONDS):
                    await eventually(all_have_ended, "no transaction of the pod is open")
                await asyncio.sleep(seconds)
            finally:
                pod.send_signal(signal.SIGCONT)
            await stage.crowd.goes_on()


async def the_clock_of_a_pod_is_an_hour_ahead(stage: FragileStage) -> None:
    await _the_clock_of_a_pod_is_wrong_by(HOUR, stage)


async def the_clock_of_a_pod_is_an_hour_behind(stage: FragileStage) -> None:
    await _the_clock_of_a_pod_is_wrong_by(-HOUR, stage)


async def _the_clock_of_a_pod_is_wrong_by(offset: timedelta, stage: FragileStage) -> None:
    right, *_, pod = stage.deployment.servers
    for client in stage.crowd.admins:
        client.url = right.websocket_url  # a staff token is good for 60 s, by the clock that checks it
    changes = wrong_clock(offset)
    await _restart(pod, pod.environment | changes)
    logged = datetime.fromisoformat(json.loads(pod.log.splitlines()[-1])["time"])
    assert abs(logged - datetime.now(UTC) - offset) < timedelta(minutes=1)
    await stage.crowd.goes_on()
    await _restart(pod, {name: value for name, value in pod.environment.items() if name not in changes})


async def _restart(pod: Server, environment: dict[str, str]) -> None:
    await asyncio.to_thread(pod.end, signal.SIGTERM)
    pod.environment = environment
    await asyncio.to_thread(pod.start)


# --- The network between people and servers ----------------------------------------------------------------------


async def acks_alone_are_lost(stage: FragileStage) -> None:
    stage.network.acks_to_steal = STOLEN_ACKS
    await eventually(lambda: not stage.network.acks_to_steal, "acks are stolen", CALM_SECONDS)


async def everybody_is_cut_off_without_a_word(stage: FragileStage) -> None:
    """Connections are half open: pages and servers are not told, and have to find out."""
    before = [client.connections for client in stage.crowd.admins]
    stage.network.silence_all()
    async with asyncio.timeout(GONE_SECONDS):
        await stage.crowd.goes_on()
        while [client.connections for client in stage.crowd.admins if client.ready] <= before:
            await asyncio.sleep(0.1)
        while await stage.admins_present() != len(stage.crowd.admins):
            await asyncio.sleep(0.5)


# --- Redis --------------------------------------------------------------------------------------------------------


async def redis_is_killed_and_comes_back_empty(stage: FragileStage) -> None:
    async with stage.crowd.unnoticed():
        async with lasting(10):
            stage.redis.kill()
            await stage.stays_ready(9)
        await asyncio.to_thread(stage.redis.start)
        await stage.until_ready(200, redis="ok")


async def redis_stands_still(stage: FragileStage) -> None:
    async with stage.crowd.unnoticed():
        stage.redis.send_signal(signal.SIGSTOP)
        try:
            async with lasting(8):
                await stage.stays_ready(7)
        finally:
            stage.redis.send_signal(signal.SIGCONT)
        await stage.until_ready(200, redis="ok")
    assert stage.crowd.slowest_acks() < ACK_SECONDS


async def redis_is_out_of_reach(stage: FragileStage) -> None:
    async with stage.crowd.unnoticed():
        async with lasting(10):
            stage.to_redis.blackhole = True
            await stage.stays_ready(9)
        heal(stage.to_redis)
        await stage.until_ready(200, redis="ok")


async def redis_is_flushed(stage: FragileStage) -> None:
    async with stage.crowd.unnoticed():
        with stage.redis.client() as client:
            for _ in range(3):
                client.flushall()
                await stage.crowd.goes_on()


async def redis_drops_its_clients(stage: FragileStage) -> None:
    async with stage.crowd.unnoticed():
        with stage.redis.client() as client:
            for _ in range(5):
                for kind in ("normal", "pubsub"):
                    client.client_kill_filter(_type=kind)
                await asyncio.sleep(2)


async def redis_is_full(stage: FragileStage) -> None:
    async with stage.crowd.unnoticed():
        with stage.redis.client() as client:
            client.config_set("maxmemory", "1mb")
            async with lasting(5), visitor(stage.deployment.servers[0].websocket_url) as newcomer:
                assert await newcomer.until_pong() == []
                await stage.crowd.goes_on()
            client.config_set("maxmemory", "0")


# --- PostgreSQL ---------------------------------------------------------------------------------------------------


async def postgres_restarts_at_once(stage: FragileStage) -> None:
    async with stage.refusing():
        await asyncio.to_thread(stage.postgres.end, signal.SIGQUIT)
    await stage.until_ready(503, database="unavailable")
    await asyncio.to_thread(stage.postgres.start)
    await stage.recovers()


async def postgres_is_out_of_reach(stage: FragileStage) -> None:
    async with lasting(10):
        async with stage.refusing():
            stage.to_postgres.blackhole = True
        await stage.until_ready(503, database="unavailable")
    heal(stage.to_postgres)
    await stage.recovers()


async def postgres_holds_a_lock(stage: FragileStage) -> None:
    with psycopg.connect(stage.deployment.database) as session:
        async with stage.refusing():
            session.execute("LOCK TABLE messaging_conversation, messaging_message IN ACCESS EXCLUSIVE MODE")
        await asyncio.sleep(10)
        session.rollback()
    await stage.recovers()


async def sentinel_chooses_another_master(stage: SentinelStage) -> None:
    async with stage.crowd.unnoticed():
        stage.sentinel.master.kill()
        while stage.sentinel.sentinels[0].master()["port"] == stage.sentinel.master.port:
            await stage.crowd.goes_on()


FAULTS: list[Fault[FragileStage]] = [
    a_pod_is_killed,
    every_pod_restarts_in_busy_times,
    a_pod_stands_still,
    the_clock_of_a_pod_is_an_hour_ahead,
    the_clock_of_a_pod_is_an_hour_behind,
    acks_alone_are_lost,
    everybody_is_cut_off_without_a_word,
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


TIMED = [redis_stands_still]


@pytest.mark.parametrize("done", range(0, RUNS, AT_ONCE))
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_nothing_is_lost_or_doubled_when(
    fault: Fault[FragileStage], done: int, fragile_stages: Stages[FragileStage]
) -> None:
    with fragile_stages.set_up() as stages:
        await on_each(stages[: RUNS - done], fault)


@pytest.mark.parametrize("done", range(0, RUNS, AT_ONCE))
async def test_nothing_is_lost_or_doubled_when_sentinel_chooses_another_master(
    done: int, sentinel_stages: Stages[SentinelStage]
) -> None:
    with sentinel_stages.set_up() as stages:
        await on_each(stages[: RUNS - done], sentinel_chooses_another_master)


async def on_each(stages: Sequence[AnyStage], fault: Fault[AnyStage]) -> None:
    turns = asyncio.Semaphore(1 if fault in TIMED else len(stages))

    async def in_turn(stage: AnyStage) -> None:
        async with turns:
            await on_one(stage, fault)

    async with asyncio.TaskGroup() as runs:
        for stage in stages:
            runs.create_task(in_turn(stage))


async def on_one(stage: AnyStage, fault: Fault[AnyStage]) -> None:
    await stage.fresh()
    async with traffic(stage.crowd, stage.deployment.database):
        await fault(stage)
