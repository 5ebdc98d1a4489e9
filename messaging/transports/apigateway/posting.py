"""Performing actions by posts to an API Gateway, within the time of one invocation."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping

from messaging.protocol.codec import encode
from messaging.protocol.codes import ABNORMAL
from messaging.protocol.frames import Message
from messaging.runtime import runtime
from messaging.service.actions import Action, CloseGroup, Connection, Publish, age, is_for
from messaging.service.contracts import StoredConnection, StoreUnavailable
from messaging.transports.apigateway.connection_state import restore
from messaging.transports.apigateway.gateway import CONCURRENCY, LEFT, NOBODY, POSTED, SecondsLeft
from messaging.transports.apigateway.invocation import run_all
from messaging.transports.base import GatheringTransport

logger = logging.getLogger(__name__)


class Posting:
    """The posts of one invocation. A failed post is not raised but counted, in `outcomes`."""

    def __init__(self, seconds_left: SecondsLeft) -> None:
        self._seconds_left = seconds_left
        self._gateway, self._store, self._states = runtime.gateway, runtime.store, runtime.states
        self._turns = asyncio.Semaphore(CONCURRENCY)
        self.outcomes: Counter[str] = Counter()

    async def perform(self, connection: Connection, actions: Iterable[Action]) -> None:
        """Perform actions of the service. Frames for `connection` stay in order and do not wait for other posts.

        A frame that is published to a group of `connection` reaches it after its answers.
        """
        gathered = GatheringTransport(connection)
        gathered.perform(actions)
        replies = [encode(frame) for frame in gathered.frames]
        publishes = [action for action in gathered.published if isinstance(action, Publish)]
        texts = {id(frame): encode(frame) for frame in {id(p.frame): p.frame for p in publishes}.values()}
        answering = asyncio.create_task(self._answer(connection, replies, gathered.closing))
        answered, *published = await asyncio.gather(
            answering,
            *(self._publish(publish, texts[id(publish.frame)], {connection.id: answering}) for publish in publishes),
            return_exceptions=True,
        )
        for error in published:
            if error is not None:
                logger.error("publish failed", exc_info=error)
        for action in gathered.published:
            if isinstance(action, CloseGroup):
                await self._end_group(action)
        if answered is not None:
            raise answered

    async def end(self, connection_id: str) -> None:
        """Close the connection and forget it."""
        await self._close(connection_id)
        await self.forget(connection_id)

    async def ended(self, connection_id: str, code: int) -> None:
        """Forget a connection that has ended with the close code `code`, and notify others."""
        stranger = Connection(connection_id, held=False)
        await self.perform(stranger, await self.forget(connection_id, code=code))

    async def forget(self, connection_id: str, known: Connection | None = None, code: int = ABNORMAL) -> list[Action]:
        """Remove all that is stored of a connection that has ended. Return the actions that notify others.

        `known`: the connection, if this process may have a newer state than the stored one.
        """
        connection = known
        try:
            state = await self._states.take(connection_id)
        except StoreUnavailable as error:
            # The rows are removed at the next post to the connection, or when they expire.
            logger.warning("state not removed", extra={"connection": connection_id, "error": str(error)})
        else:
            if state is not None:
                connection = known or restore(connection_id, state)
                runtime.meter.closed(connection, code, age(connection))
        if connection is None:
            return []
        actions = await runtime.service.disconnect(connection)
        await runtime.admission.leave(connection)
        return actions

    def report(self) -> None:
        """Log the posts that failed: their number by the name of the error."""
        lost = {name: number for name, number in self.outcomes.items() if name not in (POSTED, NOBODY, LEFT)}
        if lost:
            logger.warning("posts failed", extra={"posts": lost})
        if self.outcomes[LEFT]:
            logger.warning("not enough time for all posts", extra={"left": self.outcomes[LEFT]})

    async def _answer(self, connection: Connection, texts: list[str], closes: bool) -> None:
        for text in texts:
            outcome = await self._post(connection.id, text)
            if outcome == NOBODY:
                await self.forget(connection.id, connection)
                return
            if outcome != POSTED:
                closes = True  # an answer is lost: the client asks again on a new connection
                break
        if closes:
            await self._close(connection.id)
            await self.forget(connection.id, connection)

    async def _end_group(self, closing: CloseGroup) -> None:
        try:
            rows = await self._store.get_connections(closing.group)
        except StoreUnavailable as error:
            logger.warning("connections not closed", extra={"error": str(error)})
            return
        ending = (self.end(row.id) for row in rows if is_for(row, exclude=closing.exclude))
        await run_all(ending, "connection not closed")

    async def _publish(self, publish: Publish, text: str, answering: Mapping[str, asyncio.Task[None]]) -> None:
        """Post `text` to the group. `answering`: by connection, the task after which it may have a frame."""
        try:
            rows = await self._store.get_connections(publish.group)
        except StoreUnavailable as error:
            # The receivers learn of the message from the next pong, and load it from the journal.
            logger.warning("receivers not loaded", extra={"error": str(error)})
            return
        receivers = (row for row in rows if is_for(row, min_version=publish.min_version, exclude=publish.exclude))
        posts = (self._deliver(row, text, answering.get(row.id)) for row in receivers)
        tracer = runtime.tracer
        with tracer.delivered(tracer.trace(), len(rows)):
            await run_all(posts, "frame not delivered")
        if rows and isinstance(publish.frame, Message):
            runtime.meter.delivered(publish.frame.cursor)

    async def _deliver(self, row: StoredConnection, text: str, answering: asyncio.Task[None] | None) -> None:
        if answering:
            await asyncio.wait([answering])
        async with self._turns:
            outcome = await self._post(row.id, text)
        if outcome == NOBODY:
            await self._remove(row)

    async def _remove(self, row: StoredConnection) -> None:
        try:
            await self._store.remove_connection(row)
        except StoreUnavailable as error:
            logger.warning("connection not removed", extra={"connection": row.id, "error": str(error)})
        await self.forget(row.id)

    async def _post(self, connection_id: str, text: str) -> str:
        outcome = await self._gateway.post(connection_id, text, self._seconds_left)
        self.outcomes[outcome] += 1
        return outcome

    async def _close(self, connection_id: str) -> None:
        outcome = await self._gateway.close_connection(connection_id, self._seconds_left)
        if outcome not in (POSTED, NOBODY):
            logger.warning("connection not closed", extra={"connection": connection_id, "error": outcome})
