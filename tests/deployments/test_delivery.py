"""Delivery between two server processes, or within a function: the right people receive each message once."""

import asyncio
from pathlib import Path

import pytest

from tests.support.connections import Connection, Frame, admin, message, new_id, visitor
from tests.support.deployments import Deployment, Kubernetes
from tests.support.redis_services import Redis
from tests.support.services import certify, started

EACH = 25  # messages of each visitor


async def send_many(socket: Connection, name: str) -> list[str]:
    contents = [f"{name} {number}" for number in range(EACH)]
    for content in contents:
        await socket.say(content)
    return contents


async def test_every_admin_gets_every_message_once_and_in_one_order(shared_deployment: Deployment) -> None:
    here, there = shared_deployment.websocket_urls
    tokens = [await shared_deployment.admin_token(name) for name in ("operator", "colleague", "reader")]
    async with (
        admin(here, tokens[0]) as first,
        admin(there, tokens[1]) as second,
        admin(there, tokens[2]) as third,
        visitor(here) as ada,
        visitor(here) as bob,
        visitor(here) as eve,
        visitor(here) as kim,
    ):
        visitors = {"ada": ada, "bob": bob, "eve": eve, "kim": kim}
        sent = await asyncio.gather(*(send_many(socket, name) for name, socket in visitors.items()))
        received = [await socket.receive_many(EACH * 4) for socket in (first, second, third)]
        if shared_deployment.gateway:  # its processes post at the same time, and pages sort the frames
            received = [sorted(frames, key=lambda frame: frame["cursor"]) for frames in received]
        assert received[0] == received[1] == received[2]
        assert [frame["cursor"] for frame in received[0]] == sorted(frame["cursor"] for frame in received[0])
        for socket, contents in zip(visitors.values(), sent, strict=True):
            own = [frame for frame in received[0] if frame["conversation"] == socket.conversation]
            assert own == [message(content, socket.conversation, connectionId=socket.id) for content in contents]
        assert [await socket.until_pong() for socket in (first, second, third, ada)] == [[], [], [], []]


async def test_a_reply_reaches_every_page_of_that_visitor_and_nobody_else(shared_deployment: Deployment) -> None:
    here, there = shared_deployment.websocket_urls
    token = await shared_deployment.admin_token("operator")
    async with (
        visitor(here) as ada,
        visitor(there, ada.token) as adas_other_page,
        visitor(here) as bob,
        admin(there, token) as operator,
    ):
        await ada.say("a question")
        await bob.say("another question")
        await operator.receive_many(2)
        await adas_other_page.receive()

        await operator.say("for Ada", to=ada.conversation)
        await operator.say("for Bob", to=bob.conversation)

        def reply(content: str, to: Connection) -> Frame:
            fields = {"from": "admin", "connectionId": operator.id}
            return message(content, to.conversation, **fields)

        assert await ada.receive() == reply("for Ada", ada)
        assert await adas_other_page.receive() == reply("for Ada", ada)
        # Bob's reply was published after Ada's, so if he had received hers, it would come first.
        assert await bob.receive() == reply("for Bob", bob)
        assert [await socket.until_pong() for socket in (ada, adas_other_page, bob)] == [[], [], []]


async def test_a_reply_is_shown_to_the_other_admins_and_on_the_other_pages_of_its_author(
    shared_deployment: Deployment,
) -> None:
    here, there = shared_deployment.websocket_urls
    session = shared_deployment.admin_token
    async with (
        visitor(here) as ada,
        admin(here, await session("operator")) as operator,
        admin(there, await session("operator")) as operators_other_page,
        admin(there, await session("colleague")) as colleague,
    ):
        await ada.say("a question")
        for socket in (operator, operators_other_page, colleague):
            await socket.receive()
        id = new_id()
        await operator.say("an answer", to=ada.conversation, id=id)
        fields = {"from": "admin", "connectionId": operator.id}
        assert await colleague.receive() == message("an answer", ada.conversation, **fields)
        assert await operators_other_page.receive() == message("an answer", ada.conversation, id=id, **fields)
        assert [await socket.until_pong() for socket in (operator, operators_other_page, colleague)] == [[], [], []]


@pytest.mark.parametrize("redis", ["redis_sentinel", "redis_cluster"])
async def test_pods_find_each_other_through(redis: str, kubernetes: Kubernetes, request: pytest.FixtureRequest) -> None:
    with kubernetes.deployed(request.getfixturevalue(redis).url) as deployment:
        await find_each_other(deployment)


async def test_pods_find_each_other_through_a_redis_with_tls(kubernetes: Kubernetes, tmp_path: Path) -> None:
    certificate = certify(tmp_path)
    redis = Redis(certificate=certificate)
    assert redis.url.startswith("rediss://")
    with started(redis), kubernetes.deployed(redis.url, SSL_CERT_FILE=str(certificate)) as deployment:
        await find_each_other(deployment)


async def find_each_other(deployment: Deployment) -> None:
    here, there = deployment.websocket_urls
    async with visitor(here) as ada, admin(there, await deployment.admin_token()) as operator:
        await ada.say("hello")
        assert await operator.receive() == message("hello", ada.conversation, connectionId=ada.id)
        await operator.say("hello, Ada", to=ada.conversation)
        assert (await ada.receive())["content"] == "hello, Ada"
    assert "channel layer" not in deployment.log  # it was neither down nor failing: Redis itself carried the frames
