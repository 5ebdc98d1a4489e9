"""Work that goes on for as long as its process does."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0  # after a fault of ours


async def lasting(work: Callable[[], Awaitable[None]]) -> None:
    """`work` to its end, begun anew after a fault of ours: without it a process would go deaf, and look healthy."""
    while True:
        try:
            return await work()
        except Exception:
            logger.exception("background work failed", extra={"work": work.__qualname__})
            await asyncio.sleep(PAUSE_SECONDS)
