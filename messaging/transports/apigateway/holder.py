"""An API Gateway as the holder of the clients' connections, which outlive the processes behind it."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from django.conf import settings

from messaging.observability import audit
from messaging.runtime import runtime
from messaging.service.actions import CloseGroup, Connection, Publish
from messaging.service.contracts import ADMINS, USERS, StoredConnection, StoreUnavailable
from messaging.transports.apigateway.connection_state import restore
from messaging.transports.apigateway.gateway import CONCURRENCY, NOBODY
from messaging.transports.apigateway.invocation import run, run_all, seconds_from_now
from messaging.transports.apigateway.posting import Posting
from messaging.transports.base import MARK, TRIP_SECONDS, Holder, NotDrained, T, Trip, TripFailed

PUBLISH_SECONDS = 5.0  # how long a form, or a page of the Django admin, waits for the posts
DRAIN_SECONDS = 20  # the longest time over which clients are sent elsewhere: an invocation has 29
DRAIN_RESERVE_SECONDS = 4  # for the last clients


class GatewayHolder(Holder):
    """The WebSocket API of this deployment."""

    needs_store = True
    probes = None

    def run(self, work: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        return run(work(*arguments))

    async def publish(self, told: Sequence[Publish | CloseGroup]) -> None:
        posting = Posting(seconds_from_now(PUBLISH_SECONDS))
        await posting.perform(Connection(id="", held=False), told)
        posting.report()

    def announce(self, told: Sequence[Publish | CloseGroup]) -> None:
        run(self.publish(told))

    def drain(self) -> str:
        """Send every client elsewhere, at random moments within SHUTDOWN_TIMEOUT (at most DRAIN_SECONDS), and close.

        The returned line has two numbers: how many were sent elsewhere, and how many are connected now, because they
        connected meanwhile or the time was too short for them. Clients reconnect to the URL that they used before,
        which may lead to another deployment by then.
        """
        audit.note("drain asked for")
        try:
            told, left = run(_drain(min(settings.SHUTDOWN_TIMEOUT, DRAIN_SECONDS)))
        except StoreUnavailable as error:
            raise NotDrained(f"connections: {error}") from error
        return f"sent elsewhere: {told}, connected now: {left}"

    def trips(self) -> Mapping[str, Trip]:
        return {"management_api": _post}


async def _drain(seconds: int) -> tuple[int, int]:
    store, left = runtime.store, seconds_from_now(seconds + DRAIN_RESERVE_SECONDS)
    posting = Posting(left)
    turns = asyncio.Semaphore(CONCURRENCY)

    async def restart(row: StoredConnection) -> bool:
        await asyncio.sleep(random.uniform(0, seconds))  # noqa: S311  not a secret
        async with turns:
            if left() < 0:
                return False
            state = await runtime.states.load(row.id)
            if state is None:
                await posting.end(row.id)
                await store.remove_connection(row)
            else:
                await posting.perform(restore(row.id, state), runtime.service.restart())
            return True

    rows = [row for group in (ADMINS, USERS) for row in await store.get_connections(group)]
    ended = await run_all(map(restart, rows), "connection not sent elsewhere")
    posting.report()
    return ended.count(True), await store.count(ADMINS) + await store.count(USERS)


async def _post() -> None:
    """Post to a connection that does not exist: only callers that may post get the answer that it is gone."""
    outcome = await runtime.gateway.post(f"{MARK}=", "{}", lambda: TRIP_SECONDS)
    if outcome != NOBODY:
        raise TripFailed(f"a post ended with {outcome}")
