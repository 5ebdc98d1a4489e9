"""The server as an operator and a hostile client meet it: drain, backpressure, limits."""

import asyncio
import contextlib
import json
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed

from messaging.tests.deployments import Deployment, Kubernetes, Pod, manage
from messaging.tests.redis_services import Redis
from messaging.tests.services import HOST, wait_until
from messaging.tests.wire import SOON, admin, error, eventually, new_id, visitor

MEGABYTE = 1024 * 1024


@pytest.fixture
def pods(kubernetes: Kubernetes, redis_server: Redis) -> AsyncIterator[Deployment]:
    with kubernetes.deployed(redis_server.url, SHUTDOWN_TIMEOUT="8", MAX_CONNECTIONS="320") as deployment:
        yield deployment


def fetch(url: str, **headers: str) -> tuple[int, str, bytes]:
    """Status, final URL and body."""
    try:
        with urlopen(Request(url, headers=headers), timeout=10) as answer:  # noqa: S310  always http
            assert "Server" not in answer.headers
            return answer.status, answer.url, answer.read()
    except HTTPError as answer:
        return answer.code, url, answer.read()


def probe(pod: Pod, path: str) -> tuple[int, dict[str, object]]:
    status, _, body = fetch(f"http://{HOST}:{pod.health_port}{path}")
    return status, json.loads(body)


def resident(pod: Pod) -> int:
    """Bytes of memory that the process holds."""
    status = Path(f"/proc/{pod._process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


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
        drained = asyncio.create_task(asyncio.to_thread(manage, pod.environment, "messaging_drain"))
        frames, code = await page.until_closed()
        assert (frames[-1]["type"], code) == ("serverShutdown", 4001)
    assert await drained == "The server has ended.\n"
    await asyncio.to_thread(wait_until, lambda: ended(pod), "the process ends", 3)


async def test_one_socket_too_many_is_told_to_come_back(pods: Deployment) -> None:
    pod = pods.servers[0]
    async with contextlib.AsyncExitStack() as stack:
        sockets = (stack.enter_async_context(websocket(pod.websocket_url, proxy=None)) for _ in range(320))
        await asyncio.gather(*sockets)
        async with websocket(pod.websocket_url, proxy=None) as refused:
            frame = json.loads(await refused.recv())
            assert frame == error("unavailable", retryAfterMs=1000)
            await refused.wait_closed()
            assert refused.close_code == 4013


async def test_a_reader_that_reads_nothing_is_closed_and_costs_bounded_memory(pods: Deployment) -> None:
    pod = pods.servers[0]
    async with admin(pod.websocket_url, await pods.admin_token()) as colleague, visitor(pod.websocket_url) as page:
        for number in range(60):
            await page.say(f"{number} " + "x" * 1900)
        await colleague.receive_many(60)
        before = resident(pod)
        reader = await asyncio.to_thread(_unread_socket, pod, await pods.admin_token())
        # Each request is answered by 60 messages of 2 kB: 2,500 of them are 300 MB that nobody reads.
        flood = asyncio.create_task(asyncio.to_thread(_ask_for_history, reader, 2_500))
        peak = before
        while "reader stalled" not in pod.log and "reader too slow" not in pod.log:
            peak = max(peak, resident(pod))
            await asyncio.sleep(0.05)
        assert await colleague.until_pong() == []
        await flood
        reader.close()
    assert (peak - before) / MEGABYTE < 16


async def test_a_sender_that_is_faster_than_its_handler_is_slowed_down(pods: Deployment) -> None:
    pod = pods.servers[0]
    reader = await asyncio.to_thread(_unread_socket, pod, None)
    before = peak = resident(pod)
    # Messages of 8 kB, each of which waits for its commit: 200 MB of them.
    flood = asyncio.create_task(asyncio.to_thread(_send_messages, reader, 25_000, 8_000))
    async with visitor(pod.websocket_url) as page:
        for _ in range(60):
            await page.until_pong()
            peak = max(peak, resident(pod))
            await asyncio.sleep(0.05)
    reader.close()
    sent = await flood
    assert (peak - before) / MEGABYTE < 16
    assert sent / MEGABYTE < 100


async def test_headers_that_never_end_are_cut(pods: Deployment) -> None:
    pod = pods.servers[0]

    async def drip() -> float:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection(HOST, pod.port)
        writer.write(b"GET /ws HTTP/1.1\r\nHost: localhost\r\n")
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"X-Drip: 1\r\n")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await reader.read(1)
        writer.close()
        return time.monotonic() - began

    drips = asyncio.gather(*(drip() for _ in range(100)))
    async with visitor(pod.websocket_url) as page:
        assert await page.until_pong() == []
    assert max(await drips) < 20


async def test_a_header_does_not_move_the_application(pods: Deployment) -> None:
    pod = pods.servers[0]
    headers = {"Daphne-Root-Path": "/evil"}
    status, url, _ = await asyncio.to_thread(fetch, f"{pod.origin}/", **headers)
    assert (status, url) == (200, f"{pod.origin}/user/")
    async with websocket(pod.websocket_url, proxy=None, additional_headers=headers) as page:
        assert json.loads(await page.recv())["type"] == "connection"


def test_probes_are_not_on_the_applications_port(pods: Deployment) -> None:
    pod = pods.servers[0]
    for path in ("/health", "/ready", "/drain"):
        assert fetch(f"{pod.origin}{path}")[0] == 404
    assert probe(pod, "/nothing")[0] == 404
    assert probe(pod, "/drain")[0] == 404  # GET does not stop a server


def _unread_socket(pod: Pod, token: str | None) -> socket.socket:
    """A WebSocket whose owner sends and never reads, with the smallest receive buffer that the system allows."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.settimeout(SOON)
    raw.connect((HOST, pod.port))
    handshake = (
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    raw.sendall(handshake.encode())
    assert raw.recv(12) == b"HTTP/1.1 101"
    identify = {"action": "identify", "v": 2, "type": "admin" if token else "user", "token": token}
    raw.sendall(_frame(json.dumps(identify)))
    return raw


def _frame(text: str) -> bytes:
    """A masked text frame, with a mask of zeros (RFC 6455 section 5.2)."""
    payload = text.encode()
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0x80 | 126]) + len(payload).to_bytes(2)
    return b"\x81" + size + b"\0\0\0\0" + payload


def _ask_for_history(raw: socket.socket, times: int) -> None:
    with contextlib.suppress(OSError):
        for _ in range(times):
            raw.sendall(_frame(json.dumps({"action": "history", "id": "h", "limit": 60})))


def _send_messages(raw: socket.socket, times: int, size: int) -> int:
    """The bytes that the server took."""
    sent = 0
    with contextlib.suppress(OSError):
        for _ in range(times):
            content = "x" * 1000 + " " * (size - 1000)
            frame = _frame(json.dumps({"action": "sendMessage", "id": new_id(), "content": content}))
            raw.sendall(frame)
            sent += len(frame)
    return sent
