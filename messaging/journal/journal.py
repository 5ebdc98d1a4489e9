"""The journal: all messages, kept in SQL in every mode. `Journal` states the guarantees."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial, update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

from messaging.journal import blocks, conversations, logins, reader
from messaging.journal.connection import begin_thread, distrust, read_on_this_thread, takes_writes
from messaging.journal.quick_messages import quick_messages
from messaging.journal.sharing import LoopCache, Together
from messaging.journal.writer import Committed, Writer
from messaging.protocol.fields import Lang
from messaging.service.contracts import (
    START,
    Appended,
    Barriers,
    Blocked,
    ConversationState,
    Cursor,
    JournalRestored,
    Kind,
    NewMessage,
    StoreUnavailable,
)

ANSWER_SECONDS = 2.0  # an append or a read that takes longer raises StoreUnavailable
BLOCK_SECONDS = 2.0  # how long it may take until a new block takes effect
UNBLOCK_SECONDS = 0.1  # the same for its end: before a visitor is refused, the blocks are read again
QUICK_SECONDS = 5.0  # how long the quick messages of one read are used

T = TypeVar("T")
P = ParamSpec("P")


def _expire(appended: asyncio.Future[Appended]) -> None:
    if not appended.done():
        appended.set_exception(StoreUnavailable("commit timed out"))


def _reading(function: Callable[P, T]) -> "Callable[Concatenate[Journal, P], Coroutine[Any, Any, T]]":
    """Return a method of the journal that awaits `function`, which runs on a reading thread."""

    async def method(journal: "Journal", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await journal._read(partial(function, *args, **kwargs))

    update_wrapper(method, function)
    return method


def _barring(function: Callable[P, T]) -> "Callable[Concatenate[Journal, P], Coroutine[Any, Any, T]]":
    """Return such a method for a function that may block or free a visitor: here, that takes effect at once."""
    read = _reading(function)

    async def method(journal: "Journal", /, *args: P.args, **kwargs: P.kwargs) -> T:
        result = await read(journal, *args, **kwargs)
        journal._barriers.forget()
        return result

    update_wrapper(method, function)
    return method


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
        self._writer = Writer("journal-writer", committed, lambda: begin_thread(answer_seconds))
        self._connections: list[BaseDatabaseWrapper] = []
        self._readers = ThreadPoolExecutor(readers, "journal-reader", self._begin_reading)
        self._barriers = LoopCache(lambda: self._read(blocks.barriers), BLOCK_SECONDS, clock)
        self._quick = LoopCache(lambda: self._read(quick_messages), QUICK_SECONDS, clock)
        self._heads = Together[str | None, Cursor](lambda ids: self._read(lambda: reader.heads(ids)), answer_seconds)
        self._erased = Together[str, tuple[ConversationState, ...]](
            lambda ids: self._read(lambda: conversations.erased(ids)), answer_seconds
        )
        self._migrated = False
        self._site = ""

    @property
    def waiting(self) -> int:
        """The number of messages that wait for a transaction."""
        return self._writer.waiting

    def connect(self) -> None:
        """Have the writer connect now: when the first message comes, there may be no descriptor left for it."""
        self._writer.connect()

    async def append(self, new: NewMessage) -> Appended:
        """Commit `new`. The call may be repeated with the same id at any time.

        Raise IdConflict if the principal has used the id for another message, Blocked if the visitor may not write,
        Paused if the conversation may not begin now, NotStorable if the database lacks a character, and
        ConversationNotFound if there is no such conversation (a visitor's message: if it was erased).
        """
        if new.sender == "user" and await self._blocks(new):
            raise Blocked
        appended = self._writer.submit(new)
        # The effect of asyncio.timeout, at a quarter of its cost.
        expiry = asyncio.get_running_loop().call_later(self._answer_seconds, _expire, appended)
        try:
            return await appended
        finally:
            expiry.cancel()

    async def _blocks(self, new: NewMessage) -> bool:
        for seconds in (BLOCK_SECONDS, UNBLOCK_SECONDS):
            if not (await self.barriers(seconds)).block(new.conversation, new.addresses):
                return False
        return True

    async def barriers(self, seconds: float = BLOCK_SECONDS) -> Barriers:
        """Return what keeps visitors from writing, at most `seconds` old."""
        return await self._barriers.value(seconds)

    async def head(self, conversation: str | None) -> Cursor:
        return await self._heads.value(conversation)

    async def erased(self, conversation: str) -> tuple[ConversationState, ...]:
        return await self._erased.value(conversation)

    # Each runs that function on a reading thread.
    holds = _reading(reader.holds)
    newest = _reading(reader.newest)
    before = _reading(reader.before)
    since = _reading(reader.since)
    messages = _reading(reader.messages)
    signed_in = _reading(logins.signed_in)
    wrong_encoding = _reading(reader.wrong_encoding)
    takes_writes = _reading(takes_writes)
    database_state = _reading(reader.database_state)
    begun = _reading(blocks.begun)
    change_pause = _barring(blocks.change_pause)
    successor = _barring(blocks.successor)
    states = _reading(conversations.states)
    changed = _reading(conversations.changed)
    read_by_staff = _reading(conversations.read_by_staff)
    mark_read = _reading(conversations.mark_read)
    change = _barring(conversations.change)
    renew_claims = _reading(conversations.renew_claims)
    lapsed_claims = _reading(conversations.lapsed_claims)
    erase = _reading(conversations.erase)
    rehearse = _reading(conversations.rehearse)

    async def positions(self, floor: Cursor | None, newest: Cursor = START) -> tuple[list[int], Cursor]:
        """Do what reader.positions does. Look again over new connections before raising JournalRestored.

        After a failover, an older connection may lead to the server from before it, which lacks what is new.
        """
        try:
            return await self._read(partial(reader.positions, floor, newest))
        except JournalRestored:
            distrust()
            return await self._read(partial(reader.positions, floor, newest))

    async def quick_messages(self, kind: Kind = "visitor", lang: Lang = "en") -> tuple[dict[str, str], ...]:
        """Return the active quick messages, up to QUICK_SECONDS old, because every visitor who connects needs them."""
        return (await self._quick.value())[kind, lang]

    async def site(self, *, again: bool = False) -> str:
        """Return the identity of the journal (`reader.site`) as it was read last; `again`: read it now."""
        if again or not self._site:
            self._site = await self._read(reader.site)
        return self._site

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

    def _begin_reading(self) -> None:
        self._connections.append(begin_thread(self._answer_seconds))

    async def _read(self, read: Callable[[], T]) -> T:
        loop, context = asyncio.get_running_loop(), copy_context()  # the audit log records whose frame it is
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await loop.run_in_executor(self._readers, context.run, read_on_this_thread, read)
        except TimeoutError:
            raise StoreUnavailable("database did not answer in time") from None
        except Error as error:
            raise StoreUnavailable(type(error).__name__) from error
