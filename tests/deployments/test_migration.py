"""The move of a site from pods to API Gateway and back while people write; docs/migration.md has the commands."""

import asyncio
from functools import partial

import pytest

from messaging.service.contracts import UNREAD
from tests.support.connections import admin, new_id, visitor
from tests.support.moving_site import Site
from tests.support.traffic import CALM_SECONDS, traffic
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(300)


async def test_live_traffic_moves_to_aws_and_back(site: Site) -> None:
    crowd = site.crowd()
    logged = len(site.aws.log)  # by earlier tests
    await site.aws.forgets_the_past()
    async with traffic(crowd, site.aws.database):
        await site.admins_are(0)
        site.lead(to_aws=(True, False))  # both serve, with half of the people on each
        await asyncio.to_thread(site.restart_pods)
        await site.admins_are(1)
        await crowd.goes_on()
        site.lead(to_aws=(True, True))  # all people move to AWS
        await asyncio.to_thread(site.stop_pods)
        await site.admins_are(2)
        await crowd.goes_on()
        await asyncio.to_thread(site.start_pods)  # and back
        site.lead(to_aws=(False, False))
        drain = partial(asyncio.to_thread, site.aws.manage, "messaging_drain")  # again: a client was on its way
        await eventually(drain, "nobody is there", CALM_SECONDS, until=lambda told: "connected now: 0" in told)
        await site.admins_are(0)
    assert "Traceback" not in site.aws.log[logged:] + site.pods.log


async def test_what_is_said_on_one_side_is_read_on_the_other(site: Site) -> None:
    """Pods look into the journal every two seconds, clients of API Gateway whenever they ping."""
    pod, gateway = site.pods.websocket_urls[0], site.aws.websocket_urls[0]
    here, there = [await site.everywhere.admin_token(name) for name in ("operator", "colleague")]
    async with admin(pod, here) as on_pod, admin(gateway, there) as on_aws, visitor(pod) as page:
        await page.say("from a pod")
        assert (await on_pod.receive())["content"] == "from a pod"
        pong = await on_aws.request("ping", id=new_id())
        assert pong["cursor"] == UNREAD
        history = await on_aws.request("history", id=new_id())
        assert [message["content"] for message in history["messages"]] == ["from a pod"]
        await on_aws.say("from AWS", to=page.conversation)
        assert (await page.receive())["content"] == "from AWS"
        assert (await on_pod.receive())["content"] == "from AWS"
