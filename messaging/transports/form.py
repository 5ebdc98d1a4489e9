"""The HTML form transport: what a visitor without a script sends becomes frames to the same service.

Each call is a connection of its own, which nobody can publish to: the next page shows what is new.
"""

import json
from typing import Any
from uuid import uuid4

from asgiref.sync import async_to_sync
from django.conf import settings
from django.http import HttpRequest

from messaging.protocol import frames
from messaging.runtime import get_hub, get_service
from messaging.service.actions import Action, Close, Connection, Join, Reply
from messaging.transports.address import of_request

def ask(request: HttpRequest, visitor: str, action: str, **fields: object) -> list[frames.ServerFrame]:
    """The service's answers to a visitor's frame, an Error where it refused. What follows for others is performed."""
    connection = Connection(
        uuid4().hex, address=of_request(request), role="user", version=frames.VERSION, conversation=visitor
    )
    text = json.dumps({"action": action, "id": uuid4().hex} | fields)
    if settings.MESSAGING_STATES:
        return _on_gateway(request, connection, text)
    return async_to_sync(_on_hub)(connection, text)  # on the server's own event loop, where the hub is


async def _on_hub(connection: Connection, text: str) -> list[frames.ServerFrame]:
    answers, others = _apart(await get_service().receive(connection, text))
    get_hub().publish(others)
    return answers


def _on_gateway(request: HttpRequest, connection: Connection, text: str) -> list[frames.ServerFrame]:
    from messaging.transports.apigateway import run, seconds_left
    from messaging.transports.posting import Posting

    async def serve() -> list[frames.ServerFrame]:
        answers, others = _apart(await get_service().receive(connection, text))
        posting = Posting(seconds_left(request.META.get("lambda.context")))
        await posting.perform(connection, others)
        posting.report()
        return answers

    return run(serve())


def _apart(actions: list[Action]) -> tuple[list[frames.ServerFrame], list[Any]]:
    """The answers to who asked, and what the others are told."""
    answers = [action.frame for action in actions if isinstance(action, Reply)]
    return answers, [action for action in actions if not isinstance(action, Reply | Join | Close)]
