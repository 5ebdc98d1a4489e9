"""Visitors who write and staff who answer, and checks of what must hold in the end, whatever happened meanwhile."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import psycopg

from messaging.client.frames import Frame
from messaging.client.link import Link
from messaging.client.person import Person
from tests.support.chaos_proxy import ChaosProxy
from tests.support.deployments import Deployment
from tests.support.waiting import eventually

VISITORS = ("ada", "bob", "eve", "kim", "lea", "sam")
# A visitor with so many unanswered messages waits: otherwise the one answering staff member, who waits for a commit
# each time, would fall ever further behind.
UNANSWERED = 10
GOING_ON = 3  # further messages of each visitor that prove that the product works
PACE = 0.25  # seconds between two messages of a visitor who is in no hurry
SELDOM = 25.0  # seconds between two pings of a page in production
CALM_SECONDS = 60  # the longest that tests wait for anything here: not a guarantee of the product
LATE = (
    "database did not answer in time",
    "commit timed out",
)  # errors that a server logs if its database takes more than 2 s


@dataclass(eq=False)
class Witness(Person):
    """A person whose events are recorded. `hear` is called with every new message."""

    hear: Callable[[Frame], None] = field(default=lambda frame: None, kw_only=True)
    sent: list[str] = field(default_factory=list, init=False)  # contents
    acked: dict[str, Frame] = field(default_factory=dict, init=False)  # by id: the ack, or the message if it came first
    not_sent: dict[str, str] = field(default_factory=dict, init=False)  # error code by id
    errors: list[str] = field(default_factory=list, init=False)  # codes
    connections: int = field(default=0, init=False)
    silences: int = field(default=0, init=False)  # connections that were given up because the server was silent
    farewells: int = field(default=0, init=False)  # connections whose server announced its shutdown

    @property
    def contents(self) -> list[str]:
        return [frame["content"] for frame in self.messages]

    def on_connected(self) -> None:
        self.connections += 1

    def on_silence(self) -> None:
        self.silences += 1

    def on_asked(self, frame: Frame) -> None:
        self.sent.append(frame["content"])

    def on_done(self, frame: Frame, answer: Frame) -> None:
        self.acked[frame["id"]] = answer

    def on_refused(self, frame: Frame, error: Frame) -> None:
        self.not_sent[frame["id"]] = error["code"]

    def on_error(self, error: Frame) -> None:
        self.errors.append(error["code"])

    def on_message(self, frame: Frame) -> None:
        self.hear(frame)

    async def take(self, link: Link, frame: Frame) -> None:
        self.farewells += frame["type"] == "serverShutdown"
        await super().take(link, frame)


class Crowd:
    """Visitors who write, a staff member who answers every message once, and a staff member who only reads.

    The reading one pings as seldom as pages do, so within a test the server has to send it every message without a
    ping: all others would detect a lost message by the pong of the next ping.
    """

    def __init__(self, deployment: Deployment, proxy: ChaosProxy) -> None:
        join = partial(
            Witness,
            proxy.websocket_url,
            proxy=None,
            # Pages wait for minutes if they must; a test has less time.
            heartbeat=1.0,
            answer_seconds=10.0,
            first_delay=0.02,
            longest_delay=0.1,
        )
        self.visitors = [join() for _ in VISITORS]
        self.answering = join(mint=partial(deployment.admin_credentials, "operator"), hear=self._answer)
        self.reading = join(mint=partial(deployment.admin_credentials, "colleague"), heartbeat=SELDOM)
        self.admins = [self.answering, self.reading]
        self.pace = PACE  # may be changed at any time
        self.everybody = [*self.visitors, *self.admins]
        self._deployment = deployment
        self._logged = set(deployment.log.splitlines())  # lines of earlier tests

    def _answer(self, frame: Frame) -> None:
        if frame["from"] == "user":
            self.answering.soon(self.answering.say(f"re: {frame['content']}", to=frame["conversation"]))

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for client in self.everybody:
                await stack.enter_async_context(client)
            await self.are_ready(self.everybody)
            yield

    async def are_ready(self, clients: Sequence[Witness]) -> None:
        """Return when `clients` are connected and have loaded their threads."""
        await eventually(lambda: all(client.ready for client in clients), "clients are connected", CALM_SECONDS)

    async def talk(self, each: int) -> None:
        """Let every visitor send `each` messages as fast as they are answered. Return when all are acked."""
        self.pace = 0
        await self._talk(lambda number: number < each)

    @contextlib.asynccontextmanager
    async def talking(self) -> AsyncIterator[None]:
        """Let every visitor send a message every `pace` seconds during the body. Wait until all are acked."""
        over = asyncio.Event()
        talk = asyncio.create_task(self._talk(lambda _: not over.is_set()))
        try:
            await self.goes_on()
            yield
            await self.goes_on()
        finally:
            over.set()
            await talk

    async def goes_on(self) -> None:
        """Return when GOING_ON more messages of every visitor are acked, and the reading client shows all of them."""
        goals = [(visitor, len(visitor.acked) + GOING_ON) for visitor in self.visitors]
        await eventually(lambda: all(len(c.acked) >= goal for c, goal in goals), "all visitors are acked", CALM_SECONDS)
        acked = {ack["messageId"] for visitor in self.visitors for ack in visitor.acked.values()}
        await eventually(lambda: acked <= self.reading.thread.keys(), "they are with the reading admin", CALM_SECONDS)

    async def _talk(self, going_on: Callable[[int], bool]) -> None:
        talks = (self._monologue(c, name, going_on) for c, name in zip(self.visitors, VISITORS, strict=True))
        await asyncio.gather(*talks)
        for visitor in self.visitors:
            await eventually(lambda: not visitor.outbox, "everything is acked", CALM_SECONDS)

    async def _monologue(self, visitor: Witness, name: str, going_on: Callable[[int], bool]) -> None:
        for number in itertools.takewhile(going_on, itertools.count()):
            await eventually(lambda: len(visitor.thread) > 2 * number - UNANSWERED, f"{name} is answered", CALM_SECONDS)
            await visitor.say(f"{name} {number}")
            await asyncio.sleep(self.pace)

    @property
    def acked(self) -> int:
        return sum(len(visitor.acked) for visitor in self.visitors)

    @contextlib.asynccontextmanager
    async def unnoticed(self) -> AsyncIterator[None]:
        """Check that no connection ends and no client gets an error, whatever the body does."""
        connections = [client.connections for client in self.everybody]
        yield
        await self.goes_on()
        assert [client.connections for client in self.everybody] == connections
        self.check_errors()

    def check_errors(self) -> None:
        """Check that no client got an error.

        "unavailable" is excused if the only reasons that servers have logged for it are LATE: on a busy machine, the
        database may be. Servers log other reasons if something else is unavailable.
        """
        new = set(self._deployment.log.splitlines()) - self._logged
        reasons = {json.loads(line)["error"] for line in new if '"store unavailable"' in line}
        excused = {"unavailable"} if reasons and reasons <= set(LATE) else set()
        assert [set(client.errors) - excused for client in self.everybody] == [set()] * len(self.everybody), reasons

    async def up_to_date(self) -> None:
        """Return when all clients show everything that was sent and answered, or after CALM_SECONDS."""

        def complete() -> bool:
            total = 2 * sum(len(visitor.sent) for visitor in self.visitors)
            admins = all(len(client.thread) == total for client in self.admins)
            return admins and all(len(client.thread) == 2 * len(client.sent) for client in self.visitors)

        # A duplicate makes a thread too long, a loss too short: the following comparison then reports it.
        with contextlib.suppress(AssertionError):
            await eventually(complete, "everybody shows everything", CALM_SECONDS)


@contextlib.asynccontextmanager
async def traffic(crowd: Crowd, database: str) -> AsyncIterator[None]:
    """Let all clients write while the body runs. Then wait until they are up to date, and check them."""
    async with crowd.connected():
        async with crowd.talking():
            yield
        await crowd.up_to_date()
        check(crowd, database)


def check(crowd: Crowd, database: str) -> None:
    """Check that acked = stored = shown, once, in one order, and each sender's messages in the order of sending.

    The next message may overtake one that was refused for the moment, or one on a connection that was given up because
    of silence and whose server then resumes: pages wait for each ack, clients here do not.
    """
    # The server knew the cursor of every client that reconnected: no client had to start over.
    assert [client.resets for client in crowd.everybody] == [0] * len(crowd.everybody)
    assert [(client.stopped, client.not_sent) for client in crowd.everybody] == [(None, {})] * len(crowd.everybody)
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT id::text, conversation_id::text, sender, content FROM messaging_message ORDER BY seq"
        ).fetchall()
    sent = [content for visitor in crowd.visitors for content in visitor.sent]
    stored = [content for _, _, _, content in rows]
    assert sorted(crowd.answering.sent) == sorted(f"re: {content}" for content in sent)
    assert sorted(stored) == sorted([*sent, *crowd.answering.sent])
    acked = {frame["messageId"] for client in crowd.everybody for frame in client.acked.values()}
    assert acked == {id for id, _, _, _ in rows}
    assert crowd.answering.contents == stored
    assert crowd.reading.contents == stored
    assert in_order(crowd.answering, [content for _, _, sender, content in rows if sender == "admin"])
    for visitor in crowd.visitors:
        own = [(sender, content) for _, conversation, sender, content in rows if conversation == visitor.conversation]
        assert visitor.contents == [content for _, content in own]
        assert in_order(visitor, [content for sender, content in own if sender == "user"])


def in_order(author: Witness, stored: list[str]) -> bool:
    return author.sent == stored or bool(author.errors or author.silences)
