"""Background work that goes on for as long as its process."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0  # after an unexpected error


async def lasting(work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` to its end, and restart it after an unexpected error.

    Without the restart, the process would no longer do this work and still look healthy.
    """
    while True:
        try:
            return await work()
        except Exception:
            logger.exception("background work failed", extra={"work": work.__qualname__})
            await asyncio.sleep(PAUSE_SECONDS)
