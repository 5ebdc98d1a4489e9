"""A row of figures: the outcome of a trial, and the CPU time that it cost the servers."""

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from bench.contenders import Running
from bench.exchange import Burst, Closed, Open, Outcome
from bench.generator import Generator
from bench.machine import cpu_seconds, family

Figures = dict[str, float]


@dataclass(frozen=True)
class Row:
    """Figures of one contender under one workload. `size`: the value that the workload varies. `note`: a remark."""

    workload: str
    contender: str
    size: int = 0
    figures: Figures = field(default_factory=dict)
    note: str = ""


class Meter:
    """A meter of the CPU seconds that the contender, Redis and PostgreSQL use, from its creation on."""

    def __init__(self, running: Running) -> None:
        around = running.surroundings
        self._pids: dict[str, Callable[[], list[int]]] = {
            "server": lambda: [server.pid for server in running.servers],
            "redis": lambda: [around.redis.pid],
            "postgres": lambda: family(around.postgres.pid),
        }
        self._before = self._read()

    def used(self) -> Figures:
        return {name: seconds - self._before[name] for name, seconds in self._read().items()}

    def _read(self) -> Figures:
        return {name: cpu_seconds(pids()) for name, pids in self._pids.items()}


def trial_row(
    workload: str, running: Running, generator: Generator, trial: Open | Closed | Burst, size: int = 0
) -> Row:
    """Run a trial. Return its outcome, with CPU seconds per 1,000 messages and CPU microseconds per delivery."""
    meter = Meter(running)
    outcome = generator.run(trial)
    used = meter.used()
    print(f"  {describe(outcome)}", file=sys.stderr, flush=True)
    figures: Figures = {**asdict(outcome), "sustained": float(outcome.sustained)}
    if outcome.sent:
        figures |= {f"{name}_cpu": round(seconds / outcome.sent * 1000, 4) for name, seconds in used.items()}
    if outcome.arrived:
        figures["delivery_cpu"] = round(used["server"] / outcome.arrived * 1e6, 1)
    note = "" if isinstance(trial, Burst) else outcome.limited_by  # a burst is too short for the kernel's counts
    return Row(workload, running.name, size, figures, note)


def describe(outcome: Outcome) -> str:
    counts = {name: getattr(outcome, name) for name in ("lost", "twice", "errors", "unacked", "closed")}
    wrong = "".join(f", {count} {name}" for name, count in counts.items() if count)
    return (
        f"{outcome.rate:6.0f}/s {'sustained' if outcome.sustained else 'not sustained'}: delivered in "
        f"{outcome.delivery_p50:.1f} ms, 99 % in {outcome.delivery_p99:.1f}{wrong}; busy: "
        f"server {outcome.server_core:.0%}, generator {outcome.cpu:.0%}, its cores {outcome.other_cores:.0%}"
    )
