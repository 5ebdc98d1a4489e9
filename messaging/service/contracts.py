"""The data and errors that the service exchanges with the journal and the connection store. Pure; no behaviour."""

import re
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Literal, Self

from messaging.protocol.fields import Lang, Role, StaffId

ADMINS = "admins"
USERS = "users"
PRINCIPAL_LIMIT = 64  # characters
SAFE_INTEGER = 2**53 - 1  # up to here, all clients read whole numbers exactly (RFC 8259 section 6)

Kind = Literal["visitor", "reply"]  # sent by visitors, or by staff as a reply
QuickMessages = dict[tuple[Kind, Lang], tuple[dict[str, str], ...]]

_CURSOR = re.compile(r"([0-9a-f]{13})\.([0-9a-f]{11})(?:\.([!-~]+))?")


def conversation_group(conversation: str) -> str:
    """Return the group of one visitor's open pages."""
    return f"conversation:{conversation}"


def staff_id(key: object) -> StaffId:
    """Return a primary key of the user model as frames name it: a number if every client can read it, else text."""
    return key if isinstance(key, int) and abs(key) <= SAFE_INTEGER else str(key)


def staff_group(staff: StaffId) -> str:
    """Return the group of one staff member's open pages. It is also that person's principal."""
    group = f"staff:{staff}"
    return group if len(group) <= PRINCIPAL_LIMIT else f"staff:{sha256(group.encode()).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in the journal: a message's number and the time of its insert (database clock, ms since 1970).

    Its text is opaque to clients, but texts without `page_of` sort in the order of the messages. `page_of` is set in
    the cursor of a history page that is followed by another one. It is a tag of the connection that got the page: only
    that connection may continue directly after the cursor, and any other has to re-read an overlap. If `page_of` is
    `reader.SETTLED`, every connection may continue directly.
    """

    seq: int
    ms: int
    page_of: str = ""

    def __str__(self) -> str:
        return f"{self.seq:013x}.{self.ms:011x}" + (f".{self.page_of}" if self.page_of else "")

    @classmethod
    def of(cls, seq: int, created_at: datetime) -> Self:
        """Return the cursor of message number `seq`."""
        return cls(seq, int(created_at.timestamp() * 1000))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the cursor in `text`, or None if it has another form."""
        found = _CURSOR.fullmatch(text)
        return cls(int(found[1], 16), int(found[2], 16), found[3] or "") if found else None

    @staticmethod
    def number(text: str) -> int:
        """Return the message number in the cursor `text`, whose form is not checked."""
        return int(text.partition(".")[0], 16)


START = Cursor(0, 0)  # before the first message
UNREAD = "~"  # sorts after every cursor: a client that gets it in a `pong` asks for history


@dataclass(frozen=True, slots=True)
class StoredConnection:
    """One row of the connection store. `connected_at`: ISO 8601."""

    id: str
    connection_type: Role
    conversation: str | None
    principal: str
    version: int
    pod: str
    connected_at: str

    @property
    def age(self) -> tuple[str, str]:
        """The key by which connections are sorted, oldest first."""
        return self.connected_at, self.id

    @property
    def groups(self) -> tuple[str, ...]:
        if self.conversation is None:
            return ADMINS, self.principal
        return USERS, conversation_group(self.conversation)


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to append, once per (`principal`, `client_id`). An admin's message needs an existing `conversation`.

    `address`: the pseudonym of the address that a visitor's message comes from, which is kept for two days;
    `addresses`: all by which the address is recognised.
    """

    conversation: str
    principal: str
    client_id: str
    sender: Role
    content: str
    author: str = ""
    quick: str = ""
    address: str = ""
    addresses: frozenset[str] = frozenset()


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
        return Cursor.of(self.seq, self.created_at)


@dataclass(frozen=True, slots=True)
class Appended:
    """The result of an append.

    `duplicate`: the principal had already stored this message under the same id. `reopened`: the message has reopened
    its conversation.
    """

    message: StoredMessage
    duplicate: bool
    reopened: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Messages in the journal's order. `more`: there is another page. `cursor`: see the functions in `reader`."""

    messages: tuple[StoredMessage, ...]
    cursor: Cursor
    more: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim: the staff member who answers in a conversation."""

    staff: StaffId
    name: str


@dataclass(frozen=True, slots=True)
class ConversationState:
    """The current state of a conversation, by the database's clock. `changed_at`: its last change, if any.

    `may_write`: nothing blocks its visitor, at whatever address the visitor is now: no address is blocked. The cursors
    are those of the newest message that each side has read.
    """

    conversation: str
    status: Literal["open", "closed", "erased"]
    changed_at: datetime | None = None
    claim: Claim | None = None
    blocked_until: datetime | None = None
    may_write: bool = False
    read_by_staff: Cursor | None = None
    read_by_visitor: Cursor | None = None


@dataclass(frozen=True, slots=True)
class PauseState:
    """The pause of new conversations. `by`: the name of the staff member who began it; "" if the account is gone."""

    since: datetime
    until: datetime
    by: str


@dataclass(frozen=True, slots=True)
class Barriers:
    """All that keeps visitors from writing now: the blocked ones, the blocked addresses, and the pause."""

    visitors: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()
    pause: PauseState | None = None

    def block(self, visitor: str | None, addresses: frozenset[str]) -> bool:
        """Return whether the visitor is blocked, or an address with one of the pseudonyms `addresses`."""
        return visitor in self.visitors or not self.addresses.isdisjoint(addresses)


@dataclass(frozen=True, slots=True)
class StaffMember:
    """A staff member with the current rights. `name`: as other staff read it. `author`: as visitors do, or ""."""

    id: StaffId
    name: str
    author: str
    may_view: bool
    may_reply: bool
    may_manage: bool = False
    may_block: bool = False
    may_unblock: bool = False


class StoreUnavailable(Exception):
    """The connection store or the journal did not answer in time. The outcome is unknown; a retry is safe."""


class JournalRestored(Exception):
    """The journal was replaced by an older copy of it: a backup was restored."""


class NotStorable(Exception):
    """The database can never store this message: its encoding lacks a character."""


class IdConflict(Exception):
    """This principal has used this id for another message."""


class Blocked(Exception):
    """This visitor may not write for a while."""


class Paused(Exception):
    """No conversation may begin for a while."""


class AddressUnknown(Exception):
    """Nobody has written in this conversation lately, so the address of its visitor is not kept."""


class AlreadyClaimed(Exception):
    """Another staff member holds a valid claim. `by`: that person's name."""

    def __init__(self, by: str) -> None:
        super().__init__(by)
        self.by = by


class ConversationNotFound(Exception):
    """No such conversation."""


class MessageNotFound(Exception):
    """No such message in this conversation."""
