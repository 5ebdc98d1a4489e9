"""`python -m bench.demo URL`: invented visitors write plausible messages to a deployment, for a demonstration.

They use real WebSockets, until Ctrl-C or for --seconds. With --answer, the staff account SMOKE_USERNAME with
SMOKE_PASSWORD (or SMOKE_PASSWORD_FILE) answers some of them; without it, you can answer at /admin/live/. Visitors that
lose their connection reconnect, and send again what was not acknowledged: you can stop a server meanwhile, and no
message is lost. The deployment's limits apply (docs/limits.md): they leave room for a hall of 1,000 people. The
messages stay until they are erased (--forget does that at the end), so a site on another machine needs --yes. The exit
code is 1 if no message was acknowledged.

With --hall, all visitors come within so many seconds instead, as a hall does when it sees the QR code: each loads the
page with its files, connects and taps the first quick message once. --staff times the same account signs in meanwhile.
All share the address of this machine, as a hall shares one. The exit code is 1 if anybody got no page, was refused or
could not sign in; the reasons are printed.
"""

import argparse
import asyncio
import contextlib
import itertools
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from bench.rehearsal import rehearse, report, succeeded
from messaging.client.frames import Frame, request
from messaging.client.person import Person
from messaging.client.socket import Credentials
from messaging.operations.smoke import Browser, Page, SmokeFailed
from messaging_site.conf import env
from tests.support.hall import Accounts

THIS_MACHINE = ("localhost", "127.0.0.1", "::1")

# A visitor writes the lines of one of these in order, and starts again after the last.
TALKS = (
    (
        "Hi, is anybody there?",
        "My talk starts at 10:30, and the projector in room 2 won’t turn on.",
        "It works now, thanks!",
    ),
    ("speak german", "Vielen Dank, jetzt verstehe ich alles.", "Gibt es die Folien später auch auf Deutsch?"),
    ("Where can I hang up my coat?", "Found it, thank you.", "And where is lunch?"),
    ("Could you speak a bit louder, please? 🙏", "Much better!", "How do you pronounce “kubectl”?"),
    ("I lost a blue umbrella yesterday.", "Near the coffee bar, I think.", "That’s the one! I’ll come to the desk."),
    ("Is there a recording of this session?", "Great. Does it have subtitles?", "Perfect, thanks."),
    ("Das WLAN im Saal 3 ist sehr langsam.", "Ja, schon wieder.", "Danke, jetzt geht es."),
    ("Do you have a vegetarian menu?", "And one without nuts?", "Thank you, that was quick!"),
)
ANSWERS = (
    "Good morning! One moment, please.",
    "Thanks for telling us, someone is on the way.",
    "Gern geschehen!",
    "At the desk on the ground floor, next to the entrance.",
    "Yes: the link is in the programme.",
    "We have passed it on.",
)
ANSWERED = 0.6  # share of the messages that staff answer
THINKING_SECONDS = 4.0  # average time until staff answer
AWAY_SECONDS = 2.0  # the longest wait before an invented person reconnects
SETTLE_SECONDS = 5.0  # how long to wait for one more answer at the end
KEPT = 100  # messages in the thread of each person, which is not read here
DONE = {"sendMessage": "acknowledged", "forget": "conversations erased"}


