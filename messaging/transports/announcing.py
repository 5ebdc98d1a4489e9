"""Announcing to open pages what was done outside a connection: in the Django admin, or by a command.

As always, an announcement is only a hint: the change is committed, and a page that misses it finds it in its next
history.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from messaging import runtime
from messaging.service.actions import CloseGroup, Connection, Publish

logger = logging.getLogger(__name__)

GATEWAY_SECONDS = 5.0  # how long a page of the Django admin waits for the posts

Told = Sequence[Publish | CloseGroup]


def to_layer(told: Told) -> None:
    """Publish through the hubs of this process, or through a temporary one if it has none."""
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
