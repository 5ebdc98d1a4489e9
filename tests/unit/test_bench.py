"""The results of a bench run: tables, verdicts on goals, plots, and their place in docs/performance.md."""

import json
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from bench import docs, goals, growth, hall, plots
from bench.__main__ import Task, done
from bench.contenders import PRODUCT, STOCK_BACKLOG, STOCK_CORE, STOCK_PUBSUB
from bench.exchange import COMMANDS, Command, Outcome, decode, encode
from bench.metering import Row
from bench.plan import QUICK
from bench.report import Run, markdown
from tests.support.hall import Hall, Visit

ROWS = [
    Row("rate", STOCK_CORE, 0, {"rate": 100.0, "delivery_p50": 8.0, "delivery_p99": 90.0}),
    Row("rate", PRODUCT, 0, {"rate": 2500.0, "delivery_p50": 3.21, "ack_p50": float("inf")}, "at least: full"),
    Row("idle", STOCK_PUBSUB, 1000, {"rss": 100e6, "rss_each": 32_000.0}),
    Row("idle", PRODUCT, 1000, {"rss": 90e6, "rss_each": 16_000.0, "cpu_quiet": 0.004, "cpu_mean": 0.02}),
    Row("reconnect", STOCK_BACKLOG, 0, note="failed: TimeoutError: it hung"),
    Row("reconnect", PRODUCT, 0, {"seconds": 1.0, "failures": 2.0}),
    Row("admins", PRODUCT, 1, {"delivery_cpu": 900.0}),
    Row("admins", PRODUCT, 10, {"delivery_cpu": 90.0}),
    Row("admins", PRODUCT, 100, {"delivery_cpu": 400.0}),
]
RUN = Run({"cores": 2}, json.loads(json.dumps(asdict(QUICK))), 2.5, ROWS)
OUTCOME = Outcome(
    rate=200, delivered=200, sent=400, arrived=4000, lost=0, twice=0, errors=0, unacked=0, closed=0, delivery_p50=2,
    delivery_p95=5, delivery_p99=9, ack_p50=1, ack_p95=2, ack_p99=3, lag=1, cpu=0.1, server_core=0.9, other_cores=0.3,
)  # fmt: skip


def table(title: str) -> list[list[str]]:
    """Return the cells of the rows in one table of RUN."""
    text = markdown(RUN).split(f"**{title}**\n\n")[1].split("\n\n")[0]
    return [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]


def test_a_table_has_a_line_for_each_contender_with_its_ratio_to_the_first() -> None:
    stock, product = table("Highest sustained rate")
    assert (stock[0], stock[1], stock[2], stock[-1]) == (STOCK_CORE, "100", "8.0 / – / 90.0", "1.00")
    assert (product[0], product[1], product[-2], product[-1]) == (PRODUCT, "2,500", "25.00", "at least: full")


def test_ratios_of_connections_are_to_the_first_contender_with_as_many() -> None:
    assert table("Idle connections") == [
        [STOCK_PUBSUB, "1,000", "100", "32.0", "–", "–", "–", "1.00"],
        [PRODUCT, "1,000", "90", "16.0", "0.4 / 2.0", "–", "–", "0.50"],
    ]


def test_a_contender_that_failed_says_why_in_its_line() -> None:
    failed, product = table("All visitors lose their connections and reconnect at once")
    assert failed == [STOCK_BACKLOG, "–", "–", "–", "–", "failed: TimeoutError: it hung"]
    assert product == [PRODUCT, "1.00 / –", "2", "–", "–"]


def test_a_run_goes_on_after_what_failed_and_keeps_what_there_was() -> None:
    def rows() -> Iterator[Row]:
        yield ROWS[0]
        raise AssertionError("the server | ended\nwith 1")

    note = "failed: AssertionError: the server / ended with 1"
    assert list(done(Task("rate", STOCK_CORE, 0, rows))) == [ROWS[0], Row("rate", STOCK_CORE, 0, note=note)]


def test_every_goal_is_judged_or_said_not_to_be_measured() -> None:
    lines = [line.strip("| ").split(" | ") for line in goals.markdown(ROWS).splitlines()[2:]]
    assert len(lines) == len(goals.GOALS)
    assert [line for line in lines if line[-1] != "not measured"] == [
        ["highest sustained rate", "≥ 20 × stock, core layer", "2,500/s", "25.00 (100/s)", "yes"],
        ["memory per idle connection", "≤ 18 kB", "16.0 kB", "–", "yes"],
        ["memory, largest number of connections", "≤ 256 MB", "90 MB", "–", "yes"],
        ["idle CPU between pings, largest number of connections", "≤ 2 %", "0.4 %", "–", "yes"],
        ["failed attempts to reconnect", "0", "2", "–", "no"],
        ["CPU per delivery, growing number of admins", "falls or stays constant", "900, 90, 400 µs", "–", "no"],
        ["memory, smallest number of connections", "< 128 MiB at 1,000", "86 MiB", "–", "yes"],
        ["CPU with pings, smallest number of connections", "< 10 % of a core", "2.0 %", "–", "yes"],
    ]


