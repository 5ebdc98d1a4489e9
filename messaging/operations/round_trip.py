"""Live trips through each backend from this process, for `messaging_check --online` and `messaging_health --here`."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import uuid4

from django.conf import settings

from messaging import runtime
from messaging.operations import health
from messaging.service.contracts import StoredConnection, conversation_group

State = Literal["ok", "degraded", "failed"]

SECONDS = 5.0  # the limit for one trip
MARK = "messaging-check"  # part of the name of everything that a trip stores for a moment


class Broken(Exception):
    """A backend answered, but wrongly; the text gives the details."""


@dataclass(frozen=True, slots=True)
class Trip:
    """The result of a trip. `state`: "degraded" if the failure only delays messages. `why`: the reason if not "ok"."""

    backend: str
    state: State
    ms: float
    why: str = ""


async def trips() -> list[Trip]:
    """Make every trip, one after another so that none delays another, and return the results. Nothing stays stored."""
    # On a gateway, connections can be found and served only with the store, so its failure is more than a delay.
    missed: State = "failed" if settings.MESSAGING_STATES else "degraded"
    try:
        found = [await _trip("database", _database, "failed"), await _trip("connection_store", _store, missed)]
        if settings.CHANNEL_LAYERS:
            found.append(await _trip("channel_layer", _layer, missed))
        if settings.MESSAGING_STATES:
            found.append(await _trip("management_api", _gateway, missed))
    finally:
        await runtime.close()
    return found


async def readiness() -> tuple[bool, dict[str, str]]:
    """Return the answer that `/ready` of a server with these settings would give; no server is needed."""
    backend, trip = ("connections", _store) if settings.MESSAGING_STATES else ("redis", _layer)
    try:
        parts = {"database": await health.database(), backend: (await _trip(backend, trip, "degraded")).state}
    finally:
        await runtime.close()
    ready = parts["database"] == parts.get("connections", "ok") == "ok"
    return ready, parts


async def _trip(backend: str, trip: Callable[[], Awaitable[None]], otherwise: State) -> Trip:
    began = time.monotonic()
    state, why = otherwise, ""
    try:
        async with asyncio.timeout(SECONDS):
            await trip()
        state = "ok"
    except TimeoutError:
        why = f"no answer within {SECONDS:g} s"
    except Exception as error:  # any error of a backend's client is a result
        why = _said(error.__cause__ or error)
    return Trip(backend, state, round((time.monotonic() - began) * 1000, 1), why)


def _said(error: BaseException) -> str:
    text = next(iter(str(error).splitlines()), "")
    return text if isinstance(error, Broken) else f"{type(error).__name__}: {text}"


async def _database() -> None:
    journal = runtime.get_journal()
    if not await journal.migrated():
        raise Broken("not migrated: run `python manage.py messaging_migrate`")
    await journal.rehearse()


async def _store() -> None:
    store, id = runtime.get_store(), uuid4().hex
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    connection = StoredConnection(id, "user", f"{MARK}-{id}", f"{MARK}-{id}", 2, MARK, now)
    await store.store_connection(connection)
    try:
        found = await store.get_connections(conversation_group(f"{MARK}-{id}"))
    finally:
        await store.remove_connection(connection)
    if found != [connection]:
        raise Broken("the stored connection was not found")


async def _layer() -> None:
    from channels.layers import get_channel_layer

    layer, group = get_channel_layer(), f"{MARK}-{uuid4().hex}"
    if layer is None:
        raise Broken("no channel layer is configured")
    channel = await layer.new_channel()
    await layer.group_add(group, channel)
    try:
        await layer.group_send(group, {"type": MARK})
        await layer.receive(channel)
    finally:
        await layer.group_discard(group, channel)


async def _gateway() -> None:
    """Post to a connection that does not exist: only callers that may post get the answer that it is gone."""
    from messaging.transports.apigateway.gateway import NOBODY  # imports boto3, which is needed only on AWS

    outcome = await runtime.get_gateway().post(f"{MARK}=", "{}", lambda: SECONDS)
    if outcome != NOBODY:
        raise Broken(f"a post ended with {outcome}")
