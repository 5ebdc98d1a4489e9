"""The traffic of `messaging_demo`: visitors who write what people write, over WebSockets, through what is deployed."""

import asyncio
import contextlib
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Origin

from messaging.smoke import Browser, Frame, SmokeFailed

# What visitors write, one line after another, and begin anew at the end.
TALKS = (
    (
        "Hi, is anybody there?",
        "My talk starts at 10:30, and the projector in room 2 stays dark.",
        "It works now, thanks!",
    ),
    ("speak german", "Vielen Dank, jetzt verstehe ich alles.", "Gibt es die Folien später auch auf Deutsch?"),
    ("Where can I hang up my coat?", "Found it, thank you.", "And where is lunch?"),
    ("Could you speak a bit louder, please? 🙏", "Much better!", "How do you pronounce “kubectl”?"),
    ("I lost a blue umbrella yesterday.", "Near the coffee bar, I think.", "That is the one! I come to the desk."),
    ("Is there a recording of this session?", "Great. Does it have subtitles?", "Perfect, thanks."),
    ("Das WLAN im Saal 3 ist sehr langsam.", "Ja, schon wieder.", "Danke, jetzt geht es."),
    ("Do you have a vegetarian menu?", "And one without nuts?", "Thank you, that was quick!"),
)
ANSWERS = (
    "Good morning! One moment, please.",
    "Thanks for telling us, somebody is on the way.",
    "Gern geschehen!",
    "At the desk on the ground floor, next to the entrance.",
    "Yes: the link is in the programme.",
    "We have passed it on.",
)
ANSWERED = 0.6  # of all messages, by staff
THINKING_SECONDS = 4.0  # how long they think about it, on average
AWAY_SECONDS = 2.0  # the longest wait before somebody who was cut off comes back
SETTLE_SECONDS = 5.0  # how long the end waits for what is not acknowledged yet
DONE = {"sendMessage": "acknowledged", "forget": "erased conversations"}


