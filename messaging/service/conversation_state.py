"""The rules for the state of a conversation: read positions, claims, blocks, closing, erasing."""

import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from messaging.protocol import frames
from messaging.protocol.codes import CloseCode, ErrorCode, ProtocolError
from messaging.protocol.fields import StaffId
from messaging.protocol.frames import Done
from messaging.service.actions import Action, CloseGroup, Connection, Publish, Reply, timestamp
from messaging.service.contracts import (
    ADMINS,
    AddressUnknown,
    AlreadyClaimed,
    ConversationNotFound,
    ConversationState,
    Cursor,
    MessageNotFound,
    Page,
    StoreUnavailable,
    conversation_group,
)
from messaging.service.registry import TOUCH_SECONDS

if TYPE_CHECKING:
    from messaging.journal.journal import Journal

logger = logging.getLogger(__name__)

CLAIM_SECONDS = 120  # how long a claim counts after its holder's last connection has ended


class Conversations:
    """The states of conversations, and the frames that announce changes. `heartbeat_ms`: the interval of pings."""

    def __init__(self, journal: "Journal", heartbeat_ms: int) -> None:
        self._journal = journal
        # Each sign of life renews a claim for this long, so it ends even if the connection's end goes unnoticed.
        self._lease = timedelta(seconds=CLAIM_SECONDS + TOUCH_SECONDS, milliseconds=heartbeat_ms)

    async def read(self, connection: Connection, frame: frames.MarkRead) -> list[Action]:
        """Move a read position; return the ack and, if it has moved, the frames that announce it.

        Raise ProtocolError if the frame is refused, StoreUnavailable if the journal is unavailable.
        """
        _needs_version_2(connection, frame.id)
        conversation, by = connection.conversation, connection.role or "user"
        if conversation is None:
            if frame.conversation is None:
                text = "An admin's 'read' needs 'conversation'."
                raise ProtocolError(ErrorCode.BAD_FRAME, text, id=frame.id)
            conversation = conversation_id(frame.conversation, frame.id)
        try:
            message_id = conversation_id(frame.up_to, frame.id, "No such message.")
            cursor, moved = await self._journal.mark_read(conversation, message_id, by)
        except MessageNotFound:
            raise ProtocolError(ErrorCode.NOT_FOUND, "No such message.", id=frame.id) from None
        now, place = timestamp(), str(cursor)
        actions: list[Action] = []
        if frame.id is not None:
            actions.append(Reply(frames.Ack(frame.id, message_id, place, now, not moved)))
        if moved:
            told = frames.Read(conversation, by, message_id, place, now)
            actions.append(Publish(ADMINS, told, min_version=2, exclude=connection.id))
            if by == "admin":
                actions.append(Publish(conversation_group(conversation), told, min_version=2))
        return actions

    async def change(self, connection: Connection, frame: frames.ChangeConversation) -> list[Action]:
        """Change a conversation; return the ack and, if anything has changed, the frames that announce it.

        Raise ProtocolError if the frame is refused, StoreUnavailable if the journal is unavailable.
        """
        _needs_version_2(connection, frame.id)
        conversation = conversation_id(frame.conversation, frame.id)
        if connection.staff is None or not self._may(connection, frame):
            raise ProtocolError(ErrorCode.FORBIDDEN, f"This account may not {frame.op} conversations.", id=frame.id)
        try:
            states, changed = await self._journal.change(conversation, frame.op, connection.staff, self._lease)
        except ConversationNotFound:
            raise ProtocolError(ErrorCode.NOT_FOUND, "No such conversation.", id=frame.id) from None
        except AddressUnknown:
            text = "The address is not known: this visitor has not written for two days."
            raise ProtocolError(ErrorCode.NOT_FOUND, text, id=frame.id) from None
        except AlreadyClaimed as claimed:
            text = f"{claimed.by} has already claimed this conversation."
            raise ProtocolError(ErrorCode.ALREADY_CLAIMED, text, id=frame.id, by=claimed.by) from None
        ack = Reply(frames.Ack(frame.id, None, None, timestamp(states[0].changed_at), not changed))
        return [ack, *told(states, frame.op, connection.name)] if changed else [ack]

    def _may(self, connection: Connection, frame: frames.ChangeConversation) -> bool:
        match frame.op:
            case "block" | "blockAddress":
                return connection.may_block
            case "unblock":
                return connection.may_unblock
        return connection.may_manage

    async def reopened(self, conversation: str) -> list[Publish]:
        """Return the frames that announce a conversation which a visitor's message has reopened."""
        try:
            return told(await self._journal.states([conversation]), "reopen")
        except StoreUnavailable as error:  # the message itself is committed, and must be acked
            logger.warning("reopening not announced", extra={"error": str(error)})
            return []

    async def forget(self, connection: Connection, frame: frames.Forget) -> list[Action]:
        """Erase the visitor's conversation; return the actions that notify others.

        Raise ProtocolError if the frame is refused, StoreUnavailable if the journal is unavailable.
        """
        _needs_version_2(connection, frame.id)
        conversation = connection.conversation
        if conversation is None:
            raise ProtocolError(ErrorCode.FORBIDDEN, "Only a visitor can send 'forget'.", id=frame.id)
        erased = await self._journal.erase(conversation)
        if erased is None:  # nothing was written yet
            return [CloseGroup(conversation_group(conversation), CloseCode.RESTART, exclude=connection.id)]
        return [*told_erased(erased, exclude=connection.id)]

    async def sign_of_life(self, connection: Connection) -> list[Publish]:
        """Renew the claims of `connection`'s staff member; return frames that announce expired claims of any staff."""
        if connection.staff is None:
            return []
        try:
            await self._journal.renew_claims(connection.staff, self._lease)
            return told(await self._journal.lapsed_claims(), "release")
        except StoreUnavailable as error:  # the next sign of life renews them
            logger.warning("claims not renewed", extra={"error": str(error)})
            return []

    async def last_of(self, staff: StaffId) -> None:
        """Let a staff member's claims expire CLAIM_SECONDS from now, since the last connection has ended."""
        try:
            await self._journal.renew_claims(staff, timedelta(seconds=CLAIM_SECONDS))
        except StoreUnavailable as error:  # the claims end a little later
            logger.warning("claims not shortened", extra={"error": str(error)})

    async def of_page(
        self, page: Page, asked_for: str | None, since: Cursor | None
    ) -> tuple[frames.ConversationSummary, ...]:
        """Return the states of conversations for an admin's history page.

        `asked_for`: the requested conversation; None: all. The states are those of `asked_for` and of the conversations
        with messages in the page. If all were requested from the cursor `since`, the states that changed after it are
        added. Raise StoreUnavailable if the journal is unavailable.
        """
        ids = {message.conversation for message in page.messages} | ({asked_for} if asked_for else set())
        found = list(await self._journal.states(ids))
        if since is not None and asked_for is None:
            found += await self._journal.changed(since, page.cursor if page.more else None)
        if asked_for is not None and not found:
            found += await self._journal.erased(asked_for)
        return tuple({state.conversation: _summary(state) for state in found}.values())


