"""The lag of the event loop: the delay that a slow handler, or too much work, causes for every connection."""

import asyncio
from collections.abc import Callable
from typing import Protocol

PROBE_SECONDS = 0.1
WINDOW_SECONDS = 15.0  # the interval between two scrapes; a scrape resets nothing, so any number of scrapers works


class Loop(Protocol):
    """The clock and the timers of an event loop."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], None], /) -> asyncio.TimerHandle: ...


class LoopLag:
    """The lag of one event loop, measured from construction until `close`."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._worst = self._worst_before = 0.0
        self._window_ends = self._loop.time() + WINDOW_SECONDS
        self._probe_soon()

    @property
    def seconds(self) -> float:
        """The greatest lag in this window and the one before."""
        return max(self._worst, self._worst_before)

    def close(self) -> None:
        self._probe.cancel()

    def _probe_soon(self) -> None:
        self._due = self._loop.time() + PROBE_SECONDS
        self._probe = self._loop.call_at(self._due, self._measure)

    def _measure(self) -> None:
        now = self._loop.time()
        self._worst = max(self._worst, now - self._due)
        if now >= self._window_ends:
            self._worst_before, self._worst = self._worst, 0.0
            self._window_ends = now + WINDOW_SECONDS
        self._probe_soon()
