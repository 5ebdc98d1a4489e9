"""The server process: draining, stopping while work is under way, faults of the service, and its two ports."""

import asyncio
import contextlib
import json
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import urlencode

import psycopg
import pytest
import redis
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed

from tests.support.connections import Frame, new_id, visitor
from tests.support.deployments import PASSWORD, Deployment, Kubernetes, Pod, fetch, manage, probe, waiting_for_locks
from tests.support.raw_http import asked, largest_file
from tests.support.redis_services import Redis
from tests.support.services import HOST
from tests.support.waiting import SOON, eventually

PAGES = 300
SHUTDOWN_SECONDS = 8
CLOCK_SECONDS = 0.01  # tolerance for times in frames and logs
SLOT_SECONDS = SHUTDOWN_SECONDS * 0.75 / PAGES


@pytest.fixture
def environment() -> dict[str, str]:
    return {"SHUTDOWN_TIMEOUT": str(SHUTDOWN_SECONDS)}


@pytest.fixture
def pods(kubernetes: Kubernetes, redis_server: Redis, environment: dict[str, str]) -> Iterator[Deployment[Pod]]:
    with kubernetes.deployed(redis_server.url, environment, MAX_CONNECTIONS="320") as deployment:
        yield deployment


def ended(pod: Pod) -> bool:
    return pod.exit_code is not None


async def drains(pod: Pod) -> None:
    """Tell the server to stop, and return when it accepts no more connections."""
    pod.send_signal(signal.SIGTERM)
    await eventually(lambda: probe(pod, "/ready")[0] == 503, "not ready")
    assert probe(pod, "/health") == (200, {"status": "alive"})
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(socket.create_connection, (HOST, pod.port), 5)


@pytest.mark.parametrize("environment", [{"SHUTDOWN_TIMEOUT": str(SHUTDOWN_SECONDS), "SOCKETS_PER_ADDRESS": "1000"}])
async def test_sigterm_sends_every_socket_elsewhere_and_leaves_nothing_behind(
    pods: Deployment[Pod], redis_server: Redis
) -> None:
    pod = pods.servers[0]
    ids: set[str] = set()
    last_frames: list[Frame] = []
    codes: Counter[object] = Counter()

    async def page() -> None:
        async with visitor(pod.websocket_url) as connection:
            ids.add(connection.id)
            frames, code = await connection.until_closed(within=SHUTDOWN_SECONDS + SOON)
            last_frames.append(frames[-1])
            codes[code] += 1

    with redis_server.client() as client:
        pages = [asyncio.create_task(page()) for _ in range(PAGES)]
        await eventually(lambda: len(ids) == PAGES, "all pages are open")
        await eventually(lambda: kept(client, ids) > 0, "they are known")
        await eventually(lambda: str(PAGES) in counted(client).values(), "all are counted")
        (process,) = (name for name, count in counted(client).items() if count == str(PAGES))
        ready = {"status": "ready", "database": "ok", "redis": "ok", "draining": False}
        assert probe(pod, "/ready") == (200, ready)
        await drains(pod)
        await asyncio.gather(*pages)
        await eventually(lambda: ended(pod), "the process ends")
        assert pod.exit_code == 0
        assert kept(client, ids) == 0
        assert process not in counted(client)
    assert codes == {4001: PAGES}
    assert {frame["type"] for frame in last_frames} == {"serverShutdown"}
    assert told_before_their_turn(pod, last_frames) == []
    assert len({frame["reconnectAfterMs"] for frame in last_frames}) > 50
    assert "Traceback" not in pod.log


def kept(client: redis.Redis, ids: set[str]) -> int:
    """Return how many of these connections still have an entry in the store."""
    keys = client.scan_iter("connection*")
    members = [client.zrange(key, 0, -1) if client.type(key) == "zset" else [key.partition(":")[2]] for key in keys]
    return len(ids & {member for found in members for member in found})


def counted(client: redis.Redis) -> dict[str, str]:
    """Return how many connections of an address each live process counts, by the name of the process."""
    alive = client.zrange("sockets:processes", 0, -1)
    keys = [key for key in client.scan_iter("sockets:*") if client.type(key) == "hash"]
    return {str(name): str(count) for key in keys for name, count in client.hgetall(key).items() if name in alive}


def told_before_their_turn(pod: Pod, last_frames: list[Frame]) -> list[int]:
    """Return the numbers of the connections that were sent elsewhere before the slot of that number had begun.

    There is a slot for each connection, so the connections sent elsewhere are never more than the slots that have
    begun. A machine that stands still makes a server late, but not early.
    """
    (begun,) = (line["time"] for line in map(json.loads, pod.log.splitlines()) if "server drains" in line["message"])
    began = datetime.fromisoformat(begun).timestamp()
    told = sorted(datetime.fromisoformat(frame["timestamp"]).timestamp() - began for frame in last_frames)
    return [number for number, seconds in enumerate(told) if seconds < SLOT_SECONDS * number - CLOCK_SECONDS]


