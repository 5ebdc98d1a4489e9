"""The API Gateway transport: one function for the three routes of a WebSocket API, which Zappa's dispatcher calls.

An event is one frame of a WebSocket that the gateway holds, or its beginning or end. Between two events this process
keeps nothing of a connection: its state is loaded from a store and saved there. Several processes may serve events of
one connection at the same time.
"""

import binascii
import logging
import time
from base64 import b64decode
from contextvars import copy_context
from typing import Any

from zappa.websocket import on_connect, on_disconnect, on_message

from messaging.observability.context import bind
from messaging.protocol.codes import ABNORMAL
from messaging.runtime import runtime
from messaging.service.actions import Action, Connection, Join, Publish
from messaging.service.contracts import StoreUnavailable
from messaging.tokens import is_pass
from messaging.transports.apigateway.connection_state import copy, dump, restore
from messaging.transports.apigateway.gateway import SecondsLeft
from messaging.transports.apigateway.invocation import run, seconds_left
from messaging.transports.apigateway.posting import Posting
from messaging.transports.client_address import pseudonym_of, pseudonyms_of
from messaging.transports.origin import trusted_origin

logger = logging.getLogger(__name__)

Event = dict[str, Any]


def handler(event: Event, context: Any) -> dict[str, int]:
    """Serve one event of the WebSocket API and return only a status: clients are answered by posts.

    Nothing is raised: the gateway, or its emulation, would report it to the client, and Zappa takes a TypeError as a
    sign that the handler has other parameters.
    """
    return copy_context().run(_handled, event, context)


def _handled(event: Event, context: Any) -> dict[str, int]:
    request = event["requestContext"]
    bind(connection=request.get("connectionId"), request=context.aws_request_id)
    extra = {"event": request.get("eventType")}
    try:
        status = run(_serve(event, seconds_left(context)))
    except Exception:
        logger.exception("event not served", extra=extra)
        status = 500
    else:
        logger.info("event served", extra=extra | {"status": status})
    runtime.meter.recorder.flush()
    runtime.tracer.flush()
    return {"statusCode": status}


for _register in (on_connect, on_disconnect, on_message):
    _register(handler)


async def _serve(event: Event, seconds: SecondsLeft) -> int:
    connection_id: str = event["requestContext"]["connectionId"]
    posting = Posting(seconds)
    match event["requestContext"]["eventType"]:
        case "CONNECT":
            return await _connect(connection_id, event)
        case "DISCONNECT":
            await posting.ended(connection_id, event["requestContext"].get("disconnectStatusCode") or ABNORMAL)
            posting.report()
            return 200
    try:
        frame = _frame(event)
        with runtime.tracer.served(frame):
            await _receive(connection_id, frame, event["requestContext"]["identity"]["sourceIp"], posting)
    except Exception:
        await posting.end(connection_id)  # as if a process died: the client reconnects and sends it again
        raise
    finally:
        posting.report()
    return 200


async def _connect(connection_id: str, event: Event) -> int:
    """Return the HTTP status for a new connection: nothing can be posted before this returns.

    A browser does not show the status to its page, so a refused connection is accepted and told with its first frame.
    """
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    origin = headers.get("origin")
    if origin is not None and not trusted_origin(origin):
        runtime.meter.opened("origin")
        return 403
    connection = Connection(
        connection_id,
        held=False,
        address=pseudonym_of(event["requestContext"]["identity"]["sourceIp"]),
        has_pass=is_pass((event.get("queryStringParameters") or {}).get("pass", "")),
    )
    admission = runtime.admission
    connection.refusal = await admission.enter(connection)
    if connection.refusal:
        runtime.meter.opened(connection.refusal)
        if not admission.tells(connection):
            return 429
    try:
        await runtime.states.save(connection_id, dump(connection))
    except StoreUnavailable as error:
        logger.warning("connection refused", extra={"connection": connection_id, "error": str(error)})
        if not connection.refusal:
            runtime.meter.opened("full")
            await admission.leave(connection)
        return 503
    if not connection.refusal:
        runtime.meter.opened(None)
    return 200


async def _receive(connection_id: str, frame: str | bytes, address: str, posting: Posting) -> None:
    service, states = runtime.service, runtime.states
    try:
        state = await states.load(connection_id)
    except StoreUnavailable as error:
        stranger = Connection(connection_id, held=False)
        return await posting.perform(stranger, service.unavailable(stranger, frame, error))
    if state is None:
        return await posting.end(connection_id)  # unknown: it ended, or its state expired
    connection = restore(connection_id, state)
    if connection.refusal:
        return await posting.perform(connection, await service.connect(connection, connection.refusal))
    connection.addresses = pseudonyms_of(address)
    before = copy(connection)
    actions = [] if connection.greeted else await service.connect(connection)
    began = time.monotonic()
    actions += await service.receive(connection, frame)
    runtime.meter.answered(connection, actions, time.monotonic() - began)
    if Join() in actions and connection.role == "admin":
        await runtime.admission.leave(connection)
    if connection != before:
        # Saved before anything is posted: the client may answer a post at once, and another process serve that frame.
        # If another frame was served meanwhile, the state that it saved stays. Only a frame that identified the
        # connection overwrites it: the identity must not be lost.
        try:
            saved = await states.save(connection_id, dump(connection), instead_of=None if Join() in actions else state)
            if not saved and connection.has_written and not before.has_written:
                await _add_has_written(connection)
        except StoreUnavailable as error:
            actions = _unsaved(connection, frame, actions, error)
    await posting.perform(connection, actions)


async def _add_has_written(connection: Connection) -> None:
    """Add to the stored state that the visitor's conversation exists: else its next message is charged as the first."""
    state = await runtime.states.load(connection.id)
    if state is not None and state["conversation"] == connection.conversation:
        await runtime.states.save(connection.id, state | {"has_written": True}, instead_of=state)


def _unsaved(
    connection: Connection, frame: str | bytes, actions: list[Action], error: StoreUnavailable
) -> list[Action]:
    """Return the actions to perform instead of `actions` if the connection's state could not be saved."""
    if Join() in actions:  # its identity is not kept, so the client must not believe that it is identified
        publishes = [action for action in actions if isinstance(action, Publish)]
        return [*publishes, *runtime.service.unavailable(connection, frame, error)]
    logger.warning("state not saved", extra={"connection": connection.id, "error": str(error)})
    return actions


def _frame(event: Event) -> str | bytes:
    """Return the client's frame, as bytes if it was no text."""
    body: str = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return body
    data = b""
    try:
        data = b64decode(body, validate=True)
        return data.decode()
    except (binascii.Error, UnicodeDecodeError):
        return data
