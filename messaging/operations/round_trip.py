"""Live trips through each backend from this process, for `messaging_check --online` and `messaging_health --here`."""

import asyncio
import time
from dataclasses import dataclass
from typing import Literal

from messaging.backends.availability import reason
from messaging.operations import health
from messaging.runtime import runtime
from messaging.service.contracts import StoreUnavailable
from messaging.transports import base
from messaging.transports.base import TRIP_SECONDS, TripFailed

State = Literal["ok", "degraded", "failed"]


@dataclass(frozen=True, slots=True)
class Trip:
    """The result of a trip. `state`: "degraded" if the failure only delays messages. `why`: the reason if not "ok"."""

    backend: str
    state: State
    ms: float
    why: str = ""


async def trips() -> list[Trip]:
    """Make every trip, one after another so that none delays another, and return the results. Nothing stays stored."""
    missed: State = "failed" if runtime.holder.needs_store else "degraded"
    try:
        found = [await _trip("database", _database, "failed"), await _trip("connection_store", _store, missed)]
        # Without these two, each process limits by itself.
        found += [await _trip(name, trip, "degraded") for name, trip in _limits().items()]
        found += [await _trip(name, trip, missed) for name, trip in runtime.holder.trips().items()]
    finally:
        await runtime.close()
    return found


async def readiness() -> tuple[bool, dict[str, str]]:
    """Return the answer that `/ready` of a server with these settings would give; no server is needed."""
    holder = runtime.holder
    try:
        parts = {"database": await health.database()}
        if holder.needs_store:
            parts["connections"] = (await _trip("connection_store", _store, "degraded")).state
        else:
            trips = {"connection_store": _store, **_limits(), **holder.trips()}
            found = [await _trip(name, trip, "degraded") for name, trip in trips.items()]
            parts["redis"] = "ok" if all(trip.state == "ok" for trip in found) else "degraded"
    finally:
        await runtime.close()
    ready = parts["database"] == parts.get("connections", "ok") == "ok"
    return ready, parts


async def _trip(backend: str, trip: base.Trip, otherwise: State) -> Trip:
    began = time.monotonic()
    state, why = otherwise, ""
    try:
        async with asyncio.timeout(TRIP_SECONDS):
            await trip()
        state = "ok"
    except TimeoutError:
        why = f"no answer within {TRIP_SECONDS:g} s"
    except Exception as error:  # any error of a backend's client is a result
        why = _said(error)
    return Trip(backend, state, round((time.monotonic() - began) * 1000, 1), why)


def _said(error: Exception) -> str:
    known = isinstance(error, TripFailed | StoreUnavailable) and error.__cause__ is None
    return str(error) if known else reason(error.__cause__ or error)


async def _database() -> None:
    journal = runtime.journal
    if wrong := await journal.wrong_encoding():
        raise TripFailed(wrong)
    if not await journal.migrated():
        raise TripFailed("not migrated: run `python manage.py messaging_migrate`")
    await journal.rehearse()


async def _store() -> None:
    if outdated := await runtime.store.outdated():
        raise TripFailed(outdated)
    await runtime.store.rehearse()


def _limits() -> dict[str, base.Trip]:
    return {"limits": runtime.limiter.rehearse, "addresses": runtime.addresses.rehearse}
