"""The load generator, a process of its own: visitors that write, admins that read.

`python -m bench.load` takes its Setup as one line of JSON, connects, prints a line; then every line with a command is
answered by one. What is sent on a schedule counts from the moment when it was due: a server can't look fast by making
the generator wait.
"""

import asyncio
import contextlib
import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict

import uvloop
from picows import WSError

from bench.exchange import Burst, Closed, Command, Grow, Open, Outcome, Reconnect, Return, Setup, decode
from bench.machine import Cores
from bench.sockets import Socket, Tally, connect

CONNECTING = 50  # handshakes at a time: daphne's backlog, as it comes
CONNECT_SECONDS = 60
RECONNECT_SECONDS = 10  # a client that came back has no answer: it tries again
GIVE_UP_SECONDS = 40
TICK = 0.001
QUIET_SECONDS = 2.0  # without any frame: what has not come by then is lost
MOST_PER_SECOND = 20_000  # of a closed loop


class Load:
    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.visitors: list[Socket] = []
        self.trials = 0

    async def connect(self) -> None:
        # Admins first: their token is good for a minute.
        token = {"token": self.setup.admin_token} if self.setup.admin_token else {}
        self.admins = await self._connect([(number, dict(token)) for number in range(self.setup.admins)])
        await self.grow(self.setup.visitors)

    async def grow(self, visitors: int) -> None:
        self.visitors += await self._connect([(None, {}) for _ in range(visitors - len(self.visitors))])

    async def _connect(self, who: list[tuple[int | None, dict[str, str]]]) -> list[Socket]:
        gate = asyncio.Semaphore(CONNECTING)

        async def one(place: int, admin: int | None, identity: dict[str, str]) -> Socket:
            async with gate:
                return await connect(self._url(place), admin, identity, CONNECT_SECONDS)

        return list(await asyncio.gather(*(one(place, *person) for place, person in enumerate(who))))

    def _url(self, place: int) -> str:
        return self.setup.urls[place % len(self.setup.urls)]

    async def reconnect(self) -> Return:
        start = time.monotonic()
        for visitor in self.visitors:
            visitor.cut()
        found = await asyncio.gather(
            *(self._back(self._url(place), visitor, start) for place, visitor in enumerate(self.visitors))
        )
        took = sorted(seconds for _, seconds, _ in found)
        missing = sum(socket is None for socket, _, _ in found)
        self.visitors = [socket for socket, _, _ in found if socket]
        return Return(
            seconds=round(took[-1], 3),
            median=round(took[len(took) // 2], 3),
            failures=sum(failures for _, _, failures in found),
            missing=missing,
        )

    @staticmethod
    async def _back(url: str, before: Socket, start: float) -> tuple[Socket | None, float, int]:
        """The new connection, after how many seconds, and how many attempts failed. None: it gave up."""
        failures = 0
        while (left := start + GIVE_UP_SECONDS - time.monotonic()) > 0:
            try:
                socket = await connect(url, None, before.identity, min(RECONNECT_SECONDS, left))
                return socket, time.monotonic() - start, failures
            except (OSError, WSError):
                failures += 1
        return None, GIVE_UP_SECONDS, failures

    async def run(self, trial: Open | Closed | Burst) -> Outcome:
        self.trials += 1
        closed = Socket.closed
        Socket.tally = tally = Tally(self.trials, self.setup.admins, self._most(trial))
        cpu, began, cores = time.process_time(), time.monotonic(), Cores()
        await self._send(trial, tally)
        tally.heard = ended = time.monotonic()
        acked, delivered = len(tally.acks), len(tally.deliveries)
        share = (time.process_time() - cpu) / (ended - began)
        server_core, other_cores = cores.busy()
        # ASYNC110 wants an event; setting one for every frame would cost what is to be measured.
        while not tally.complete and time.monotonic() - tally.heard < QUIET_SECONDS:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return Outcome(
            rate=trial.rate if isinstance(trial, Open) else round(acked / (ended - began), 1),
            delivered=round(delivered / max(self.setup.admins, 1) / (ended - began), 1),
            sent=len(tally.due),
            arrived=len(tally.deliveries),
            lost=len(tally.due) * self.setup.admins - len(tally.deliveries),
            twice=tally.twice,
            errors=tally.errors,
            unacked=len(tally.due) - len(tally.acks),
            closed=Socket.closed - closed,
            **percentiles("delivery", tally.deliveries),
            **percentiles("ack", tally.acks),
            lag=percentile(sorted(tally.lags), 0.99) if tally.lags else 0.0,
            cpu=round(share, 2),
            server_core=server_core,
            other_cores=other_cores,
        )

    def _most(self, trial: Open | Closed | Burst) -> int:
        match trial:
            case Open(rate, seconds):
                return int(rate * seconds)
            case Closed(seconds):
                return int(seconds * MOST_PER_SECOND)
            case Burst():
                return len(self.visitors)

    async def _send(self, trial: Open | Closed | Burst, tally: Tally) -> None:
        match trial:
            case Open(rate):
                await self._on_schedule(rate, tally)
            case Closed(seconds):
                tally.until = time.monotonic() + seconds
                self._at_once(tally)
                await asyncio.sleep(seconds)
            case Burst():
                self._at_once(tally)
                await asyncio.sleep(TICK)

    def _at_once(self, tally: Tally) -> None:
        now = time.monotonic()
        for visitor in self.visitors:
            tally.say(visitor, now)

    async def _on_schedule(self, rate: float, tally: Tally) -> None:
        start = time.monotonic()
        while len(tally.due) < tally.capacity:
            now = time.monotonic()
            while len(tally.due) < tally.capacity and (due := start + len(tally.due) / rate) <= now:
                tally.say(self.visitors[len(tally.due) % len(self.visitors)], due)
                tally.lags.append(time.monotonic() - due)
            await asyncio.sleep(TICK)


def percentile(ordered: list[float], share: float) -> float:
    """In milliseconds; infinite where nothing came."""
    return round(ordered[int(share * (len(ordered) - 1))] * 1000, 2) if ordered else float("inf")


def percentiles(what: str, seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {f"{what}_p{share}": percentile(ordered, share / 100) for share in (50, 95, 99)}


async def obey(load: Load, command: Command) -> str:
    match command:
        case Grow(visitors):
            await load.grow(visitors)
            return "connected"
        case Reconnect():
            return json.dumps(asdict(await load.reconnect()))
        case trial:
            return json.dumps(asdict(await load.run(trial)))


async def main(read: Callable[[], str]) -> None:
    gc.disable()  # nothing here is cyclic but sockets, which stay
    load = Load(Setup(**json.loads(read())))
    await load.connect()
    print("connected", flush=True)
    while line := await asyncio.to_thread(read):
        print(await obey(load, decode(line)), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main(sys.stdin.readline))
