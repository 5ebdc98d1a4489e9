"""The load generator, a process of its own: visitors that write, admins that read.

`python -m bench.load` takes its Setup as one line of JSON, connects, prints a line; then every line with a Trial is
answered by one with an Outcome. Messages leave on schedule whatever the server does, and count from the moment when
they were due: a server can't look fast by making the generator wait.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

SERVER_CPU = 0  # the core that the server has to itself
MARK = re.compile(rb"bench-(\d+)-(\d+)")  # begins every content and is every id: trial, message
PADDING = "x" * 100
CONNECTING = 50  # handshakes at a time: daphne's backlog
TICK = 0.001
QUIET_SECONDS = 2.0  # without any frame: what has not come by then is lost


@dataclass(frozen=True)
class Setup:
    url: str
    visitors: int
    admins: int
    admin_token: str = ""


@dataclass(frozen=True)
class Trial:
    rate: float  # messages per second, all visitors together
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """Times in milliseconds. `lag`: how late the generator sent, 99th percentile. `cpu`: its share of one core.

    `server_core`, `other_cores`: how busy they were.
    """

    rate: float
    lost: int
    twice: int
    errors: int
    unacked: int
    closed: int
    delivery_p50: float
    delivery_p99: float
    ack_p50: float
    ack_p99: float
    lag: float
    cpu: float
    server_core: float
    other_cores: float

    @property
    def sustained(self) -> bool:
        return not (self.lost or self.twice or self.errors or self.unacked or self.closed) and self.delivery_p99 < 100

    @property
    def generator_full(self) -> bool:
        """Whether this side, not the server, may be what failed."""
        return self.lag > 20 or self.cpu > 0.9 or self.other_cores > 0.95


@dataclass
class Tally:
    """What one trial has seen; `due` is when each message was to be sent."""

    number: int
    due: list[float]
    admins: int
    deliveries: list[float] = field(default_factory=list)
    acks: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    twice: int = 0
    errors: int = 0
    heard: float = 0.0

    def __post_init__(self) -> None:
        self.seen = [bytearray(len(self.due)) for _ in range(self.admins)]

    @property
    def complete(self) -> bool:
        return len(self.deliveries) == len(self.due) * self.admins and len(self.acks) == len(self.due)


class Socket(WSListener):  # type: ignore[misc]
    """One connection. `admin`: its number among the admins, None for a visitor."""

    def __init__(self, load: "Load", admin: int | None) -> None:
        self.load = load
        self.admin = admin
        self.identified: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        role = {"type": "user"} if self.admin is None else {"type": "admin", "token": self.load.setup.admin_token}
        self.send({"action": "identify", "v": 2, **role})

    def send(self, frame: dict[str, Any]) -> None:
        self.transport.send(WSMsgType.TEXT, json.dumps(frame).encode())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        payload = frame.get_payload_as_bytes()
        if not self.identified.done():
            if b'"identified"' in payload:
                self.identified.set_result(None)
            elif b'"error"' in payload:
                self.identified.set_exception(RuntimeError(payload.decode()))
            return
        mark = MARK.search(payload)
        tally = self.load.tally
        if tally is None or mark is None or int(mark[1]) != tally.number:
            return
        tally.heard = time.monotonic()
        index = int(mark[2])
        kind = payload[:24]  # every server's frames begin with their type
        if b'"error"' in kind:
            tally.errors += 1
        elif b'"ack"' in kind:
            tally.acks.append(tally.heard - tally.due[index])
        elif self.admin is None:
            pass  # its own message, found in the log by a server that lost the hint
        elif tally.seen[self.admin][index]:
            tally.twice += 1
        else:
            tally.seen[self.admin][index] = 1
            tally.deliveries.append(tally.heard - tally.due[index])

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.load.closed += 1
        if not self.identified.done():
            self.identified.set_exception(ConnectionError("closed before it was identified"))


class Cores:
    """How busy the server's core and the others are from now on (Linux; elsewhere nobody knows: 0)."""

    def __init__(self) -> None:
        self._before = self._read()

    def busy(self) -> tuple[float, float]:
        spent = [
            [now - before for now, before in zip(core, earlier, strict=True)]
            for core, earlier in zip(self._read(), self._before, strict=True)
        ]
        shares = [1 - (core[3] + core[4]) / max(sum(core), 1) for core in spent]  # all but idle and waiting for disks
        if len(shares) < 2:
            return 0.0, 0.0
        others = shares[:SERVER_CPU] + shares[SERVER_CPU + 1 :]
        return round(shares[SERVER_CPU], 2), round(sum(others) / len(others), 2)

    @staticmethod
    def _read() -> list[list[int]]:
        if not (stat := Path("/proc/stat")).exists():
            return []
        lines = re.findall(r"^cpu\d+ (.+)$", stat.read_text(), re.MULTILINE)
        return [[int(number) for number in line.split()[:8]] for line in lines]


