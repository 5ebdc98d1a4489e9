"""The database connections of the journal's threads: each has one for good, and replaces it when that is needed.

A connection can lead to a server that is no longer the right one: after a failover to the old primary, which is
read-only now. And it goes on working when no new one could be opened: after a change of the password.

A pooler may give each transaction to another session of the server. So nothing is set for a whole session.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, Error, InterfaceError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

FRESH_SECONDS = 10.0  # after which a connection is replaced: that of a thread, and those of the pool for pages
AGAIN_SECONDS = 2.0  # after which it tries again if that failed

READ_ONLY = "25006"  # PostgreSQL's code for a write that a read-only server refuses (its documentation, appendix A)
# `true`: until the end of the transaction.
LIMIT = "SELECT set_config('statement_timeout', %s, true), set_config('idle_in_transaction_session_timeout', %s, true)"

# `answer_seconds`: the limit of a statement; `opened`: a time before the connection; `due`: when to replace it.
_thread = threading.local()
_distrusted = 0.0  # connections that were opened before this time are to be replaced
_opening = threading.Lock()  # held while a process has one connection more than it keeps

logger = logging.getLogger(__name__)

T = TypeVar("T")


def begin_thread(answer_seconds: float) -> BaseDatabaseWrapper:
    """Give this thread a connection of its own, which is not from the pool of page requests, and return it.

    `answer_seconds`: the limit for each of its statements.
    """
    _thread.answer_seconds, _thread.opened = answer_seconds, time.monotonic()
    _thread.due = _thread.opened + FRESH_SECONDS
    own = _own()
    connections[DEFAULT_DB_ALIAS] = own
    return own


def read_on_this_thread(read: Callable[[], T]) -> T:
    """Return `read()`, called in a transaction with limits. If the connection is lost, try once more on a new one."""
    _renew_if_due()
    try:
        with limited():
            return read()
    except Error as error:
        if not is_lost(error):
            raise
        connections[DEFAULT_DB_ALIAS].close()
        with limited():
            return read()


def distrust() -> None:
    """Have every thread replace its connection before it reads again."""
    global _distrusted
    _distrusted = time.monotonic()


def is_lost(error: Error) -> bool:
    """Return whether a new connection may help: after any operational error, or if the server is read-only."""
    return isinstance(error, OperationalError | InterfaceError) or sqlstate(error) == READ_ONLY


def sqlstate(error: Error) -> str | None:
    """Return PostgreSQL's code for `error`; None if the error is not PostgreSQL's."""
    return getattr(error.__cause__, "sqlstate", None)


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Begin a transaction with `limits`. SQLite needs none to read: no reader waits for a lock there."""
    own = connections[DEFAULT_DB_ALIAS]
    if own.vendor != "postgresql":
        yield
        return
    with transaction.atomic():
        # With BEGIN, it makes one trip to the database.
        with own.wrap_database_errors, own.connection.pipeline(), own.cursor() as cursor:
            cursor.execute(*limits())
        yield


def limits() -> tuple[str, list[Any]]:
    """Return the statement that limits those after it in a transaction, and each pause between them.

    The limit is the time that an answer may take. The readers' overlap relies on it, even if a process was stopped in
    the middle of a transaction.
    """
    return LIMIT, [f"{_thread.answer_seconds}s"] * 2


def takes_writes() -> bool:
    """Return whether the database takes writes, asked over a new connection as a new process would.

    Raise django.db.Error if it does not answer, or takes no new connection.
    """
    if connections[DEFAULT_DB_ALIAS].vendor != "postgresql":
        with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            cursor.execute("SELECT 1")
            return True
    with _opening, contextlib.closing(_own()) as new, new.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_read_only')")
        return bool(cursor.fetchone()[0] == "off")


def _renew_if_due() -> None:
    """Replace this thread's connection if it is older than FRESH_SECONDS; keep it if no new one can be opened.

    Raise django.db.Error if none can be opened after `distrust`.
    """
    own = connections[DEFAULT_DB_ALIAS]
    distrusted = _thread.opened < _distrusted
    if own.vendor != "postgresql" or own.connection is None or not (distrusted or time.monotonic() >= _thread.due):
        return
    if not _opening.acquire(blocking=distrusted):
        return  # another thread's turn
    try:
        _replace(own)
    except Error as error:
        _thread.due = time.monotonic() + AGAIN_SECONDS
        logger.warning("database connection not renewed", extra={"error": str(error)})
        if distrusted:
            raise
    finally:
        _opening.release()


def _replace(own: BaseDatabaseWrapper) -> None:
    opened = time.monotonic()
    new = _own()
    new.ensure_connection()
    own.close()
    own.connection, own.autocommit, new.connection = new.connection, new.autocommit, None
    _thread.opened, _thread.due = opened, opened + FRESH_SECONDS


def _own() -> BaseDatabaseWrapper:
    """Return a new connection as it is configured; those of page requests have a pool, and are counted."""
    configured = connections.configure_settings(None)[DEFAULT_DB_ALIAS]
    own: BaseDatabaseWrapper = load_backend(configured["ENGINE"]).DatabaseWrapper(configured, DEFAULT_DB_ALIAS)
    return own
