"""The HTML form transport: what a visitor without a script sends becomes frames to the same service.

Each call is a connection of its own, which nobody publishes to: the next page shows what is new.
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
    """The connection of one request; of a new visitor where there is none yet."""
    return Connection(
        uuid4().hex,
        address=pseudonym_of_request(request),
        role="user",
        version=frames.VERSION,
        conversation=visitor or str(uuid4()),
    )


def ask(request: HttpRequest, connection: Connection, action: str, **fields: object) -> list[frames.ServerFrame]:
    """The service's answers to a frame, an Error where it refused. What others are to be told is on its way.

    Afterwards `connection` knows whose it is: somebody new, where the visitor is erased.
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
    if connection.touched_at:  # it has come to be known as one that somebody is at
        actions += await service.disconnect(connection)
    return actions


def _answers(actions: Iterable[Action]) -> list[frames.ServerFrame]:
    return [action.frame for action in actions if isinstance(action, Reply)]


def _for_others(actions: Iterable[Action]) -> list[Publish | CloseGroup]:
    return [action for action in actions if isinstance(action, Publish | CloseGroup)]
