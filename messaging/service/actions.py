"""The data that transports and the service exchange: the state of a connection, and the actions to perform. Pure."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from math import inf
from typing import Literal

from messaging.protocol.codes import CloseCode, ErrorCode
from messaging.protocol.fields import Lang, Role, StaffId
from messaging.protocol.frames import (
    ConversationChanged,
    Message,
    PauseChanged,
    Presence,
    Read,
    ServerFrame,
    Writing,
    WritingChanged,
)
from messaging.protocol.limits import RETRY_MS
from messaging.service.contracts import ADMINS, PauseState, StoredConnection, conversation_group, staff_group

# A transport takes no more connections: at all, or from this address, because it has too many of them or asks too much.
Refusal = Literal["full", "connections", "address"]


@dataclass(slots=True)
class Connection:
    """The service's state of one WebSocket. The transport keeps it and passes it to every call.

    `held`: this process holds the socket. A connection that a gateway holds is found by its row in the connection
    store, and any single frame given to the gateway can get lost unnoticed. `address`: a pseudonym of the client's
    address; `addresses`: all by which it is recognised, which are not stored. `has_pass`: it began with a pass of the
    staff's page. `refusal`: why it is refused, if it could not be told yet; its client may come back after
    `retry_after_ms`. `greeted`: `connect` has been called for the connection. `resuming`: its client resumes from a
    cursor. `has_written`: the visitor's conversation exists. `session`: the digest of the login session in which its
    token was made. `name`, `author`: of its staff member, as other staff and as visitors read it. `head`: if held, the
    newest message cursor handed to this connection (its transport updates it); otherwise the newest cursor up to which
    it has read the history. `presence`: the counts last sent to it. `told`: whether it may write (a visitor), or the
    pause (an admin), as it was told last, if it is held.
    """

    id: str
    held: bool = True
    address: str = ""
    addresses: frozenset[str] = field(default=frozenset(), compare=False)
    has_pass: bool = False
    refusal: Refusal | None = None
    retry_after_ms: int = RETRY_MS
    greeted: bool = False
    resuming: bool = False
    role: Role | None = None
    version: int = 1
    conversation: str | None = None
    has_written: bool = False
    staff: StaffId | None = None
    session: str = ""
    name: str = ""
    author: str = ""
    may_reply: bool = False
    may_manage: bool = False
    may_block: bool = False
    may_unblock: bool = False
    lang: Lang = "en"
    presence: dict[str, int] | None = None
    head: str = ""
    connected_at: str = field(default_factory=lambda: timestamp())
    checked_at: float = field(default=-inf, compare=False)
    touched_at: float = field(default=0.0, compare=False)
    told: Writing | PauseState | None = field(default=None, compare=False)
    strikes: dict[ErrorCode, int] = field(default_factory=dict)

    def handed(self, cursor: str) -> None:
        """Record that the message at `cursor` was handed to the connection. No effect if a gateway holds it."""
        if self.held:
            self.head = max(self.head, cursor)

    @property
    def is_staff(self) -> bool:
        """Whether it is a staff member's, as far as is known: a connection with a pass has yet to identify itself."""
        return self.role == "admin" or (self.role is None and self.has_pass)

    @property
    def principal(self) -> str:
        return staff_group(self.staff) if self.staff is not None else f"visitor:{self.conversation}"

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups whose frames this connection gets."""
        if self.role == "admin":
            return ADMINS, self.principal
        return (conversation_group(self.conversation),) if self.conversation else ()


@dataclass(frozen=True, slots=True)
class Reply:
    """Send `frame` to the connection that the call was about."""

    frame: ServerFrame


@dataclass(frozen=True, slots=True)
class Join:
    """Subscribe this connection to its current `groups`, instead of any earlier ones."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Send `frame` to every connection of `group` whose version is at least `min_version`, except to `exclude`.

    `exclude`: the id of a connection, or a principal. Publishing is only a hint: a lost message is found in the
    journal, and the next `history` or `identified` makes up for any other lost frame.
    """

    group: str
    frame: Message | Read | ConversationChanged | WritingChanged | PauseChanged | Presence
    min_version: int = 1
    exclude: str = ""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection. `reason`: text of the close frame, at most 123 bytes (RFC 6455 section 5.5)."""

    code: CloseCode
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CloseGroup:
    """Close every connection of `group`, of any version, except `exclude` (as in Publish). Also only a hint."""

    group: str
    code: CloseCode
    exclude: str = ""


Action = Reply | Join | Publish | CloseGroup | Close


def is_for(receiver: Connection | StoredConnection, *, min_version: int = 1, exclude: str = "") -> bool:
    """Return whether a Publish or CloseGroup with these fields is for `receiver`, which is a member of its group."""
    return receiver.version >= min_version and (not exclude or exclude not in (receiver.id, receiver.principal))


def age(connection: Connection) -> float:
    """Return the seconds since `connection` began, by the wall clock."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(connection.connected_at)).total_seconds())


def timestamp(moment: datetime | None = None) -> str:
    """Return `moment` (default: now) as ISO 8601 text, in UTC, with milliseconds."""
    return _text(moment or datetime.now(UTC))


@lru_cache(maxsize=16)  # the ack of a message and each form of its frame need the same text
def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
