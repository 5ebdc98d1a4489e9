"""The rules for messages: who may write and read them, and who gets them."""

from typing import TYPE_CHECKING
from uuid import uuid4

from messaging.protocol import frames
from messaging.protocol.codec import split_page
from messaging.protocol.codes import ErrorCode, ProtocolError
from messaging.protocol.limits import RETRY_MS
from messaging.service.actions import Action, Connection, Publish, Reply, timestamp
from messaging.service.contracts import (
    ADMINS,
    Appended,
    Blocked,
    ConversationNotFound,
    Cursor,
    IdConflict,
    Kind,
    NewMessage,
    NotStorable,
    Page,
    Paused,
    StoredMessage,
    conversation_group,
)
from messaging.service.conversation_state import Conversations, conversation_id
from messaging.service.gate import Gate

if TYPE_CHECKING:
    from messaging.journal.journal import Journal


class Messages:
    """Writing to and reading from the journal, within the rights of a connection."""

    def __init__(self, journal: "Journal", conversations: Conversations, gate: Gate) -> None:
        self._journal = journal
        self._gate = gate
        self._conversations = conversations

    async def append(self, connection: Connection, frame: frames.SendMessage) -> Appended:
        """Commit the message that `connection` sent.

        Raise ProtocolError if it is refused, StoreUnavailable if the journal is unavailable.
        """
        content, quick = frame.content, frame.quick
        if content is None:
            default = await self._default_quick_message()
            content, quick = default["content"], default["key"]
        elif quick and quick not in await self._quick_keys(connection):
            quick = ""  # the tally shows a key that has no label: visitors must not put their own words there
        new = NewMessage(
            conversation=self._recipient(connection, frame),
            principal=connection.principal,
            client_id=frame.id or uuid4().hex,
            sender="admin" if connection.role == "admin" else "user",
            content=content,
            author=connection.author,
            quick=quick,
            address="" if connection.role == "admin" else connection.address,
            addresses=connection.addresses,
        )
        try:
            return await self._journal.append(new)
        except IdConflict:
            text = "This id was used for another message."
            raise ProtocolError(ErrorCode.ID_CONFLICT, text, id=frame.id) from None
        except NotStorable:
            text = "The database can't store a character of this message."
            raise ProtocolError(ErrorCode.NOT_STORABLE, text, id=frame.id) from None
        except Blocked:
            text = "You can't send messages here at the moment."
            raise ProtocolError(ErrorCode.BLOCKED, text, id=frame.id) from None
        except Paused:
            raise await self._gate.paused(frame.id) from None
        except ConversationNotFound:
            if connection.conversation is None:
                raise ProtocolError(ErrorCode.NOT_FOUND, "No such conversation.", id=frame.id) from None
            # Erased in another tab: the client reconnects as a new visitor, and sends the message again as that one.
            text = "This conversation was erased; reconnect."
            raise ProtocolError(ErrorCode.UNAVAILABLE, text, id=frame.id, retry_after_ms=RETRY_MS) from None

    def _recipient(self, connection: Connection, frame: frames.SendMessage) -> str:
        if connection.conversation is not None:
            return connection.conversation  # a visitor writes to its own conversation, whatever the frame says
        if not connection.may_reply:
            raise ProtocolError(ErrorCode.FORBIDDEN, "This account may not reply.", id=frame.id)
        if frame.to is None:
            text = "An admin's message needs 'to', the id of a conversation."
            raise ProtocolError(ErrorCode.BAD_FRAME, text, id=frame.id)
        return conversation_id(frame.to, frame.id)

    async def _quick_keys(self, connection: Connection) -> set[str]:
        kind: Kind = "reply" if connection.role == "admin" else "visitor"
        return {message["key"] for message in await self._journal.quick_messages(kind)}

    async def _default_quick_message(self) -> dict[str, str]:
        quick = await self._journal.quick_messages()
        if not quick:
            raise ProtocolError(ErrorCode.EMPTY, "The message is empty, and no quick message is configured.")
        return quick[0]

    async def history(self, connection: Connection, frame: frames.History) -> list[Action]:
        """Return the replies with the page that `connection` asked for.

        Raise ProtocolError if the request is refused, StoreUnavailable if the journal is unavailable.
        """
        if connection.version == 1:
            text = "'history' needs protocol version 2: send 'identify' with \"v\": 2."
            raise ProtocolError(ErrorCode.UNKNOWN_ACTION, text, id=frame.id)
        conversation = self._readable(connection, frame)
        since = self._cursor(frame)
        page = await self._page(connection, frame, conversation, since)
        messages = tuple(
            _frame(message, with_id=message.principal == connection.principal) for message in page.messages
        )
        self._note_read(connection, frame, page)
        states = None
        if connection.role == "admin":
            states = await self._conversations.of_page(page, conversation, since if frame.since else None)
        answer = frames.HistoryPage(frame.id, messages, str(page.cursor), page.more, conversations=states)
        return [Reply(part) for part in split_page(answer)]

    def _note_read(self, connection: Connection, frame: frames.History, page: Page) -> None:
        if frame.before is not None:
            return
        if page.messages:
            connection.handed(str(page.messages[-1].cursor))
        if not connection.held and frame.conversation is None:  # an admin who reads one conversation has not read all
            connection.head = max(connection.head, str(Cursor(page.cursor.seq, page.cursor.ms)))

    def _readable(self, connection: Connection, frame: frames.History) -> str | None:
        if frame.conversation is None:
            return connection.conversation
        conversation = conversation_id(frame.conversation, frame.id)
        if connection.role == "user" and conversation != connection.conversation:
            raise ProtocolError(ErrorCode.FORBIDDEN, "This is not your conversation.", id=frame.id)
        return conversation

    def _cursor(self, frame: frames.History) -> Cursor | None:
        if frame.before is None and frame.since is None:
            return None
        cursor = Cursor.parse(frame.before or frame.since or "")
        if cursor is None:
            text = "'since' and 'before' must be cursors from the server."
            raise ProtocolError(ErrorCode.BAD_FRAME, text, id=frame.id)
        return cursor

    async def _page(
        self, connection: Connection, frame: frames.History, conversation: str | None, cursor: Cursor | None
    ) -> Page:
        if cursor is None:
            return await self._journal.newest(conversation, frame.limit)
        if frame.before is not None:
            return await self._journal.before(conversation, cursor, frame.limit)
        return await self._journal.since(conversation, cursor, frame.limit, connection.id[:8])


def publishes(message: StoredMessage, sender: Connection | None = None) -> list[Publish]:
    """Return the frames of `message` for the groups that get it. `sender` gets no copy, since it gets the ack."""
    connection_id = sender.id if sender else None
    exclude = connection_id or ""
    own = _frame(message, with_id=True, connection_id=connection_id)
    other = _frame(message, with_id=False, connection_id=connection_id)
    visitor = conversation_group(message.conversation)
    if message.sender == "user":
        return [Publish(ADMINS, other), Publish(visitor, own, min_version=2, exclude=exclude)]
    return [
        Publish(visitor, other, min_version=2),
        Publish(ADMINS, other, min_version=2, exclude=message.principal),
        Publish(message.principal, own, min_version=2, exclude=exclude),
    ]


def _frame(message: StoredMessage, *, with_id: bool, connection_id: str | None = None) -> frames.Message:
    return frames.Message(
        message_id=message.message_id,
        content=message.content,
        timestamp=timestamp(message.created_at),
        from_=message.sender,
        cursor=str(message.cursor),
        conversation=message.conversation,
        connection_id=connection_id,
        id=message.client_id if with_id else None,
        quick=message.quick or None,
        author=message.author or None,
    )
