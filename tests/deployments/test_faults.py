"""Single faults while people write: no message is lost, none is shown twice, and the order is kept.

Each fault has a function. It also asserts that the fault took effect, and what else must hold during the fault.
"""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from redis.exceptions import OutOfMemoryError

from tests.support.breakable_deployments import (
    FragileStage,
    FragileStages,
    SentinelStage,
    heal,
    sentinel_stage,
)
from tests.support.connections import admin, visitor
from tests.support.deployments import Deployment, Kubernetes, Pod, Server
from tests.support.redis_services import Redis
from tests.support.repetition import RUNS
from tests.support.services import wrong_clock
from tests.support.traffic import CALM_SECONDS, VISITORS, traffic
from tests.support.waiting import eventually

BUSY = 50  # messages of visitors a second
STOLEN_ACKS = 20
HOUR = timedelta(hours=1)

Fault = Callable[[FragileStage], Awaitable[None]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first fault of a group starts all services


@pytest.fixture(scope="module")
def stages() -> Iterator[FragileStages]:
    stages = FragileStages()
    yield stages
    stages.close()


# --- Servers --------------------------------------------------------------------------------------------------


async def a_pod_is_killed(stage: FragileStage) -> None:
    """Kill a pod: its transaction commits without an ack, the messages behind it are lost, and clients resend both."""
    async with stage.in_the_middle() as (pod, transaction):
        pod.kill()
    assert await stage.has_committed(transaction)
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
    # On a busy machine, a client that does not answer the close for a second loses the farewell with its connection.
    told = [client.farewells > 0 for client in stage.crowd.everybody]
    assert sum(told) > len(told) / 2
    stage.crowd.check_errors()


async def a_pod_stands_still(stage: FragileStage) -> None:
    """Stop a pod: its transaction was sent as a whole, so it is committed without the pod, and no other client waits.

    The pod stays stopped until a client gives it up, which takes longer than a reader's overlap.
    """
    async with stage.in_the_middle() as (pod, transaction):
        pod.send_signal(signal.SIGSTOP)
    try:
        assert await stage.has_committed(transaction)
        clients = stage.crowd.everybody
        await eventually(lambda: any(client.silences for client in clients), "somebody gives it up", CALM_SECONDS)
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
        client.url = right.websocket_url  # a staff token is valid for 60 s, by the clock of the pod that checks it
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
    before = stage.duplicates()
    stage.network.acks_to_steal = STOLEN_ACKS
    await eventually(lambda: not stage.network.acks_to_steal, "acks are stolen", CALM_SECONDS)
    await eventually(lambda: stage.duplicates() > before, "a message that came again is a duplicate", CALM_SECONDS)


async def everybody_is_cut_off_without_a_word(stage: FragileStage) -> None:
    """Silence all connections: they stay half open, without an error, so pages and servers have to detect it."""
    crowd = stage.crowd
    crowd.reading.heartbeat = crowd.answering.heartbeat  # otherwise this client would notice late
    stage.network.cut_all()
    await crowd.goes_on()
    await crowd.are_ready(crowd.admins)
    before = [client.connections for client in crowd.admins]
    stage.network.silence_all()
    await crowd.goes_on()
    await crowd.are_ready(crowd.admins)
    assert [client.connections for client in crowd.admins] > before
    assert all(client.silences for client in crowd.admins)
    await stage.until_admins_present(len(crowd.admins))


# --- Redis --------------------------------------------------------------------------------------------------------


async def redis_is_killed_and_comes_back_empty(stage: FragileStage) -> None:
    async with stage.crowd.unnoticed():
        stage.redis.kill()
        await stage.goes_on_without_redis()
        await asyncio.to_thread(stage.redis.start)
        await stage.goes_on_with_redis()


async def redis_stands_still(stage: FragileStage) -> None:
    async with stage.crowd.unnoticed():
        stage.redis.send_signal(signal.SIGSTOP)
        try:
            await stage.goes_on_without_redis()
        finally:
            stage.redis.send_signal(signal.SIGCONT)
        await stage.goes_on_with_redis()


async def redis_is_out_of_reach(stage: FragileStage) -> None:
    async with stage.crowd.unnoticed():
        stage.to_redis.blackhole = True
        await stage.goes_on_without_redis()
        heal(stage.to_redis)
        await stage.goes_on_with_redis()


async def redis_is_flushed(stage: FragileStage) -> None:
    async with stage.crowd.unnoticed():
        with stage.redis.client() as client:
            assert client.dbsize() > 0
            client.flushall()
        await stage.goes_on_with_redis()


async def redis_drops_its_clients(stage: FragileStage) -> None:
    async with stage.crowd.unnoticed():
        with stage.redis.client() as client:
            for _ in range(2):
                dropped = {int(one["id"]) for kind in ("normal", "pubsub") for one in client.client_list(_type=kind)}
                for kind in ("normal", "pubsub"):
                    client.client_kill_filter(_type=kind)
                await stage.goes_on_with_redis()
                there = {int(one["id"]) for kind in ("normal", "pubsub") for one in client.client_list(_type=kind)}
                assert dropped & there <= {client.client_id()}


async def redis_is_full(stage: FragileStage) -> None:
    async with stage.crowd.unnoticed():
        with stage.redis.client() as client:
            client.config_set("maxmemory", "1")
            with pytest.raises(OutOfMemoryError):
                client.set("probe", "")
            async with visitor(stage.deployment.servers[0].websocket_url) as newcomer:
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
    async with stage.refusing():
        stage.to_postgres.blackhole = True
    await stage.until_ready(503, database="unavailable")
    heal(stage.to_postgres)
    await stage.recovers()


async def postgres_holds_a_lock(stage: FragileStage) -> None:
    with psycopg.connect(stage.deployment.database) as session:
        async with stage.refusing():
            session.execute("LOCK TABLE messaging_conversation, messaging_message IN ACCESS EXCLUSIVE MODE")
        visitors = stage.crowd.visitors
        await eventually(
            lambda: all("unavailable" in visitor.errors for visitor in visitors), "all are told", CALM_SECONDS
        )
        session.rollback()
    await stage.recovers()


# Each group has its own stage, so that two workers can run the groups at the same time.
FAULTS: dict[str, list[Fault]] = {
    "servers": [
        a_pod_is_killed,
        every_pod_restarts_in_busy_times,
        a_pod_stands_still,
        the_clock_of_a_pod_is_an_hour_ahead,
        the_clock_of_a_pod_is_an_hour_behind,
        acks_alone_are_lost,
        everybody_is_cut_off_without_a_word,
    ],
    "services": [
        redis_is_killed_and_comes_back_empty,
        redis_stands_still,
        redis_is_out_of_reach,
        redis_is_flushed,
        redis_drops_its_clients,
        redis_is_full,
        postgres_restarts_at_once,
        postgres_is_out_of_reach,
        postgres_holds_a_lock,
    ],
}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=pytest.mark.xdist_group(f"faults of {group}"), id=fault.__name__)
        for group, faults in FAULTS.items()
        for fault in faults
        for _ in range(RUNS)
    ],
)
async def test_nothing_is_lost_or_doubled_when(fault: Fault, stages: FragileStages) -> None:
    with stages.set_up() as stage:
        await stage.fresh()
        async with traffic(stage.crowd, stage.deployment.database):
            await fault(stage)


