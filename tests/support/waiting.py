"""Waiting for a condition: a test never waits for a fixed time."""

import asyncio
import inspect
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar, overload

Found = TypeVar("Found")

SOON = 20.0  # seconds that a test waits for one condition by default
PAUSES = (0.01, 0.02, 0.05)  # seconds between two checks, then LAST_PAUSE, so as not to load a busy machine
LAST_PAUSE = 0.1


@overload
async def eventually(
    condition: Callable[[], Awaitable[Found]], what: str, within: float = ..., *, until: Callable[[Found], object] = ...
) -> Found: ...


@overload
async def eventually(
    condition: Callable[[], Found], what: str, within: float = ..., *, until: Callable[[Found], object] = ...
) -> Found: ...


async def eventually(
    condition: Callable[[], Any], what: str, within: float = SOON, *, until: Callable[[Any], object] = bool
) -> Any:
    """Return the result of `condition`, awaited if it is awaitable, as soon as `until` accepts it.

    By default, a result that is true is accepted. Raise AssertionError if there is none `within` so many seconds: the
    text has `what` was waited for, and the last result.
    """
    found: Any = None
    try:
        async with asyncio.timeout(within) as patience:
            for pause in _pauses():
                looked = condition()
                found = await looked if inspect.isawaitable(looked) else looked
                if until(found):
                    return found
                await asyncio.sleep(pause)
    except TimeoutError:
        if not patience.expired():
            raise
        raise _late(what, within, found) from None


def wait_until(
    condition: Callable[[], Found], what: str, within: float = SOON, *, until: Callable[[Found], object] = bool
) -> Found:
    """Do what `eventually` does, for a test that is not asynchronous."""
    deadline = time.monotonic() + within
    pauses = _pauses()
    while not until(found := condition()):
        if time.monotonic() > deadline:
            raise _late(what, within, found)
        time.sleep(next(pauses))
    return found


def _pauses() -> Iterator[float]:
    return itertools.chain(PAUSES, itertools.repeat(LAST_PAUSE))


def _late(what: str, within: float, last: object) -> AssertionError:
    return AssertionError(f"not within {within:g} s: {what} (last: {last!r})")
