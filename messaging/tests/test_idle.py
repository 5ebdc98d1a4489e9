"""Sockets that nobody uses for longer than the time-outs underneath, and more of them than its pools hold."""

import asyncio
import contextlib

from messaging.tests.deployments import Deployment
from messaging.tests.wire import admin, connect, visitor

CROWD = 150  # redis-py's pool holds 100 connections
IDLE_SECONDS = 6.5  # redis-py gives up reading after 5 s


async def test_a_crowd_of_idle_sockets_still_receives(kubernetes_deployment: Deployment) -> None:
    here, there = kubernetes_deployment.websocket_urls
    async with contextlib.AsyncExitStack() as stack:
        operator = await stack.enter_async_context(admin(here, await kubernetes_deployment.admin_token()))
        pages = [stack.enter_async_context(visitor(url)) for url in (here, there) for _ in range(CROWD // 2)]
        crowd = await asyncio.gather(*pages)
        await asyncio.gather(*(socket.say("hello") for socket in crowd))
        assert {frame["conversation"] for frame in await operator.receive_many(CROWD)} == {
            socket.conversation for socket in crowd
        }
        await asyncio.sleep(IDLE_SECONDS)
        for socket in crowd:
            await operator.say(f"to {socket.conversation}", to=socket.conversation)
        received = [await socket.receive() for socket in crowd]
        assert [frame["content"] for frame in received] == [f"to {socket.conversation}" for socket in crowd]
        assert await operator.until_pong() == []


async def test_a_socket_that_never_says_who_it_is_is_closed(kubernetes_deployment: Deployment) -> None:
    async with connect(kubernetes_deployment.websocket_urls[0]) as silent:
        assert await silent.until_closed() == ([], 4408)
