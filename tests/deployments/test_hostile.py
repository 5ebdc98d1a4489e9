"""Hostile clients: their cost to the server is bounded, and no other client waits for them."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed

from tests.support.attacker import ATTACKS
from tests.support.connections import Frame, error, visitor
from tests.support.deployments import Kubernetes, Pod, probe
from tests.support.metrics import value
from tests.support.paths import ROOT
from tests.support.raw_http import largest_file
from tests.support.redis_services import Redis
from tests.support.services import HOST
from tests.support.waiting import SOON, eventually

pytestmark = pytest.mark.slow

CROWD = 20
PINGS = 50  # per client, one after another
TURN_SECONDS = 0.02  # of processor time; the longest turns that were seen took 0.004
# Rate limits are on, as in production, with room for the messages that `attack` writes first. Without a limit, a fast
# sender would mainly cause commits.
LIMITS = {"RATE_LIMIT_VISITOR": "70/2"}


class WatchedPod(Pod):
    """A pod that reports how long the turns of its event loop take."""

    @property
    def turns(self) -> Path:
        return self.directory / "turns"

    def command(self) -> Sequence[str]:
        self.environment["TURNS"] = str(self.turns)
        self.environment.pop("COVERAGE_PROCESS_CONFIG", None)  # measuring coverage takes processor time
        return [sys.executable, "-m", "tests.support.watched_server"]


ACCEPTED = ("messaging_messages_total", "accepted", "user")


@pytest.fixture
def limits() -> dict[str, str]:
    return {}


@pytest.fixture
def pod(kubernetes: Kubernetes, redis_server: Redis, limits: dict[str, str]) -> Iterator[WatchedPod]:
    with kubernetes.deployed(redis_server.url, limits, pods=1, make=WatchedPod, MAX_CONNECTIONS="1000") as deployment:
        (pod,) = deployment.servers
        assert isinstance(pod, WatchedPod)
        yield pod
        assert "Traceback" not in pod.log


def resident(pod: Pod) -> float:
    """Return the memory that the process holds, in MiB."""
    status = Path(f"/proc/{pod.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


class Attacker:
    """A process of hostile clients; all of them have closed their connections when `end` returns."""

    def __init__(self, kind: str, pod: Pod, token: str = "") -> None:
        self.kind = kind
        path, _ = largest_file(pod)
        command = [sys.executable, "-m", "tests.support.attacker", kind, str(pod.port), path, token]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout

    async def begin(self) -> None:
        """Return when each of the clients has attacked once."""
        assert await asyncio.to_thread(self._say) == "begun\n"

    async def end(self) -> None:
        assert await asyncio.to_thread(self._say) == "ended\n"

    def _say(self) -> str:
        self._input.write("\n")
        return self._output.readline()

    def close(self) -> None:
        self._process.kill()
        with self._process:
            pass


@pytest.fixture
async def attack(request: pytest.FixtureRequest, pod: WatchedPod) -> AsyncIterator[Attacker]:
    async with visitor(pod.websocket_url) as page:
        for number in range(60):
            await page.say(f"{number} " + "x" * 1900)
    attacker = Attacker(request.param, pod, page.token)
    yield attacker
    attacker.close()


async def peak_growth(pod: Pod, attack: Attacker, done: Callable[[], bool]) -> float:
    """Return by how many MiB at most the process grows until `done`, while another visitor uses it."""
    before = peak = resident(pod)
    await attack.begin()
    async with visitor(pod.websocket_url) as page:
        while not done():
            assert await page.until_pong() == []
            peak = max(peak, resident(pod))
            await asyncio.sleep(0.05)
        await attack.end()
        assert await page.until_pong() == []
    return peak - before


@pytest.mark.parametrize("attack", ["reader"], indirect=True)
async def test_a_reader_that_reads_nothing_costs_bounded_memory_and_is_closed(
    attack: Attacker, pod: WatchedPod
) -> None:
    assert await peak_growth(pod, attack, lambda: "reader stalled" in pod.log or "reader too slow" in pod.log) < 16


@pytest.mark.parametrize("attack", ["pings_unread"], indirect=True)
async def test_pongs_that_nobody_reads_cost_bounded_memory(attack: Attacker, pod: WatchedPod) -> None:
    """Run until both attackers are closed; a server without a limit would go on to buffer pongs for them until then."""
    assert await peak_growth(pod, attack, lambda: pod.log.count("reader stalled") >= 2) < 16


@pytest.mark.parametrize("attack", ["sender"], indirect=True)
async def test_a_sender_that_is_faster_than_its_handler_costs_bounded_memory(attack: Attacker, pod: WatchedPod) -> None:
    """Run until 200 messages are committed; a server that reads on meanwhile would hold 200 MB of further messages."""
    before = value(pod, *ACCEPTED)
    assert await peak_growth(pod, attack, lambda: value(pod, *ACCEPTED) > before + 200) < 16


STALLED = ("messaging_outbound_drops_total", "stalled")


@pytest.mark.parametrize(("attack", "clients"), [("unread_files", 20), ("unread_file", 300)], indirect=["attack"])
async def test_answers_that_nobody_reads_cost_bounded_memory_and_are_dropped(
    attack: Attacker, clients: int, pod: WatchedPod
) -> None:
    """Run until as many connections as attack at once were dropped: what they are sent is up to 100 MB."""
    open_before = psutil.Process(pod.pid).num_fds()
    assert await peak_growth(pod, attack, lambda: value(pod, *STALLED) >= clients) < 16
    await eventually(lambda: psutil.Process(pod.pid).num_fds() <= open_before, "no connection is left")


@pytest.mark.parametrize("attack", ["body", "endless_body", "trailers", "headers"], indirect=True)
async def test_a_request_without_end_costs_bounded_memory(attack: Attacker, pod: WatchedPod) -> None:
    ends = time.monotonic() + 5
    assert await peak_growth(pod, attack, lambda: time.monotonic() > ends) < 16


SENT = 20 * 1024 * 1024
CHUNK = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
LONG_BODIES = {
    "a length": (b"Content-Length: %d" % SENT, b"x" * SENT),
    "a length that is a lie": (b"Content-Length: 9999999999", b"x" * SENT),
    "chunks": (b"Transfer-Encoding: chunked", CHUNK * (SENT // len(CHUNK)) + b"0\r\n\r\n"),
    "chunks without end": (b"Transfer-Encoding: chunked", CHUNK * (SENT // len(CHUNK))),
    "nothing before 100": (b"Content-Length: %d\r\nExpect: 100-continue" % SENT, b""),
}


@pytest.mark.parametrize("what", LONG_BODIES)
def test_a_body_over_64_kib_gets_413_on_every_path_even_if_the_client_sends_it_all_before_it_reads(
    what: str, pod: WatchedPod
) -> None:
    header, body = LONG_BODIES[what]
    before = resident(pod)
    for port, path in [
        *((pod.port, path) for path in ("/user/", "/admin/login/", "/static/messaging/view.js", "/ws", "/nothing")),
        (pod.health_port, "/health"),
        (pod.health_port, "/drain"),
    ]:
        with socket.create_connection((HOST, port), SOON) as client:
            client.sendall(b"POST %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % (path.encode(), header))
            client.sendall(body)
            with client.makefile("rb") as answer:
                assert answer.readline() == b"HTTP/1.1 413 Content Too Large\r\n"
                assert answer.read().endswith(b"\r\n\r\nThe body of a request may have at most 65536 bytes.\n")
    assert resident(pod) - before < 8


def test_a_head_over_16_kib_gets_431(pod: WatchedPod) -> None:
    for line in (b"GET /" + b"x" * 100_000 + b" HTTP/1.1", b"GET / HTTP/1.1\r\nCookie: " + b"x" * 100_000):
        with socket.create_connection((HOST, pod.port), SOON) as client:
            client.sendall(line + b"\r\n\r\n")
            with client.makefile("rb") as answer:
                assert answer.readline() == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"


async def test_a_message_in_64_fragments_is_served_and_one_in_more_is_closed(pod: WatchedPod) -> None:
    async with websocket(pod.websocket_url, proxy=None) as page:
        await page.recv()
        await page.send(['{"action":"ping"}', *[" "] * 62])  # and an empty one, as the last
        assert json.loads(await page.recv())["type"] == "pong"
        await page.send(['{"action":"ping"}', *[" "] * 63])
        await page.wait_closed()
        assert page.close_code == 4400


@pytest.mark.parametrize("limits", [{"MESSAGE_SECONDS": "2"}], ids=["short"])
async def test_a_message_that_does_not_end_is_closed_though_pings_go_on(pod: WatchedPod) -> None:
    async def unfinished() -> AsyncIterator[str]:
        yield '{"action":'
        await page.wait_closed()

    async with websocket(pod.websocket_url, proxy=None) as page:
        await page.recv()
        await page.send('{"action":"ping"}')  # a client that sends no frame for 10 s is closed with the same code
        await page.recv()
        sending = asyncio.create_task(page.send(unfinished()))
        with contextlib.suppress(ConnectionClosed):
            while True:
                await (await page.ping())
                await asyncio.sleep(0.1)
        assert page.close_code == 4408
        await asyncio.gather(sending, return_exceptions=True)


LONG_LINE = b"GET /" + b"w" * 4_000 + b" HTTP/1.1\r\n"
DRIPPED = {
    "a request line": (b"", LONG_LINE + b"Host: localhost\r\n\r\n"),
    "headers": (b"GET /ws HTTP/1.1\r\nHost: localhost\r\n", b"X-Drip: 1\r\n" * 400),
    "a body": (b"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n", b"x" * 9_999),
    "a later request line": (b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", LONG_LINE),
}


async def test_whatever_drips_in_byte_by_byte_is_cut(pod: WatchedPod) -> None:
    """If each byte restarted the time limit, these requests would last longer than a test may take.

    tests/unit/test_server_http.py tests the exact time at which they are cut.
    """

    async def drip(begun: bytes, dripped: bytes) -> bool:
        reader, writer = await asyncio.open_connection(HOST, pod.port)
        writer.write(begun)
        if dripped is LONG_LINE:
            assert (await reader.readuntil(b"</html>\n")).startswith(b"HTTP/1.1 404")
        gone = asyncio.create_task(reader.read())
        with contextlib.suppress(ConnectionError):
            for byte in dripped:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.wait({gone}, timeout=0.1)
                if gone.done():
                    break
        writer.close()
        return gone.done()

    assert await asyncio.gather(*(drip(*what) for what in DRIPPED.values())) == [True] * len(DRIPPED)


async def test_1100_connections_are_1000_served_ones_and_100_that_are_told_to_come_back(pod: WatchedPod) -> None:
    async with contextlib.AsyncExitStack() as stack:
        few = asyncio.Semaphore(10)  # at a time: a client that reads the close too late finds the connection reset

        async def connected() -> tuple[Frame, int | None]:
            async with few:
                page = await stack.enter_async_context(
                    websocket(pod.websocket_url, proxy=None, ping_interval=None, open_timeout=60)
                )
                first = json.loads(await page.recv())
                if first["type"] == "connection":
                    await page.send('{"action":"ping"}')  # a client that sends nothing for 10 s is closed
                    assert json.loads(await page.recv())["type"] == "pong"
                    return {"type": "connection"}, None
                await page.wait_closed()
                return first, page.close_code

        told = await asyncio.gather(*(connected() for _ in range(1_100)))
        refused = (error("unavailable", scope="server", retryAfterMs=1000), 4013)
        assert [told.count(({"type": "connection"}, None)), told.count(refused)] == [1_000, 100]


@pytest.mark.parametrize("limits", [LIMITS], ids=["limited"])
@pytest.mark.parametrize("attack", ATTACKS, indirect=True)
async def test_others_do_not_wait_for_a_hostile_client(attack: Attacker, pod: WatchedPod) -> None:
    """Each client waits for the current turn of the event loop, so no turn may take long.

    Turns are measured in the server's own processor time, which excludes other processes on this machine.
    """
    async with contextlib.AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(websocket(pod.websocket_url, proxy=None)) for _ in range(CROWD)]
        for page in crowd:
            await page.send('{"action":"identify","type":"user"}')
            assert [json.loads(await page.recv())["type"] for _ in range(2)] == ["connection", "identified"]
        await attack.begin()
        await turns(pod)
        await ping(crowd)
        attacked = await turns(pod)
        await attack.end()
    assert max(attacked) < TURN_SECONDS
    assert await asyncio.to_thread(probe, pod, "/health") == (200, {"status": "alive"})


async def ping(crowd: list[ClientConnection]) -> None:
    """Send PINGS pings from each of `crowd`, each one after the answer to the one before."""

    async def ping_on(page: ClientConnection) -> None:
        for _ in range(PINGS):
            await page.send('{"action":"ping"}')
            assert json.loads(await page.recv())["type"] == "pong"

    await asyncio.gather(*map(ping_on, crowd))


async def turns(pod: WatchedPod) -> list[float]:
    """Return the turns of the server's event loop since the last call, in seconds of processor time."""
    pod.turns.unlink(missing_ok=True)
    pod.send_signal(signal.SIGUSR1)
    await eventually(pod.turns.exists, "the turns are written")
    seconds: list[float] = json.loads(pod.turns.read_text())
    return seconds
