"""The HTML form transport: forms of a visitor without a script become frames for the same service.

Each request is a connection of its own, to which nothing is published: the next page shows new messages.
"""

import json
from collections.abc import Iterable
from uuid import uuid4

from asgiref.sync import async_to_sync
from django.conf import settings
from django.http import HttpRequest

from messaging.protocol import frames
from messaging.runtime import get_hub, get_journal, get_service
from messaging.service.actions import Action, CloseGroup, Connection, Publish, Reply
from messaging.service.contracts import StoreUnavailable
from messaging.transports.client_address import pseudonym_of_request


def connection(request: HttpRequest, visitor: str | None) -> Connection:
    """Return the connection of one request; of a new visitor if `visitor` is None."""
    return Connection(
        uuid4().hex,
        address=pseudonym_of_request(request),
        role="user",
        version=frames.VERSION,
        conversation=visitor or str(uuid4()),
    )


def ask(request: HttpRequest, connection: Connection, action: str, **fields: object) -> list[frames.ServerFrame]:
    """Serve a frame and return the service's answers, among them an Error if it refused. Others are notified.

    Afterwards `connection.conversation` is the visitor: a new one if the visitor has been erased.
    """
    text = json.dumps({"action": action, "id": uuid4().hex} | fields)
    if settings.MESSAGING_STATES:
        return _on_gateway(request, connection, text)
    return async_to_sync(_on_hub)(connection, text)  # on the server's own event loop, where the hub is


async def _on_hub(connection: Connection, text: str) -> list[frames.ServerFrame]:
    actions = await _receive(connection, text)
    get_hub().publish(_for_others(actions))
    return _answers(actions)


def _on_gateway(request: HttpRequest, connection: Connection, text: str) -> list[frames.ServerFrame]:
    from messaging.transports.apigateway.handler import run, seconds_left
    from messaging.transports.apigateway.posting import Posting

    async def serve() -> list[frames.ServerFrame]:
        actions = await _receive(connection, text)
        posting = Posting(seconds_left(request.META.get("lambda.context")))
        await posting.perform(connection, _for_others(actions))
        posting.report()
        return _answers(actions)

    return run(serve())


async def _receive(connection: Connection, text: str) -> list[Action]:
    service = get_service()
    try:
        if await get_journal().erased(connection.conversation or ""):
            connection.conversation = str(uuid4())
        actions = await service.receive(connection, text)
    except StoreUnavailable as error:
        return service.unavailable(connection, text, error)
    if connection.touched_at:  # it was added to the connection store
        actions += await service.disconnect(connection)
    return actions


def _answers(actions: Iterable[Action]) -> list[frames.ServerFrame]:
    return [action.frame for action in actions if isinstance(action, Reply)]


def _for_others(actions: Iterable[Action]) -> list[Publish | CloseGroup]:
    return [action for action in actions if isinstance(action, Publish | CloseGroup)]