def conversation_id(text: str, request: str | None, otherwise: str = "No such conversation.") -> str:
    """Return the id `text` as the journal writes it. Raise ProtocolError (not_found) if it is not a UUID."""
    try:
        return str(UUID(text))
    except ValueError:
        raise ProtocolError(ErrorCode.NOT_FOUND, otherwise, id=request) from None


def _needs_version_2(connection: Connection, id: str | None) -> None:
    if connection.version == 1:
        text = "This needs protocol version 2: send 'identify' with \"v\": 2."
        raise ProtocolError(ErrorCode.UNKNOWN_ACTION, text, id=id)


def told(states: Iterable[ConversationState], op: Done, by: str | None = None) -> list[Publish]:
    """Return the frames for all admins, including the one who acted, so that all learn a state in the same way.

    After a block or its end, the visitor is told as well, unless that depends on the address where the visitor is now:
    `Gate` then tells it.
    """
    states = tuple(states)
    visitors = states if op in ("block", "blockAddress", "unblock") else ()
    to_visitors = [
        Publish(
            conversation_group(state.conversation),
            frames.WritingChanged("blocked" if state.blocked_until else "open", timestamp()),
            min_version=2,
        )
        for state in visitors
        if state.blocked_until or state.may_write
    ]
    to_admins = [
        Publish(
            ADMINS,
            frames.ConversationChanged(
                conversation=state.conversation,
                status=state.status,
                op=op,
                timestamp=timestamp(state.changed_at),
                claimed_by=_person(state),
                blocked_until=timestamp(state.blocked_until) if state.blocked_until else None,
                by=by,
            ),
            min_version=2,
        )
        for state in states
    ]
    return to_admins + to_visitors


def told_erased(erased: ConversationState, *, exclude: str = "") -> list[Publish | CloseGroup]:
    """Return actions: notify all admins; notify and close the visitor's connections, except the one named `exclude`."""
    to_admins = told([erased], "forget")
    visitor = conversation_group(erased.conversation)
    to_visitor = [Publish(visitor, publish.frame, min_version=2, exclude=exclude) for publish in to_admins]
    return [*to_admins, *to_visitor, CloseGroup(visitor, CloseCode.RESTART, exclude=exclude)]


def _summary(state: ConversationState) -> frames.ConversationSummary:
    return frames.ConversationSummary(
        conversation=state.conversation,
        status=state.status,
        timestamp=timestamp(state.changed_at) if state.changed_at else None,
        claimed_by=_person(state),
        blocked_until=timestamp(state.blocked_until) if state.blocked_until else None,
        read_by_staff=str(state.read_by_staff) if state.read_by_staff else None,
        read_by_visitor=str(state.read_by_visitor) if state.read_by_visitor else None,
    )


def _person(state: ConversationState) -> dict[str, StaffId] | None:
    return {"id": state.claim.staff, "name": state.claim.name} if state.claim else None
