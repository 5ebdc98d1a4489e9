"""The load generator, a process of its own: visitors write, staff connections read.

`python -m bench.load` reads its Setup as one line of JSON, connects, and answers with one line. Then it answers each
line with a command by one line, or with `{"failed": reason}`. A message on a schedule is timed from the moment it was
due, so a server can't look fast by making the generator wait.
"""

import asyncio
import contextlib
import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import uvloop
from picows import WSError

from bench.exchange import Burst, Closed, Command, Grow, Open, Outcome, Reconnect, Return, Setup, decode
from bench.machine import Cores
from bench.sockets import Socket, Tally, connect

CONNECTING = 50  # handshakes at a time: daphne's default backlog
CONNECT_SECONDS = 60  # for which a connection is attempted again and again
ATTEMPT_SECONDS = 10  # after which one attempt has failed
RETURN_SECONDS = 40  # the same for visitors that were cut off
RETRY_SECONDS = 0.2
TICK = 0.001
QUIET_SECONDS = 2.0  # without any frame, after which missing messages count as lost
MOST_PER_SECOND = 20_000  # messages of a closed loop, at most


@dataclass
class Attempt:
    """The attempts to open one connection. `socket` is None if all have failed; `error` is the last failure."""

    socket: Socket | None = None
    seconds: float = 0.0
    failures: int = 0
    error: Exception | None = None


class Load:
    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.visitors: list[Socket] = []
        self.trials = 0

    async def connect(self) -> None:
        # Staff first: their token is valid for a minute.
        token = {"token": self.setup.admin_token} if self.setup.admin_token else {}
        await self._connect([(number, dict(token)) for number in range(self.setup.admins)])
        await self.grow(self.setup.visitors)

    async def grow(self, visitors: int) -> None:
        self.visitors += await self._connect([(None, {}) for _ in range(visitors - len(self.visitors))])

    async def _connect(self, who: list[tuple[int | None, dict[str, str]]]) -> list[Socket]:
        """Return the sockets of `who`, in order. Raise ConnectionError if one can't connect in CONNECT_SECONDS.

        `who`: for each socket the number of a staff connection (None for a visitor) and its identity.
        """
        gate = asyncio.Semaphore(CONNECTING)

        async def one(place: int, admin: int | None, identity: dict[str, str]) -> Socket:
            async with gate:
                attempt = await self._until_connected(self._url(place), admin, identity, CONNECT_SECONDS)
            if attempt.socket is None:
                raise ConnectionError(f"could not connect within {CONNECT_SECONDS} s: {attempt.error!r}")
            return attempt.socket

        return list(await asyncio.gather(*(one(place, *person) for place, person in enumerate(who))))

    @staticmethod
    async def _until_connected(url: str, admin: int | None, identity: dict[str, str], patience: float) -> "Attempt":
        start = time.monotonic()
        attempt = Attempt()
        while (left := start + patience - time.monotonic()) > 0:
            try:
                attempt.socket = await connect(url, admin, identity, min(ATTEMPT_SECONDS, left))
                break
            except (OSError, WSError) as error:
                attempt.failures += 1
                attempt.error = error
                await asyncio.sleep(RETRY_SECONDS)
        attempt.seconds = time.monotonic() - start
        return attempt

    def _url(self, place: int) -> str:
        return self.setup.urls[place % len(self.setup.urls)]

    async def reconnect(self) -> Return:
        for visitor in self.visitors:
            visitor.cut()
        attempts = await asyncio.gather(
            *(
                self._until_connected(self._url(place), None, visitor.identity, RETURN_SECONDS)
                for place, visitor in enumerate(self.visitors)
            )
        )
        took = sorted(attempt.seconds for attempt in attempts)
        self.visitors = [attempt.socket for attempt in attempts if attempt.socket]
        return Return(
            seconds=round(took[-1], 3),
            median=round(took[len(took) // 2], 3),
            failures=sum(attempt.failures for attempt in attempts),
            missing=len(attempts) - len(self.visitors),
        )

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
        # ASYNC110 asks for an event; setting one for every frame would distort the measurement.
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
    """Return a percentile of seconds in milliseconds; infinite if `ordered` is empty."""
    return round(ordered[int(share * (len(ordered) - 1))] * 1000, 2) if ordered else float("inf")


def percentiles(what: str, seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {f"{what}_p{share}": percentile(ordered, share / 100) for share in (50, 95, 99)}


async def obey(load: Load, command: Command) -> dict[str, Any]:
    match command:
        case Grow(visitors):
            await load.grow(visitors)
            return {}
        case Reconnect():
            return asdict(await load.reconnect())
        case trial:
            return asdict(await load.run(trial))


async def main(read: Callable[[], str]) -> None:
    gc.disable()  # the only reference cycles are those of sockets, which stay
    load = Load(Setup(**json.loads(read())))
    try:
        await load.connect()
        answer: dict[str, Any] = {}
        while True:
            print(json.dumps(answer), flush=True)
            if not (line := await asyncio.to_thread(read)):
                break
            answer = await obey(load, decode(line))
    except OSError as error:
        print(json.dumps({"failed": str(error)}), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main(sys.stdin.readline))