class Load:
    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.tally: Tally | None = None
        self.trials = 0
        self.closed = 0

    async def connect(self) -> None:
        # Admins first: their token is good for a minute.
        await self._connect_all(range(self.setup.admins))
        self.visitors = await self._connect_all([None] * self.setup.visitors)

    async def _connect_all(self, admins: Any) -> list[Socket]:
        gate = asyncio.Semaphore(CONNECTING)

        async def one(admin: int | None) -> Socket:
            async with gate:
                _, socket = await ws_connect(
                    lambda: Socket(self, admin), self.setup.url, websocket_handshake_timeout=60
                )
                await socket.identified
                return socket

        return list(await asyncio.gather(*(one(admin) for admin in admins)))

    async def run(self, trial: Trial) -> Outcome:
        self.trials += 1
        closed = self.closed
        start = time.monotonic() + 0.1
        due = [start + number / trial.rate for number in range(int(trial.rate * trial.seconds))]
        self.tally = tally = Tally(self.trials, due, self.setup.admins)
        cpu, began, cores = time.process_time(), time.monotonic(), Cores()
        await self._send(tally)
        tally.heard = time.monotonic()
        share = (time.process_time() - cpu) / (tally.heard - began)
        server_core, other_cores = cores.busy()
        # ASYNC110 wants an event; setting one for every frame would cost what is to be measured.
        while not tally.complete and time.monotonic() - tally.heard < QUIET_SECONDS:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return Outcome(
            rate=trial.rate,
            lost=len(due) * self.setup.admins - len(tally.deliveries),
            twice=tally.twice,
            errors=tally.errors,
            unacked=len(due) - len(tally.acks),
            closed=self.closed - closed,
            delivery_p50=percentile(tally.deliveries, 0.5),
            delivery_p99=percentile(tally.deliveries, 0.99),
            ack_p50=percentile(tally.acks, 0.5),
            ack_p99=percentile(tally.acks, 0.99),
            lag=percentile(tally.lags, 0.99),
            cpu=round(share, 2),
            server_core=server_core,
            other_cores=other_cores,
        )

    async def _send(self, tally: Tally) -> None:
        index = 0
        while index < len(tally.due):
            now = time.monotonic()
            while index < len(tally.due) and tally.due[index] <= now:
                mark = f"bench-{tally.number}-{index:06d}"
                visitor = self.visitors[index % len(self.visitors)]
                visitor.send({"action": "sendMessage", "id": mark, "content": f"{mark} {PADDING}"})
                tally.lags.append(time.monotonic() - tally.due[index])
                index += 1
            await asyncio.sleep(TICK)


def percentile(seconds: list[float], share: float) -> float:
    """In milliseconds; infinite where nothing came."""
    if not seconds:
        return float("inf")
    return round(sorted(seconds)[int(share * (len(seconds) - 1))] * 1000, 2)


async def main(read: Callable[[], str]) -> None:
    load = Load(Setup(**json.loads(read())))
    await load.connect()
    print("connected", flush=True)
    while line := await asyncio.to_thread(read):
        outcome = await load.run(Trial(**json.loads(line)))
        print(json.dumps(asdict(outcome)), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.stdin.readline))
