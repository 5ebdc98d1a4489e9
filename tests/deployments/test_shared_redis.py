"""Two sites on one Redis, each with its own Redis database, so that neither receives messages of the other."""

from collections.abc import Iterator

import pytest

from tests.support.connections import admin, message, new_id, visitor
from tests.support.deployments import Deployment, Kubernetes
from tests.support.known_faults import known_fault
from tests.support.redis_services import Redis

Sites = tuple[Deployment, Deployment]


@pytest.fixture(scope="module")
def sites(kubernetes: Kubernetes, redis_server: Redis) -> Iterator[Sites]:
    """Yield one pod, and two pods of another site: a frame from the other pod of that site has come through Redis."""
    with (
        kubernetes.deployed(redis_server.url, pods=1) as staging,
        kubernetes.deployed(redis_server.url.removesuffix("/0") + "/1") as production,
    ):
        yield staging, production


@known_fault("D1")
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


@known_fault("D1")
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
