"""A fuzzer of the whole server: `python -m tests.support.fuzzer`, or `make fuzz`.

It sends what no browser sends (fuzz_input.py) to a real server on Redis and PostgreSQL, while a visitor and a staff
member use it. It stops at the first fault, and prints the seed, the inputs before it and those that cause it alone.
"""

import argparse
import asyncio
import contextlib
import json
import re
import secrets
import signal
import sys
import tempfile
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from pathlib import Path

import psutil

from messaging.client.frames import new_id
from tests.support.connections import visitor
from tests.support.deployments import UNMEASURED, Deployment, Kubernetes, Pod, StaffSession, fetch
from tests.support.fuzz_input import Input, make
from tests.support.redis_services import Redis
from tests.support.services import HOST, Postgres, started
from tests.support.traffic import Witness
from tests.support.waiting import eventually, wait_until

AT_ONCE = 8  # connections
LAST = 40  # inputs that are printed with a fault
CONNECT_SECONDS, ANSWER_SECONDS, QUIET_SECONDS = 10.0, 2.0, 0.05
PROBE_SECONDS = 1.0  # between two rounds of the probes and the messages that must go on
PATIENCE_SECONDS = 30.0  # for one of them, on a busy machine
SITE_SECONDS = 40.0  # after which tokens are made anew: an admin's is valid for 60
GROWTH_MB = 24.0  # of memory after the first third; a leak of 1 kB an input is more than that within a minute
FAULT = re.compile(r'"level": "(?:ERROR|CRITICAL)"|Traceback')
ERROR_500 = re.compile(rb"HTTP/1\.[01] 500 ")
INTERNAL_ERROR = (1011).to_bytes(2)  # a close code (RFC 6455 section 7.4.1)


class Fault(Exception):
    """The server did what it must not; the text says what."""


class FuzzedPod(Pod):
    """A pod that reports the tasks of its event loop."""

    def __init__(self, **environment: str) -> None:
        super().__init__(**environment | UNMEASURED)
        self.environment["TASKS"] = str(self.directory / "tasks")

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "tests.support.watched_server"]

    def tasks(self) -> Counter[str]:
        """Return how many tasks of each coroutine there are."""
        file = Path(self.environment["TASKS"])
        file.unlink(missing_ok=True)
        self.send_signal(signal.SIGUSR2)
        wait_until(file.exists, "the server reports its tasks")
        return Counter(json.loads(file.read_text()))

    def descriptors(self, database_port: int) -> int:
        """Return the number of open descriptors, without the connections to the database: a pool keeps some a while."""
        process = psutil.Process(self.pid)
        pooled = [c for c in process.net_connections() if c.raddr and c.raddr.port == database_port]
        return process.num_fds() - len(pooled)

    def megabytes(self) -> float:
        memory: float = psutil.Process(self.pid).memory_info().rss / 2**20
        return memory


