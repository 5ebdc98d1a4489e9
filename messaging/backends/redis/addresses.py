"""The number of sockets of each client address, over several pods."""

import asyncio
import contextlib
from uuid import uuid4

from messaging.backends.memory import MemoryAddresses
from messaging.backends.redis.client import RedisClient
from messaging.backends.redis.timeouts import ADDRESSES_SECONDS, HANDSHAKE_SECONDS
from messaging.background import lasting
from messaging.service.contracts import StoreUnavailable

KEEP_SECONDS = 24 * 3600  # pseudonyms change every day
BATCH = 500  # addresses per pipeline: Redis serves no other client meanwhile

# A process's sign of life, which also removes its previous name. The clock is that of Redis: pods' clocks may differ.
_BEAT = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1e6
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
if ARGV[2] ~= ARGV[1] then redis.call('ZREM', KEYS[1], ARGV[2]) end
local new = redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return {new, redis.call('ZRANGE', KEYS[1], 0, -1)}
"""
_COUNT = """
if ARGV[2] == '0' then
    redis.call('HDEL', KEYS[1], ARGV[1])
else
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    redis.call('EXPIRE', KEYS[1], ARGV[3])
end
return redis.call('HGETALL', KEYS[1])
"""


class RedisAddresses(MemoryAddresses):
    """Layout (each script has one key, so that it works on Redis Cluster too):

    - `sockets:{address}`: hash of the number of sockets of each process, by the name of the process
    - `sockets:processes`: sorted set of the names, scored by their last sign of life, seconds since 1970

    Counts are set, not incremented, and those of a process without a sign of life are ignored, so errors do not last.
    After an outage a process takes a new name and writes all its counts; it also writes them all if Redis has lost its
    name. All changes during a pipeline share the next one, so 1,000 handshakes at once cost only a few pipelines.

    `prefix`: of all these keys. `timeout`: seconds for one command. `beat`: seconds between two signs of life of a
    process. `lost`: seconds without a sign of life after which the sockets of a process no longer count. `patience`:
    seconds for which a handshake waits for the other processes' counts.
    """

    def __init__(
        self,
        *,
        url: str,
        password: str | None = None,
        prefix: str = "",
        timeout: float = ADDRESSES_SECONDS,
        beat: float = 5,
        lost: int = 15,
        patience: float = HANDSHAKE_SECONDS,
    ) -> None:
        super().__init__()
        self._beat = beat
        self._lost = lost
        self._patience = patience
        self._prefix = prefix
        beats, counts = self._key("probe"), self._key("probe:counts")
        self._client = RedisClient(
            url,
            password,
            timeout=timeout,
            purpose="addresses",
            rehearsal=(
                ("EVAL", _BEAT, 1, beats, "probe", "probe", 1),
                ("EVAL", _COUNT, 1, counts, "probe", 1, 1),
                ("DEL", beats),
                ("DEL", counts),
            ),
        )
        self._name = self._known_name = uuid4().hex  # the name to write under, the name that Redis may still hold
        self._changed: dict[str, asyncio.Future[int]] = {}  # address -> number of its sockets elsewhere
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def enter(self, address: str, socket: str) -> int:
        here = self.enter_now(address, socket)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                # Other handshakes may wait for the same answer: a time-out here must not cancel it.
                return here + await asyncio.shield(self._change(address))
        return here

    async def leave(self, address: str, socket: str) -> None:
        self.leave_now(address, socket)
        self._change(address)

    def _key(self, name: str) -> str:
        return f"{self._prefix}sockets:{name}"

    async def rehearse(self) -> None:
        await self._client.rehearse()

    async def close(self) -> None:
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task  # writes the counts of sockets that have left
        await self._client.close()

    def _change(self, address: str) -> asyncio.Future[int]:
        if self._task is None:
            self._task = asyncio.create_task(lasting(self._run))
        self._wake.set()
        return self._changed.setdefault(address, asyncio.get_running_loop().create_future())

    async def _run(self) -> None:
        while self._changed or not self._closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._beat):
                    await self._wake.wait()
            batch = dict(list(self._changed.items())[:BATCH])
            for address in batch:
                del self._changed[address]
            if not self._changed:
                self._wake.clear()
            elsewhere = await self._tell(list(batch))
            for address, answer in batch.items():
                answer.set_result(elsewhere.get(address, 0))

    async def _tell(self, addresses: list[str]) -> dict[str, int]:
        """Write this process's counts of `addresses`. Return those of other processes; {} if Redis is down."""
        counts = [(address, len(self._open.get(address, ()))) for address in addresses]
        try:
            (new, alive), *rows = await self._client.run(
                ("EVAL", _BEAT, 1, self._key("processes"), self._name, self._known_name, self._lost),
                *(("EVAL", _COUNT, 1, self._key(one), self._name, count, KEEP_SECONDS) for one, count in counts),
            )
        except StoreUnavailable:
            self._name = uuid4().hex  # it is unknown what was written under the old one
            return {}
        self._known_name = self._name
        if new:
            for address in self._open:
                self._change(address)
        others = set(alive) - {self._name.encode()}
        return {
            address: sum(int(count) for process, count in zip(row[::2], row[1::2], strict=True) if process in others)
            for address, row in zip(addresses, rows, strict=True)
        }
