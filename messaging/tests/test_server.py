"""The server as an operator and a hostile client meet it: drain, backpressure, limits."""

import asyncio
import contextlib
import json
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed

from messaging.tests.deployments import Deployment, Kubernetes, Pod, fetch, manage, probe
from messaging.tests.redis_services import Redis
from messaging.tests.services import HOST, wait_until
from messaging.tests.wire import eventually, new_id, visitor


@pytest.fixture
def pods(kubernetes: Kubernetes, redis_server: Redis) -> AsyncIterator[Deployment]:
    with kubernetes.deployed(redis_server.url, SHUTDOWN_TIMEOUT="8", MAX_CONNECTIONS="320") as deployment:
        yield deployment


def ended(pod: Pod) -> bool:
    return pod._process.poll() is not None


async def test_sigterm_sends_every_socket_elsewhere_and_leaves_nothing_behind(
    pods: Deployment, redis_server: Redis
) -> None:
    pod = pods.servers[0]
    last_frames: list[tuple[dict[str, object], int, float]] = []

    async def page() -> None:
        async with visitor(pod.websocket_url) as connection:
            opened.release()
            frames, code = await connection.until_closed()
            last_frames.append((frames[-1], code, time.monotonic()))

    opened = asyncio.Semaphore(0)
    pages = [asyncio.create_task(page()) for _ in range(300)]
    for _ in pages:
        await opened.acquire()
    assert probe(pod, "/ready") == (200, {"status": "ready", "database": "ok", "redis": "ok", "draining": False})
    began = time.monotonic()
    pod.send_signal(signal.SIGTERM)
    await eventually(lambda: probe(pod, "/ready")[0] == 503, "not ready")
    assert probe(pod, "/health") == (200, {"status": "alive"})
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(socket.create_connection, (HOST, pod.port), 5)
    await asyncio.gather(*pages)
    await asyncio.to_thread(wait_until, lambda: ended(pod), "the process ends", 20)
    assert pod._process.returncode == 0
    assert Counter(code for _, code, _ in last_frames) == {4001: 300}
    hints = [frame["reconnectAfterMs"] for frame, _, _ in last_frames]
    assert all(frame["type"] == "serverShutdown" for frame, _, _ in last_frames)
    assert len(set(hints)) > 100
    # 6 s (three quarters of SHUTDOWN_TIMEOUT) for 300: 50 a second, and not all at once.
    by_second = Counter(int(at - began) for _, _, at in last_frames)
    assert max(by_second.values()) < 90
    with redis_server.client() as client:
        assert [key for key in client.scan_iter("connection*") if "pod" in (client.get(key) or "")] == []
    assert "Traceback" not in pod.log


async def test_what_is_under_way_when_the_process_stops_is_committed_and_acked(pods: Deployment) -> None:
    pod = pods.servers[0]
    acked: list[str] = []

    async def write(page: int) -> None:
        async with visitor(pod.websocket_url) as connection:
            waiting = set()
            with contextlib.suppress(ConnectionClosed):
                while True:
                    id = new_id()
                    waiting.add(id)
                    await connection.send("sendMessage", id=id, content=f"{page}")
                    frame = await connection.receive()
                    if frame["type"] == "ack":
                        waiting.remove(frame["id"])
                        acked.append(frame["id"])

    writers = [asyncio.create_task(write(page)) for page in range(20)]
    await eventually(lambda: len(acked) > 100, "messages flow")
    pod.send_signal(signal.SIGTERM)
    await asyncio.gather(*writers)
    await asyncio.to_thread(wait_until, lambda: ended(pod), "the process ends", 20)
    code = "from messaging.models import Message; print(*Message.objects.values_list('client_id', flat=True))"
    stored = set(pods.run(code).split())
    assert set(acked) <= stored
    assert pod._process.returncode == 0


async def test_a_second_signal_ends_the_process_at_once(pods: Deployment) -> None:
    pod = pods.servers[0]
    async with visitor(pod.websocket_url), visitor(pod.websocket_url):
        pod.send_signal(signal.SIGTERM)
        await eventually(lambda: probe(pod, "/ready")[0] == 503, "it drains")
        pod.send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait_until, lambda: ended(pod), "the process ends", 3)


async def test_messaging_drain_drains_and_returns_when_the_server_has_ended(pods: Deployment) -> None:
    pod = pods.servers[0]
    async with visitor(pod.websocket_url) as page:
        behind_a_proxy = pod.environment | {"http_proxy": "http://127.0.0.1:9"}  # which probes do not ask
        drained = asyncio.create_task(asyncio.to_thread(manage, behind_a_proxy, "messaging_drain"))
        frames, code = await page.until_closed()
        assert (frames[-1]["type"], code) == ("serverShutdown", 4001)
    assert await drained == "The server has ended.\n"
    await asyncio.to_thread(wait_until, lambda: ended(pod), "the process ends", 3)


async def test_a_header_does_not_move_the_application(pods: Deployment) -> None:
    pod = pods.servers[0]
    headers = {"Daphne-Root-Path": "/evil"}
    status, url, _ = await asyncio.to_thread(fetch, f"{pod.origin}/", **headers)
    assert (status, url) == (200, f"{pod.origin}/user/")
    async with websocket(pod.websocket_url, proxy=None, additional_headers=headers) as page:
        assert json.loads(await page.recv())["type"] == "connection"


def test_probes_are_not_on_the_applications_port(pods: Deployment) -> None:
    pod = pods.servers[0]
    for path in ("/health", "/ready", "/metrics", "/drain"):
        assert fetch(f"{pod.origin}{path}")[0] == 404
    assert probe(pod, "/nothing")[0] == 404
    assert probe(pod, "/drain")[0] == 404  # GET does not stop a server
