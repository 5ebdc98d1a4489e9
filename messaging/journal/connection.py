"""The database connections of the journal's threads: each has one for good, and replaces it when that is needed.

A connection can lead to a server that is no longer the right one: after a failover to the old primary, which is
read-only now. And it goes on working when no new one could be opened: after a change of the password.
"""

import logging
import threading
import time

from django.db import DEFAULT_DB_ALIAS, Error, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

FRESH_SECONDS = 10.0  # after which a thread replaces its connection
AGAIN_SECONDS = 2.0  # after which it tries again if that failed

# PostgreSQL's codes (its documentation, appendix A) for what says nothing of the statement: the server is read-only.
READ_ONLY = "25006"

_thread = threading.local()  # `answer_seconds`: the time limit of a statement; `due`: when to replace the connection

logger = logging.getLogger(__name__)


def begin_thread(answer_seconds: float) -> BaseDatabaseWrapper:
    """Give this thread a connection of its own, which is not from the pool of page requests, and return it.

    `answer_seconds`: the limit for each of its statements.
    """
    _thread.answer_seconds = answer_seconds
    own = _own()
    connections[DEFAULT_DB_ALIAS] = own
    return own


def is_lost(error: Error) -> bool:
    """Return whether `error` says that the connection is of no use any more, rather than the statement."""
    code = getattr(error.__cause__, "sqlstate", None)
    return isinstance(error, OperationalError | InterfaceError) or code == READ_ONLY


def renew_if_due() -> None:
    """Replace this thread's connection if it is older than FRESH_SECONDS; keep it if no new one can be opened."""
    own = connections[DEFAULT_DB_ALIAS]
    if own.connection is None or time.monotonic() < _thread.due:
        return
    try:
        renew()
    except Error as error:
        _thread.due = time.monotonic() + AGAIN_SECONDS
        logger.warning("database connection not renewed", extra={"error": str(error)})


def renew() -> None:
    """Replace this thread's connection by a new one. Raise django.db.Error, and keep it, if none can be opened.

    SQLite has no server, so there is nothing to replace.
    """
    own = connections[DEFAULT_DB_ALIAS]
    if own.vendor != "postgresql":
        return
    new = _own()
    new.ensure_connection()
    own.close()
    own.connection, own.autocommit, new.connection = new.connection, new.autocommit, None


def _own() -> BaseDatabaseWrapper:
    own = connections.create_connection(DEFAULT_DB_ALIAS)
    options = {name: value for name, value in own.settings_dict["OPTIONS"].items() if name != "pool"}
    own.settings_dict = own.settings_dict | {"OPTIONS": options}
    return own


def _limit_statements(connection: BaseDatabaseWrapper, **_: object) -> None:
    """Limit each statement of the journal, and each pause within a transaction, to the time that an answer may take.

    The readers' overlap relies on this, even if a process was stopped in the middle of a transaction.
    """
    _thread.due = time.monotonic() + FRESH_SECONDS
    seconds = getattr(_thread, "answer_seconds", None)
    if connection.vendor == "postgresql" and seconds is not None:
        with connection.cursor() as cursor:
            for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
                cursor.execute("SELECT set_config(%s, %s, false)", [name, f"{seconds}s"])


connection_created.connect(_limit_statements)
