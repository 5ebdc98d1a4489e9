"""The HTML form transport: for visitors without JavaScript, forms become frames for the same service.

Each request is a connection of its own, to which nothing is published: the next page shows new messages.
"""

import json
from uuid import uuid4

from django.http import HttpRequest

from messaging.protocol import frames
from messaging.runtime import runtime
from messaging.service.actions import Action, Connection
from messaging.service.contracts import START, StoreUnavailable
from messaging.transports.base import GatheringTransport
from messaging.transports.client_address import pseudonym_of_request, pseudonyms_of_request


def connection(request: HttpRequest, visitor: str | None) -> Connection:
    """Return the connection of one request; of a new visitor if `visitor` is None."""
    return Connection(
        uuid4().hex,
        address=pseudonym_of_request(request),
        addresses=pseudonyms_of_request(request),
        role="user",
        version=frames.VERSION,
        conversation=visitor or str(uuid4()),
    )


def ask(connection: Connection, action: str, **fields: object) -> list[frames.ServerFrame]:
    """Serve a frame and return the service's answers, among them an Error if it refused. Others are notified.

    Afterwards `connection.conversation` is the visitor: a new one if the visitor has been erased.
    """
    text = json.dumps({"action": action, "id": uuid4().hex} | fields)
    form = GatheringTransport(connection)
    runtime.holder.run(_serve, form, text, action == "sendMessage")
    return form.frames


async def _serve(form: GatheringTransport, text: str, writes: bool) -> None:
    form.perform(await _receive(form.connection, text, writes))
    await runtime.holder.publish(form.published)


async def _receive(connection: Connection, text: str, writes: bool) -> list[Action]:
    service, journal, visitor = runtime.service, runtime.journal, connection.conversation or ""
    try:
        if await journal.erased(visitor):
            connection.conversation = await journal.successor(visitor)
        elif writes:
            connection.has_written = await journal.head(visitor) != START
        actions = await service.receive(connection, text)
    except StoreUnavailable as error:
        return service.unavailable(connection, text, error)
    if connection.touched_at:  # it was added to the connection store
        actions += await service.disconnect(connection)
    return actions