@pytest.mark.parametrize(
    ("outcome", "sustained", "limited_by"),
    [
        (OUTCOME, True, ""),
        (replace(OUTCOME, delivery_p99=100.0), False, ""),
        (replace(OUTCOME, lost=1), False, ""),
        (replace(OUTCOME, lag=21.0), True, "the load generator was the limit"),
        (replace(OUTCOME, cpu=0.95, other_cores=1.0), True, "the load generator was the limit"),
        (replace(OUTCOME, other_cores=1.0), True, "the other cores were the limit"),
    ],
)
def test_an_outcome_says_whether_it_held_and_what_else_may_have_been_the_limit(
    outcome: Outcome, sustained: bool, limited_by: str
) -> None:
    assert (outcome.sustained, outcome.limited_by) == (sustained, limited_by)


def test_a_run_is_read_as_it_was_kept_without_what_is_infinite(tmp_path: Path) -> None:
    RUN.save(tmp_path / "kept" / "run.json")
    json.loads((tmp_path / "kept" / "run.json").read_text(), parse_constant=pytest.fail)
    read = Run.load(tmp_path / "kept" / "run.json")
    assert read == replace(
        RUN, rows=[ROWS[0], replace(ROWS[1], figures={"rate": 2500.0, "delivery_p50": 3.21}), *ROWS[2:]]
    )


@pytest.mark.parametrize("kind", COMMANDS.values())
def test_the_load_generator_reads_what_it_is_asked(kind: type[Command]) -> None:
    command = decode(json.dumps({kind.__name__: {field.name: 3.5 for field in fields(kind)}}))
    assert isinstance(command, kind)
    assert decode(encode(command)) == command


def test_the_figures_of_a_hall_count_everybody_who_was_not_served() -> None:
    late = [Visit(failure="/user/: HTTP/1.1 503 Service Unavailable"), Visit(page=2.0, failure="rate_limited")]
    found = Hall([Visit(page=1.0, connected=0.5, acked=0.1), *late], [Visit(login=3.0, connected=0.2), Visit()])
    figures = hall.figures(found)
    counts = {name: figures[name] for name in ("people", "page_errors", "refused", "acked", "signed_in")}
    assert counts == {"people": 3, "page_errors": 1, "refused": 1, "acked": 1, "signed_in": 1}
    assert (figures["page_p50"], figures["acked_p99"], figures["login_slowest"]) == (1000, 100, 3)
    assert hall.note(found, 0.5) == "1 × /user/: HTTP/1.1 503 Service Unavailable; 1 × rate_limited"
    assert hall.note(Hall(), 0.97) == "all cores were 97% busy, and the machine was the limit"


def test_there_is_a_plot_for_each_workload_that_has_figures(tmp_path: Path) -> None:
    drawn = plots.draw(ROWS, tmp_path)
    assert set(drawn) == {"rate", "idle", "reconnect", "admins"}
    signatures = {file.name: file.read_bytes()[:8] for file in tmp_path.iterdir()}
    assert signatures == {plots.file_name(workload): b"\x89PNG\r\n\x1a\n" for workload in drawn}


def test_the_page_keeps_all_but_its_figures() -> None:
    before, rest = docs.PAGE.read_text().split(docs.BEGIN)
    figures, after = rest.split(docs.END)
    assert figures.strip()
    assert docs.replaced(docs.PAGE.read_text(), "new\n") == f"{before}{docs.BEGIN}\nnew\n{docs.END}{after}"
    with pytest.raises(ValueError, match=r"performance\.md needs the lines"):
        docs.replaced("no marks", "new")


def test_a_simulation_of_more_pods_agrees_with_arithmetic_and_says_what_is_too_much() -> None:
    case = growth.Case(pods=20, rate=200, heard_by=20)
    found = growth.Simulation(case).run()
    hints = (case.rate * (growth.HEAR + growth.HINT) + case.rate / case.pods * growth.SEND) / 1e6
    assert found.hints == pytest.approx(hints, rel=0.15)
    assert found.pod - found.hints == pytest.approx(case.rate / case.pods * growth.SERVE / 1e6, rel=0.15)
    assert not found.full
    assert growth.Simulation(growth.Case(pods=100, rate=5_000, heard_by=100), seconds=0.5).run().full
