"""What the bench asks its load generator, and what that answers: one line of JSON each."""

import json
from dataclasses import asdict, dataclass

P99_MS = 100  # of deliveries, in a trial that counts as sustained


@dataclass(frozen=True)
class Setup:
    """Who connects first. With several `urls` everybody is spread over them."""

    urls: list[str]
    visitors: int
    admins: int
    admin_token: str = ""


@dataclass(frozen=True)
class Grow:
    """Connect more visitors, until there are so many."""

    visitors: int


@dataclass(frozen=True)
class Open:
    """An open loop: messages leave on schedule, `rate` a second from all visitors, whatever the server does."""

    rate: float
    seconds: float


@dataclass(frozen=True)
class Closed:
    """A closed loop: each visitor writes again when the ack has come."""

    seconds: float


@dataclass(frozen=True)
class Burst:
    """Every visitor writes once, all at the same moment."""


@dataclass(frozen=True)
class Reconnect:
    """Every visitor is cut off and comes back at once. Answered by a Return."""


Command = Grow | Open | Closed | Burst | Reconnect
COMMANDS: dict[str, type[Command]] = {kind.__name__: kind for kind in (Grow, Open, Closed, Burst, Reconnect)}


@dataclass(frozen=True)
class Outcome:
    """What came of an open or a closed loop, or a burst. Times in milliseconds.

    `rate`: acked messages a second, in an open loop those that were asked for. `delivered`: messages a second that
    all admins got meanwhile. `arrived`: deliveries, with the late ones. `lag`: how late the generator sent, 99th
    percentile. `cpu`: its share of one core. `server_core`, `other_cores`: how busy they were.
    """

    rate: float
    delivered: float
    sent: int
    arrived: int
    lost: int
    twice: int
    errors: int
    unacked: int
    closed: int
    delivery_p50: float
    delivery_p95: float
    delivery_p99: float
    ack_p50: float
    ack_p95: float
    ack_p99: float
    lag: float
    cpu: float
    server_core: float
    other_cores: float

    @property
    def sustained(self) -> bool:
        wrong = self.lost or self.twice or self.errors or self.unacked or self.closed
        return not wrong and self.delivery_p99 < P99_MS

    @property
    def limited_by(self) -> str:
        """What else than the server may have been the limit; empty where it was the server, or nothing."""
        if self.lag > 20 or self.cpu > 0.9:
            return "the load generator was full"
        return "the cores beside the server's were full" if self.other_cores > 0.95 else ""


@dataclass(frozen=True)
class Return:
    """`seconds` until the last one was identified; `failures`: attempts that were refused or took too long.

    `missing`: who was not back when the bench gave up.
    """

    seconds: float
    median: float
    failures: int
    missing: int


def encode(command: Command) -> str:
    return json.dumps({type(command).__name__: asdict(command)})


def decode(line: str) -> Command:
    ((kind, fields),) = json.loads(line).items()
    return COMMANDS[kind](**fields)
