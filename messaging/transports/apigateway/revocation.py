"""Closing the connections of staff who lose the right to read.

On a gateway nothing runs between requests, so rights are checked right after each request that may have changed them.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse

from messaging.runtime import runtime
from messaging.service.contracts import ADMINS, StoreUnavailable
from messaging.transports.apigateway.connection_state import copy, dump, restore
from messaging.transports.apigateway.gateway import SecondsLeft
from messaging.transports.apigateway.invocation import run, seconds_left
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
    service, states, posting = runtime.service, runtime.states, Posting(seconds)
    rows = await runtime.store.get_connections(ADMINS)
    loaded = await asyncio.gather(*(states.load(row.id) for row in rows))
    kept = {row.id: state for row, state in zip(rows, loaded, strict=True) if state is not None}
    admins = [restore(connection_id, state) for connection_id, state in kept.items()]
    before = {connection.id: copy(connection) for connection in admins}
    revoked = await service.revoked(admins)
    for connection, _ in revoked:
        del before[connection.id]
    changed = [admin for admin in admins if before.get(admin.id, admin) != admin]  # their other rights have changed
    await asyncio.gather(
        *(posting.perform(connection, actions) for connection, actions in revoked),
        *(states.save(admin.id, dump(admin), instead_of=kept[admin.id]) for admin in changed),
    )
    posting.report()