@pytest.fixture
def wrong(kubernetes: Kubernetes, redis_server: Redis) -> Iterator[Deployment]:
    """Yield two pods, of which the second has a clock that is an hour ahead."""
    clocks = iter([{}, wrong_clock(HOUR)])
    with kubernetes.deployed(redis_server.url, make=lambda **env: Pod(**env, **next(clocks))) as deployment:
        yield deployment


async def test_pods_whose_clocks_differ_count_the_same_people(wrong: Deployment) -> None:
    right, ahead = wrong.websocket_urls
    async with admin(right, await wrong.admin_token()), visitor(ahead) as page:
        counts = [(await page.identify())["presence"]["admins"] for _ in range(3)]
        assert 1 in counts  # Redis may answer too late for one of the requests


@pytest.fixture
def sentinel_deployment(kubernetes: Kubernetes) -> Iterator[SentinelStage]:
    with sentinel_stage(kubernetes) as stage:
        yield stage


@pytest.mark.parametrize("run", range(RUNS))
async def test_nothing_is_lost_or_doubled_when_sentinel_chooses_another_master(
    run: int, sentinel_deployment: SentinelStage
) -> None:
    stage, sentinel = sentinel_deployment, sentinel_deployment.sentinel
    await stage.fresh()
    async with traffic(stage.crowd, stage.deployment.database), stage.crowd.unnoticed():
        killed = sentinel.serving()
        killed.kill()
        await eventually(lambda: sentinel.serving() is not killed, "there is another master", CALM_SECONDS)
        await stage.until_redis_serves()
        await stage.crowd.goes_on()
