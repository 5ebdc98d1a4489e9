"""Group commit: whatever waits when the writer thread is free shares one transaction, and its acks one fsync."""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)
from django.db.models.functions import Now

from messaging.contracts import (
    Appended,
    ConversationNotFound,
    IdConflict,
    NewMessage,
    StoredMessage,
    StoreUnavailable,
)
from messaging.models import Conversation, Message

logger = logging.getLogger(__name__)

BATCH = 500  # messages of one transaction
WAITING = 10_000  # messages that may wait for the thread; more are refused at once
RETRY_SECONDS = 1.5  # how long one batch tries to reach the database

Outcome = Appended | IdConflict | ConversationNotFound | StoreUnavailable
Key = tuple[str, str]
_Settled = tuple[asyncio.Future[Appended], Outcome]


@dataclass(slots=True)
class _Waiting:
    new: NewMessage
    future: asyncio.Future[Appended]


class Writer:
    """Appends on a thread of its own: neither the event loop nor Django's shared thread ever waits for a commit."""

    def __init__(self, name: str) -> None:
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

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
        try:
            outcomes: Sequence[Outcome] = _retrying([waiting.new for waiting in batch])
        except Exception as error:
            logger.exception("batch failed", extra={"messages": len(batch)})
            outcomes = [StoreUnavailable(type(error).__name__)] * len(batch)
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


@transaction.atomic
def _commit(batch: list[NewMessage]) -> list[Outcome]:
    replies = {new.conversation for new in batch if new.sender == "admin"}
    found = {str(row.id) for row in Conversation.objects.filter(id__in=replies)} if replies else set()
    begun = {new.conversation for new in batch if new.sender == "user"}
    rows = {_key(new): _row(new) for new in reversed(batch) if new.conversation in found | begun}
    # In one order everywhere: two pods that lock the same conversations must not wait for each other in a circle.
    conversations = sorted({str(row.conversation_id) for row in rows.values()})
    if not conversations:
        return [ConversationNotFound(new.conversation) for new in batch]
    Conversation.objects.bulk_create(
        [Conversation(id=id, last_message_at=Now()) for id in conversations],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["last_message_at"],
    )
    # A resent message conflicts and is left as it is. An error would bring its content into PostgreSQL's log.
    Message.objects.bulk_create(reversed(rows.values()), ignore_conflicts=True)
    kept = Message.objects.filter(
        client_id__in={client_id for _, client_id in rows}, principal__in={principal for principal, _ in rows}
    )
    present = {(row.principal, row.client_id): stored(row) for row in kept}
    fresh = {key for key, row in rows.items() if present[key].message_id == str(row.id)}
    return [_outcome(new, present.get(_key(new)), fresh) for new in batch]


def _key(new: NewMessage) -> Key:
    return new.principal, new.client_id


def _row(new: NewMessage) -> Message:
    return Message(
        conversation_id=new.conversation,
        principal=new.principal,
        client_id=new.client_id,
        sender=new.sender,
        author=new.author,
        quick=new.quick,
        content=new.content,
    )


def _outcome(new: NewMessage, message: StoredMessage | None, fresh: set[Key]) -> Outcome:
    if message is None:
        return ConversationNotFound(new.conversation)
    if (message.conversation, message.content) != (new.conversation, new.content):
        return IdConflict(new.client_id)
    duplicate = _key(new) not in fresh
    fresh.discard(_key(new))  # a second copy in this batch is a duplicate
    return Appended(message, duplicate)


def stored(row: Message) -> StoredMessage:
    """`row` as plain data."""
    return StoredMessage(
        seq=row.seq,
        message_id=str(row.id),
        conversation=str(row.conversation_id),
        principal=row.principal,
        client_id=row.client_id,
        sender="admin" if row.sender == Message.Sender.ADMIN else "user",
        content=row.content,
        author=row.author,
        quick=row.quick,
        created_at=row.created_at,
    )
