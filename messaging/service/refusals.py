"""The answers to refused frames and refused connections."""

import logging

from messaging.protocol import frames
from messaging.protocol.codes import RULES, ErrorCode, ProtocolError, Scope
from messaging.protocol.frames import ClientFrame
from messaging.protocol.limits import RETRY_MS
from messaging.service.actions import Action, Close, Connection, Refusal, Reply, timestamp
from messaging.service.contracts import StoreUnavailable

logger = logging.getLogger(__name__)

TURNED_AWAY: dict[Refusal, tuple[ErrorCode, Scope, str]] = {
    "full": (ErrorCode.UNAVAILABLE, "server", "This server is full; try again later."),
    "connections": (ErrorCode.RATE_LIMITED, "connections", "Too many connections from your address; try again later."),
    "address": (ErrorCode.RATE_LIMITED, "address", "Too many requests from your address; try again later."),
}


def turned_away(connection: Connection, refusal: Refusal) -> list[Action]:
    """Return the answer to a new connection that its transport can't serve, and close it."""
    code, scope, text = TURNED_AWAY[refusal]
    error = ProtocolError(code, text, scope=scope, retry_after_ms=connection.retry_after_ms)
    return refuse(connection, error, after=1)


def frame_id(frame: ClientFrame) -> str | None:
    """Return the id under which a client's frame is answered."""
    return None if isinstance(frame, frames.SetConnectionType) else frame.id


def unavailable(connection: Connection, frame: ClientFrame, error: StoreUnavailable) -> list[Action]:
    """Return the answer to a frame that was not served because a store is unavailable."""
    logger.warning("store unavailable", extra={"connection": connection.id, "error": str(error)})
    text = "Temporarily unavailable; try again."
    refusal = ProtocolError(ErrorCode.UNAVAILABLE, text, id=frame_id(frame), retry_after_ms=RETRY_MS)
    # A connection held by a gateway gets no messages while it is half identified: its client has to reconnect.
    lost = not connection.held and isinstance(frame, frames.Identify | frames.SetConnectionType)
    return refuse(connection, refusal, after=1 if lost else None)


def refuse(connection: Connection, error: ProtocolError, after: int | None = None) -> list[Action]:
    """Return the Error frame for `error`, and a Close if the connection has had too many errors of its code (RULES).

    `after`: the number of such errors that closes the connection; None: that of the rule.
    """
    text, retry = error.message, error.retry_after_ms
    frame = frames.Error(error.code, text, text, timestamp(), error.id, error.limit, retry, error.by, error.scope)
    rule = RULES.get(error.code)
    if rule is None or connection.version > rule.last_version:
        return [Reply(frame)]
    connection.strikes[error.code] = strikes = connection.strikes.get(error.code, 0) + 1
    return [Reply(frame), Close(rule.close)] if strikes >= (after or rule.after) else [Reply(frame)]