@dataclass
class Fuzzer:
    """A run against one server. `site`: see fuzz_input.Source."""

    deployment: Deployment[FuzzedPod]
    database_port: int
    seed: str
    sent: int = field(default=0, init=False)
    last: "deque[Input]" = field(default_factory=lambda: deque(maxlen=LAST), init=False)
    site: dict[str, str] = field(default_factory=dict, init=False)
    _log: int = field(default=0, init=False)  # the characters of the server's log that were looked at

    @property
    def pod(self) -> FuzzedPod:
        return self.deployment.servers[0]

    async def run(self, seconds: float) -> str:
        """Fuzz for so many seconds; return a summary. Raise Fault."""
        loop = asyncio.get_running_loop()
        ends, warm = loop.time() + seconds, loop.time() + seconds / 3
        async with self._people() as (writer, reader):
            await self._renew_site()
            descriptors, tasks = self.pod.descriptors(self.database_port), await asyncio.to_thread(self.pod.tasks)
            guards = [
                asyncio.create_task(guard)
                for guard in (self._probes(), self._conversation(writer, reader), self._site_stays_new())
            ]
            try:
                await self._send_until(warm, guards)
                before = self.pod.megabytes()
                await self._send_until(ends, guards)
            finally:
                for guard in guards:
                    guard.cancel()
                await asyncio.gather(*guards, return_exceptions=True)
            grown = self.pod.megabytes() - before
            self.check_log()
            if grown > GROWTH_MB:
                raise Fault(f"memory grew by {grown:.0f} MB after the first third")
            await self._returns_to(descriptors, tasks)
        return f"{self.sent} inputs, {len(writer.acked)} messages, {grown:+.1f} MB of {before:.0f} MB"

    async def replay(self, numbers: Sequence[int]) -> None:
        """Send these inputs, one after another. Raise Fault at the first that causes one."""
        await self._renew_site()
        for number in numbers:
            await self._send(number)
            await asyncio.sleep(1.5)  # daphne looks once a second for applications that have failed
            self.check_log()

    async def culprits(self, numbers: Sequence[int]) -> list[int]:
        """Return those of these inputs that cause a fault alone."""
        found = []
        for number in numbers:
            self._log = len(self.pod.log)
            try:
                await self.replay([number])
            except (Fault, OSError):
                found.append(number)
        return found

    def check_log(self) -> None:
        """Raise Fault if the server has logged an error since the last call."""
        new = self.pod.log[self._log :]
        self._log += len(new)
        for line in new.splitlines():
            if FAULT.search(line):
                raise Fault(f"the server logged {line.replace(chr(92) + 'n', chr(10))}")

    async def _send_until(self, end: float, guards: "list[asyncio.Task[None]]") -> None:
        senders = [asyncio.create_task(self._sender(end)) for _ in range(AT_ONCE)]
        try:
            waiting = {*senders, *guards}
            while not all(sender.done() for sender in senders):
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()  # raises if it has failed
        finally:
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)

    async def _sender(self, end: float) -> None:
        while asyncio.get_running_loop().time() < end:
            self.sent += 1
            await self._send(self.sent)

    async def _send(self, number: int) -> None:
        input = make(self.seed, number, self.site)
        self.last.append(input)
        answer = await answered(input, self.pod.port)
        if ERROR_500.search(answer):
            raise Fault(f"input {number} was answered with 500")
        if input.upgraded and INTERNAL_ERROR in closes(answer):
            raise Fault(f"input {number} was closed with 1011")

    # --- What must go on --------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _people(self) -> AsyncIterator[tuple[Witness, Witness]]:
        join = partial(
            Witness, self.pod.websocket_url, proxy=None, first_delay=0.1, longest_delay=1.0, heartbeat=1.0, keep=200
        )
        writer, reader = join(), join(mint=partial(self.deployment.admin_credentials, "colleague"))
        async with writer, reader:
            await eventually(lambda: writer.ready and reader.ready, "the people are connected", PATIENCE_SECONDS)
            yield writer, reader

    async def _conversation(self, writer: Witness, reader: Witness) -> None:
        """Let the visitor write all the time, and the staff member read it. Both stay connected."""
        connections = writer.connections, reader.connections
        while True:
            content = f"well-behaved {new_id()}"
            await writer.say(content)
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await writer.settled()
                await eventually(lambda: content in reader.contents[-50:], "staff have it", PATIENCE_SECONDS)
            except (TimeoutError, AssertionError) as error:
                raise Fault(f"a message of a well-behaved visitor was not delivered: {error}") from None
            if (writer.connections, reader.connections) != connections:
                raise Fault("a well-behaved person lost the connection")
            await asyncio.sleep(PROBE_SECONDS)

    async def _probes(self) -> None:
        while True:
            for path in ("/health", "/ready"):
                ask = partial(asyncio.to_thread, _status, self.pod.health_port, path)
                try:  # "not ready" may be true for a moment on a busy machine
                    await eventually(ask, f"{path} answers with 200", PATIENCE_SECONDS / 3, until=lambda s: s == 200)
                except AssertionError as error:
                    raise Fault(str(error)) from None
            self.check_log()
            await asyncio.sleep(PROBE_SECONDS)

    async def _returns_to(self, descriptors: int, tasks: "Counter[str]") -> None:
        """Raise Fault unless the connections of the fuzzer leave nothing behind."""

        async def left() -> str:
            more = (await asyncio.to_thread(self.pod.tasks)) - tasks
            opened = self.pod.descriptors(self.database_port) - descriptors
            return f"{opened} descriptors, tasks {dict(more)}" if opened > 0 or more else ""

        try:
            await eventually(left, "nothing is left behind", PATIENCE_SECONDS, until=lambda found: not found)
        except AssertionError as error:
            raise Fault(str(error)) from None

    # --- What only the running site knows ---------------------------------------------------------------------

    async def _site_stays_new(self) -> None:
        while True:
            await asyncio.sleep(SITE_SECONDS)
            await self._renew_site()

    async def _renew_site(self) -> None:
        session = StaffSession([self.pod], "operator")
        admin = await asyncio.to_thread(session.token)
        async with visitor(self.pod.websocket_url) as page:
            ack = await page.say("the fuzzer's own")
            self.site |= {
                "@TOKEN@": page.token,
                "@CONVERSATION@": page.conversation,
                "@MESSAGE@": ack["messageId"],
                "@CURSOR@": ack["cursor"],
                "@ADMIN@": admin,
                "@SESSION@": session.cookies["sessionid"],
                "@CSRF@": session.cookies["csrftoken"],
            }


