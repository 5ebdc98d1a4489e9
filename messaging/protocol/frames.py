"""Every frame of the wire as a frozen dataclass (docs/protocol.md says what each field means). Pure."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from messaging.protocol.client_frames import ChangeConversation as ChangeConversation
from messaging.protocol.client_frames import ChangePause as ChangePause
from messaging.protocol.client_frames import ClientFrame as ClientFrame
from messaging.protocol.client_frames import Forget as Forget
from messaging.protocol.client_frames import History as History
from messaging.protocol.client_frames import Identify as Identify
from messaging.protocol.client_frames import MarkRead as MarkRead
from messaging.protocol.client_frames import Ping as Ping
from messaging.protocol.client_frames import SendMessage as SendMessage
from messaging.protocol.client_frames import SetConnectionType as SetConnectionType
from messaging.protocol.codes import ErrorCode, Scope
from messaging.protocol.fields import Op, Role, StaffId
from messaging.protocol.limits import CONTENT_LIMIT, FRAME_LIMIT

VERSION = 2

Status = Literal["open", "closed", "erased"]
Done = Op | Literal["forget"]
Writing = Literal["open", "blocked", "paused"]

# --- Server to client: fields in wire order, None is left out -----------------------------------------------


@dataclass(frozen=True, slots=True)
class Greeting:
    TYPE: ClassVar = "connection"
    connection_id: str
    timestamp: str
    heartbeat_ms: int
    message: str = "Connected successfully"
    protocol: int = VERSION
    limits: dict[str, int] = field(default_factory=lambda: {"frame": FRAME_LIMIT, "content": CONTENT_LIMIT})


@dataclass(frozen=True, slots=True)
class Identified:
    """The answer to `identify`. Version 1 gets only the first three fields."""

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
    read: str | None = None
    replies: tuple[dict[str, str], ...] | None = None
    presence: dict[str, int] | None = None
    me: dict[str, int | str | bool] | None = None
    writing: Writing | None = None
    pause: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ConnectionTypeUpdated:
    TYPE: ClassVar = "connectionTypeUpdated"
    connection_type: Role
    timestamp: str
    message: str = "Connection type updated successfully"


@dataclass(frozen=True, slots=True)
class Ack:
    """The confirmation that a request was committed.

    `message_id`, `cursor`: of the message that was written or read up to, if any.
    """

    TYPE: ClassVar = "ack"
    id: str
    message_id: str | None
    cursor: str | None
    timestamp: str
    duplicate: bool


@dataclass(frozen=True, slots=True)
class MessageStatus:
    """Version 1's ack. `success_count`: the number of admin connections."""

    TYPE: ClassVar = "messageStatus"
    success_count: int
    timestamp: str
    failure_count: int = 0
    message: str = "Message broadcast completed"


@dataclass(frozen=True, slots=True)
class Message:
    """A message. `from_`: user or admin. `id`: the author's own id for it, sent to the author's sockets only."""

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
class ConversationSummary:
    """The state of a conversation in a history page; not a frame itself.

    `read_by_staff`, `read_by_visitor`: cursors of the newest messages that each side has read.
    """

    conversation: str
    status: Status
    timestamp: str | None = None
    claimed_by: dict[str, StaffId] | None = None
    blocked_until: str | None = None
    read_by_staff: str | None = None
    read_by_visitor: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """An answer to `history`. `partial`: the same answer continues in the next frame."""

    TYPE: ClassVar = "history"
    id: str
    messages: tuple[Message, ...]
    cursor: str
    more: bool
    partial: bool | None = None
    conversations: tuple[ConversationSummary, ...] | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """A new read position. `by`: the side that has read everything up to the message `up_to`, which is at `cursor`."""

    TYPE: ClassVar = "read"
    conversation: str
    by: Role
    up_to: str
    cursor: str
    timestamp: str


@dataclass(frozen=True, slots=True)
class ConversationChanged:
    """The state of a conversation after `op`. `by`: the name of the staff member who did it, if one did."""

    TYPE: ClassVar = "conversation"
    conversation: str
    status: Status
    op: Done
    timestamp: str
    claimed_by: dict[str, StaffId] | None = None
    blocked_until: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Presence:
    """The number of connections, by role; `users` for admins only."""

    TYPE: ClassVar = "presence"
    admins: int
    timestamp: str
    users: int | None = None


@dataclass(frozen=True, slots=True)
class WritingChanged:
    """Whether the visitor may write now: `blocked` and `paused` are the errors that a message would get."""

    TYPE: ClassVar = "writing"
    state: Writing
    timestamp: str


@dataclass(frozen=True, slots=True)
class PauseChanged:
    """The pause of new conversations, for admins. `pause`: since, until, by; without it, there is none."""

    TYPE: ClassVar = "pause"
    timestamp: str
    pause: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Pong:
    """`writing`: for a visitor, as in WritingChanged, unless `open`; `pause`: for an admin, as in PauseChanged."""

    TYPE: ClassVar = "pong"
    timestamp: str
    id: str | None = None
    cursor: str | None = None
    writing: Writing | None = None
    pause: dict[str, str] | None = None
    action: str = "pong"


@dataclass(frozen=True, slots=True)
class ServerShutdown:
    TYPE: ClassVar = "serverShutdown"
    timestamp: str
    reconnect_after_ms: int
    message: str = "The server is restarting; reconnect."


@dataclass(frozen=True, slots=True)
class Error:
    """The refusal of a frame. `error` and `message` are the same text: version 1 pages read the former."""

    TYPE: ClassVar = "error"
    code: ErrorCode
    error: str
    message: str
    timestamp: str
    id: str | None = None
    limit: int | None = None
    retry_after_ms: int | None = None
    by: str | None = None
    scope: Scope | None = None


ServerFrame = (
    Greeting
    | Identified
    | ConnectionTypeUpdated
    | Ack
    | MessageStatus
    | Message
    | HistoryPage
    | Read
    | ConversationChanged
    | Presence
    | WritingChanged
    | PauseChanged
    | Pong
    | ServerShutdown
    | Error
)
