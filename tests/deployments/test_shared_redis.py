"""Two sites on one Redis, each with its own Redis database, so that neither receives messages of the other."""

import asyncio
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer

from messaging.protocol.codec import encode
from messaging.protocol.frames import Message, Read
from messaging.service.contracts import ADMINS
from messaging.transports.channels.hints import bundle
from tests.support.connections import admin, message, new_id, visitor
from tests.support.deployments import PREPARED, Deployment, Kubernetes, Pod, manage, says_ready
from tests.support.metrics import value
from tests.support.redis_services import Redis
from tests.support.services import Postgres, started
from tests.support.waiting import eventually

Sites = tuple[Deployment[Pod], Deployment[Pod]]


@pytest.fixture(scope="module")
def sites(kubernetes: Kubernetes, redis_server: Redis) -> Iterator[Sites]:
    """Yield one pod, and two pods of another site: a frame from the other pod of that site has come through Redis."""
    with (
        kubernetes.deployed(redis_server.url, pods=1) as staging,
        kubernetes.deployed(redis_server.url.removesuffix("/0") + "/1") as production,
    ):
        yield staging, production


async def test_staff_are_shown_the_messages_of_their_own_site(sites: Sites) -> None:
    staging, production = sites
    here, there = production.websocket_urls
    async with (
        admin(staging.websocket_urls[0], await staging.admin_token()) as other,
        admin(there, await production.admin_token()) as operator,
        visitor(staging.websocket_urls[0]) as stranger,
        visitor(here) as ada,
    ):
        await stranger.say("to staging")
        await other.receive()  # Redis has notified all processes
        await ada.say("to production")
        assert await operator.receive() == message("to production", ada.conversation, connectionId=ada.id)
        assert await operator.until_pong() == []


async def test_staff_are_told_what_was_erased_on_their_own_site(sites: Sites) -> None:
    staging, production = sites
    here, there = production.websocket_urls
    async with (
        visitor(staging.websocket_urls[0]) as stranger,
        visitor(here) as ada,
    ):
        await stranger.say("to staging")
        async with (
            admin(staging.websocket_urls[0], await staging.admin_token()) as other,
            admin(there, await production.admin_token()) as operator,
        ):
            await stranger.request("forget", id=new_id())
            await other.receive()  # Redis has notified all processes
            await ada.say("to production")
            assert await operator.receive() == message("to production", ada.conversation, connectionId=ada.id)
            assert await operator.until_pong() == []


async def test_a_site_that_drains_closes_nobody_elsewhere(sites: Sites) -> None:
    staging, production = sites
    async with visitor(staging.websocket_urls[0]) as stranger, visitor(production.websocket_urls[0]) as ada:
        await asyncio.to_thread(manage, staging.servers[0].environment, "messaging_drain")
        assert (await stranger.until_closed())[1] == 4001
        assert await ada.until_pong() == []
    await asyncio.to_thread(staging.servers[0].end, signal.SIGTERM)
    await asyncio.to_thread(staging.servers[0].start)


@pytest.fixture(scope="module")
def neighbours(kubernetes: Kubernetes, redis_server: Redis) -> Iterator[Sites]:
    """Yield two sites in one Redis database: somebody has forgotten to give one of them a number or a prefix."""
    with (
        kubernetes.deployed(redis_server.url, pods=1) as here,
        kubernetes.deployed(redis_server.url, pods=1) as there,
    ):
        yield here, there


async def test_people_are_counted_on_their_own_site(neighbours: Sites) -> None:
    here, there = neighbours
    async with (
        admin(there.websocket_urls[0], await there.admin_token()) as operator,
        visitor(there.websocket_urls[0]),
        visitor(here.websocket_urls[0]) as stranger,
    ):
        answer = await stranger.identify()
        assert answer["presence"]["admins"] == 0

        async def counts() -> tuple[object, ...]:
            assert await operator.until_pong() == []
            return operator.presence.get("admins"), operator.presence.get("users")

        await eventually(counts, "staff are told of the people on their site", until=(1, 1).__eq__)