class Person:
    """Somebody with a WebSocket, which is opened again whenever it ends; what was not acknowledged is sent again.

    `mint` makes the token of each connection of a staff member; a visitor has it from the server. `counts`: what has
    happened, to all people. `heard`: the conversations that somebody else has written in, one for each message.
    """

    def __init__(self, url: str, origin: str, counts: Counter[str], mint: Callable[[], str] | None = None) -> None:
        self._url = url
        self._origin = Origin(origin)
        self._counts = counts
        self._mint = mint
        self._token: str | None = None
        self._unanswered: dict[str, Frame] = {}  # by id
        self._settled = asyncio.Event()  # whether that is nothing
        self._settled.set()
        self._socket: ClientConnection | None = None  # while the server knows who it is
        self._later: set[asyncio.Task[None]] = set()
        self.heard: asyncio.Queue[str] = asyncio.Queue()

    async def live(self) -> None:
        """Until it is cancelled."""
        while True:
            with contextlib.suppress(OSError, WebSocketException, SmokeFailed):
                await self._connected()
            self._socket = None
            await asyncio.sleep(random.uniform(0, AWAY_SECONDS))  # noqa: S311  not a secret
            self._counts["connected again"] += 1

    async def ask(self, action: str, **fields: str) -> None:
        """Send a frame until it is answered."""
        frame = {"action": action, "id": uuid4().hex, **fields}
        self._unanswered[frame["id"]] = frame
        self._settled.clear()
        self._counts["written"] += action == "sendMessage"
        await self._send(frame)

    async def settled(self) -> None:
        """Returns when everything is answered, or nobody answers for SETTLE_SECONDS."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._settled.wait()

    async def _connected(self) -> None:
        token = await asyncio.to_thread(self._mint) if self._mint else self._token
        identify = {"action": "identify", "v": 2, "type": "admin" if self._mint else "user"}
        async with connect(self._url, origin=self._origin, open_timeout=10) as socket:
            await socket.send(json.dumps(identify | ({"token": token} if token else {})))
            async for text in socket:
                await self._take(socket, json.loads(text))

    async def _take(self, socket: ClientConnection, frame: Frame) -> None:
        match frame:
            case {"type": "identified"}:
                self._token, self._socket = frame.get("token"), socket
                for unanswered in list(self._unanswered.values()):
                    await self._send(unanswered)
            case {"type": "ack", "id": id} if asked := self._answered(id):
                self._counts[DONE[asked["action"]]] += 1
            case {"type": "message", "conversation": conversation, "from": "user"}:
                self.heard.put_nowait(conversation)
            case {"type": "error", "id": id, "retryAfterMs": delay} if id in self._unanswered:
                self._counts["told to wait"] += 1
                later = asyncio.create_task(self._ask_again(id, delay / 1000))
                self._later.add(later)
                later.add_done_callback(self._later.discard)
            case {"type": "error", "code": code}:
                self._answered(frame.get("id", ""))
                self._counts[f"refused ({code})"] += 1

    def _answered(self, id: str) -> Frame | None:
        """What was asked."""
        frame = self._unanswered.pop(id, None)
        if not self._unanswered:
            self._settled.set()
        return frame

    async def _ask_again(self, id: str, delay: float) -> None:
        await asyncio.sleep(delay)
        if frame := self._unanswered.get(id):
            await self._send(frame)

    async def _send(self, frame: Frame) -> None:
        if self._socket is not None:
            with contextlib.suppress(WebSocketException):  # the next connection sends it again
                await self._socket.send(json.dumps(frame))


@dataclass(frozen=True, slots=True)
class Plan:
    """`rate`: messages of all visitors in a second, on average. `seconds`: None for as long as it may.

    `forget`: visitors have what they wrote erased at the end. `mint` makes tokens of a staff member who answers.
    """

    site: str
    rate: float
    visitors: int
    seconds: float | None = None
    forget: bool = False
    mint: Callable[[], str] | None = None


async def run(plan: Plan, counts: Counter[str]) -> None:
    """Until the plan's time is over or it is cancelled; `counts` grow meanwhile. Raises SmokeFailed, at its start."""
    browser = Browser(plan.site, 10)
    url = (await asyncio.to_thread(browser.get, "/")).websocket_url
    visitors = [Person(url, browser.origin, counts) for _ in range(plan.visitors)]
    staff = [Person(url, browser.origin, counts, plan.mint)] if plan.mint else []
    lives = [asyncio.create_task(person.live()) for person in visitors + staff]
    answers = [asyncio.create_task(_answer(person, counts)) for person in staff]
    with contextlib.suppress(TimeoutError):
        try:
            async with asyncio.timeout(plan.seconds):
                await _talk(visitors, plan.rate, counts)
        finally:  # by Ctrl-C as well
            await _ended(answers)
            await _all_settled(visitors + staff)
            if plan.forget:
                await asyncio.gather(*(person.ask("forget") for person in visitors))
                await _all_settled(visitors)
            await _ended(lives)


async def _all_settled(people: list[Person]) -> None:
    await asyncio.gather(*(person.settled() for person in people))


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _talk(visitors: list[Person], rate: float, counts: Counter[str]) -> None:
    talks = itertools.cycle(random.sample(TALKS, len(TALKS)))
    lines = {person: itertools.cycle(talk) for person, talk in zip(visitors, talks, strict=False)}
    while True:
        await asyncio.sleep(random.expovariate(rate))
        person = random.choice(visitors)  # noqa: S311  not a secret
        await person.ask("sendMessage", content=next(lines[person]))


async def _answer(staff: Person, counts: Counter[str]) -> None:
    while True:
        conversation = await staff.heard.get()
        if random.random() < ANSWERED:  # noqa: S311
            await asyncio.sleep(random.expovariate(1 / THINKING_SECONDS))
            counts["of them answers"] += 1
            await staff.ask("sendMessage", content=random.choice(ANSWERS), to=conversation)  # noqa: S311
