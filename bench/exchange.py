"""The bench's commands to its load generator, and the answers: one line of JSON each."""

import json
from dataclasses import asdict, dataclass

P99_MS = 100  # a trial counts as sustained if 99 % of its deliveries take less


@dataclass(frozen=True)
class Setup:
    """The numbers of visitors and of staff connections to open first, spread over `urls`."""

    urls: list[str]
    visitors: int
    admins: int
    admin_token: str = ""


@dataclass(frozen=True)
class Grow:
    """Connect more visitors, until there are `visitors`."""

    visitors: int


@dataclass(frozen=True)
class Open:
    """An open loop: visitors together send `rate` messages a second on schedule, even if the server lags behind."""

    rate: float
    seconds: float


@dataclass(frozen=True)
class Closed:
    """A closed loop: each visitor writes again after the ack."""

    seconds: float


@dataclass(frozen=True)
class Burst:
    """Every visitor writes once, all at the same moment."""


@dataclass(frozen=True)
class Reconnect:
    """Disconnect all visitors at once; all reconnect at once. The answer is a Return."""


Command = Grow | Open | Closed | Burst | Reconnect
COMMANDS: dict[str, type[Command]] = {kind.__name__: kind for kind in (Grow, Open, Closed, Burst, Reconnect)}


@dataclass(frozen=True)
class Outcome:
    """The result of an open loop, a closed loop or a burst. Times are in milliseconds.

    `rate`: acked messages a second; in an open loop, the scheduled rate. `delivered`: deliveries a second to one staff
    connection, on average. `arrived`: all deliveries, late ones included. `twice`: deliveries of a message that had
    already arrived. `lag`: delay of the generator behind its schedule, 99th percentile. `cpu`: the generator's share of
    one core. `server_core`, `other_cores`: the shares of time that these cores were busy.
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
        """The part other than the server that may have been the limit; empty if there is none."""
        if self.lag > 20 or self.cpu > 0.9:
            return "the load generator was the limit"
        return "the other cores were the limit" if self.other_cores > 0.95 else ""


@dataclass(frozen=True)
class Return:
    """The result of a Reconnect. `seconds`: until the last visitor was identified.

    `failures`: attempts that were refused or timed out. `missing`: visitors not back when the bench gave up.
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
