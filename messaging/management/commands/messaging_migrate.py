"""`messaging_migrate`, which prepares the databases for a new version before it gets traffic."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, OperationalError, ProgrammingError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.exceptions import MigrationSchemaMissing

from messaging.journal.reader import missing_migrations, wrong_encoding
from messaging.observability import audit
from messaging.runtime import runtime
from messaging.service.contracts import StoreUnavailable

LOCK = 0x6D657373616765  # "message" in ASCII: no other advisory lock in this database has this number
NO_RIGHT = "42501"  # PostgreSQL's code for a missing privilege (its documentation, appendix A)
LOOK_SECONDS = 0.5  # between two attempts to take it


class Command(BaseCommand):
    help = (
        "Update the SQL database and the connection store for this version; several processes may run this at once. "
        "With --check, change nothing: print the differences, and exit with 1 if there are any."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="only print the differences")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["check"]:
                self._check()
            else:
                self._migrate(options["verbosity"])
        except StoreUnavailable as error:
            raise CommandError(f"connection store: {error}") from error
        except OperationalError as error:
            raise CommandError(f"database: {error}") from error
        except (ProgrammingError, MigrationSchemaMissing) as error:
            if (refused := _without_right(error)) is None:
                raise
            raise CommandError(refused) from error

    def _check(self) -> None:
        missing = [f"migration {name} is missing" for name in missing_migrations()]
        found = [*missing, *asyncio.run(_differences())]
        for difference in found:
            self.stdout.write(difference)
        if found:
            raise CommandError("not up to date: run `manage.py messaging_migrate`")
        self.stdout.write("up to date")

    def _migrate(self, verbosity: int) -> None:
        if wrong := wrong_encoding():
            raise CommandError(f"database: {wrong}")
        with _alone():
            missing = missing_migrations()
            call_command("migrate", interactive=False, verbosity=verbosity, stdout=self.stdout)
        if missing:
            audit.note("database migrated", migrations=missing)
        asyncio.run(_migrate_store())
        self.stdout.write("up to date")


def _without_right(error: BaseException | None) -> str | None:
    """Return the right that the database refused, and the remedy; None if `error` and its causes say something else.

    Since PostgreSQL 15, only the owner of a database may create tables in its schema `public` without being granted to.
    """
    while error is not None and getattr(error, "sqlstate", None) != NO_RIGHT:
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    user = connections[DEFAULT_DB_ALIAS].settings_dict["USER"]
    said = str(error).splitlines()[0]
    return f'database: {said}. Let its owner run: GRANT CREATE, USAGE ON SCHEMA public TO "{user}"'


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the advisory lock, on a connection that the migrations do not use. SQLite has one process and needs no lock.

    The lock belongs to a transaction: behind a pooler, a session may be somebody else's. Waiting processes poll,
    because `CREATE INDEX CONCURRENTLY` would wait for a statement that waits for the lock.
    """
    connection = connections.create_connection(DEFAULT_DB_ALIAS)
    if connection.vendor != "postgresql":
        yield
        return
    try:
        connection.set_autocommit(False)
        while not _locked(connection):
            connection.rollback()
            time.sleep(LOOK_SECONDS)
        yield
    finally:
        connection.close()  # this ends the transaction and releases the lock


def _locked(connection: BaseDatabaseWrapper) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        locked = bool(cursor.fetchone()[0])
        # Also ends the snapshot of the statement before, for which `CREATE INDEX CONCURRENTLY` would wait.
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    return locked


async def _differences() -> list[str]:
    try:
        return await runtime.store.differences()
    finally:
        await runtime.close()


async def _migrate_store() -> None:
    try:
        await runtime.store.migrate()
    finally:
        await runtime.close()
