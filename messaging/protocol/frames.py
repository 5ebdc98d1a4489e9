"""Every frame of the wire as a frozen dataclass (docs/protocol.md says what each field means). Pure."""

from dataclasses import dataclass, field
from typing import ClassVar

from messaging.protocol.codes import CONTENT_LIMIT, FRAME_LIMIT, HISTORY_DEFAULT, ErrorCode
from messaging.protocol.fields import Role

VERSION = 2

# --- Client to server ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identify:
    """Who the connection belongs to. `version` 1 is the predecessor's form."""

    type: Role
    version: int = 1
    id: str | None = None
    token: str | None = None
    since: str | None = None


@dataclass(frozen=True, slots=True)
class SetConnectionType:
    """Version 1's other `identify`."""

    type: Role
    token: str | None = None


@dataclass(frozen=True, slots=True)
class SendMessage:
    """`content` None: version 1's button, which means the default quick message. `to`: a conversation's id."""

    content: str | None
    id: str | None = None
    quick: str = ""
    to: str | None = None


@dataclass(frozen=True, slots=True)
class History:
    """Messages after `since`, or before `before`, or the newest ones where neither is given."""

    id: str
    conversation: str | None = None
    since: str | None = None
    before: str | None = None
    limit: int = HISTORY_DEFAULT


@dataclass(frozen=True, slots=True)
class Ping:
    id: str | None = None


ClientFrame = Identify | SetConnectionType | SendMessage | History | Ping


# --- Server to client: fields in wire order, None is left out -----------------------------------------------


@dataclass(frozen=True, slots=True)
class Connection:
    TYPE: ClassVar = "connection"
    connection_id: str
    timestamp: str
    heartbeat_ms: int
    message: str = "Connected successfully"
    protocol: int = VERSION
    limits: dict[str, int] = field(default_factory=lambda: {"frame": FRAME_LIMIT, "content": CONTENT_LIMIT})


@dataclass(frozen=True, slots=True)
class Identified:
    """Version 1 gets the first three fields only."""

    TYPE: ClassVar = "identified"
    connection_type: Role
    timestamp: str
    message: str = "Connection identified successfully"
    v: int | None = None
    id: str | None = None
    token: str | None = None
    conversation: str | None = None
    cursor: str | None = None
    recovered: bool | None = None
    quick: tuple[dict[str, str], ...] | None = None
    presence: dict[str, int] | None = None
    me: dict[str, str | bool] | None = None


@dataclass(frozen=True, slots=True)
class ConnectionTypeUpdated:
    TYPE: ClassVar = "connectionTypeUpdated"
    connection_type: Role
    timestamp: str
    message: str = "Connection type updated successfully"


@dataclass(frozen=True, slots=True)
class Ack:
    """Committed to the message log."""

    TYPE: ClassVar = "ack"
    id: str
    message_id: str
    cursor: str
    timestamp: str
    duplicate: bool


@dataclass(frozen=True, slots=True)
class MessageStatus:
    """Version 1's ack; `success_count`: admin connections addressed."""

    TYPE: ClassVar = "messageStatus"
    success_count: int
    timestamp: str
    failure_count: int = 0
    message: str = "Message broadcast completed"


@dataclass(frozen=True, slots=True)
class Message:
    """`from_`: user or admin. `id`: the client's own, for its author's sockets only."""

    TYPE: ClassVar = "message"
    message_id: str
    content: str
    timestamp: str
    from_: Role
    cursor: str
    conversation: str
    connection_id: str | None = None
    id: str | None = None
    quick: str | None = None
    author: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """`partial`: the same answer goes on in the next frame."""

    TYPE: ClassVar = "history"
    id: str
    messages: tuple[Message, ...]
    cursor: str
    more: bool
    partial: bool | None = None


@dataclass(frozen=True, slots=True)
class Pong:
    TYPE: ClassVar = "pong"
    timestamp: str
    id: str | None = None
    cursor: str | None = None
    action: str = "pong"


@dataclass(frozen=True, slots=True)
class ServerShutdown:
    TYPE: ClassVar = "serverShutdown"
    timestamp: str
    reconnect_after_ms: int
    message: str = "The server restarts; reconnect."


@dataclass(frozen=True, slots=True)
class Error:
    """`error` and `message` are the same text: version 1 pages read the first."""

    TYPE: ClassVar = "error"
    code: ErrorCode
    error: str
    message: str
    timestamp: str
    id: str | None = None
    limit: int | None = None
    retry_after_ms: int | None = None


ServerFrame = (
    Connection
    | Identified
    | ConnectionTypeUpdated
    | Ack
    | MessageStatus
    | Message
    | HistoryPage
    | Pong
    | ServerShutdown
    | Error
)
