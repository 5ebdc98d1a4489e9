"""The silent loss of one ack on the network, and of no other frame."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.chaos_proxy import ChaosProxy
from tests.support.connections import ack, admin, new_id, visitor
from tests.support.deployments import Deployment, Kubernetes, Pod
from tests.support.redis_services import Redis
from tests.support.services import HOST


@pytest.fixture
def deployment(kubernetes: Kubernetes, redis_server: Redis) -> Iterator[Deployment[Pod]]:
    """Yield pods with a database of their own, which has no messages of other tests."""
    with kubernetes.deployed(redis_server.url) as deployment:
        yield deployment


async def test_a_message_whose_ack_is_lost_is_acked_as_a_duplicate(deployment: Deployment[Pod]) -> None:
    pod = deployment.servers[0]
    with ChaosProxy([(HOST, pod.port)]) as network:
        network.acks_to_steal = 1
        async with (
            visitor(network.websocket_url) as page,
            admin(pod.websocket_url, await deployment.admin_token()) as staff,
        ):
            id = new_id()
            await page.send("sendMessage", id=id, content="hello")
            assert await page.until_pong() == []
            assert network.acks_to_steal == 0
            assert await page.request("sendMessage", id=id, content="hello") == ack(id, duplicate=True)
            assert (await staff.receive())["content"] == "hello"
            assert await staff.until_pong() == []
    with psycopg.connect(deployment.database) as connection:
        assert connection.execute("SELECT client_id, content FROM messaging_message").fetchall() == [(id, "hello")]
