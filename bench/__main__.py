"""`python -m bench`: a comparison of this product with servers that do the same job, in one run on one machine.

Only ratios between rows of the same run mean anything. If a task fails, its row gives the reason, and the run
continues. Tables are printed; figures and plots are written to var/.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bench import aws_mode, docs, hall, plots, workloads
from bench.contenders import (
    CONTENDERS,
    NODE,
    PROCESSES,
    PRODUCT,
    STOCK_BACKLOG,
    STOCK_CORE,
    STOCK_PUBSUB,
    WEBSOCKETS,
    Start,
    Surroundings,
    surroundings,
)
from bench.machine import CORES, PINNED, Cores, keep_off_the_servers_core
from bench.metering import Row
from bench.plan import FULL, QUICK, Plan
from bench.report import FAILED, Run, markdown
from bench.search import highest_rate, processes
from bench.workloads import Workload
from tests.support.paths import ROOT

VAR = ROOT / "var"
EVERYBODY = (STOCK_CORE, STOCK_PUBSUB, WEBSOCKETS, NODE, PRODUCT)
MESSAGE = 300  # the most characters of an error in a row's note


@dataclass(frozen=True)
class Task:
    workload: str
    contender: str
    size: int
    rows: Callable[[], Iterator[Row]]


def tasks(plan: Plan, around: Surroundings) -> Iterator[Task]:
    """Yield the tasks of a run. Contenders take turns within a workload, so that other load affects all alike."""

    def on(name: str, work: Workload, *contenders: str) -> Iterator[Task]:
        for contender in contenders:
            yield Task(name, contender, 0, partial(serving, CONTENDERS[contender], 1, work))

    def serving(start: Start, count: int, work: Workload) -> Iterator[Row]:
        """Yield the rows of `work` on newly started servers."""
        around.redis.client().flushall()
        with start(around, count) as running:
            yield from work(plan, running)

    yield from on("idle", workloads.idle, STOCK_PUBSUB, WEBSOCKETS, NODE, PRODUCT)
    yield from on("steady", workloads.session, *EVERYBODY)
    yield from on("reconnect", workloads.comeback, STOCK_BACKLOG, STOCK_PUBSUB, WEBSOCKETS, NODE, PRODUCT)
    yield from on("rate", highest_rate, *EVERYBODY)
    yield from on("admins", workloads.fan_out, STOCK_PUBSUB, NODE, PRODUCT)
    for count in plan.processes:
        yield Task("processes", PRODUCT, count, partial(serving, PROCESSES, count, processes))
    yield Task("hall", PRODUCT, 0, partial(hall.rows, plan, around))
    yield Task("aws", PRODUCT, 0, partial(aws_mode.warm_frames, plan))
    yield Task("cold start", PRODUCT, 0, partial(aws_mode.cold_starts, plan))


def done(task: Task) -> Iterator[Row]:
    """Yield the rows of `task` and, if it fails, one more row with the reason."""
    print(f"{task.workload}: {task.contender} {task.size or ''}", file=sys.stderr, flush=True)
    try:
        yield from task.rows()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:MESSAGE].replace("|", "/")
        print(f"  {FAILED}{error}", file=sys.stderr, flush=True)
        yield Row(task.workload, task.contender, task.size, note=FAILED + reason)


def machine() -> dict[str, object]:
    cores = Cores()
    time.sleep(1)
    busy = max(cores.busy())
    if busy > 0.2:
        print(f"This machine is already {busy:.0%} busy: expect noisy figures.", file=sys.stderr)
    known = {"Python": platform.python_version(), "cores": CORES, "server pinned to one": "yes" if PINNED else "no"}
    return known | {"busy before the run": f"{busy:.0%}", "date": f"{datetime.now(UTC):%Y-%m-%d}"}


def measured(plan: Plan, only: list[str], file: Path) -> Run:
    """Run the tasks of `plan`, or only those of the workloads in `only`. Save the run to `file` after each task."""
    run = Run(machine(), asdict(plan), 0.0, [])
    began = time.monotonic()
    keep_off_the_servers_core()
    with surroundings() as around:
        for task in tasks(plan, around):
            if only and task.workload not in only:
                continue
            run.rows.extend(done(task))
            run = replace(run, minutes=round((time.monotonic() - began) / 60, 1))
            run.save(file)
            print(f"  {run.minutes} minutes so far", file=sys.stderr, flush=True)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="run every workload at a small size, in less than three minutes"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORKLOAD", help="run only this workload (may be repeated)"
    )
    parser.add_argument("--docs", action="store_true", help="only write the last run into docs/performance.md")
    parser.add_argument("--json", type=Path, default=VAR / "bench.json", help="the file for all figures")
    arguments = parser.parse_args()
    if arguments.docs:
        docs.write(Run.load(arguments.json))
        return
    run = measured(QUICK if arguments.quick else FULL, arguments.only, arguments.json)
    plots.draw(run.rows, VAR / "bench")
    print(markdown(run))


if __name__ == "__main__":
    main()
