"""Telling open pages what was done where no connection is served: in the Django admin, by a command.

What is told is a hint as ever: it is committed, and a page that does not hear of it finds it in its next history.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from messaging import runtime
from messaging.service.actions import CloseGroup, Connection, Publish

logger = logging.getLogger(__name__)

GATEWAY_SECONDS = 5.0  # how long a page of the Django admin waits for what is posted

Told = Sequence[Publish | CloseGroup]


def to_layer(told: Told) -> None:
    """By the hub of this process, or in one that serves nobody by one that is made for it."""
    hubs = runtime.hubs()
    for loop, hub in hubs.items():
        loop.call_soon_threadsafe(hub.publish, told)
    if not hubs:
        asyncio.run(_by_own_hub(told))


async def _by_own_hub(told: Told) -> None:
    runtime.get_hub().publish(told)
    await runtime.close()


def to_gateway(told: Told) -> None:
    from messaging.transports.apigateway.handler import run
    from messaging.transports.apigateway.posting import Posting

    deadline = time.monotonic() + GATEWAY_SECONDS
    posting = Posting(lambda: deadline - time.monotonic())
    run(posting.perform(Connection(id="", held=False), told))
    posting.report()
