"""The goals for a run's figures, and the verdict on each."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from bench.contenders import NODE, PRODUCT, STOCK_BACKLOG, STOCK_CORE, STOCK_PUBSUB
from bench.metering import Row

HALF_A_CORE = 0.5
NOISE = 1.15  # a cost that grows by no more than this factor from one size to the next counts as constant


@dataclass(frozen=True)
class Verdict:
    """The verdict on a goal. `ratio`: to the reference in the same run. `reached` is None if a figure is missing."""

    figure: str = "–"
    ratio: str = "–"
    reached: bool | None = None


@dataclass(frozen=True)
class Goal:
    what: str
    goal: str
    judge: Callable[["Found"], Verdict]


class Found:
    """The figures of a run, by workload, name and contender."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows

    def all(self, workload: str, name: str, contender: str = PRODUCT) -> list[tuple[int, float]]:
        """Return pairs of size and figure, in the order of sizes."""
        own = [row for row in self._rows if (row.workload, row.contender) == (workload, contender)]
        return sorted((row.size, row.figures[name]) for row in own if name in row.figures)

    def first(self, workload: str, name: str, contender: str = PRODUCT) -> float | None:
        return next((value for _, value in self.all(workload, name, contender)), None)

    def last(self, workload: str, name: str, contender: str = PRODUCT) -> float | None:
        return next((value for _, value in reversed(self.all(workload, name, contender))), None)


def compared(
    workload: str, name: str, reference: str, form: str, *, at_least: float = 0.0, at_most: float = float("inf")
) -> Callable[[Found], Verdict]:
    """Return a judge of the ratio of the product's figure to that of `reference`, both at their largest size."""

    def judge(found: Found) -> Verdict:
        own, other = found.last(workload, name), found.last(workload, name, reference)
        if own is None or not other:
            return Verdict(form.format(own)) if own is not None else Verdict()
        ratio = own / other
        return Verdict(form.format(own), f"{ratio:.2f} ({form.format(other)})", at_least <= ratio <= at_most)

    return judge


def below(
    value: Callable[[Found], float | None], limit: float, form: str, scale: float = 1.0
) -> Callable[[Found], Verdict]:
    """Return a judge that accepts a value, multiplied by `scale`, up to and including `limit`."""

    def judge(found: Found) -> Verdict:
        own = value(found)
        return Verdict() if own is None else Verdict(form.format(own * scale), reached=own * scale <= limit)

    return judge


def growth(workload: str, name: str, form: str, good: Callable[[float, float], bool]) -> Callable[[Found], Verdict]:
    """Return a judge of the figures of all sizes: `good` judges each pair of neighbours."""

    def judge(found: Found) -> Verdict:
        values = [value for _, value in found.all(workload, name)]
        steps = list(itertools.pairwise(values))
        figure = form.format(", ".join(f"{value:,.0f}" for value in values))
        return Verdict(figure, reached=all(good(*step) for step in steps)) if steps else Verdict()

    return judge


def ready_on_half_a_core(found: Found) -> float | None:
    """Return the estimated seconds of a start on half a core: the CPU time is the part that takes longer there."""
    seconds, cpu = found.first("start", "seconds"), found.first("start", "cpu")
    return None if seconds is None or cpu is None else max(seconds, cpu / HALF_A_CORE)


def not_served(found: Found) -> float | None:
    """Return how many people of all halls got no page, were refused, or could not sign in."""
    values = [value for name in ("page_errors", "refused") for _, value in found.all("hall", name)]
    return sum(values) if values else None


