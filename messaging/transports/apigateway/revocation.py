"""Closing the connections of staff who lose the right to read.

On a gateway nothing runs between requests, so rights are checked right after each request that may have changed them.
"""

import logging
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse

from messaging.runtime import runtime
from messaging.service.actions import Connection
from messaging.service.contracts import ADMINS, StoreUnavailable
from messaging.transports.apigateway.connection_state import copy, dump, restore
from messaging.transports.apigateway.gateway import SecondsLeft
from messaging.transports.apigateway.invocation import run, run_all, seconds_left
from messaging.transports.apigateway.posting import Posting

logger = logging.getLogger(__name__)

SAFE = ("GET", "HEAD", "OPTIONS")


def close_revoked(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Return a middleware that, after each change in the admin, closes connections that staff may no longer have.

    Their staff have signed out, changed the password, been deactivated or lost the right to read. This middleware
    has to wrap every middleware that commits something, so that everything is committed when it checks.
    """

    def respond(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        match = request.resolver_match
        if match is not None and "admin" in match.namespaces and request.method not in SAFE:
            _look(request.META.get("lambda.context"))
        return response

    return respond


def _look(context: Any) -> None:
    try:
        run(_close_revoked(seconds_left(context)))
    except StoreUnavailable as error:
        logger.warning("rights not checked", extra={"error": str(error)})
    except Exception:  # the change itself is made, and its page has to be shown
        logger.exception("rights not checked")


async def _close_revoked(seconds: SecondsLeft) -> None:
    service, posting = runtime.service, Posting(seconds)
    rows = await runtime.store.get_connections(ADMINS)
    loaded = await run_all((_load(row.id) for row in rows), "rights not checked")
    kept = {connection_id: state for connection_id, state in loaded if state is not None}
    admins = [restore(connection_id, state) for connection_id, state in kept.items()]
    before = {connection.id: copy(connection) for connection in admins}
    revoked = await service.revoked(admins)
    for connection, _ in revoked:
        del before[connection.id]
    changed = [admin for admin in admins if before.get(admin.id, admin) != admin]  # their other rights have changed
    closings = (posting.perform(connection, actions) for connection, actions in revoked)
    savings = (_save(admin, instead_of=kept[admin.id]) for admin in changed)
    await run_all((*closings, *savings), "rights not changed")
    posting.report()


async def _load(connection_id: str) -> tuple[str, dict[str, Any] | None]:
    """Return the id and the state of a connection; no state if it can't be read: the next frame checks its rights."""
    try:
        return connection_id, await runtime.states.load(connection_id)
    except StoreUnavailable as error:
        logger.warning("rights not checked", extra={"connection": connection_id, "error": str(error)})
        return connection_id, None


async def _save(connection: Connection, instead_of: dict[str, Any]) -> None:
    try:
        await runtime.states.save(connection.id, dump(connection), instead_of=instead_of)
    except StoreUnavailable as error:  # the next frame finds the change as well
        logger.warning("state not saved", extra={"connection": connection.id, "error": str(error)})
