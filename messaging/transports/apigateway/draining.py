"""The drain of a gateway, which holds its clients' WebSockets even if the processes behind it end."""

import asyncio
import logging
import random
import time

from django.conf import settings

from messaging.runtime import get_service, get_states, get_store
from messaging.service.contracts import ADMINS, USERS, StoredConnection
from messaging.transports.apigateway.connection_state import restore
from messaging.transports.apigateway.gateway import CONCURRENCY
from messaging.transports.apigateway.handler import run
from messaging.transports.apigateway.posting import Posting

logger = logging.getLogger(__name__)

MOST_SECONDS = 20  # the longest time over which clients are sent elsewhere: an invocation has 29
RESERVE_SECONDS = 4  # for the last clients


def drain() -> tuple[int, int]:
    """Send every client elsewhere, at random moments within SHUTDOWN_TIMEOUT (at most MOST_SECONDS), and close.

    Return how many were sent, and how many are connected now: those that came meanwhile, and those for which the time
    was too short. Clients reconnect to the name of the WebSocket API, wherever that leads by now. Raise
    StoreUnavailable if the connection store does not answer.
    """
    return run(_drain(min(settings.SHUTDOWN_TIMEOUT, MOST_SECONDS)))


async def _drain(seconds: int) -> tuple[int, int]:
    store, deadline = get_store(), time.monotonic() + seconds + RESERVE_SECONDS
    posting = Posting(lambda: deadline - time.monotonic())
    turns = asyncio.Semaphore(CONCURRENCY)

    async def restart(row: StoredConnection) -> bool:
        await asyncio.sleep(random.uniform(0, seconds))  # noqa: S311  not a secret
        async with turns:
            if time.monotonic() > deadline:
                return False
            state = await get_states().load(row.connection_id)
            if state is None:
                await posting.end(row.connection_id)
                await store.remove_connection(row)
            else:
                await posting.perform(restore(row.connection_id, state), get_service().restart())
            return True

    rows = [row for group in (ADMINS, USERS) for row in await store.get_connections(group)]
    ended = await asyncio.gather(*map(restart, rows), return_exceptions=True)
    for error in ended:
        if isinstance(error, BaseException):
            logger.error("connection not sent elsewhere", exc_info=error)
    posting.report()
    return ended.count(True), await store.count(ADMINS) + await store.count(USERS)
