"""People who write through a network that keeps failing, to servers that die: no message is lost, doubled or reordered.

Every client follows the documented rules. At the end, the messages that each one shows are compared with the database.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.support.chaos_proxy import ChaosProxy
from tests.support.deployments import UNMEASURED, Deployment, Kubernetes, Pod
from tests.support.redis_services import Redis
from tests.support.repetition import RUNS
from tests.support.services import HOST, started
from tests.support.traffic import CALM_SECONDS, VISITORS, Crowd, check
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.parametrize("run", range(RUNS))]


def late(milliseconds: int) -> dict[str, str]:
    """Return the environment in which so much time passes between the commit of a message and its fan-out."""
    return {"DJANGO_SETTINGS_MODULE": "tests.support.late_settings", "LATE_MS": str(milliseconds)}


async def survive(
    deployment: Deployment[Pod],
    each: int,
    *,
    latency: float = 0.0,
    fault: Callable[[Crowd], Awaitable[None]] | None = None,
) -> None:
    """Let all clients write while a connection is cut every 0 to 120 ms and `fault` runs; check the result."""
    with ChaosProxy([(HOST, server.port) for server in deployment.servers]) as proxy:
        proxy.latency = latency
        crowd = Crowd(deployment, proxy)
        async with crowd.connected():
            proxy.start_cutting()
            await asyncio.gather(crowd.talk(each), *([fault(crowd)] if fault else []))
            cuts = proxy.cuts
            proxy.stop_cutting()
            await crowd.up_to_date()
            check(crowd, deployment.database)
        connections = sum(client.connections for client in crowd.everybody)
        assert connections > len(crowd.everybody) + cuts // 2, "the network was not as bad as it should have been"


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    redis = Redis()
    with started(redis):
        yield redis


async def test_a_bad_network_loses_nothing_of_2000_messages(run: int, kubernetes: Kubernetes, own_redis: Redis) -> None:
    with kubernetes.deployed(own_redis.url, UNMEASURED) as deployment:
        await survive(deployment, each=170)
        assert "Traceback" not in deployment.log


async def test_nothing_is_lost_between_commit_and_fan_out(run: int, kubernetes: Kubernetes, own_redis: Redis) -> None:
    with kubernetes.deployed(own_redis.url, {**UNMEASURED, **late(50)}) as deployment:
        await survive(deployment, each=40, latency=0.01)
        assert "Traceback" not in deployment.log


async def test_a_server_may_be_killed(run: int, kubernetes: Kubernetes, own_redis: Redis) -> None:
    each = 60
    with kubernetes.deployed(own_redis.url, {**UNMEASURED, **late(20)}) as deployment:

        async def kill_and_restart(crowd: Crowd) -> None:
            third = len(VISITORS) * each // 3
            await eventually(lambda: crowd.acked >= third, "a third is sent", CALM_SECONDS)
            deployment.servers[0].kill()
            await eventually(lambda: crowd.acked >= 2 * third, "two thirds are sent", CALM_SECONDS)
            await asyncio.to_thread(deployment.servers[0].start)

        await survive(deployment, each, fault=kill_and_restart)


async def test_redis_may_be_killed_and_come_back_empty(run: int, kubernetes: Kubernetes, own_redis: Redis) -> None:
    each = 60
    with kubernetes.deployed(own_redis.url, UNMEASURED) as deployment:

        async def kill_and_restart(crowd: Crowd) -> None:
            third = len(VISITORS) * each // 3
            await eventually(lambda: crowd.acked >= third, "a third is sent", CALM_SECONDS)
            own_redis.kill()
            await eventually(lambda: crowd.acked >= 2 * third, "two thirds are sent", CALM_SECONDS)
            await asyncio.to_thread(own_redis.start)

        await survive(deployment, each, fault=kill_and_restart)
