"""Error codes and close codes of the wire protocol, and what closes a connection (docs/protocol.md). Pure."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Literal

ABNORMAL = 1006  # the close code of a connection that ended without a close frame (RFC 6455 section 7.4.1)


class CloseCode(IntEnum):
    """The server's reason to close. 4000-4099: the client reconnects. 4400-4499: it stops until something changes."""

    RESTART = 4001
    SLOW_READER = 4008
    TRY_LATER = 4013
    RATE_LIMITED = 4029
    BAD_FRAMES = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    NO_IDENTIFY = 4408
    TOO_LARGE = 4413


class ErrorCode(StrEnum):
    """The error in one client frame. `RULES` lists the codes that close the connection."""

    BAD_JSON = "bad_json"
    BAD_FRAME = "bad_frame"
    UNSUPPORTED = "unsupported"
    UNKNOWN_ACTION = "unknown_action"
    EMPTY = "empty"
    TOO_LONG = "too_long"
    NOT_STORABLE = "not_storable"
    BAD_ID = "bad_id"
    BAD_TYPE = "bad_type"
    ID_CONFLICT = "id_conflict"
    ALREADY_CLAIMED = "already_claimed"
    NOT_FOUND = "not_found"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    BLOCKED = "blocked"
    PAUSED = "paused"
    FORBIDDEN = "forbidden"
    UNAUTHORIZED = "unauthorized"
    UNAVAILABLE = "unavailable"


# The limit that refuses a connection or a frame (docs/limits.md), so that a page can say why.
Scope = Literal["visitor", "staff", "connection", "address", "conversations", "connections", "server"]


@dataclass(frozen=True, slots=True)
class Rule:
    """The number of errors of one code that closes a connection, and the close code. `unavailable` counts in a row.

    `last_version`: connections of later versions stay open.
    """

    close: CloseCode
    after: int = 1
    last_version: int = 2


RULES: dict[ErrorCode, Rule] = {
    ErrorCode.BAD_JSON: Rule(CloseCode.BAD_FRAMES, after=5),
    ErrorCode.BAD_FRAME: Rule(CloseCode.BAD_FRAMES, after=5),
    ErrorCode.UNSUPPORTED: Rule(CloseCode.BAD_FRAMES, after=5),
    ErrorCode.TOO_LARGE: Rule(CloseCode.TOO_LARGE),
    # Version 2 stays, to read, to erase, and to learn of the end of the block; the rate limits bound what it costs.
    ErrorCode.BLOCKED: Rule(CloseCode.FORBIDDEN, last_version=1),
    ErrorCode.FORBIDDEN: Rule(CloseCode.FORBIDDEN),
    ErrorCode.UNAUTHORIZED: Rule(CloseCode.UNAUTHORIZED),
    ErrorCode.RATE_LIMITED: Rule(CloseCode.RATE_LIMITED, after=20),
    ErrorCode.UNAVAILABLE: Rule(CloseCode.TRY_LATER, after=5),
}


class ProtocolError(Exception):
    """A client's frame can't be served; `message` is safe to show to that client.

    `id`: the frame's own id, if it has a valid one. `limit`: the length that it exceeds. `scope`: the rate limit that
    refuses it. `retry_after_ms`: the time after which the same frame may be sent again. `by`: the name of the staff
    member who claimed first.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        id: str | None = None,
        limit: int | None = None,
        scope: Scope | None = None,
        retry_after_ms: int | None = None,
        by: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.id = id
        self.limit = limit
        self.scope = scope
        self.retry_after_ms = retry_after_ms
        self.by = by
