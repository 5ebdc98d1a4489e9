"""The limits of an HTTP connection, in time on a clock that the test advances, and in bytes."""

import itertools
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from messaging_site.server.answers import LEAST_BYTES, STALL_SECONDS, Answers
from messaging_site.server.http import IDLE_SECONDS, LINGER_SECONDS, REQUEST_SECONDS, Channel, Request

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
DRIPPED = {
    "a request line": (b"", b"GET /" + b"w" * 999),
    "headers": (b"GET / HTTP/1.1\r\n", b"X-Drip: 1\r\n" * 99),
    "a body": (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n", b"x" * 998),
    "a later request line": (GET, b"GET /" + b"w" * 999),
}


class Answered(Request):
    """A request that is answered as soon as it has arrived."""

    size = 5

    def process(self) -> None:
        self.write(b"x" * self.size)
        self.finish()


SERVER = SimpleNamespace(
    protocol_connected=lambda request: None,
    protocol_disconnected=lambda request: None,
    log_action=lambda *_: None,
    server_name="",
)


class InParts(Request):
    """A request whose application answers in two parts."""

    client_addr = None

    def process(self) -> None:
        self.handle_reply({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        self.handle_reply({"type": "http.response.body", "body": b"one", "more_body": True})
        self.handle_reply({"type": "http.response.body", "body": b"two"})


class Transport(StringTransport):
    """A transport whose client reads as much as the test says; Twisted's own reads all at once."""

    disconnecting: bool
    disconnected: bool

    def __init__(self, *, reads: bool = True) -> None:
        super().__init__(lenient=True)  # type: ignore[no-untyped-call]
        self.reads = reads
        self.read = b""
        self.channel: Any = None
        self.dataBuffer, self.offset, self._tempDataBuffer, self._tempDataLen = b"", 0, [b""], 0
        self.producerPaused = self.half_closed = False

    def write(self, data: bytes) -> None:
        self.dataBuffer += data
        if self.reads:
            self.take(len(self.dataBuffer))

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def take(self, number: int) -> None:
        """Let the client read `number` bytes."""
        self.read, self.dataBuffer = self.read + self.dataBuffer[:number], self.dataBuffer[number:]
        if not self.dataBuffer and self.producerPaused:
            self.producerPaused = False
            self.channel.resumeProducing()

    def loseWriteConnection(self) -> None:
        self.half_closed = True


class Client:
    """A connection to a Channel on a clock that the test advances. `reads`: read all answers as they come."""

    def __init__(self, *, reads: bool = True, answers: Answers | None = None, size: int = 5) -> None:
        new_channel: Any = Channel  # Twisted has no types for these
        self.clock, self.transport, self.channel = Clock(), Transport(reads=reads), new_channel()
        self.channel.requestFactory = type("Sized", (Answered,), {"size": size})
        self.channel.callLater = self.clock.callLater
        self.channel.answers = answers or Answers()
        self.channel.factory = SimpleNamespace(server=SERVER, log=lambda request: None)
        self.transport.channel = self.channel
        self.channel.makeConnection(self.transport)

    @property
    def is_cut(self) -> bool:
        return self.transport.disconnecting

    def send(self, data: bytes) -> None:
        self.channel.dataReceived(data)

    def advance(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)

    def answers(self) -> int:
        """Return the number of answers since the last call."""
        number = self.transport.read.count(b"HTTP/1.1 200 OK")
        self.transport.read = b""
        return number


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.mark.parametrize("pause", [0.1, 1, 9])
@pytest.mark.parametrize("what", DRIPPED)
def test_a_request_that_drips_in_is_cut_when_its_time_is_over_and_not_before(
    what: str, pause: float, client: Client
) -> None:
    begun, dripped = DRIPPED[what]
    client.send(begun)
    began = client.clock.seconds()
    for byte in dripped:
        client.send(bytes([byte]))
        left = began + REQUEST_SECONDS - client.clock.seconds()
        if left <= pause:
            client.clock.advance(left - 0.001)
            assert not client.is_cut
            client.clock.advance(0.002)
            break
        client.clock.advance(pause)
        assert not client.is_cut
    assert client.is_cut


def test_a_client_that_sends_nothing_is_cut(client: Client) -> None:
    client.clock.advance(REQUEST_SECONDS - 0.001)
    assert not client.is_cut
    client.clock.advance(0.002)
    assert client.is_cut


def test_a_connection_may_rest_between_two_requests_for_longer_than_one_may_take(client: Client) -> None:
    assert IDLE_SECONDS > REQUEST_SECONDS
    for _ in range(3):
        client.send(GET)
        assert client.answers() == 1
        client.clock.advance(IDLE_SECONDS - 0.001)
        assert not client.is_cut
    client.clock.advance(0.002)
    assert client.is_cut


def test_a_client_that_reads_too_little_of_its_answer_is_dropped() -> None:
    client = Client(reads=False, size=100_000)
    client.send(GET)
    client.advance(STALL_SECONDS - 1)
    client.transport.take(LEAST_BYTES - 1)
    assert not client.is_cut
    client.advance(1)
    assert client.is_cut
    assert client.channel.unread == 0


def test_a_client_that_reads_slowly_but_steadily_gets_its_answer() -> None:
    client = Client(reads=False, size=20 * LEAST_BYTES)
    client.send(GET)
    while client.transport.dataBuffer:
        client.transport.take(LEAST_BYTES)
        client.advance(STALL_SECONDS - 1)
        assert not client.is_cut
    client.advance(STALL_SECONDS)
    assert not client.is_cut
    assert client.answers() == 1


def test_the_next_request_begins_when_the_answer_to_the_last_one_is_read() -> None:
    client = Client(reads=False)
    client.send(GET * 3)
    for number in itertools.count(1):
        waiting = client.transport.dataBuffer
        assert waiting.count(b"HTTP/1.1 200 OK") == 1
        client.transport.take(len(waiting) - 1)
        client.send(b"")
        assert len(client.transport.dataBuffer) == 1
        client.transport.take(1)
        if number == 3:
            break
    assert client.transport.dataBuffer == b""
    assert client.answers() == 3


def test_when_too_much_waits_those_that_read_least_are_dropped_first() -> None:
    answers = Answers(limit=34_000)
    stalled, slow, fast = (Client(reads=False, answers=answers, size=10_000) for _ in range(3))
    stalled.send(GET)
    slow.send(GET)
    slow.transport.take(5_000)
    stalled.advance(1)
    fast.send(GET)
    assert (stalled.is_cut, slow.is_cut, fast.is_cut) == (False, False, False)
    last = Client(reads=False, answers=answers, size=10_000)
    last.send(GET)
    assert (stalled.is_cut, slow.is_cut, fast.is_cut, last.is_cut) == (True, False, False, False)


POST = b"POST / HTTP/1.1\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
HALF = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"  # of the largest body, as a chunk
LONG = b"x: " + b"y" * 40 + b"\r\n"
REFUSED = {
    "a long body": (POST + b"Content-Length: 65537\r\n\r\n", b"413 "),
    "a body that waits for 100": (POST + b"Content-Length: 65537\r\nExpect: 100-continue\r\n\r\n", b"413 "),
    "a length of 5,000 digits": (POST + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n", b"413 "),
    "a chunked body": (CHUNKED + HALF * 2 + b"1\r\nx\r\n0\r\n\r\n", b"413 "),
    "trailers": (CHUNKED + b"0\r\n" + b"x: y\r\n" * 200 + b"\r\n", b"400 "),
    "a long line": (b"GET /" + b"x" * 17_000 + b" HTTP/1.1\r\n\r\n", b"431 "),
    "long headers": (b"GET / HTTP/1.1\r\n" + LONG * 1_000 + b"\r\n", b"431 "),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 101 + b"\r\n", b"431 "),
    "two lengths": (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400 "),
    "nonsense": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"400 "),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_request_that_is_too_large_or_malformed_is_refused_once_and_the_rest_of_it_dropped(
    what: str, client: Client
) -> None:
    request, status = REFUSED[what]
    for start in range(0, len(request), 4096):
        client.send(request[start : start + 4096])
    client.send(b"x" * 1_000_000 + b"\r\n\r\n" + GET)
    head, _, text = client.transport.read.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert head.endswith(b"Content-Length: %d" % len(text))
    assert client.transport.read.count(b"HTTP/1.1") == 1
    assert (client.transport.half_closed, client.is_cut) == (True, False)
    client.clock.advance(LINGER_SECONDS)
    assert client.is_cut


@pytest.mark.parametrize(
    "request_",
    [
        POST + b"Content-Length: 65536\r\n\r\n" + b"x" * 65_536,
        CHUNKED + HALF * 2 + b"0\r\nx: y\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 100 + b"\r\n",
    ],
    ids=["body", "chunks", "headers"],
)
def test_a_request_at_the_limit_is_answered(request_: bytes, client: Client) -> None:
    client.send(request_)
    assert client.answers() == 1
    assert not client.is_cut


def test_an_answer_goes_to_a_client_that_has_finished_sending() -> None:
    client = Client(reads=False)
    client.send(GET * 2)
    client.channel.readConnectionLost()
    for _ in range(2):
        assert not client.is_cut
        client.transport.take(1_000)
        client.channel.readConnectionLost()  # as Twisted does when it reads again
    assert client.is_cut
    assert client.answers() == 2


def test_an_answer_to_head_has_no_body_even_if_it_comes_in_parts(client: Client) -> None:
    client.channel.requestFactory = InParts
    client.send(GET.replace(b"GET", b"HEAD"))
    head = client.transport.read
    assert head.endswith(b"\r\n\r\n")
    client.send(GET)
    assert client.transport.read == head * 2 + b"onetwo"
