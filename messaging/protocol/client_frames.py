"""The frames that a client sends. `frames` re-exports them beside the frames that the server sends. Pure."""

from dataclasses import dataclass

from messaging.protocol.fields import Lang, Op, PauseOp, Role
from messaging.protocol.limits import HISTORY_DEFAULT


@dataclass(frozen=True, slots=True)
class Identify:
    """A connection's role, and the token that proves it. `version` 1 is the predecessor's form."""

    type: Role
    version: int = 1
    id: str | None = None
    token: str | None = None
    since: str | None = None
    seen: str | None = None
    lang: Lang = "en"


@dataclass(frozen=True, slots=True)
class SetConnectionType:
    """Version 1's alternative to `identify`."""

    type: Role
    token: str | None = None


@dataclass(frozen=True, slots=True)
class SendMessage:
    """A message to send. `content` None: version 1's button, which means the default quick message.

    `to`: the id of a conversation.
    """

    content: str | None
    id: str | None = None
    quick: str = ""
    to: str | None = None


@dataclass(frozen=True, slots=True)
class History:
    """A request for messages after `since`, or before `before`, or for the newest ones if neither is given."""

    id: str
    conversation: str | None = None
    since: str | None = None
    before: str | None = None
    limit: int = HISTORY_DEFAULT


@dataclass(frozen=True, slots=True)
class MarkRead:
    """A read position: everything up to the message with the id `up_to` was read."""

    up_to: str
    conversation: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class ChangeConversation:
    id: str
    conversation: str
    op: Op


@dataclass(frozen=True, slots=True)
class ChangePause:
    """Pause new conversations, or take them again."""

    id: str
    op: PauseOp


@dataclass(frozen=True, slots=True)
class Forget:
    """A request to erase the visitor who sends it."""

    id: str


@dataclass(frozen=True, slots=True)
class Ping:
    id: str | None = None


ClientFrame = (
    Identify | SetConnectionType | SendMessage | History | MarkRead | ChangeConversation | ChangePause | Forget | Ping
)
