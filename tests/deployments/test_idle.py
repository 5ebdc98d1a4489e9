"""Connections that are idle for longer than the time-outs below them, and more connections than the pools hold."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from tests.support.connections import admin, connect, visitor
from tests.support.deployments import Deployment, Kubernetes, Pod
from tests.support.redis_services import Redis
from tests.support.services import started

pytestmark = pytest.mark.slow

CROWD = 150  # redis-py's pool holds 100 connections
IDLE_SECONDS = 6.5  # redis-py and some layers stop reading after 5 s; all other time-outs are set to 1 s here


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    redis = Redis("--timeout", "1")  # Redis too drops idle clients
    with started(redis):
        yield redis


@pytest.fixture
def hasty_deployment(kubernetes: Kubernetes, own_redis: Redis) -> Iterator[Deployment[Pod]]:
    with kubernetes.deployed(own_redis.url, DJANGO_SETTINGS_MODULE="tests.support.hasty_settings") as deployment:
        yield deployment


async def test_a_crowd_of_idle_sockets_still_receives(hasty_deployment: Deployment, own_redis: Redis) -> None:
    here, there = hasty_deployment.websocket_urls
    async with contextlib.AsyncExitStack() as stack:
        operator = await stack.enter_async_context(admin(here, await hasty_deployment.admin_token()))
        pages = [stack.enter_async_context(visitor(url)) for url in (here, there) for _ in range(CROWD // 2)]
        crowd = await asyncio.gather(*pages)
        await asyncio.sleep(IDLE_SECONDS)
        with own_redis.client() as client:
            assert list(client.scan_iter("connection:*")) == []  # all rows in the store have expired
        await asyncio.gather(*(socket.say("hello") for socket in crowd))
        told = await operator.receive_many(CROWD)
        assert {frame["conversation"] for frame in told} == {socket.conversation for socket in crowd}
        for socket in crowd:
            await operator.say(f"to {socket.conversation}", to=socket.conversation)
        received = [await socket.receive() for socket in crowd]
        assert [frame["content"] for frame in received] == [f"to {socket.conversation}" for socket in crowd]
        assert await operator.until_pong() == []


async def test_a_socket_that_never_says_who_it_is_is_closed(kubernetes_deployment: Deployment) -> None:
    async with connect(kubernetes_deployment.websocket_urls[0]) as silent:
        assert await silent.until_closed() == ([], 4408)
