"""Nothing lost, nothing twice, order kept: people write through a network that keeps failing, to servers that die.

Every client follows the documented rules. In the end what each one shows is compared with the database.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import psycopg
import pytest

from messaging.tests.client import Client
from messaging.tests.deployments import Deployment, Kubernetes
from messaging.tests.proxy import ChaosProxy
from messaging.tests.redis_services import Redis
from messaging.tests.services import HOST, started
from messaging.tests.wire import Frame, eventually

VISITORS = ("ada", "bob", "eve", "kim", "lea", "sam")
UNANSWERED = (
    10  # a visitor with so many waits: otherwise the one admin, who waits for a commit each, falls ever more behind
)
CALM_SECONDS = 60  # for everybody to be up to date once the network is good again

pytestmark = pytest.mark.timeout(300)


class Crowd:
    """Visitors who write, an admin who answers every message once, and an admin who only reads."""

    def __init__(self, deployment: Deployment, proxy: ChaosProxy) -> None:
        # Pages wait for minutes if they must; a test has less time.
        patience = {"heartbeat": 1.0, "first_delay": 0.02, "longest_delay": 0.1}
        self.visitors = [Client(proxy.websocket_url, **patience) for _ in VISITORS]
        self.answering, self.reading = (
            Client(proxy.websocket_url, mint=lambda name=name: deployment.admin_token(name), **patience)
            for name in ("operator", "colleague")
        )
        self.answering.on_message = self._answer
        self.everybody = [*self.visitors, self.answering, self.reading]

    def _answer(self, frame: Frame) -> None:
        if frame["from"] == "user":
            self.answering.soon(self.answering.send(f"re: {frame['content']}", to=frame["conversation"]))

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for client in self.everybody:
                await stack.enter_async_context(client)
            await eventually(lambda: all(client.ready for client in self.everybody), "everybody is connected")
            yield

    async def talk(self, each: int) -> None:
        """Every visitor sends `each` messages; returns when all are acked."""
        await asyncio.gather(*(self._talk(c, name, each) for c, name in zip(self.visitors, VISITORS, strict=True)))
        for visitor in self.visitors:
            await visitor.settled(CALM_SECONDS)

    async def _talk(self, visitor: Client, name: str, each: int) -> None:
        for number in range(each):
            await eventually(lambda: len(visitor.thread) > 2 * number - UNANSWERED, f"{name} is answered", CALM_SECONDS)
            await visitor.send(f"{name} {number}")

    @property
    def acked(self) -> int:
        return sum(len(visitor.acked) for visitor in self.visitors)

    async def up_to_date(self, each: int) -> None:
        total = len(VISITORS) * each * 2

        def complete() -> bool:
            admins = all(len(client.thread) == total for client in (self.answering, self.reading))
            return admins and all(len(client.thread) == each * 2 for client in self.visitors)

        # A duplicate makes a thread too long, a loss too short: then the comparison that follows says what is wrong.
        with contextlib.suppress(AssertionError):
            await eventually(complete, "everybody shows everything", CALM_SECONDS)


def check(crowd: Crowd, each: int, database: str) -> None:
    """Acked = stored = shown, once, in one order, and every sender's messages in the order of sending."""
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT id::text, conversation_id::text, sender, content FROM messaging_message ORDER BY seq"
        ).fetchall()
    sent = [f"{name} {number}" for name in VISITORS for number in range(each)]
    stored = [content for _, _, _, content in rows]
    assert sorted(stored) == sorted([*sent, *(f"re: {content}" for content in sent)])
    acked = {frame["messageId"] for client in crowd.everybody for frame in client.acked.values()}
    assert acked == {id for id, _, _, _ in rows}
    assert crowd.answering.contents == stored
    assert crowd.reading.contents == stored
    assert [content for _, _, sender, content in rows if sender == "admin"] == crowd.answering.sent
    for visitor in crowd.visitors:
        own = [(sender, content) for _, conversation, sender, content in rows if conversation == visitor.conversation]
        assert visitor.contents == [content for _, content in own]
        assert visitor.sent == [content for sender, content in own if sender == "user"]
    # Every place that a client came back to was known: nobody had to start anew.
    assert [client.resets for client in crowd.everybody] == [0] * len(crowd.everybody)
    assert [(client.stopped, client.not_sent) for client in crowd.everybody] == [(None, {})] * len(crowd.everybody)


async def survive(
    deployment: Deployment,
    each: int,
    *,
    latency: float = 0.0,
    fault: Callable[[Crowd], Awaitable[None]] | None = None,
) -> None:
    """The whole run: everybody talks through a network that cuts a connection every 0 to 120 ms, and `fault`."""
    with ChaosProxy([(HOST, server.port) for server in deployment.servers]) as proxy:
        proxy.latency = latency
        crowd = Crowd(deployment, proxy)
        async with crowd.connected():
            proxy.start_cutting()
            await asyncio.gather(crowd.talk(each), *([fault(crowd)] if fault else []))
            cuts = proxy.cuts
            proxy.stop_cutting()
            await crowd.up_to_date(each)
            check(crowd, each, deployment.database)
        connections = sum(client.connections for client in crowd.everybody)
        assert connections > len(crowd.everybody) + cuts // 2, "the network was not as bad as it should have been"


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    redis = Redis()
    with started(redis):
        yield redis


async def test_a_bad_network_loses_nothing_of_2000_messages(kubernetes: Kubernetes, own_redis: Redis) -> None:
    with kubernetes.deployed(own_redis.url) as deployment:
        await survive(deployment, each=170)
        assert "Traceback" not in deployment.log


async def test_nothing_is_lost_between_commit_and_fan_out(kubernetes: Kubernetes, own_redis: Redis) -> None:
    with kubernetes.deployed(own_redis.url, MESSAGING_PUBLISH_DELAY_MS="50") as deployment:
        await survive(deployment, each=40, latency=0.01)
        assert "Traceback" not in deployment.log


async def test_a_server_may_be_killed(kubernetes: Kubernetes, own_redis: Redis) -> None:
    each = 60
    with kubernetes.deployed(own_redis.url, MESSAGING_PUBLISH_DELAY_MS="20") as deployment:

        async def kill_and_restart(crowd: Crowd) -> None:
            third = len(VISITORS) * each // 3
            await eventually(lambda: crowd.acked >= third, "a third is sent", CALM_SECONDS)
            deployment.servers[0].kill()
            await eventually(lambda: crowd.acked >= 2 * third, "two thirds are sent", CALM_SECONDS)
            await asyncio.to_thread(deployment.servers[0].start)

        await survive(deployment, each, fault=kill_and_restart)


async def test_redis_may_be_killed_and_come_back_empty(kubernetes: Kubernetes, own_redis: Redis) -> None:
    each = 60
    with kubernetes.deployed(own_redis.url) as deployment:

        async def kill_and_restart(crowd: Crowd) -> None:
            third = len(VISITORS) * each // 3
            await eventually(lambda: crowd.acked >= third, "a third is sent", CALM_SECONDS)
            own_redis.kill()
            await eventually(lambda: crowd.acked >= 2 * third, "two thirds are sent", CALM_SECONDS)
            await asyncio.to_thread(own_redis.start)

        await survive(deployment, each, fault=kill_and_restart)
