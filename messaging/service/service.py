"""The product's rules: the actions that follow from a client's frame. They live in this package and nowhere else.

The service awaits only the stores and the limiter that it was given, and returns actions; a transport performs them in
order.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Container, Iterable, Sequence
from typing import TYPE_CHECKING

from messaging.backends.base import Limiter
from messaging.observability.context import bind
from messaging.protocol import frames
from messaging.protocol.codec import decode
from messaging.protocol.codes import CloseCode, ErrorCode, ProtocolError
from messaging.protocol.fields import Role
from messaging.protocol.frames import ClientFrame
from messaging.protocol.limits import RETRY_MS
from messaging.service.actions import Action, Close, Connection, Join, Publish, Refusal, Reply, timestamp
from messaging.service.contracts import UNREAD, Appended, Cursor, StoreUnavailable
from messaging.service.conversation_state import Conversations
from messaging.service.gate import Gate, Told
from messaging.service.identity import Identity
from messaging.service.messages import Messages, publishes
from messaging.service.presence import Presence
from messaging.service.refusals import frame_id, refuse, turned_away, unavailable
from messaging.service.registry import Registry
from messaging.service.throttle import Rates, Throttle

if TYPE_CHECKING:
    from messaging.backends.base import ConnectionStore
    from messaging.journal.journal import Journal

logger = logging.getLogger(__name__)

RESTART_MS = 100  # upper limit of the reconnect delay that a stopping process sends; the drain spreads the sending


class MessagingService:
    """The service that transports call.

    `limiter` and `rates`: the rate limits. `heartbeat_ms`: the interval at which clients are asked to ping.
    `retention_days`: how long messages are kept. `pod`: the name of this process in the connection store. `clock`:
    returns seconds, to measure intervals.
    """

    def __init__(
        self,
        connections: "ConnectionStore",
        journal: "Journal",
        *,
        limiter: Limiter,
        rates: Rates,
        heartbeat_ms: int,
        retention_days: int,
        pod: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._throttle = Throttle(limiter, rates, clock)
        self._heartbeat_ms = heartbeat_ms
        self._registry = Registry(connections, pod, clock)
        self._gate = Gate(journal)
        self._identity = Identity(journal, self._registry, self._gate, retention_days, clock)
        self._conversations = Conversations(journal, heartbeat_ms)
        self._messages = Messages(journal, self._conversations, self._gate)
        self._presence = Presence(self._registry, limiter)

    async def admit(self, connection: Connection) -> Refusal | None:
        """Charge a handshake to the address of `connection`. Return the reason if it must be refused.

        `connection.retry_after_ms` is then the time after which the address may have enough for it.
        """
        try:
            await self._throttle.handshake(connection)
        except ProtocolError as error:
            connection.retry_after_ms = max(error.retry_after_ms or 0, RETRY_MS)
            return "address"
        return None

    async def connect(self, connection: Connection, refusal: Refusal | None = None) -> list[Action]:
        """Return the greeting for a new connection, or the refusal if its transport can't serve it."""
        connection.greeted = True
        if refusal is not None:
            return turned_away(connection, refusal)
        return [Reply(frames.Greeting(connection.id, timestamp(), self._heartbeat_ms))]

    def restart(self) -> list[Action]:
        """Return the actions for a connection whose process stops.

        The random delay keeps clients that get them at the same time from reconnecting at the same time.
        """
        delay = random.randrange(RESTART_MS)  # noqa: S311  not a secret
        return [Reply(frames.ServerShutdown(timestamp(), delay)), Close(CloseCode.RESTART, f'{{"in":{delay}}}')]

    async def receive(self, connection: Connection, text: str | bytes) -> list[Action]:
        """Return the actions that follow from one frame. Frames of one `connection` must be passed one at a time."""
        try:
            return await self._answer(connection, text)
        except ProtocolError as error:
            return refuse(connection, error)

    def unavailable(self, connection: Connection, text: str | bytes, error: StoreUnavailable) -> list[Action]:
        """Return the actions for a frame that was not served, or not completely, as the transport's store failed."""
        try:
            frame = decode(text, connection.version)
        except ProtocolError as refused:
            return refuse(connection, refused)
        return unavailable(connection, frame, error)

    async def revoked(self, connections: Sequence[Connection]) -> list[tuple[Connection, list[Action]]]:
        """Return, with their actions, those of `connections` that have lost the right to be admins.

        Their staff member has signed out, changed the password, was deactivated, or lost the right to read. Raise
        StoreUnavailable if the journal is unavailable.
        """
        found = await self._identity.revoked(connections)
        return [(connection, refuse(connection, error, after=1)) for connection, error in found]

    async def disconnect(self, connection: Connection) -> list[Action]:
        """Forget a connection that has ended; return the actions that notify others."""
        await self._registry.remove(connection)
        if connection.staff is not None and await self._registry.last_of(connection.principal):
            await self._conversations.last_of(connection.staff)
        return await self._presence.came_or_went(connection)

    async def counts(self, role: Role) -> dict[str, int] | None:
        """Return the numbers of connections that `role` may see; None if the connection store is unavailable."""
        return await self._registry.presence(role)

    def presence(
        self, connections: Iterable[Connection], counts: dict[str, int]
    ) -> list[tuple[Connection, list[Action]]]:
        """Return presence frames for those of `connections` whose last-sent counts are out of date.

        `counts`: as `counts("admin")` returns them, or `counts("user")` if there is no admin among `connections`.
        """
        return self._presence.news(connections, counts)

    async def standings(self, connections: Iterable[Connection]) -> list[tuple[Connection, list[Action]]]:
        """Return frames for those of `connections` that were blocked, paused or freed since they were last told.

        Raise StoreUnavailable if the journal is unavailable.
        """
        return await self._gate.news(connections)

    async def register(self, connections: Iterable[Connection]) -> None:
        """Add `connections`, which are held, to the connection store again."""
        await asyncio.gather(*(self._registry.touch(one) for one in connections if one.role))

    async def site(self, *, again: bool = False) -> str:
        """Return the identity of the journal as it was read last; `again`: read it now.

        Raise StoreUnavailable if it has to be read and the journal is unavailable.
        """
        return await self._journal.site(again=again)

    async def present(self) -> tuple[list[int], Cursor]:
        """Return the numbers of recent messages, and the floor for the first call of `missed`.

        Raise StoreUnavailable if the journal is unavailable.
        """
        return await self._journal.positions(None)

    async def missed(self, known: Container[int], floor: Cursor, newest: Cursor) -> tuple[list[Publish], Cursor]:
        """Return Publish actions for messages after `floor` that are not in `known`, and the next floor.

        `known`: message numbers; `newest`: the newest message among them. Raise JournalRestored if the journal is an
        older copy than at the call before, StoreUnavailable if it is unavailable.
        """
        numbers, floor = await self._journal.positions(floor, newest)
        lost = [number for number in numbers if number not in known]
        found = await self._journal.messages(lost) if lost else ()
        return [publish for message in found for publish in publishes(message)], floor

    async def _answer(self, connection: Connection, text: str | bytes) -> list[Action]:
        try:
            frame = decode(text, connection.version)
        except ProtocolError as error:
            bind(frame=None)
            await self._throttle.frame(connection, None, error.id)
            raise
        bind(frame=frame_id(frame))
        await self._throttle.frame(connection, frame, frame_id(frame))
        joined: list[Action] = []
        try:
            if isinstance(frame, frames.SendMessage) and connection.role is None:  # version 1 may skip identify
                await self._identity.become(connection, "user", None, version=1)
                joined.append(Join())
            actions = await self._handle(connection, frame)
        except ProtocolError as error:
            return [*joined, *refuse(connection, error)]
        except StoreUnavailable as error:
            return [*joined, *unavailable(connection, frame, error)]
        connection.strikes.pop(ErrorCode.UNAVAILABLE, None)
        return [*joined, *actions]

    async def _handle(self, connection: Connection, frame: ClientFrame) -> list[Action]:
        await self._identity.recheck(connection)
        match frame:
            case frames.Identify():
                answer = await self._identity.identify(connection, frame)
                told = await self._presence.came_or_went(connection)
                return [*answer, *await self._conversations.sign_of_life(connection), *told]
            case frames.SetConnectionType():
                await self._identity.become(connection, frame.type, frame.token, connection.version)
                return [Join(), Reply(frames.ConnectionTypeUpdated(frame.type, timestamp()))]
            case frames.SendMessage():
                return await self._send_message(connection, frame)
            case frames.History():
                page = await self._messages.history(connection, frame)
                self._throttle.page(connection, page)
                return page
            case frames.MarkRead():
                return await self._conversations.read(connection, frame)
            case frames.ChangeConversation():
                return await self._conversations.change(connection, frame)
            case frames.ChangePause():
                return await self._gate.change(connection, frame)
            case frames.Forget():
                return await self._forget(connection, frame)
            case frames.Ping():
                return await self._ping(connection, frame)

    async def _forget(self, connection: Connection, frame: frames.Forget) -> list[Action]:
        told = await self._conversations.forget(connection, frame)
        ack = Reply(frames.Ack(frame.id, None, None, timestamp(), duplicate=False))
        try:
            identified = await self._identity.begin_anew(connection)
        except StoreUnavailable as error:  # it is erased; the client reconnects as a new visitor
            logger.warning("store unavailable", extra={"connection": connection.id, "error": str(error)})
            return [ack, *told, Close(CloseCode.RESTART)]
        return [Join(), ack, Reply(identified), *told]

    async def _ping(self, connection: Connection, frame: frames.Ping) -> list[Action]:
        cursor = await self._newest(connection) if connection.version > 1 else None
        told = await self._told(connection) if connection.version > 1 and connection.role else (None, None)
        actions: list[Action] = [Reply(frames.Pong(timestamp(), frame.id, cursor, *told))]
        if await self._registry.touch_if_due(connection):
            actions += await self._conversations.sign_of_life(connection)
        # If a gateway holds the connection, no process checks presence for it between two frames.
        if not connection.held and connection.role and (counts := await self.counts(connection.role)):
            actions += [action for _, told in self.presence([connection], counts) for action in told]
        return actions

    async def _told(self, connection: Connection) -> Told:
        try:
            return await self._gate.tell(connection)
        except StoreUnavailable as error:  # a pong says that the server lives: it repeats what was told last
            logger.debug("standing unknown", extra={"connection": connection.id, "error": str(error)})
            return self._gate.last_told(connection)

    async def _newest(self, connection: Connection) -> str:
        """Return the cursor of the newest message that `connection` should have; UNREAD if it may lack that message."""
        if connection.held:
            return connection.head
        newest = str(await self._journal.head(connection.conversation))
        return newest if newest == connection.head else UNREAD

    async def _send_message(self, connection: Connection, frame: frames.SendMessage) -> list[Action]:
        appended = await self._append(connection, frame)
        message = appended.message
        cursor = str(message.cursor)
        connection.handed(cursor)
        if connection.version == 1:
            answer = Reply(frames.MessageStatus(await self._registry.admins(), timestamp()))
        else:
            sent = timestamp(message.created_at)
            answer = Reply(frames.Ack(message.client_id, message.message_id, cursor, sent, appended.duplicate))
        # A duplicate is published again: the process that stored it may have died before publishing it.
        told: list[Action] = [answer, *publishes(message, sender=connection)]
        if appended.reopened:
            told += await self._conversations.reopened(message.conversation)
        return told

    async def _append(self, connection: Connection, frame: frames.SendMessage) -> Appended:
        """Commit a message within the limits. An attempt that stores nothing costs the address no conversation."""
        await self._throttle.conversation(connection, frame.id)
        is_new = False
        try:
            await self._throttle.message(connection, frame.id)
            appended = await self._messages.append(connection, frame)
            is_new = not appended.duplicate
        finally:
            if not is_new:
                self._throttle.not_begun(connection)
        connection.has_written = True
        return appended