@dataclass(eq=False)
class Invented(Person):
    """An invented person, who reconnects even if the server asks to stop. `counts`: of events, shared by all people.

    `heard`: for staff, the conversation of each message from a visitor.
    """

    counts: Counter[str] = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        self._has_been_here = False

    async def run(self) -> None:
        while True:
            await super().run()
            await asyncio.sleep(AWAY_SECONDS)

    def on_connected(self) -> None:
        if self._has_been_here:
            self.counts["reconnected"] += 1
        self._has_been_here = True

    def on_asked(self, frame: Frame) -> None:
        if frame["action"] == "sendMessage":
            self.counts["messages written"] += 1

    def on_done(self, frame: Frame, answer: Frame) -> None:
        self.counts[DONE[frame["action"]]] += 1

    def on_error(self, error: Frame) -> None:
        self.counts["asked to wait" if "retryAfterMs" in error else f"refused ({error['code']})"] += 1

    def on_message(self, frame: Frame) -> None:
        if self.mint and frame["from"] == "user":
            self.heard.put_nowait(frame["conversation"])


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameters of a demo. `rate`: messages per second of all visitors together, on average.

    `seconds`: its duration; None: until it is cancelled. `forget`: visitors erase their conversations at the end.
    `mint`: makes credentials for a staff member, who then answers.
    """

    site: str
    rate: float
    visitors: int
    seconds: float | None = None
    forget: bool = False
    mint: Callable[[], Credentials] | None = None


async def run(plan: Plan, counts: Counter[str]) -> None:
    """Run until the plan's time is over or the task is cancelled, and add to `counts` meanwhile.

    Raise SmokeFailed at the start if the site does not answer as it should.
    """
    browser = Browser(plan.site, 10)
    url = (await asyncio.to_thread(browser.get, "/")).websocket_url

    def invent(mint: Callable[[], Awaitable[Credentials]] | None = None) -> Invented:
        return Invented(url, mint=mint, origin=browser.origin, longest_delay=AWAY_SECONDS, keep=KEPT, counts=counts)

    visitors = [invent() for _ in range(plan.visitors)]
    staff = [invent(partial(_minted, plan.mint))] if plan.mint else []
    people = visitors + staff
    for person in people:
        person.start()
    answers = [asyncio.create_task(_answer(person, counts)) for person in staff]
    with contextlib.suppress(TimeoutError):
        try:
            async with asyncio.timeout(plan.seconds):
                await _talk(visitors, plan.rate)
        finally:  # after Ctrl-C as well
            await _ended(answers)
            await _all_settled(people)
            if plan.forget:
                await asyncio.gather(*(person.ask(request("forget")) for person in visitors))
                await _all_settled(visitors)
            await asyncio.gather(*(person.stop() for person in people))


async def _minted(mint: Callable[[], Credentials]) -> Credentials:
    try:
        return await asyncio.to_thread(mint)
    except SmokeFailed as error:
        raise ConnectionError(str(error)) from error


async def _all_settled(people: list[Invented]) -> None:
    """Return when every request is answered, or when there was no answer for SETTLE_SECONDS."""
    left = 0
    while (waiting := sum(len(person.outbox) for person in people)) != left:
        left = waiting
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await asyncio.gather(*(person.settled() for person in people))


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _talk(visitors: list[Invented], rate: float) -> None:
    talks = itertools.cycle(random.sample(TALKS, len(TALKS)))
    lines = {person: itertools.cycle(talk) for person, talk in zip(visitors, talks, strict=False)}
    while True:
        await asyncio.sleep(random.expovariate(rate))
        person = random.choice(visitors)
        await person.say(next(lines[person]))


async def _answer(staff: Invented, counts: Counter[str]) -> None:
    while True:
        conversation = await staff.heard.get()
        if random.random() < ANSWERED:
            await asyncio.sleep(random.expovariate(1 / THINKING_SECONDS))
            counts["of these by staff"] += 1
            await staff.say(random.choice(ANSWERS), to=conversation)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.demo", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("url", metavar="URL", help="as visitors type it: http://localhost:8000")
    parser.add_argument("--rate", type=_rate, default=1.0, help="messages a second by all visitors (default: 1)")
    parser.add_argument("--visitors", type=_people, default=5, help="number of visitors, at most 1000 (default: 5)")
    parser.add_argument("--seconds", type=_rate, help="duration (default: until Ctrl-C)")
    parser.add_argument("--answer", action="store_true", help="a staff account answers as well")
    parser.add_argument(
        "--hall", type=_rate, metavar="SECONDS", help="rehearse a hall that comes within so many seconds"
    )
    parser.add_argument("--staff", type=_people, default=0, help="with --hall: how often the staff account signs in")
    parser.add_argument("--forget", action="store_true", help="visitors erase their messages at the end")
    parser.add_argument("--yes", action="store_true", help="URL may be a site that real people use")
    return parser


def main() -> None:
    parser = arguments()
    options = parser.parse_args()
    site = urlsplit(options.url)
    if site.scheme not in ("http", "https") or not site.hostname:
        parser.error(f"{options.url!r} must be a URL such as http://localhost:8000")
    if site.hostname not in THIS_MACHINE and not options.yes:
        parser.error(
            f"{site.hostname} is not this machine: its staff would take the invented visitors for real ones, and the "
            "messages stay. If you want that, add --yes. Nothing was written."
        )
    if options.staff and not options.hall:
        parser.error("--staff needs --hall")
    counts: Counter[str] = Counter()
    try:
        if options.hall:
            _rehearse(options)
            return
        with contextlib.suppress(KeyboardInterrupt):
            _run(options, counts)
    except (ImproperlyConfigured, SmokeFailed) as error:
        sys.exit(str(error))
    if counts:
        print(", ".join(f"{name}: {number}" for name, number in counts.items()), flush=True)
    if not counts["acknowledged"]:
        sys.exit("no message was acknowledged: run `messaging_smoke` to find out why")


def _run(options: argparse.Namespace, counts: Counter[str]) -> None:
    staff = Browser(options.url, 10)
    live: Page | None = None
    mint = None
    try:
        if options.answer:
            live = staff.log_in(*_account())
            mint = partial(staff.credentials, live)
        plan = Plan(options.url, options.rate, options.visitors, options.seconds, options.forget, mint)
        print(f"{options.visitors} visitors write to {options.url}. Ctrl-C ends it.", flush=True)
        asyncio.run(run(plan, counts))
    finally:
        if live is not None:
            with contextlib.suppress(SmokeFailed):
                staff.log_out(live)


def _rehearse(options: argparse.Namespace) -> None:
    """Let the hall come, and print what became of it. Exit with 1 if anybody was not served."""
    username, password = _account() if options.staff else ("", "")
    accounts = Accounts((username,) * options.staff, password)
    print(f"{options.visitors} visitors come to {options.url} within {options.hall:g} s.", flush=True)
    hall = rehearse(options.url, options.visitors, options.hall, accounts, forget=options.forget)
    print(*report(hall), sep="\n", flush=True)
    if not succeeded(hall):
        sys.exit(1)


def _account() -> tuple[str, str]:
    username = env.required("SMOKE_USERNAME", "a staff account that may read and answer messages")
    password = env.required("SMOKE_PASSWORD", "that account's password")
    env.stop_on_problems()
    return username, password


def _rate(text: str) -> float:
    """Return a positive number, at most 86400. Raise ArgumentTypeError for any other text."""
    with contextlib.suppress(ValueError):
        if 0 < (number := float(text)) <= 86_400:
            return number
    raise argparse.ArgumentTypeError(f"{text!r} must be a number greater than 0 and at most 86400")


def _people(text: str) -> int:
    """Return a whole number from 1 to 1000. Raise ArgumentTypeError for any other text."""
    if not text.isdecimal() or not 1 <= int(text) <= 1_000:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 1 to 1000")
    return int(text)


if __name__ == "__main__":
    main()
