"""What the service and its two stores say to each other: data and errors, no behaviour. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self

from messaging.protocol.fields import Lang, Role

ADMINS = "admins"
USERS = "users"

Kind = Literal["visitor", "reply"]  # whose quick message it is
QuickMessages = dict[tuple[Kind, Lang], tuple[dict[str, str], ...]]


def conversation_group(conversation: str) -> str:
    """The group of one visitor's open pages."""
    return f"conversation:{conversation}"


def staff_group(staff: int) -> str:
    """The group of one staff member's open pages; it is that person's principal as well."""
    return f"staff:{staff}"


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in the journal: the message's number and its commit time (database clock, ms since 1970).

    Its text is opaque to clients, but texts without `page_of` sort as the messages do. `page_of` marks the end of a
    history page that goes on: only the connection that got it may continue right behind it, any other one has to
    re-read an overlap.
    """

    seq: int
    ms: int
    page_of: str = ""

    def __str__(self) -> str:
        return f"{self.seq:013x}.{self.ms:011x}" + (f".{self.page_of}" if self.page_of else "")

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None where the text was never a cursor."""
        seq, _, rest = text.partition(".")
        ms, _, page_of = rest.partition(".")
        try:
            return cls(int(seq, 16), int(ms, 16), page_of) if len(seq) == 13 and len(ms) == 11 else None
        except ValueError:
            return None

    @staticmethod
    def number(text: str) -> int:
        """The number of the message that a cursor of our own is at."""
        return int(text.partition(".")[0], 16)


START = Cursor(0, 0)  # before the first message
UNREAD = "~"  # sorts behind every cursor: whoever is told that it is the newest has to look


@dataclass(frozen=True, slots=True)
class StoredConnection:
    """One row of the connection store. `connected_at`: ISO 8601."""

    connection_id: str
    connection_type: Role
    conversation: str | None
    principal: str
    version: int
    pod: str
    connected_at: str

    @property
    def age(self) -> tuple[str, str]:
        """What connections are sorted by, oldest first."""
        return self.connected_at, self.connection_id

    @property
    def groups(self) -> tuple[str, ...]:
        if self.conversation is None:
            return ADMINS, self.principal
        return USERS, conversation_group(self.conversation)


@dataclass(frozen=True, slots=True)
class NewMessage:
    """What is to be appended, once per (`principal`, `client_id`). An admin's needs a `conversation` that exists."""

    conversation: str
    principal: str
    client_id: str
    sender: Role
    content: str
    author: str = ""
    quick: str = ""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A committed message. `created_at`: the database's clock."""

    seq: int
    message_id: str
    conversation: str
    principal: str
    client_id: str
    sender: Role
    content: str
    author: str
    quick: str
    created_at: datetime

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.seq, int(self.created_at.timestamp() * 1000))


@dataclass(frozen=True, slots=True)
class Appended:
    """`duplicate`: the same principal had stored it under the same id before. `reopened`: it opened its conversation
    again.
    """

    message: StoredMessage
    duplicate: bool
    reopened: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Messages in the journal's order. `cursor`: where the next page begins, or the head if there is no `more`."""

    messages: tuple[StoredMessage, ...]
    cursor: Cursor
    more: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """Who answers in a conversation: a staff member."""

    staff: int
    name: str


@dataclass(frozen=True, slots=True)
class ConversationState:
    """What holds of a conversation, by the database's clock. `changed_at`: when any of it changed last, None: never.

    The cursors are those of the newest message that was read.
    """

    conversation: str
    status: Literal["open", "closed", "erased"]
    changed_at: datetime | None = None
    claim: Claim | None = None
    blocked_until: datetime | None = None
    read_by_staff: Cursor | None = None
    read_by_visitor: Cursor | None = None


@dataclass(frozen=True, slots=True)
class StaffMember:
    """What a staff member may do now. `password_mark` changes with the password."""

    id: int
    name: str
    may_view: bool
    may_reply: bool
    may_manage: bool = False
    may_block: bool = False
    may_unblock: bool = False
    password_mark: str = ""


class StoreUnavailable(Exception):
    """The connection store or the journal did not answer in time. The outcome is unknown; a retry is safe."""


class IdConflict(Exception):
    """This principal has used this id for another message."""


class Blocked(Exception):
    """This visitor may not write for a while."""


class AlreadyClaimed(Exception):
    """Somebody else's claim counts. `by`: that person's name."""

    def __init__(self, by: str) -> None:
        super().__init__(by)
        self.by = by


class ConversationNotFound(Exception):
    """No such conversation."""


class MessageNotFound(Exception):
    """No such message in this conversation."""
