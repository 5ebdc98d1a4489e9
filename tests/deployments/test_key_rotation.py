"""The rotation of SECRET_KEY, as docs/operations.md has it, while people write and answer."""

import asyncio
import signal
from collections.abc import Iterator

import pytest

from tests.support.chaos_proxy import ChaosProxy
from tests.support.connections import visitor
from tests.support.deployments import UNMEASURED, Deployment, Kubernetes, Pod, fetch
from tests.support.redis_services import Redis
from tests.support.services import HOST
from tests.support.traffic import Crowd, traffic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]  # five restarts under traffic

OLD, NEW = ("0123456789 " * 5 + name for name in ("old", "new"))
# The steps: the new key can be read everywhere; then it signs, and the old one can still be read.
STEPS = [
    {"SECRET_KEY": OLD, "SECRET_KEY_FALLBACKS": NEW},
    {"SECRET_KEY": NEW, "SECRET_KEY_FALLBACKS": OLD},
]


@pytest.fixture
def site(kubernetes: Kubernetes, redis_server: Redis) -> Iterator[Deployment[Pod]]:
    with kubernetes.deployed(redis_server.url, UNMEASURED, SECRET_KEY=OLD) as deployment:
        yield deployment


async def restart(pod: Pod, environment: dict[str, str]) -> None:
    await asyncio.to_thread(pod.end, signal.SIGTERM)
    pod.environment |= environment
    await asyncio.to_thread(pod.start)


async def answers(pod: Pod, session: str) -> set[int]:
    """Ask for a staff page of `pod` again and again, with one login session. Return the statuses, when cancelled."""
    statuses = set()
    try:
        while True:
            try:
                status, _, _ = await asyncio.to_thread(
                    fetch, f"{pod.origin}/admin/live/tally/", Cookie=f"sessionid={session}"
                )
                statuses.add(status)
            except OSError:  # it restarts
                await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        return statuses


async def test_a_new_key_makes_nobody_new_signs_nobody_out_and_loses_nothing(site: Deployment[Pod]) -> None:
    with ChaosProxy([(HOST, pod.port) for pod in site.servers]) as network:
        crowd = Crowd(site, network)
        async with traffic(crowd, site.database):
            visitors = [(person.conversation, person.resets) for person in crowd.visitors]
            session = site.session("operator").cookies["sessionid"]
            asking = [asyncio.create_task(answers(pod, session)) for pod in site.servers]
            for environment in STEPS:
                for pod in site.servers:
                    await restart(pod, environment)
                    await crowd.goes_on()
            for task in asking:
                task.cancel()
            assert await asyncio.gather(*asking) == [{200}] * len(asking)
            assert site.session("operator").cookies["sessionid"] == session
        crowd.check_errors()
        assert [(person.conversation, person.resets) for person in crowd.visitors] == visitors

    async with visitor(site.websocket_urls[0]) as somebody:
        await somebody.say("hello")
    for pod in site.servers:
        await restart(pod, {"SECRET_KEY_FALLBACKS": ""})
    people = [(person.token, person.conversation) for person in crowd.visitors]
    for token, conversation in (*people, (somebody.token, somebody.conversation)):
        async with visitor(site.websocket_urls[0], token) as page:
            assert page.conversation == conversation
