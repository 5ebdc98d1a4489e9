"""The search for the highest rate that a contender sustains."""

import contextlib
import itertools
from collections.abc import Iterator

from bench.contenders import NODE, PRODUCT, STOCK_CORE, STOCK_PUBSUB, WEBSOCKETS, Running
from bench.exchange import Open
from bench.generator import Generator
from bench.metering import Row, trial_row
from bench.plan import Plan
from bench.workloads import WARM_UP_RATE, everybody

LOWEST_RATE, HIGHEST_RATE = 12.5, 20_000.0
# The first rate of a search: the nearer to the result, the shorter the search.
GUESSES = {STOCK_CORE: 130.0, STOCK_PUBSUB: 250.0, WEBSOCKETS: 2500.0, NODE: 5000.0, PRODUCT: 2000.0}


def highest_rate(plan: Plan, running: Running) -> Iterator[Row]:
    yield Search(plan, running, "rate").row(GUESSES[running.name])


def processes(plan: Plan, running: Running) -> Iterator[Row]:
    """Yield the highest rate that the product sustains with several processes, which may use every core."""
    count = len(running.servers)
    yield Search(plan, running, "processes", count).row(GUESSES[PRODUCT])


class Search:
    """A search for the highest sustained rate: short trials bracket it, then a full trial confirms it."""

    def __init__(self, plan: Plan, running: Running, workload: str, size: int = 0) -> None:
        self._plan = plan
        self._running = running
        self._workload = workload
        self._size = size
        self._generator: Generator | None = None
        self._open = contextlib.ExitStack()

    def row(self, rate: float) -> Row:
        with self._open:
            return self._confirmed(*self._bracket(rate))

    def _bracket(self, rate: float) -> tuple[float, Row | None]:
        """Return the highest sustained rate, or 0, and the row of the lowest rate that was not sustained, or None."""
        held, limit = 0.0, None
        while LOWEST_RATE <= rate <= HIGHEST_RATE:
            row = self._attempts(rate, self._plan.probe)
            if row.figures["sustained"]:
                held = rate
            else:
                limit = row
            if not held:
                rate /= self._plan.stride
            elif limit is None:
                rate *= self._plan.stride
            elif (failed := limit.figures["rate"]) / held <= self._plan.precision:
                break
            else:
                rate = (held * failed) ** 0.5
        return held, limit

    def _confirmed(self, rate: float, limit: Row | None) -> Row:
        for step in itertools.count(1):  # three small steps down, then ever larger ones, as the way down may be long
            if rate < LOWEST_RATE:
                break
            row = self._attempts(rate, self._plan.seconds)
            if row.figures["sustained"]:
                note = "the highest rate tried" if limit is None else limit.note and f"at least: {limit.note}"
                return Row(self._workload, self._running.name, self._size, row.figures, note)
            rate, limit = rate / self._plan.precision ** max(1, step - 2), row
        raise RuntimeError(f"not even {LOWEST_RATE} messages a second were sustained")

    def _attempts(self, rate: float, seconds: float) -> Row:
        for _ in range(self._plan.attempts):
            if self._generator is None:
                self._generator = self._open.enter_context(everybody(self._plan, self._running))
                self._generator.run(Open(WARM_UP_RATE, self._plan.warm_up))
            row = trial_row(self._workload, self._running, self._generator, Open(rate, seconds), self._size)
            if row.figures["sustained"]:
                break
            self._open.close()  # new connections, so that nothing of this trial reaches the next one
            self._generator = None
        return row
