"""Group commit: whatever waits when the writer thread is free shares one transaction, and its acks one fsync."""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper

from messaging.contracts import Appended, ConversationNotFound, IdConflict, NewMessage, StoredMessage, StoreUnavailable
from messaging.log.conversations import reopen
from messaging.log.reader import stored
from messaging.models import Conversation, Message, uuid7

logger = logging.getLogger(__name__)

BATCH = 500  # messages of one transaction
WAITING = 10_000  # messages that may wait for the thread; more are refused at once
RETRY_SECONDS = 1.5  # how long one batch tries to reach the database

Committed = Callable[[int, float], None]
Outcome = Appended | IdConflict | ConversationNotFound | StoreUnavailable
Key = tuple[str, str]
_Settled = tuple[asyncio.Future[Appended], Outcome]


@dataclass(slots=True)
class _Waiting:
    new: NewMessage
    future: asyncio.Future[Appended]


class Writer:
    """Appends on a thread of its own: neither the event loop nor Django's shared thread ever waits for a commit."""

    def __init__(self, name: str, committed: Committed) -> None:
        self._committed = committed
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def submit(self, new: NewMessage) -> asyncio.Future[Appended]:
        """A future that raises IdConflict, ConversationNotFound, or StoreUnavailable (unknown outcome: retry, same id).

        Raises StoreUnavailable at once where too many messages wait already.
        """
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait(_Waiting(new, future))
        except queue.Full:
            raise StoreUnavailable(f"{WAITING} messages wait for the database") from None
        return future

    def close(self) -> None:
        """Commit what waits, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            last = False
            with contextlib.suppress(queue.Empty):
                while len(batch) < BATCH:
                    waiting = self._queue.get_nowait()
                    if waiting is None:
                        last = True
                        break
                    batch.append(waiting)
            # Nobody waits for a cancelled one any more: its sender was told to try again.
            self._settle([waiting for waiting in batch if not waiting.future.cancelled()])
            if last:
                break
        connection.close()

    def _settle(self, batch: list[_Waiting]) -> None:
        began = time.monotonic()
        try:
            outcomes: Sequence[Outcome] = _retrying([waiting.new for waiting in batch])
        except Exception as error:
            logger.exception("batch failed", extra={"messages": len(batch)})
            outcomes = [StoreUnavailable(type(error).__name__)] * len(batch)
        self._committed(len(batch), time.monotonic() - began)
        by_loop: dict[asyncio.AbstractEventLoop, list[_Settled]] = {}
        for waiting, outcome in zip(batch, outcomes, strict=True):
            by_loop.setdefault(waiting.future.get_loop(), []).append((waiting.future, outcome))
        for loop, settled in by_loop.items():
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
                loop.call_soon_threadsafe(_resolve, settled)


def _resolve(settled: "list[_Settled]") -> None:
    for future, outcome in settled:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _retrying(batch: list[NewMessage]) -> Sequence[Outcome]:
    """Commit `batch`, again and again for RETRY_SECONDS while the database can't be reached.

    Doing it again is safe even where a commit's answer was lost: the unique constraint turns it into duplicates.
    """
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        try:
            return _commit(batch)
        except (OperationalError, InterfaceError) as error:
            connection.close()
            if time.monotonic() >= deadline:
                logger.warning("database unavailable", extra={"messages": len(batch), "error": str(error)})
                return [StoreUnavailable(type(error).__name__)] * len(batch)
            time.sleep(0.05)
        except DatabaseError:
            if len(batch) == 1:
                raise
            # One message that the database refuses must not take the others with it.
            return [outcome for new in batch for outcome in _one(new)]


def _one(new: NewMessage) -> Sequence[Outcome]:
    try:
        return _retrying([new])
    except DatabaseError as error:
        logger.exception("message refused by the database")
        return [StoreUnavailable(type(error).__name__)]


# Plain SQL, for PostgreSQL and SQLite: the ORM's own way to do this took five times as long per message.
_BEGIN_CONVERSATIONS = (
    "INSERT INTO messaging_conversation (id) {rows} "
    "ON CONFLICT (id) DO UPDATE SET last_message_at = EXCLUDED.last_message_at"
)
# A resent message conflicts and is left as it is. An error would bring its content into PostgreSQL's log.
_INSERT_MESSAGES = (
    "INSERT INTO messaging_message (id, conversation_id, principal, client_id, sender, author, quick, content) "
    "{rows} ON CONFLICT (principal, client_id) DO NOTHING RETURNING principal, client_id, seq, created_at"
)


@transaction.atomic
def _commit(batch: list[NewMessage]) -> list[Outcome]:
    replies = {new.conversation for new in batch if new.sender == "admin"}
    found = {str(row.id) for row in Conversation.objects.filter(id__in=replies)} if replies else set()
    begun = {new.conversation for new in batch if new.sender == "user"}
    # The first of several copies of one message counts.
    wanted = {_key(new): new for new in reversed(batch) if new.conversation in found | begun}
    fresh = _insert(list(reversed(wanted.values()))) if wanted else {}
    # Their rows are locked by now: nobody closes one before this is committed.
    reopened = reopen({message.conversation for message in fresh.values() if message.sender == "user"})
    present = fresh | _kept(wanted.keys() - fresh.keys())
    return [_outcome(new, present.get(_key(new)), fresh, reopened) for new in batch]


def _insert(batch: list[NewMessage]) -> dict[Key, StoredMessage]:
    """What of `batch` was not there yet, now stored."""
    # In one order everywhere: two pods that lock the same conversations must not wait for each other in a circle.
    conversations = [[_uuid(id)] for id in sorted({new.conversation for new in batch})]
    rows = {_key(new): (uuid7(), new) for new in batch}
    values = [
        [_uuid(id), _uuid(new.conversation), *key, new.sender, new.author, new.quick, new.content]
        for key, (id, new) in rows.items()
    ]
    with connection.cursor() as cursor:
        _execute(cursor, _BEGIN_CONVERSATIONS, ["uuid"], conversations)
        _execute(cursor, _INSERT_MESSAGES, ["uuid", "uuid", *["text"] * 6], values)
        returned = cursor.fetchall()
    stored_messages = {}
    read = _datetime_reader()
    for principal, client_id, seq, created_at in returned:
        id, new = rows[principal, client_id]
        stored_messages[principal, client_id] = StoredMessage(
            seq, str(id), new.conversation, principal, client_id,
            new.sender, new.content, new.author, new.quick, read(created_at),
        )  # fmt: skip
    return stored_messages


def _execute(cursor: CursorWrapper, statement: str, types: Sequence[str], rows: list[list[Any]]) -> None:
    """`statement` with `rows`, whose columns have these `types`."""
    if connection.vendor == "postgresql":
        # One text for any number of rows: each new one would be taken apart anew, at ten times the cost of a row.
        source = f"SELECT * FROM unnest({', '.join(f'%s::{type}[]' for type in types)})"  # noqa: S608  all our own
        cursor.execute(statement.format(rows=source), [list(column) for column in zip(*rows, strict=True)])
    else:
        row = f"({', '.join(['%s'] * len(types))})"
        source = f"VALUES {', '.join([row] * len(rows))}"
        cursor.execute(statement.format(rows=source), [value for row in rows for value in row])


def _uuid(value: UUID | str) -> Any:
    """As the database takes it: SQLite has no type for it."""
    return Message._meta.get_field("id").get_db_prep_value(value, connection)


def _datetime_reader() -> Callable[[Any], datetime]:
    """Reads a time as Django does: SQLite returns text."""
    column = Message._meta.get_field("created_at").get_col("messaging_message")
    converters = connection.ops.get_db_converters(column)

    def read(value: Any) -> datetime:
        for convert in converters:
            value = convert(value, column, connection)
        moment: datetime = value
        return moment

    return read


def _kept(keys: set[Key]) -> dict[Key, StoredMessage]:
    """What had been stored before under `keys`."""
    if not keys:
        return {}
    principals, client_ids = ({key[part] for key in keys} for part in (0, 1))
    rows = Message.objects.filter(client_id__in=client_ids, principal__in=principals)
    return {(row.principal, row.client_id): stored(row) for row in rows}


def _key(new: NewMessage) -> Key:
    return new.principal, new.client_id


def _outcome(
    new: NewMessage, message: StoredMessage | None, fresh: dict[Key, StoredMessage], reopened: set[str]
) -> Outcome:
    if message is None:
        return ConversationNotFound(new.conversation)
    if (message.conversation, message.content) != (new.conversation, new.content):
        return IdConflict(new.client_id)
    duplicate = fresh.pop(_key(new), None) is None  # a second copy in this batch is one, too
    return Appended(message, duplicate, reopened=not duplicate and message.conversation in reopened)