async def test_what_is_under_way_when_the_process_stops_is_committed_and_acked(pods: Deployment[Pod]) -> None:
    pod = pods.servers[0]
    writing: set[int] = set()
    acked: list[str] = []

    async def write(page: int) -> None:
        async with visitor(pod.websocket_url) as connection:
            writing.add(page)
            with contextlib.suppress(ConnectionClosed):
                while True:
                    id = new_id()
                    await connection.send("sendMessage", id=id, content=f"{page}")
                    frame = await connection.receive()
                    if frame["type"] == "ack":
                        acked.append(frame["id"])

    writers = [asyncio.create_task(write(page)) for page in range(20)]
    await eventually(lambda: len(writing) == 20 and len(acked) > 100, "messages flow from all")
    pod.send_signal(signal.SIGTERM)
    await asyncio.gather(*writers)
    await eventually(lambda: ended(pod), "the process ends")
    code = "from messaging.models import Message; print(*Message.objects.values_list('client_id', flat=True))"
    stored = set(pods.run(code).split())
    assert set(acked) <= stored
    assert pod.exit_code == 0


async def login(pods: Deployment[Pod]) -> bytes:
    """Return the request with which a staff member logs in."""
    pod, session = pods.servers[0], pods.session("operator")
    await asyncio.to_thread(session.request, "/admin/login/")
    token = session.cookies["csrftoken"]
    body = urlencode({"username": "operator", "password": PASSWORD, "next": "/admin/", "csrfmiddlewaretoken": token})
    return (
        f"POST /admin/login/ HTTP/1.1\r\nHost: {HOST}:{pod.port}\r\nOrigin: {pod.origin}\r\n"
        f"Cookie: csrftoken={token}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


@pytest.mark.parametrize("environment", [{"SERVICE_ROLE": "admin"}])  # it has turns for two logins
async def test_requests_that_are_under_way_when_the_process_stops_are_answered(pods: Deployment[Pod]) -> None:
    """One request waits for the database, one is still being sent, and the answer to one is not read."""
    pod, request = pods.servers[0], await login(pods)
    path, content = largest_file(pod)
    get = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    async with asyncio.timeout(4 * SOON), contextlib.AsyncExitStack() as stack:
        # Once 16 KiB are read, the kernel's buffers grow to 350 kB and can hold the whole file.
        page, _ = await stack.enter_async_context(asked(pod, get, limit=1024))
        assert (await page.readline()).startswith(b"HTTP/1.1 200 ")
        with psycopg.connect(pods.database) as holder:
            holder.execute("LOCK TABLE django_session IN ACCESS EXCLUSIVE MODE")
            served, _ = await stack.enter_async_context(asked(pod, request))
            await eventually(lambda: waiting_for_locks(pods) == 1, "one waits for the database")
            coming, upload = await stack.enter_async_context(asked(pod, request[:-1]))
            await asyncio.to_thread(probe, pod, "/health")  # by then the server has read the part that was sent
            pod.send_signal(signal.SIGTERM)
            await eventually(lambda: "server waits for 3 requests" in pod.log, "it waits")
            upload.write(request[-1:])
            await eventually(lambda: waiting_for_locks(pods) == 2, "the other waits as well")
        for answer in (served, coming):
            assert (await answer.readline()) == b"HTTP/1.1 302 Found\r\n"
            assert b"Set-Cookie: sessionid=" in await answer.readuntil(b"\r\n\r\n")
        await page.readuntil(b"\r\n\r\n")
        assert await page.read() == content
    await eventually(lambda: ended(pod), "the process ends")
    assert pod.exit_code == 0
    assert "server stops: 0 sockets still open, 0 requests unanswered" in pod.log


def test_a_request_is_answered_though_its_client_has_finished_sending(pods: Deployment[Pod]) -> None:
    pod = pods.servers[0]
    one = f"GET /user/ HTTP/1.1\r\nHost: {HOST}:{pod.port}\r\n\r\n".encode()
    for requests in (one, one * 3):
        with socket.create_connection((HOST, pod.port), SOON) as client:
            client.sendall(requests)
            client.shutdown(socket.SHUT_WR)
            answer = client.makefile("rb").read()  # and the server closes the connection when all is answered
        assert answer.count(b"HTTP/1.1 200 OK\r\n") == len(requests) // len(one)
    with socket.create_connection((HOST, pod.port), SOON) as client:
        client.sendall(one[:-2])
        client.shutdown(socket.SHUT_WR)
        assert client.makefile("rb").read() == b""


@pytest.mark.parametrize("environment", [{"SHUTDOWN_TIMEOUT": "3600"}])
async def test_a_second_signal_ends_the_process_at_once(pods: Deployment[Pod]) -> None:
    pod = pods.servers[0]
    async with visitor(pod.websocket_url), visitor(pod.websocket_url):
        await drains(pod)
        pod.send_signal(signal.SIGTERM)
        # Otherwise the second of the two connections would be sent elsewhere after 22 minutes.
        await eventually(lambda: ended(pod), "the process ends")
    assert "second signal: server stops at once" in pod.log
    assert "sockets still open" not in pod.log


async def test_sighup_drains_like_sigterm(pods: Deployment[Pod]) -> None:
    pod = pods.servers[0]
    async with visitor(pod.websocket_url) as page:
        pod.send_signal(signal.SIGHUP)
        frames, code = await page.until_closed()
        assert (frames[-1]["type"], code) == ("serverShutdown", 4001)
    await eventually(lambda: ended(pod), "the process ends")
    assert pod.exit_code == 0


DRAIN = {"Host": "127.0.0.1:8081", "X-Messaging-Drain": "1"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "127.0.0.1:8081", "Origin": "https://evil.example"},  # a form of a web page
        DRAIN | {"Origin": "https://evil.example"},
        DRAIN | {"Host": "evil.example:8081"},  # whose name leads to this machine
        DRAIN | {"Host": "evil.example:8081", "Origin": "http://evil.example:8081"},
        {"Host": "127.0.0.1:8081"},
    ],
)
async def test_a_web_page_on_the_same_machine_can_not_stop_a_server(
    pods: Deployment[Pod], headers: dict[str, str]
) -> None:
    pod = pods.servers[0]
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    for method in ("POST", "OPTIONS"):
        with socket.create_connection((HOST, pod.health_port), SOON) as page:
            page.sendall(f"{method} /drain HTTP/1.1\r\n{lines}Content-Length: 0\r\n\r\n".encode())
            assert page.makefile("rb").readline() == b"HTTP/1.1 404 Not Found\r\n"
    assert probe(pod, "/ready")[1]["draining"] is False