async def answered(input: Input, port: int) -> bytes:
    """Send `input` on a connection; return all that comes back before the server closes or is quiet for a moment."""
    reader, writer = await asyncio.wait_for(asyncio.open_connection(HOST, port), CONNECT_SECONDS)
    received = b""
    try:
        for number, step in enumerate(input.steps):
            writer.write(step)
            await asyncio.wait_for(writer.drain(), ANSWER_SECONDS)
            more = await _read(reader, ANSWER_SECONDS)
            received += more
            refused = input.upgraded and number == 0 and not received.startswith(b"HTTP/1.1 101")
            if refused or writer.is_closing():  # the server may have ended the connection
                break
    except (OSError, TimeoutError):
        pass  # the server has ended the connection, or reads no more
    finally:
        writer.transport.abort()
    return received


async def _read(reader: asyncio.StreamReader, patience: float) -> bytes:
    received = b""
    with contextlib.suppress(TimeoutError, OSError):
        while data := await asyncio.wait_for(reader.read(65_536), patience):
            received += data
            patience = QUIET_SECONDS
    return received


def closes(answer: bytes) -> list[bytes]:
    """Return the codes of the close frames in what a server sent on a WebSocket."""
    _, _, data = answer.partition(b"\r\n\r\n")
    found = []
    while len(data) >= 2:
        length, start = data[1] & 0x7F, 2
        if length > 125:
            start = 4 if length == 126 else 10
            length = int.from_bytes(data[2:start])
        if data[0] & 0x0F == 8:
            found.append(data[start : start + 2])
        data = data[start + length :]
    return found


def _status(port: int, path: str) -> int | str:
    """Return the status of the answer to a probe, or the reason why there is none."""
    try:
        return fetch(f"http://{HOST}:{port}{path}")[0]
    except (OSError, HTTPException) as error:
        return repr(error)


@contextlib.contextmanager
def fuzzed_site() -> Iterator[tuple[Deployment[FuzzedPod], int]]:
    """Run a server with services of its own. Yield it, and the port of its database."""
    with tempfile.TemporaryDirectory() as static:
        postgres, redis = Postgres(), Redis()
        with started(postgres, redis):
            kubernetes = Kubernetes(postgres, Path(static))
            with kubernetes.deployed(redis.url, pods=1, make=FuzzedPod) as deployment:
                yield deployment, postgres.port  # type: ignore[misc]


def fuzz(seconds: float, seed: str, inputs: Sequence[int] = ()) -> str:
    """Fuzz a new site for so many seconds, or send only `inputs`. Return a summary; raise Fault with all about it."""
    with fuzzed_site() as (deployment, database_port):
        fuzzer = Fuzzer(deployment, database_port, seed)
        try:
            if inputs:
                asyncio.run(fuzzer.replay(inputs))
                return f"{len(inputs)} inputs, no fault"
            return asyncio.run(fuzzer.run(seconds))
        except (Fault, OSError) as fault:
            last = list(fuzzer.last)
            numbers = [input.number for input in last]
            alone = asyncio.run(fuzzer.culprits(numbers))
            shown = "\n".join(str(input) for input in last if input.number in (alone or numbers))
            raise Fault(
                f"{fault}\n\nThe last inputs: {numbers}\nThose that cause a fault alone: {alone}\n\n{shown}\n\n"
                f"Again: make fuzz SEED={seed} INPUTS={','.join(map(str, alone or numbers))}"
            ) from fault


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz a server on Redis and PostgreSQL.")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", default="", help="default: a new one, which is printed")
    parser.add_argument("--inputs", default="", help="numbers of inputs to send instead, separated by commas")
    arguments = parser.parse_args()
    seed = arguments.seed or secrets.token_hex(4)
    print(f"seed {seed}", flush=True)
    try:
        print(fuzz(arguments.seconds, seed, [int(number) for number in arguments.inputs.split(",") if number]))
    except Fault as fault:
        sys.exit(f"FAULT with seed {seed}: {fault}")


if __name__ == "__main__":
    main()
