"""The behaviour of the chaos proxy, which is a bad network for other tests."""

import asyncio
import contextlib
import socketserver
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.chaos_proxy import ChaosProxy
from tests.support.services import HOST, free_port


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65_536):
                self.request.sendall(data)


@pytest.fixture
def proxy() -> Iterator[ChaosProxy]:
    with socketserver.ThreadingTCPServer((HOST, free_port()), Echo) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        with ChaosProxy([(HOST, server.server_address[1])]) as proxy:
            yield proxy
        server.shutdown()


@contextlib.asynccontextmanager
async def connected(proxy: ChaosProxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(HOST, proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_it_forwards_both_ways_and_to_the_end(proxy: ChaosProxy) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"hello" * 100_000)
        writer.write_eof()
        assert await reader.read(-1) == b"hello" * 100_000


async def test_latency_is_added_each_way(proxy: ChaosProxy) -> None:
    async with connected(proxy) as (reader, writer):
        proxy.latency = 0.05
        began = time.monotonic()
        writer.write(b"hello")
        assert await reader.read(5) == b"hello"
        assert time.monotonic() - began >= 0.1


async def test_a_black_hole_swallows_bytes_and_keeps_the_connection(proxy: ChaosProxy) -> None:
    async with connected(proxy) as (reader, writer):
        proxy.blackhole = True
        writer.write(b"lost")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.read(1)
        proxy.blackhole = False
        writer.write(b"found")
        assert await reader.read(5) == b"found"


async def test_silenced_connections_carry_nothing_not_even_their_end_and_new_ones_do(proxy: ChaosProxy) -> None:
    async with connected(proxy) as (reader, writer), connected(proxy) as (_, other):
        for old in (writer, other):
            old.write(b"hello")
        assert await reader.read(5) == b"hello"
        proxy.silence_all()
        writer.write(b"lost")
        other.close()
        async with connected(proxy) as (new_reader, new_writer):
            new_writer.write(b"found")
            assert await new_reader.read(5) == b"found"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.read(1)


async def test_it_steals_an_ack_and_nothing_else(proxy: ChaosProxy) -> None:
    ack = b'\x81\x7e\0\x80{"type":"ack","id":"' + b"x" * 106 + b'"}'
    async with connected(proxy) as (reader, writer):
        proxy.acks_to_steal = 1
        writer.write(b"before" + ack + b"after" + ack)
        assert await reader.read(1000) == b"beforeafter" + ack
        assert proxy.acks_to_steal == 0


async def test_it_refuses_new_connections_and_keeps_the_old_ones(proxy: ChaosProxy) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"one")
        assert await reader.read(3) == b"one"
        proxy.refusing = True
        async with connected(proxy) as (refused, _):
            assert await refused.read(1) == b""
        writer.write(b"two")
        assert await reader.read(3) == b"two"


@pytest.mark.parametrize("how", ["all at once", "at random"])
async def test_cut_connections_end(how: str, proxy: ChaosProxy) -> None:
    async with connected(proxy) as (one, writer), connected(proxy) as (other, _):
        writer.write(b"hello")
        assert await one.read(5) == b"hello"
        proxy.cut_all() if how == "all at once" else proxy.start_cutting(longest_pause=0.02)
        for reader in (one, other):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read(1) == b""
        proxy.stop_cutting()
        assert proxy.cuts == 2