async def test_messaging_drain_drains_and_returns_when_the_server_has_ended(pods: Deployment[Pod]) -> None:
    pod = pods.servers[0]
    async with visitor(pod.websocket_url) as page:
        behind_a_proxy = pod.environment | {"http_proxy": "http://127.0.0.1:9"}  # which the command does not use
        drained = asyncio.create_task(asyncio.to_thread(manage, behind_a_proxy, "messaging_drain"))
        frames, code = await page.until_closed()
        assert (frames[-1]["type"], code) == ("serverShutdown", 4001)
    assert await drained == "The server has stopped.\n"
    await eventually(lambda: ended(pod), "the process ends")


@pytest.mark.parametrize(
    "environment", [{"DJANGO_SETTINGS_MODULE": "tests.support.faulty_settings", "RATE_LIMIT_VISITOR": "5/2"}]
)
async def test_a_fault_of_the_service_closes_its_connection_with_1011_and_is_logged(pods: Deployment[Pod]) -> None:
    pod = pods.servers[0]
    async with visitor(pod.websocket_url) as page, visitor(pod.websocket_url) as other:
        await page.send("sendMessage", id=new_id(), content="hello")
        assert await page.until_closed() == ([], 1011)
        assert await other.until_pong() == []
    lines = [json.loads(line) for line in pod.log.splitlines()]
    faults = [line for line in lines if "a fault of the limiter" in line["message"]]
    assert [(line["level"], line["logger"]) for line in faults] == [("ERROR", "daphne.server")]


async def test_a_header_does_not_move_the_application(pods: Deployment[Pod]) -> None:
    pod = pods.servers[0]
    headers = {"Daphne-Root-Path": "/evil"}
    status, url, _ = await asyncio.to_thread(fetch, f"{pod.origin}/", **headers)
    assert (status, url) == (200, f"{pod.origin}/user/")
    async with websocket(pod.websocket_url, proxy=None, additional_headers=headers) as page:
        assert json.loads(await page.recv())["type"] == "connection"


def test_probes_are_not_on_the_applications_port(pods: Deployment[Pod]) -> None:
    pod = pods.servers[0]
    for path in ("/health", "/ready", "/metrics", "/drain"):
        assert fetch(f"{pod.origin}{path}")[0] == 404
    assert probe(pod, "/nothing")[0] == 404
    assert probe(pod, "/drain")[0] == 404  # GET does not stop a server
