"""The time limits of an HTTP connection, during a request and between two, on a clock that the test advances."""

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.http import Request

from messaging_site.server.http import IDLE_SECONDS, REQUEST_SECONDS, Channel

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
DRIPPED = {
    "a request line": (b"", b"GET /" + b"w" * 999),
    "headers": (b"GET / HTTP/1.1\r\n", b"X-Drip: 1\r\n" * 99),
    "a body": (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n", b"x" * 998),
    "a later request line": (GET, b"GET /" + b"w" * 999),
}


class Answered(Request):
    """A request that is answered as soon as it has arrived."""

    def process(self) -> None:
        self.write(b"hello")  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]


class Client:
    """A connection to a Channel on a clock that the test advances."""

    def __init__(self) -> None:
        new_transport: Any = StringTransport  # Twisted has no types for these
        new_channel: Any = Channel
        self.clock, self.transport, self._channel = Clock(), new_transport(), new_channel()
        self._channel.callLater = self.clock.callLater
        self._channel.makeConnection(self.transport)
        self._channel.requestFactory = Answered

    @property
    def is_cut(self) -> bool:
        cut: bool = self.transport.disconnecting
        return cut

    def send(self, data: bytes) -> None:
        self._channel.dataReceived(data)

    def answers(self) -> int:
        """Return the number of answers since the last call."""
        number: int = self.transport.value().count(b"HTTP/1.1 200 OK")
        self.transport.clear()
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
