"""The journal: all messages, kept in SQL in every mode. `Journal` states the guarantees."""

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from typing import Any, TypeVar

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from messaging.journal import conversations, reader
from messaging.journal.sharing import Remembered, Together
from messaging.journal.writer import Committed, Writer
from messaging.protocol.fields import Lang, Op, Role
from messaging.service.contracts import (
    Appended,
    Blocked,
    ConversationState,
    Cursor,
    Kind,
    NewMessage,
    Page,
    StaffMember,
    StoredMessage,
    StoreUnavailable,
)

ANSWER_SECONDS = 2.0  # an append or a read that takes longer raises StoreUnavailable
BLOCK_SECONDS = 2.0  # how long it may take until a new block takes effect
QUICK_SECONDS = 5.0  # how long the quick messages of one read are used

_thread = threading.local()  # in the threads of a journal, its `answer_seconds` is the time limit of a statement

T = TypeVar("T")


def _bound_statements(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Limit each statement of the journal, and each pause within a transaction, to the time that an answer may take.

    The readers' overlap relies on this, even if a process was stopped in the middle of a transaction.
    """
    seconds = getattr(_thread, "answer_seconds", None)
    if connection.vendor == "postgresql" and seconds is not None:
        with connection.cursor() as cursor:
            for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
                cursor.execute("SELECT set_config(%s, %s, false)", [name, f"{seconds}s"])


connection_created.connect(_bound_statements)


def _expire(appended: asyncio.Future[Appended]) -> None:
    if not appended.done():
        appended.set_exception(StoreUnavailable("no commit in time"))


class Journal:
    """The journal. One instance per process.

    Every method raises StoreUnavailable if the database does not answer within `answer_seconds`. `readers`: the number
    of reads that may be under way at once, each on its own database connection. `committed`: called for every batch
    with its number of messages and the seconds that it took, even if it failed. `clock`: measures BLOCK_SECONDS and
    QUICK_SECONDS.
    """

    def __init__(
        self,
        *,
        readers: int = 4,
        committed: Committed = lambda messages, seconds: None,
        answer_seconds: float = ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._answer_seconds = answer_seconds
        self._writer = Writer("journal-writer", committed, self._begin_thread)
        self._connections: list[BaseDatabaseWrapper] = []
        self._readers = ThreadPoolExecutor(readers, "journal-reader", self._begin_reading)
        self._blocked = Remembered(lambda: self._read(reader.blocked), BLOCK_SECONDS, clock)
        self._quick = Remembered(lambda: self._read(reader.quick_messages), QUICK_SECONDS, clock)
        self._heads = Together[str | None, Cursor](lambda ids: self._read(lambda: reader.heads(ids)), answer_seconds)
        self._erased = Together[str, tuple[ConversationState, ...]](
            lambda ids: self._read(lambda: conversations.erased(ids)), answer_seconds
        )
        self._migrated = False

    @property
    def waiting(self) -> int:
        """The number of messages that wait for a transaction."""
        return self._writer.waiting

    async def append(self, new: NewMessage) -> Appended:
        """Commit `new`. The call may be repeated with the same id at any time.

        Raise IdConflict if the principal has used the id for another message, Blocked if the visitor may not write, and
        ConversationNotFound if there is no such conversation (a visitor's message: if it was erased).
        """
        if new.sender == "user" and new.conversation in await self._blocked.value():
            raise Blocked
        appended = self._writer.submit(new)
        # The effect of asyncio.timeout, at a quarter of its cost.
        expiry = asyncio.get_running_loop().call_later(self._answer_seconds, _expire, appended)
        try:
            return await appended
        finally:
            expiry.cancel()

    async def head(self, conversation: str | None) -> Cursor:
        return await self._heads.value(conversation)

    async def last_number(self) -> int:
        return await self._read(reader.last_number)

    async def newest(self, conversation: str | None, limit: int) -> Page:
        return await self._read(lambda: reader.newest(conversation, limit))

    async def before(self, conversation: str | None, cursor: Cursor, limit: int) -> Page:
        return await self._read(lambda: reader.before(conversation, cursor, limit))

    async def since(self, conversation: str | None, cursor: Cursor, limit: int, connection_tag: str) -> Page:
        return await self._read(lambda: reader.since(conversation, cursor, limit, connection_tag))

    async def positions(self, floor: int | None) -> tuple[list[int], int]:
        return await self._read(lambda: reader.positions(floor))

    async def messages(self, numbers: list[int]) -> tuple[StoredMessage, ...]:
        return await self._read(lambda: reader.messages(numbers))

    async def states(self, ids: Collection[str]) -> tuple[ConversationState, ...]:
        return await self._read(lambda: conversations.states(ids))

    async def changed(self, since: Cursor, until: Cursor | None) -> tuple[ConversationState, ...]:
        return await self._read(lambda: conversations.changed(since, until, reader.OVERLAP))

    async def erased(self, conversation: str) -> tuple[ConversationState, ...]:
        return await self._erased.value(conversation)

    async def read_by_staff(self, conversation: str) -> Cursor | None:
        return await self._read(lambda: conversations.read_by_staff(conversation))

    async def mark_read(self, conversation: str, message_id: str, by: Role) -> tuple[Cursor, bool]:
        return await self._read(lambda: conversations.mark_read(conversation, message_id, by))

    async def change(self, conversation: str, op: Op, staff: int, lease: timedelta) -> tuple[ConversationState, bool]:
        context = copy_context()  # for the audit log, which records whose frame it was
        return await self._read(lambda: context.run(conversations.change, conversation, op, staff, lease))

    async def renew_claims(self, staff: int, lease: timedelta) -> None:
        await self._read(lambda: conversations.renew_claims(staff, lease))

    async def lapsed_claims(self) -> tuple[ConversationState, ...]:
        return await self._read(conversations.lapsed_claims)

    async def erase(self, conversation: str) -> ConversationState | None:
        return await self._read(lambda: conversations.erase(conversation))

    async def staff_members(self, ids: Iterable[int]) -> dict[int, StaffMember]:
        return await self._read(lambda: reader.staff_members(ids))

    async def ended_sessions(self, digests: Iterable[str]) -> set[str]:
        return await self._read(lambda: reader.ended_sessions(digests))

    async def quick_messages(self, kind: Kind = "visitor", lang: Lang = "en") -> tuple[dict[str, str], ...]:
        """Return the active quick messages, up to QUICK_SECONDS old, because every visitor who connects needs them."""
        return (await self._quick.value())[kind, lang]

    async def ping(self) -> None:
        await self._read(reader.ping)

    async def rehearse(self) -> None:
        """Write a row and roll it back."""
        await self._read(conversations.rehearse)

    async def migrated(self) -> bool:
        """Return whether the database has all migrations of this version. Once it has, it is not asked again."""
        self._migrated = self._migrated or not await self._read(reader.missing_migrations)
        return self._migrated

    async def close(self) -> None:
        """Commit the messages that wait, then end the threads and close their database connections."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.close()
        self._readers.shutdown()
        for connection in self._connections:
            connection.inc_thread_sharing()  # the thread that opened it has ended
            connection.close()

    def _begin_thread(self) -> None:
        _thread.answer_seconds = self._answer_seconds

    def _begin_reading(self) -> None:
        self._begin_thread()
        self._connections.append(connections["default"])

    async def _read(self, read: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await loop.run_in_executor(self._readers, lambda: reader.on_this_thread(read))
        except TimeoutError:
            raise StoreUnavailable("no answer in time") from None
        except Error as error:
            raise StoreUnavailable(type(error).__name__) from error
