"""`python -m bench`: the highest rate of messages that each contender sustains, in one run on one machine.

Sustained: over the trial, 99 of 100 deliveries from a visitor to an admin take less than 100 ms, everything arrives
once and everything is acknowledged. Only ratios between rows of one run mean something.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.contenders import CONTENDERS, PINNED, ROOT, Contender, pin_to_other_cores
from bench.load import Cores, Outcome, Setup, Trial

FIRST_RATE = 100.0
LOWEST_RATE, HIGHEST_RATE = 12.5, 12_800.0


@dataclass(frozen=True)
class Plan:
    """`precision`: the search ends when the rate that failed is within this factor of the one that held."""

    visitors: int
    admins: int
    seconds: float
    attempts: int
    precision: float


FULL = Plan(visitors=1000, admins=10, seconds=10, attempts=2, precision=1.1)
QUICK = Plan(visitors=200, admins=10, seconds=4, attempts=1, precision=1.25)


@dataclass(frozen=True)
class Result:
    """What was seen at FIRST_RATE, at the `best` rate, the highest that held, and at the `limit`, which did not."""

    name: str
    first: Outcome
    best: Outcome | None
    limit: Outcome | None


class LoadProcess:
    """bench.load, connected to `contender`."""

    def __init__(self, contender: Contender, plan: Plan) -> None:
        command = [sys.executable, "-m", "bench.load"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._ask(asdict(Setup(contender.url, plan.visitors, plan.admins, contender.admin_token())))

    def run(self, trial: Trial) -> Outcome:
        return Outcome(**json.loads(self._ask(asdict(trial))))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, question: dict[str, object]) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("The load generator ended; what it said is above.")
        return answer


def measure(contender: Contender, plan: Plan) -> Result:
    """Doubles or halves the rate until one holds and one does not, then bisects."""
    outcomes: list[Outcome] = []
    held: Outcome | None = None
    limit: Outcome | None = None
    rate = FIRST_RATE
    while LOWEST_RATE <= rate <= HIGHEST_RATE and not (held and limit and limit.rate / held.rate <= plan.precision):
        outcome = attempt(contender, plan, rate)
        outcomes.append(outcome)
        if outcome.sustained:
            held = outcome
        else:
            limit = outcome
        rate = (held.rate * limit.rate) ** 0.5 if held and limit else rate * (2 if held else 0.5)
    return Result(contender.name, outcomes[0], held, limit)


def attempt(contender: Contender, plan: Plan, rate: float) -> Outcome:
    """One trial with new connections; a second one where the first did not hold, as a busy machine may be to blame."""
    for _ in range(plan.attempts):
        load = LoadProcess(contender, plan)
        try:
            load.run(Trial(FIRST_RATE, 1))  # warms up
            outcome = load.run(Trial(rate, plan.seconds))
        finally:
            load.close()
        print(f"  {describe(outcome)}", file=sys.stderr, flush=True)
        if outcome.sustained:
            break
    return outcome


def describe(outcome: Outcome) -> str:
    verdict = "held" if outcome.sustained else "did not hold"
    counts = {name: getattr(outcome, name) for name in ("lost", "twice", "errors", "unacked", "closed")}
    wrong = "".join(f", {count} {name}" for name, count in counts.items() if count)
    return (
        f"{outcome.rate:6.0f}/s {verdict}: delivered in {outcome.delivery_p50:.1f} ms, "
        f"99 % in {outcome.delivery_p99:.1f}{wrong}; busy: server {outcome.server_core:.0%}, "
        f"generator {outcome.cpu:.0%}, its cores {outcome.other_cores:.0%}"
    )


def table(results: list[Result]) -> str:
    """Markdown; ratios relative to the first row."""
    base = results[0].best
    lines = [
        f"| one process on one core | messages/s | ratio | delivery p50/p99 at {FIRST_RATE:.0f}/s | ack p50/p99 | |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        rate = f"{result.best.rate:,.0f}" if result.best else f"< {LOWEST_RATE}"
        ratio = f"{result.best.rate / base.rate:.1f}" if result.best and base else "-"
        first = result.first
        note = ""
        if result.limit is None:
            note = "the highest rate tried"
        elif result.limit.generator_full:
            note = "at least: the cores beside the server's were full"
        lines.append(
            f"| {result.name} | {rate} | {ratio} | {first.delivery_p50:.1f} / {first.delivery_p99:.1f} ms "
            f"| {first.ack_p50:.1f} / {first.ack_p99:.1f} ms | {note} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK.visitors} visitors and shorter trials")
    parser.add_argument("--json", type=Path, default=ROOT / "var" / "bench.json", help="where every figure goes")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    cores = Cores()
    time.sleep(1)
    busy_before = max(cores.busy())
    if busy_before > 0.2:
        print(f"This machine is {busy_before:.0%} busy with something else: expect noise.", file=sys.stderr)
    pin_to_other_cores()
    results = []
    for contender in CONTENDERS:
        with contender() as running:
            print(running.name, file=sys.stderr, flush=True)
            results.append(measure(running, plan))
    machine = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "pinned": PINNED,
        "busy_before": busy_before,
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine, "plan": asdict(plan), "results": [asdict(result) for result in results]}
    arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    print(
        f"{plan.visitors} visitors, {plan.admins} admins, {plan.seconds:.0f} s a trial, {machine}\n\n{table(results)}"
    )


if __name__ == "__main__":
    main()
