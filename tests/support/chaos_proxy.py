"""A bad network between clients and servers."""

import asyncio
import random
import re
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

from tests.support.services import HOST, free_port

Address = tuple[str, int]

# An unmasked text frame of 126 to 65,535 bytes (RFC 6455 section 5.2) that is an ack.
ACK_FRAME = re.compile(rb'\x81\x7e..\{"type":"ack"[^}]*\}', re.DOTALL)


class ChaosProxy:
    """A proxy that forwards TCP connections to `backends`, chosen at random, and disturbs them as networks do.

    It runs in a thread with an event loop of its own, so asyncio tests and synchronous ones use it alike. These
    attributes may be set at any time: `backends` (of new connections), `latency` (seconds, each way), `blackhole`
    (bytes vanish, connections stay open), `refusing` (new connections are closed at once) and `acks_to_steal` (the
    number of ack frames that do not arrive, while everything else does).
    """

    def __init__(self, backends: Sequence[Address], seed: int = 1) -> None:
        self.port = free_port()
        self.latency = 0.0
        self.blackhole = False
        self.refusing = False
        self.acks_to_steal = 0
        self.cuts = 0
        self._accepted = self._silenced = 0  # connections are numbered; those up to `_silenced` are silent
        self.backends = list(backends)
        self._random = random.Random(seed)
        self._live: set[asyncio.Task[None]] = set()
        self._cutter: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-proxy")

    @property
    def websocket_url(self) -> str:
        return f"ws://{HOST}:{self.port}/ws"

    def __enter__(self) -> "ChaosProxy":
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._accept, HOST, self.port))
        return self

    def __exit__(self, *exception: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start_cutting(self, longest_pause: float = 0.12) -> None:
        """Start cutting a random live connection every 0 to `longest_pause` seconds."""
        self._call(self._start_cutter(longest_pause))

    def stop_cutting(self) -> None:
        self._call(self._stop_cutter())

    def cut_any(self) -> None:
        """Cut a random live connection, if there is one."""
        self._call(self._cut(self._any()))

    def cut_all(self) -> None:
        self._call(self._cut(list(self._live)))

    def silence_all(self) -> None:
        """Stop carrying anything on the present connections, even their end; new ones work normally."""
        self._silenced = self._accepted

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _start_cutter(self, longest_pause: float) -> None:
        self._cutter = asyncio.create_task(self._cut_for_ever(longest_pause))

    async def _stop_cutter(self) -> None:
        if self._cutter:
            await _cancelled(self._cutter)
            self._cutter = None

    async def _cut_for_ever(self, longest_pause: float) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(0, longest_pause))
            await self._cut(self._any())

    def _any(self) -> list[asyncio.Task[None]]:
        return self._random.sample(list(self._live), min(1, len(self._live)))

    async def _cut(self, connections: Sequence[asyncio.Task[None]]) -> None:
        self.cuts += len(connections)
        await _cancelled(*connections)

    async def _close(self) -> None:
        await self._stop_cutter()
        self.refusing = True
        self._server.close()
        await _cancelled(*self._live)
        await self._server.wait_closed()
        for _ in range(3):  # connections that were just accepted become tasks, are refused and end
            await asyncio.sleep(0)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._live.add(connection)
        try:
            if not self.refusing:
                await self._forward(reader, writer)
                writer.close()
        except* (OSError, asyncio.CancelledError):
            pass  # one end is gone, or the connection was cut
        finally:
            self._live.discard(connection)
            if not writer.is_closing():
                writer.transport.abort()  # undelivered data is lost, as in a real cut

    async def _forward(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._accepted += 1
        number = self._accepted
        server, to_server = await asyncio.open_connection(*self._random.choice(self.backends))
        try:
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(self._pump(number, client, to_server))
                both_ways.create_task(self._pump(number, server, to_client))
        finally:
            to_server.transport.abort()

    async def _pump(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if self.latency:
                await asyncio.sleep(self.latency)
            if self.acks_to_steal:
                data, stolen = ACK_FRAME.subn(b"", data, count=self.acks_to_steal)
                self.acks_to_steal -= stolen
            if not self._vanishes(number):
                writer.write(data)
                await writer.drain()
        if not self._vanishes(number):
            writer.write_eof()

    def _vanishes(self, number: int) -> bool:
        return self.blackhole or number <= self._silenced


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    """Cancel `tasks` and wait for their end."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
