"""The figures of a run, as JSON and as Markdown. Ratios are to the first row, or to the first of the same size."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from bench import goals
from bench.metering import Row

FAILED = "failed: "  # begins the note of a task that failed
NOTHING = "–"


@dataclass(frozen=True)
class Run:
    machine: dict[str, Any]
    plan: dict[str, Any]
    minutes: float
    rows: list[Row]

    def save(self, file: Path) -> None:
        """Save the run as JSON. Leave out infinite figures, which mean that nothing arrived."""
        report = asdict(self)
        for row in report["rows"]:
            row["figures"] = {name: value for name, value in row["figures"].items() if math.isfinite(value)}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(report, indent=1) + "\n")

    @classmethod
    def load(cls, file: Path) -> Self:
        report = json.loads(file.read_text())
        return cls(**report | {"rows": [Row(**row) for row in report["rows"]]})


def number(form: str, scale: float = 1.0) -> Callable[[float], str]:
    return lambda value: format(value * scale, form)


TENTHS, HUNDREDTHS, WHOLE = number(",.1f"), number(",.2f"), number(",.0f")
PERCENT, MEGABYTES = number(".0f", 100), number(",.0f", 1e-6)


@dataclass(frozen=True)
class Column:
    """A column of one or several figures in the same format; several are separated by slashes."""

    heading: str
    names: tuple[str, ...]
    form: Callable[[float], str] = TENTHS

    def cell(self, row: Row) -> str:
        cells = [self.form(row.figures[name]) if name in row.figures else NOTHING for name in self.names]
        return " / ".join(cells) if set(cells) != {NOTHING} else NOTHING


@dataclass(frozen=True)
class Table:
    """A table of one workload. `ratio`: the figure that is compared with that of the first row that lost nothing.

    `sizes`: the heading of the sizes that the workload varies. `same_size`: compare only rows of the same size.
    """

    title: str
    workload: str
    columns: tuple[Column, ...]
    ratio: str = ""
    sizes: str = ""
    same_size: bool = False

    def markdown(self, rows: list[Row]) -> str:
        own = [row for row in rows if row.workload == self.workload]
        if not own:
            return ""
        heading = ["contender", *([self.sizes] if self.sizes else []), *(column.heading for column in self.columns)]
        heading += [*(["ratio"] if self.ratio else []), ""]
        lines = [f"**{self.title}**", "", _line(heading), _line(["---"] * len(heading))]
        return "\n".join([*lines, *(_line(self._cells(row, own)) for row in own)]) + "\n"

    def _cells(self, row: Row, own: list[Row]) -> list[str]:
        cells = [row.contender, *([f"{row.size:,}"] if self.sizes else [])]
        cells += [column.cell(row) for column in self.columns]
        return [*cells, *([self._ratio(row, own)] if self.ratio else []), row.note]

    def _ratio(self, row: Row, own: list[Row]) -> str:
        alike = (other.figures for other in own if not self.same_size or other.size == row.size)
        # A contender that loses messages does less work: its speed is no reference.
        base = next((figures.get(self.ratio) for figures in alike if not figures.get("lost")), None)
        value = row.figures.get(self.ratio)
        return f"{value / base:.2f}" if value is not None and base else NOTHING


DELIVERY = Column("delivery p50 / p95 / p99, ms", ("delivery_p50", "delivery_p95", "delivery_p99"))
ACK = Column("ack p50 / p95 / p99, ms", ("ack_p50", "ack_p95", "ack_p99"))
LOST = Column("lost", ("lost",), WHOLE)
COST = Column("CPU s per 1,000", ("server_cpu",), HUNDREDTHS)
COSTS = Column("CPU s per 1,000: server / Redis / PostgreSQL", ("server_cpu", "redis_cpu", "postgres_cpu"), HUNDREDTHS)
RATE = Column("messages/s", ("rate",), WHOLE)
BUSY = Column("busy, %: server's core / generator / other cores", ("server_core", "cpu", "other_cores"), PERCENT)

HALL = Table(
    "A hall on one address comes within so many seconds",
    "hall",
    (
        Column("people / page errors / refused", ("people", "page_errors", "refused"), WHOLE),
        Column("page complete p50 / p95 / p99, ms", ("page_p50", "page_p95", "page_p99"), WHOLE),
        Column("connected p50 / p95 / p99, ms", ("connected_p50", "connected_p95", "connected_p99"), WHOLE),
        Column("ack p50 / p95 / p99, ms", ("acked_p50", "acked_p95", "acked_p99"), WHOLE),
        Column("staff signed in / login p50 / slowest, s", ("signed_in", "login_seconds", "login_slowest")),
        Column("CPU per visitor, ms: page / socket", ("user_cpu", "websocket_cpu")),
        Column("memory at most, MB: page / staff / socket", ("user_peak", "admin_peak", "websocket_peak"), MEGABYTES),
    ),
    sizes="seconds",
)
TABLES = (
    HALL,
    Table("Highest sustained rate", "rate", (RATE, DELIVERY, ACK, COSTS, BUSY), "rate"),
    Table("200 messages/s", "steady", (DELIVERY, ACK, LOST, COST), "server_cpu"),
    Table("All visitors write at once", "burst", (DELIVERY, ACK, LOST), "delivery_p99"),
    Table(
        "Each visitor writes again after its ack",
        "closed",
        (
            Column("acked/s", ("rate",), WHOLE),
            Column("delivered/s", ("delivered",), WHOLE),
            LOST, ACK, COST,
        ),
        "delivered",
    ),
    Table(
        "All visitors lose their connections and reconnect at once",
        "reconnect",
        (
            Column("reconnected after, s: last / median", ("seconds", "median"), HUNDREDTHS),
            Column("failed attempts", ("failures",), WHOLE),
            Column("never reconnected", ("missing",), WHOLE),
        ),
        "seconds",
    ),
    Table(
        "Start",
        "start",
        (
            Column("start to ready, s", ("seconds",)),
            Column("CPU of that, s", ("cpu",)),
            Column("memory with the first 50 connections, MB", ("rss",), MEGABYTES),
        ),
    ),
    Table(
        "Idle connections",
        "idle",
        (
            Column("memory, MB", ("rss",), MEGABYTES),
            Column("kB each", ("rss_each",), number(",.1f", 1e-3)),
            Column("CPU between pings / mean, %", ("cpu_quiet", "cpu_mean"), number(".1f", 100)),
            Column("connects/s", ("connects",), WHOLE),
            Column("CPU per connect, ms", ("connect_cpu",), HUNDREDTHS),
        ),
        "rss_each",
        sizes="connections",
        same_size=True,
    ),
    Table(
        "More admins",
        "admins",
        (Column("CPU per delivery, µs", ("delivery_cpu",), WHOLE), DELIVERY, LOST),
        "delivery_cpu",
        sizes="admins",
        same_size=True,
    ),
    Table("More processes, on every core", "processes", (RATE, DELIVERY, COSTS, BUSY), "rate", sizes="processes"),
    Table("Mode `aws` on the emulator, one visitor and one admin", "aws", (ACK, DELIVERY, LOST)),
)  # fmt: skip


def markdown(run: Run, picture: Callable[[str], str] = lambda name: "") -> str:
    """Return the whole report. `picture` returns the Markdown to put under the table of a workload."""
    machine = ", ".join(f"{name} {value}" for name, value in run.machine.items())
    plan = run.plan
    about = (
        f"One {plan['name']} run of {run.minutes:.0f} minutes: {plan['visitors']:,} visitors, {plan['admins']} admins, "
        f"{plan['seconds']} s per trial. Machine: {machine}."
    )
    parts = [about + "\n", goals.markdown(run.rows)]
    for table in TABLES:
        if text := table.markdown(run.rows):
            parts += [text, *([f"{shown}\n"] if (shown := picture(table.workload)) else [])]
    return "\n".join(parts)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