async def test_a_hint_of_another_journal_is_ignored_and_counted(neighbours: Sites, redis_server: Redis) -> None:
    (pod,) = neighbours[0].servers
    foreign = partial(value, pod, "messaging_foreign_hints_total")
    async with admin(pod.websocket_url, await neighbours[0].admin_token()) as operator:
        await forge(redis_server)
        frame = await operator.receive()
        assert (frame["type"], frame["timestamp"]) == ("read", READ.timestamp)
        assert await operator.until_pong() == []
    assert await asyncio.to_thread(foreign) == 1


READ = Read(str(UUID(int=1)), "user", str(UUID(int=2)), f"{1:013x}.{1:011x}", "2026-01-01T00:00:00.000Z")
FORGED = Message(READ.up_to, "forged", READ.timestamp, "user", READ.cursor, READ.conversation)


async def forge(redis: Redis) -> None:
    """Publish a message to every site under the name of another one, and then a frame under its own name."""
    layer = RedisPubSubChannelLayer(hosts=[redis.url], prefix="messaging")
    with redis.client() as client:
        groups = [channel.partition("__group__")[2] for channel in client.pubsub_channels("*__group__*")]
    for group in groups:
        for site, frame in (("another", FORGED), (group.removeprefix("messaging-"), READ)):
            await layer.group_send(group, bundle(site, [(ADMINS, 1, "", "", encode(frame))]))
    await layer.flush()


@pytest.fixture
def restartable(tmp_path: Path) -> Iterator[tuple[Deployment[Pod], Postgres]]:
    redis, postgres = Redis(), Postgres()
    with started(redis, postgres), Kubernetes(postgres, tmp_path).deployed(redis.url) as deployment:
        yield deployment, postgres


@pytest.mark.slow
async def test_processes_find_each_other_again_after_a_restart_of_the_database(
    restartable: tuple[Deployment[Pod], Postgres],
) -> None:
    deployment, postgres = restartable
    here, there = deployment.servers
    async with visitor(here.websocket_url) as ada, admin(there.websocket_url, await deployment.admin_token()) as live:
        before = await asyncio.to_thread(site, here)
        await asyncio.to_thread(postgres.end, signal.SIGQUIT)
        await asyncio.to_thread(postgres.start)
        assert await asyncio.to_thread(site, here) != before

        async def is_counted() -> bool:
            async with visitor(here.websocket_url) as page:
                presence: dict[str, int] = (await page.identify())["presence"]
            return presence["admins"] == 1

        await eventually(is_counted, "the staff member is counted again")
        for pod in deployment.servers:
            await eventually(partial(asyncio.to_thread, says_ready, pod.health_port), "it is ready")
        found = await asyncio.to_thread(value, there, "messaging_catchup_rows_total")
        for number in range(10):
            await ada.say(str(number))
            while (await live.receive()).get("content") != str(number):
                pass
        assert await asyncio.to_thread(value, there, "messaging_catchup_rows_total") == found


def site(pod: Pod) -> str:
    """Return the identity of the journal of `pod`."""
    return manage(
        pod.environment, "shell", "-c", "from messaging.journal.reader import site; print(site())"
    ).splitlines()[-1]


@pytest.mark.slow
def test_a_copy_of_the_files_of_a_database_is_another_site(tmp_path: Path) -> None:
    """As a snapshot of the disk, from which another server starts: all that is stored is the same."""
    original, copy = Postgres(), Postgres()
    with started(original):
        kubernetes = Kubernetes(original, tmp_path)
        pod = Pod(DATABASE_URL=original.url(PREPARED), REDIS_URL="redis://unused", STATIC_ROOT=str(tmp_path))
        assert site(pod) == site(pod)
        assert kubernetes
        original.end(original.stop_signal)
        subprocess.run(["cp", "-a", original.directory / "data", copy.directory], check=True)
        original.start()
        with started(copy):
            twin = Pod(DATABASE_URL=copy.url(PREPARED), REDIS_URL="redis://unused", STATIC_ROOT=str(tmp_path))
            assert site(twin) != site(pod)
            twin.stop()
        pod.stop()
