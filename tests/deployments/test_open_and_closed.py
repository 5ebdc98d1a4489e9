"""No frames are written to a WebSocket before it is open or after its client has closed it."""

import asyncio
import json
import signal
from collections.abc import Iterator

import pytest

from tests.support.attacker import HANDSHAKE, frame
from tests.support.chaos_proxy import ChaosProxy
from tests.support.connections import Connection, new_id, visitor
from tests.support.deployments import Deployment, Kubernetes, Pod
from tests.support.metrics import scrape
from tests.support.raw_http import asked
from tests.support.redis_services import Redis
from tests.support.services import HOST
from tests.support.waiting import SOON, eventually

TEXT, CLOSE = 1, 8  # opcodes


@pytest.fixture
def network(redis_server: Redis) -> Iterator[ChaosProxy]:
    """Yield the network between the servers and Redis."""
    with ChaosProxy([(HOST, redis_server.port)]) as network:
        yield network


async def receive(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return opcode and payload of the next frame (RFC 6455 section 5.2).

    Raise asyncio.IncompleteReadError if the connection has ended.
    """
    first, length = await reader.readexactly(2)
    if length > 125:
        length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8))
    return first & 0x0F, await reader.readexactly(length)


def open_sockets(pod: Pod) -> float:
    return sum(number for (name, _), number in scrape(pod).items() if name == "messaging_websocket_connections")


async def test_who_is_being_let_in_when_the_server_stops_is_told_once_the_socket_is_open(
    kubernetes: Kubernetes, network: ChaosProxy
) -> None:
    url = f"redis://{HOST}:{network.port}/0"
    with kubernetes.deployed(url, pods=1, SOCKETS_PER_ADDRESS="10", SHUTDOWN_TIMEOUT="0") as deployment:
        (pod,) = deployment.servers
        network.blackhole = True  # the handshake waits for the count of its address in Redis until the time-out
        async with asyncio.timeout(4 * SOON), asked(pod, HANDSHAKE) as (reader, _):
            await eventually(lambda: open_sockets(pod) == 1, "it is being let in")
            pod.send_signal(signal.SIGTERM)
            assert await reader.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
            await reader.readuntil(b"\r\n\r\n")
            told = [json.loads((await receive(reader))[1])["type"] for _ in range(2)]
            opcode, payload = await receive(reader)
        assert "server drains 1 sockets" in pod.log
    assert told == ["connection", "serverShutdown"]
    assert (opcode, payload[:2]) == (CLOSE, (4001).to_bytes(2))


async def test_what_waits_for_a_reader_is_not_sent_behind_its_close(kubernetes_deployment: Deployment[Pod]) -> None:
    pod = kubernetes_deployment.servers[0]
    async with visitor(pod.websocket_url) as page:
        for _ in range(60):
            await page.say("x" * 1900)
        # Repeat, because a server that reads the close late rightly sends all answers before it; that proves nothing.
        await eventually(lambda: waits_in_vain(pod, page), "an answer is not sent", 4 * SOON)


async def waits_in_vain(pod: Pod, page: Connection) -> bool:
    """Return whether the last of several answers was not sent to a tab of `page` that closes and only then reads."""
    history = frame({"action": "history", "id": "h", "limit": 60})  # an answer of 130 kB
    async with asked(pod, HANDSHAKE) as (reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame({"action": "identify", "v": 2, "type": "user", "token": page.token}))
        while b'"identified"' not in (await receive(reader))[1]:
            pass
        id = new_id()
        writer.write(history * 3 + frame({"action": "sendMessage", "id": id, "content": "last"}))
        assert (await page.receive())["content"] == "last"  # all frames are served
        writer.write(frame((1000).to_bytes(2), CLOSE))
        assert await page.until_pong() == []
        received = [await receive(reader)]
        while received[-1][0] == TEXT:
            received.append(await receive(reader))
        assert received[-1] == (CLOSE, (1000).to_bytes(2))
        assert await reader.read() == b""
    return not any(b'"type":"ack"' in payload and id.encode() in payload for _, payload in received)
