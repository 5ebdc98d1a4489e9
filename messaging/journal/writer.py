"""Group commit: all messages that wait when the writer thread is free share one transaction, and one fsync."""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from django.db import DataError, Error, NotSupportedError, connection

from messaging.journal.batch import Outcome, commit
from messaging.journal.connection import is_lost, sqlstate
from messaging.service.contracts import Appended, NewMessage, NotStorable, StoreUnavailable

logger = logging.getLogger(__name__)

BATCH = 500  # messages per transaction
# If at least COMPANY but fewer than ENOUGH messages wait, the thread waits for more: each transaction costs as much as
# ten messages, here, in PostgreSQL and on the way to receivers. (Like PostgreSQL's commit_siblings and commit_delay.)
COMPANY, ENOUGH = 4, 64
GATHER_SECONDS = 0.005
WAITING = 10_000  # messages that may wait for the thread; more are refused at once
RETRY_SECONDS = 1.5  # for how long a batch tries to reach the database

Committed = Callable[[int, float], None]
_Refusal = NotStorable | StoreUnavailable
_Settled = tuple[asyncio.Future[Appended], Outcome | _Refusal]


class _Order(Enum):
    CONNECT = "connect"
    END = "end"


@dataclass(slots=True)
class _Waiting:
    new: NewMessage
    future: asyncio.Future[Appended]


class Writer:
    """A thread that appends messages, so that neither the event loop nor Django's shared thread waits for a commit.

    `committed`: called after each batch with its number of messages and the seconds that it took. `begin`: called by
    the thread before anything else.
    """

    def __init__(self, name: str, committed: Committed, begin: Callable[[], object]) -> None:
        self._committed = committed
        self._begin = begin
        self._queue: queue.SimpleQueue[_Waiting | _Order] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def submit(self, new: NewMessage) -> asyncio.Future[Appended]:
        """Return a future with the result of the append.

        It raises IdConflict, ConversationNotFound, Paused, NotStorable, or StoreUnavailable (outcome unknown: retry
        with the same id). Raise StoreUnavailable at once if too many messages wait already.
        """
        if self.waiting >= WAITING:
            raise StoreUnavailable(f"{WAITING} messages are already waiting for the database")
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._queue.put(_Waiting(new, future))
        return future

    def connect(self) -> None:
        """Have the thread connect to the database now, rather than with the first message."""
        self._queue.put(_Order.CONNECT)

    def close(self) -> None:
        """Commit the messages that wait, then end the thread."""
        self._queue.put(_Order.END)
        self._thread.join()

    def _run(self) -> None:
        self._begin()
        while (first := self._queue.get()) is not _Order.END:
            if first is _Order.CONNECT:
                _connect()
                continue
            batch = [first]
            last = False
            if COMPANY <= self.waiting < ENOUGH:
                time.sleep(GATHER_SECONDS)
            with contextlib.suppress(queue.Empty):
                while len(batch) < BATCH:
                    waiting = self._queue.get_nowait()
                    if waiting is _Order.END:
                        last = True
                        break
                    if waiting is not _Order.CONNECT:  # the batch connects
                        batch.append(waiting)
            # Skip futures that have already timed out: their senders were asked to try again.
            self._settle([waiting for waiting in batch if not waiting.future.done()])
            if last:
                break
        connection.close()

    def _settle(self, batch: list[_Waiting]) -> None:
        began = time.monotonic()
        try:
            outcomes: Sequence[Outcome | _Refusal] = _retrying([waiting.new for waiting in batch])
        except Exception as error:
            logger.exception("batch failed", extra={"messages": len(batch)})
            outcomes = [StoreUnavailable(type(error).__name__)] * len(batch)
        self._committed(len(batch), time.monotonic() - began)
        by_loop: dict[asyncio.AbstractEventLoop, list[_Settled]] = {}
        for waiting, outcome in zip(batch, outcomes, strict=True):
            by_loop.setdefault(waiting.future.get_loop(), []).append((waiting.future, outcome))
        for loop, settled in by_loop.items():
            with contextlib.suppress(RuntimeError):  # the loop has closed: there is no caller left
                loop.call_soon_threadsafe(_resolve, settled)


def _connect() -> None:
    try:
        connection.ensure_connection()
    except Error as error:  # the first message tries again
        logger.warning("database unavailable", extra={"messages": 0, "error": str(error)})


def _resolve(settled: "list[_Settled]") -> None:
    for future, outcome in settled:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _retrying(batch: list[NewMessage]) -> Sequence[Outcome | _Refusal]:
    """Commit `batch`; retry for RETRY_SECONDS while the database can't be reached. Return the outcomes.

    A retry is safe even if the answer to a commit was lost: the unique constraint turns it into duplicates.
    """
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        try:
            return commit(batch)
        except Error as error:
            if is_lost(error):
                connection.close()
                if time.monotonic() >= deadline:
                    logger.warning("database unavailable", extra={"messages": len(batch), "error": str(error)})
                    return [StoreUnavailable(type(error).__name__)] * len(batch)
                time.sleep(0.05)
            elif len(batch) > 1:
                # One message that the database refuses must not fail the others.
                return [outcome for new in batch for outcome in _retrying([new])]
            else:
                return [_refusal(error)]


def _refusal(error: Error) -> _Refusal:
    """Return the outcome of a message that the database refuses. The log gets only a code: `error` may quote it."""
    reason = {"error": type(error).__name__, "sqlstate": sqlstate(error)}
    logger.error("message refused by the database", extra=reason)
    return NotStorable() if isinstance(error, DataError | NotSupportedError) else StoreUnavailable(type(error).__name__)
