"""The rules for who may write now, and the frames that tell visitors and staff: blocks, and the pause."""

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from messaging.protocol import frames
from messaging.protocol.codes import ErrorCode, ProtocolError
from messaging.protocol.frames import Writing
from messaging.service.actions import Action, Connection, Publish, Reply, timestamp
from messaging.service.contracts import ADMINS, START, Barriers, PauseState

if TYPE_CHECKING:
    from messaging.journal.journal import Journal

logger = logging.getLogger(__name__)

PAUSE_RETRY_MS = 60_000  # the longest wait before a message that found a pause is sent again


Told = tuple[Writing | None, dict[str, str] | None]  # the fields `writing` and `pause` of frames


class Gate:
    """The standing of visitors. What a connection was told last is kept on it, so that only changes are sent."""

    def __init__(self, journal: "Journal") -> None:
        self._journal = journal

    async def tell(self, connection: Connection) -> Told:
        """Return what `connection` is told: a visitor why it may not write, an admin the pause; None if there is none.

        Raise StoreUnavailable if the journal is unavailable.
        """
        # For held connections, `news` has read them within a second. A gateway's function may have slept meanwhile.
        barriers = await (self._journal.barriers() if connection.held else self._journal.barriers(0))
        if connection.role == "admin":
            connection.told = barriers.pause
            return None, pause_fields(barriers.pause)
        ((_, standing),) = await self._standings([connection], barriers)
        connection.told = standing
        return (None if standing == "open" else standing), None

    def last_told(self, connection: Connection) -> Told:
        """Return what `connection` was told last."""
        if isinstance(connection.told, PauseState):
            return None, pause_fields(connection.told)
        return (None if connection.told == "open" else connection.told), None

    async def news(self, connections: Iterable[Connection]) -> list[tuple[Connection, list[Action]]]:
        """Return frames for those of `connections` whose standing differs from what they were told last.

        Version 1 gets none. Raise StoreUnavailable if the journal is unavailable.
        """
        barriers = await self._journal.barriers(0)
        concerned = [one for one in connections if one.role and one.version > 1]
        visitors = [one for one in concerned if one.role == "user"]
        news: list[tuple[Connection, list[Action]]] = []
        for visitor, standing in await self._standings(visitors, barriers):
            if (visitor.told or "open") != standing:
                visitor.told = standing
                news.append((visitor, [Reply(frames.WritingChanged(standing, timestamp()))]))
        for admin in concerned:
            if admin.role == "admin" and admin.told != barriers.pause:
                admin.told = barriers.pause
                news.append((admin, [Reply(frames.PauseChanged(timestamp(), pause_fields(barriers.pause)))]))
        return news

    async def paused(self, id: str | None) -> ProtocolError:
        """Return the refusal of a message that would begin a conversation during a pause."""
        pause = (await self._journal.barriers()).pause
        left = (pause.until - datetime.now(UTC)).total_seconds() * 1000 if pause else 0
        text = "No new conversations are taken at the moment."
        return ProtocolError(ErrorCode.PAUSED, text, id=id, retry_after_ms=int(min(max(left, 1000), PAUSE_RETRY_MS)))

    async def change(self, connection: Connection, frame: frames.ChangePause) -> list[Action]:
        """Begin or end the pause; return the ack and, if anything has changed, the frame that tells all admins.

        Visitors are told by `news`. Raise ProtocolError if the frame is refused, StoreUnavailable if the journal is
        unavailable.
        """
        may = connection.may_block if frame.op == "pause" else connection.may_unblock
        if connection.staff is None or not may:
            text = f"This account may not {frame.op} new conversations."
            raise ProtocolError(ErrorCode.FORBIDDEN, text, id=frame.id)
        pause, changed = await self._journal.change_pause(frame.op, connection.staff)
        ack = Reply(frames.Ack(frame.id, None, None, timestamp(), not changed))
        return [ack, *told(pause)] if changed else [ack]

    async def _standings(self, visitors: Sequence[Connection], barriers: Barriers) -> list[tuple[Connection, Writing]]:
        fresh = [one.conversation for one in visitors if one.conversation and one.head <= str(START)]
        begun = await self._journal.begun(fresh) if barriers.pause and fresh else frozenset()

        def of(visitor: Connection) -> Writing:
            if barriers.block(visitor.conversation, visitor.addresses):
                return "blocked"
            has_begun = visitor.head > str(START) or visitor.conversation in begun
            return "paused" if barriers.pause and not has_begun else "open"

        return [(visitor, of(visitor)) for visitor in visitors]


def told(pause: PauseState | None) -> list[Publish]:
    """Return the frame that tells all admins of the pause, or of its end."""
    return [Publish(ADMINS, frames.PauseChanged(timestamp(), pause_fields(pause)), min_version=2)]


def pause_fields(pause: PauseState | None) -> dict[str, str] | None:
    return {"since": timestamp(pause.since), "until": timestamp(pause.until), "by": pause.by} if pause else None
