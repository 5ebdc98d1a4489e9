"""What a network loses without telling anybody: one ack, or everything from now on."""

import asyncio
import re
from collections.abc import Iterator

import psycopg
import pytest

from messaging.tests.deployments import Deployment, Kubernetes
from messaging.tests.proxy import ChaosProxy
from messaging.tests.redis_services import Redis
from messaging.tests.services import HOST, started
from messaging.tests.wire import ack, admin, connect, new_id, visitor

# An unmasked text frame of 126 to 65,535 bytes (RFC 6455 section 5.2) that is an ack.
ACK_FRAME = re.compile(rb'\x81\x7e..\{"type":"ack"[^}]*\}', re.DOTALL)
GONE_SECONDS = 45.0  # the server pings every 20 s, waits for 20 s, and looks every 2 s


class AckThief(ChaosProxy):
    """Takes the first ack out of what a server sends, and nothing else."""

    stolen = 0

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if not self.stolen:
                data, self.stolen = ACK_FRAME.subn(b"", data, count=1)
            writer.write(data)
        writer.write_eof()


@pytest.fixture
def deployment(kubernetes: Kubernetes) -> Iterator[Deployment]:
    """Pods with a Redis of their own: nobody else's connections are in it."""
    redis = Redis()
    with started(redis), kubernetes.deployed(redis.url) as deployment:
        yield deployment


async def test_a_message_whose_ack_is_lost_is_acked_as_a_duplicate(deployment: Deployment) -> None:
    pod = deployment.servers[0]
    with AckThief([(HOST, pod.port)]) as proxy:
        async with (
            visitor(proxy.websocket_url) as page,
            admin(pod.websocket_url, await deployment.admin_token()) as staff,
        ):
            id = new_id()
            await page.send("sendMessage", id=id, content="hello")
            assert await page.until_pong() == []
            assert proxy.stolen == 1
            assert await page.request("sendMessage", id=id, content="hello") == ack(id, duplicate=True)
            assert [frame["content"] for frame in await staff.until_pong()] == ["hello"]
    with psycopg.connect(deployment.database) as connection:
        assert connection.execute("SELECT client_id, content FROM messaging_message").fetchall() == [(id, "hello")]


async def test_an_admin_whose_network_is_gone_is_not_counted_for_long(deployment: Deployment) -> None:
    pod = deployment.servers[0]
    with ChaosProxy([(HOST, pod.port)]) as proxy:
        async with admin(proxy.websocket_url, await deployment.admin_token()):
            assert await admins_present(deployment) == 1
            proxy.blackhole = True
            async with asyncio.timeout(GONE_SECONDS):
                while await admins_present(deployment):
                    await asyncio.sleep(0.5)
            proxy.cut_all()  # it would wait for the answer to its close


async def admins_present(deployment: Deployment) -> int:
    """What a visitor on the other pod is told."""
    async with connect(deployment.websocket_urls[1]) as page:
        return (await page.identify())["presence"]["admins"]
