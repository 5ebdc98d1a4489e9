"""The event loop of a function's process, and the time that work in it has left."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable
from contextvars import copy_context
from typing import Any

from messaging.transports.apigateway.gateway import SecondsLeft
from messaging.transports.base import T

logger = logging.getLogger(__name__)

RESERVE_SECONDS = 1.5  # the part of an invocation's time that is kept for its end

_runner = asyncio.Runner()  # one loop for the life of the process: the stores' threads and connections belong to it


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on the process' event loop and return its result."""
    return _runner.run(work, context=copy_context())


async def run_all(works: Iterable[Coroutine[Any, Any, T]], failure: str) -> list[T]:
    """Run `works` at the same time until all have ended. Log each error as `failure`; return the other results.

    If an error ended `run` instead, the rest would stay suspended until the process' next invocation, or for ever.
    """
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            logger.error(failure, exc_info=result)
    return [result for result in results if not isinstance(result, BaseException)]


def seconds_left(context: Any) -> SecondsLeft:
    """Return a function that returns how many seconds the invocation with this Lambda context may still post."""
    return lambda: context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS


def seconds_from_now(seconds: float) -> SecondsLeft:
    """Return a function that returns how many of `seconds`, which begin now, are left."""
    deadline = time.monotonic() + seconds
    return lambda: deadline - time.monotonic()
