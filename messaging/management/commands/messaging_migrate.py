"""`messaging_migrate`, which prepares the databases for a new version before it gets traffic."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db.backends.utils import CursorWrapper

from messaging.journal.reader import missing_migrations
from messaging.observability import audit
from messaging.runtime import runtime
from messaging.service.contracts import StoreUnavailable

LOCK = 0x6D657373616765  # "message" in ASCII: no other advisory lock in this database has this number
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

    def _check(self) -> None:
        missing = [f"migration {name} is missing" for name in missing_migrations()]
        found = [*missing, *asyncio.run(_differences())]
        for difference in found:
            self.stdout.write(difference)
        if found:
            raise CommandError("not up to date: run `manage.py messaging_migrate`")
        self.stdout.write("up to date")

    def _migrate(self, verbosity: int) -> None:
        with _alone():
            missing = missing_migrations()
            call_command("migrate", interactive=False, verbosity=verbosity, stdout=self.stdout)
        if missing:
            audit.note("database migrated", migrations=missing)
        asyncio.run(_migrate_store())
        self.stdout.write("up to date")


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the advisory lock, on a connection that the migrations do not use. SQLite has one process and needs no lock.

    Waiting processes poll, because `CREATE INDEX CONCURRENTLY` would wait for a statement that waits for the lock.
    """
    connection = connections.create_connection(DEFAULT_DB_ALIAS)
    if connection.vendor != "postgresql":
        yield
        return
    try:
        with connection.cursor() as cursor:
            while not _locked(cursor):
                time.sleep(LOOK_SECONDS)
            yield
    finally:
        connection.close()  # this releases the lock


def _locked(cursor: CursorWrapper) -> bool:
    cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
    return bool(cursor.fetchone()[0])


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