RATE = "highest sustained rate"
GOALS = (
    Goal(RATE, "≥ 20 × stock, core layer", compared("rate", "rate", STOCK_CORE, "{:,.0f}/s", at_least=20)),
    Goal(RATE, "≥ 10 × stock, pub/sub layer", compared("rate", "rate", STOCK_PUBSUB, "{:,.0f}/s", at_least=10)),
    Goal(RATE, "≥ 0.6 × Node, which stores nothing", compared("rate", "rate", NODE, "{:,.0f}/s", at_least=0.6)),
    Goal(
        "CPU per delivery, largest number of admins",
        "≤ 1/6 of stock, pub/sub layer",
        compared("admins", "delivery_cpu", STOCK_PUBSUB, "{:,.0f} µs", at_most=1 / 6),
    ),
    Goal("ack at 200/s, p50", "≤ 10 ms", below(lambda f: f.first("steady", "ack_p50"), 10, "{:.1f} ms")),
    Goal("ack at 200/s, p99", "≤ 50 ms", below(lambda f: f.first("steady", "ack_p99"), 50, "{:.1f} ms")),
    Goal(
        "all visitors send at once, delivery p99",
        "≤ 0.4 × stock, pub/sub layer",
        compared("burst", "delivery_p99", STOCK_PUBSUB, "{:,.0f} ms", at_most=0.4),
    ),
    Goal("memory per idle connection", "≤ 18 kB", below(lambda f: f.last("idle", "rss_each"), 18, "{:.1f} kB", 1e-3)),
    Goal(
        "memory, largest number of connections",
        "≤ 256 MB",
        below(lambda f: f.last("idle", "rss"), 256, "{:,.0f} MB", 1e-6),
    ),
    Goal(
        "idle CPU between pings, largest number of connections",
        "≤ 2 %",
        below(lambda f: f.last("idle", "cpu_quiet"), 2, "{:.1f} %", 100),
    ),
    Goal(
        "all visitors reconnect at once",
        "≤ 0.4 × stock with backlog 4,096",
        compared("reconnect", "seconds", STOCK_BACKLOG, "{:.2f} s", at_most=0.4),
    ),
    Goal("failed attempts to reconnect", "0", below(lambda f: f.first("reconnect", "failures"), 0, "{:.0f}")),
    Goal(
        "CPU per delivery, growing number of admins",
        "falls or stays constant",
        growth("admins", "delivery_cpu", "{} µs", lambda fewer, more: more <= fewer * NOISE),
    ),
    Goal(
        "rate, growing number of processes",
        "grows until another resource is the limit",
        growth("processes", "rate", "{} /s", lambda fewer, more: more > fewer),
    ),
    Goal("start to ready on half a core", "< 5 s", below(ready_on_half_a_core, 5, "{:.1f} s")),
    Goal(
        "memory, smallest number of connections",
        "< 128 MiB at 1,000",
        below(lambda f: f.first("idle", "rss"), 128, "{:,.0f} MiB", 1 / 2**20),
    ),
    Goal(
        "CPU with pings, smallest number of connections",
        "< 10 % of a core",
        below(lambda f: f.first("idle", "cpu_mean"), 10, "{:.1f} %", 100),
    ),
    Goal("Lambda package", "< 6 MB", below(lambda f: f.first("package", "bytes"), 6, "{:.1f} MB", 1e-6)),
    Goal("warm frame on the emulator, p95", "< 50 ms", below(lambda f: f.first("aws", "ack_p95"), 50, "{:.1f} ms")),
    Goal("a hall on one address: page errors and refused", "0", below(not_served, 0, "{:.0f}")),
    Goal(
        "a hall within 30 s: page complete, p95",
        "≤ 3 s",
        below(lambda f: f.last("hall", "page_p95"), 3, "{:.1f} s", 1e-3),
    ),
    Goal("a hall within 10 s: ack p99", "< 2 s", below(lambda f: f.first("hall", "acked_p99"), 2, "{:.1f} s", 1e-3)),
    Goal("CPU of a first visit, pages", "≤ 5 ms", below(lambda f: f.first("hall", "user_cpu"), 5, "{:.1f} ms")),
    Goal(
        "cold start to the first frame", "< 2.5 s", below(lambda f: f.first("cold start", "seconds"), 2.5, "{:.2f} s")
    ),
)
WORDS = {True: "yes", False: "no", None: "not measured"}


def markdown(rows: list[Row]) -> str:
    found = Found(rows)
    lines = ["| figure | goal | product | ratio (reference) | reached |", "|---|---|---|---|---|"]
    for goal in GOALS:
        verdict = goal.judge(found)
        cells = (goal.what, goal.goal, verdict.figure, verdict.ratio, WORDS[verdict.reached])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
