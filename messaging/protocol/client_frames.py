"""The frames that a client sends; `frames` has them all, and what the server sends. Pure."""

from dataclasses import dataclass

from messaging.protocol.codes import HISTORY_DEFAULT
from messaging.protocol.fields import Lang, Op, Role


@dataclass(frozen=True, slots=True)
class Identify:
    """Who the connection belongs to. `version` 1 is the predecessor's form."""

    type: Role
    version: int = 1
    id: str | None = None
    token: str | None = None
    since: str | None = None
    lang: Lang = "en"


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
class MarkRead:
    """Everything up to the message with the id `up_to` was seen."""

    up_to: str
    conversation: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class ChangeConversation:
    id: str
    conversation: str
    op: Op


@dataclass(frozen=True, slots=True)
class Forget:
    """Erase the visitor who asks."""

    id: str


@dataclass(frozen=True, slots=True)
class Ping:
    id: str | None = None


ClientFrame = Identify | SetConnectionType | SendMessage | History | MarkRead | ChangeConversation | Forget | Ping
