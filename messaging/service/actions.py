"""What a transport and the service hand to each other: the state of a connection, and the actions to perform. Pure."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from messaging.protocol.codes import CloseCode, ErrorCode
from messaging.protocol.fields import Lang, Role
from messaging.protocol.frames import Conversation as ConversationFrame
from messaging.protocol.frames import Message, Presence, Read, ServerFrame
from messaging.service.contracts import ADMINS, conversation_group, staff_group

Refusal = Literal["full", "address"]  # why a transport takes no more connections, at all or from one address


@dataclass(slots=True)
class Connection:
    """What the service knows of one WebSocket; its transport keeps it and hands it to every call.

    `held`: whether this process holds the socket. One that a gateway holds is found by its row in the connection
    store, and frames that the gateway is given get lost one by one, unseen. `address` is a pseudonym of the client's.
    `greeted`: whether `connect` was asked what to tell it. `resuming`: whether its client came with a cursor.
    `head` is the newest message cursor that was handed to this connection (its transport moves it on), or, where it
    is not held, the newest up to which it has read the history. `presence` is what it was told last of who is there.
    """

    id: str
    held: bool = True
    address: str = ""
    greeted: bool = False
    resuming: bool = False
    role: Role | None = None
    version: int = 1
    conversation: str | None = None
    staff: int | None = None
    session: str = ""
    password_mark: str = ""
    name: str = ""
    may_reply: bool = False
    may_manage: bool = False
    may_block: bool = False
    may_unblock: bool = False
    lang: Lang = "en"
    presence: dict[str, int] | None = None
    head: str = ""
    connected_at: str = field(default_factory=lambda: timestamp())
    checked_at: float = 0.0
    touched_at: float = 0.0
    strikes: dict[ErrorCode, int] = field(default_factory=dict)

    def handed(self, cursor: str) -> None:
        """Note that the connection was handed what its client has to have at least: the message at `cursor`."""
        if self.held:
            self.head = max(self.head, cursor)

    @property
    def principal(self) -> str:
        return staff_group(self.staff) if self.staff is not None else f"visitor:{self.conversation}"

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups whose messages this connection gets."""
        if self.role == "admin":
            return ADMINS, self.principal
        return (conversation_group(self.conversation),) if self.conversation else ()


@dataclass(frozen=True, slots=True)
class Reply:
    """Send `frame` to the connection that the call was about."""

    frame: ServerFrame


@dataclass(frozen=True, slots=True)
class Join:
    """From now on this connection gets what is published to its `groups`, and nothing else."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Send `frame` to every connection of `group` that speaks `min_version`, but for those named by `exclude`.

    `exclude` is a connection's id or a principal. Publishing is a hint: a lost one is found in the journal, and what is
    no message with the next `history` or `identified`.
    """

    group: str
    frame: Message | Read | ConversationFrame | Presence
    min_version: int = 1
    exclude: str = ""


@dataclass(frozen=True, slots=True)
class Close:
    """`reason`: for the close frame, at most 123 bytes (RFC 6455 section 5.5)."""

    code: CloseCode
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CloseGroup:
    """Close every connection of `group`, whatever it speaks, but the one with the id `exclude`; a hint as well."""

    group: str
    code: CloseCode
    exclude: str = ""


Action = Reply | Join | Publish | CloseGroup | Close


def age(connection: Connection) -> float:
    """Seconds since it began, by the wall clock."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(connection.connected_at)).total_seconds())


def timestamp(moment: datetime | None = None) -> str:
    """ISO 8601, UTC, milliseconds."""
    return _text(moment or datetime.now(UTC))


@lru_cache(maxsize=16)  # a message's is asked for by its ack and by each form of its frame
def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
