"""Commands that reach PostgreSQL through PgBouncer in transaction mode."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests.support.deployments import KEPT, PREPARED, SAY_OLD_AND_NEW, SECRET_KEY, Kubernetes, manage
from tests.support.paths import ROOT
from tests.support.pgbouncer import PgBouncer
from tests.support.services import INHERITED, Postgres
from tests.support.waiting import wait_until

PATIENCE_SECONDS = 60  # for steps that take 2 s on an idle machine
ADVISORY = """
SELECT FROM pg_locks WHERE locktype = 'advisory'
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
# Open transactions, apart from one that only holds a lock.
TRANSACTIONS = f"SELECT {OTHERS} AND state <> 'idle' AND query NOT LIKE 'SET LOCAL idle%'"
LOOKS = f"SELECT query_start {OTHERS} AND query = 'ROLLBACK'"


@pytest.fixture
def database(postgres: Postgres, kubernetes: Kubernetes) -> str:
    """Return the URL of a new database with the product's tables."""
    return postgres.create_database(f"pooled-{uuid4().hex}", PREPARED)


@pytest.fixture
def observer(database: str) -> Iterator[psycopg.Connection]:
    """Yield a client of the database itself, not of the pooler."""
    with psycopg.connect(database, autocommit=True) as observer:
        yield observer


@pytest.fixture
def environment(database: str, pooler: PgBouncer, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a command that reaches the database through the pooler."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ} | {
        "DEPLOYMENT_MODE": "local",
        "SECRET_KEY": SECRET_KEY,
        "VAR_DIR": str(tmp_path),
        "DATABASE_URL": pooler.url(database),
    }


def test_old_messages_are_pruned_and_the_rest_is_exported(environment: dict[str, str]) -> None:
    manage(environment, "shell", "-c", SAY_OLD_AND_NEW)
    lines = manage(environment, "messaging_export").splitlines()
    assert sorted(json.loads(line)["content"] for line in lines if line.startswith("{")) == ["new", "old"]
    assert "1 messages, 1 conversations" in manage(environment, "messaging_prune")
    assert manage(environment, "shell", "-c", KEPT).split()[-1:] == ["new"]


def test_a_migration_leaves_no_lock_behind(environment: dict[str, str], observer: psycopg.Connection) -> None:
    assert "up to date\n" in manage(environment, "messaging_migrate")
    assert observer.execute(ADVISORY).fetchall() == []


class TestANewDatabase:
    @pytest.fixture
    def database(self, postgres: Postgres) -> str:
        return postgres.create_database(f"pooled-{uuid4().hex}")

    def test_is_migrated_once_and_then_found_as_it_should_be(self, environment: dict[str, str]) -> None:
        for arguments in (("--verbosity=0",), ("--check",), ("--verbosity=0",)):
            assert manage(environment, "messaging_migrate", *arguments).endswith("up to date\n")

    def test_is_migrated_by_one_process_while_another_waits(
        self, environment: dict[str, str], observer: psycopg.Connection
    ) -> None:
        looks: set[datetime] = set()

        def waits() -> bool:
            """Return whether the second process asks for a lock repeatedly, or waits for one in its database."""
            looks.update(start for (start,) in observer.execute(LOOKS))
            return len(looks) > 6 or bool(observer.execute(f"{ADVISORY} AND NOT granted").fetchall())

        with migrating(environment) as first:
            wait_until(lambda: is_stopped_in_between(first, observer), "one has begun", PATIENCE_SECONDS)
            with migrating(environment) as second:
                wait_until(lambda: second.poll() is not None or waits(), "the other ends or waits", PATIENCE_SECONDS)
                waited = second.poll() is None
                first.send_signal(signal.SIGCONT)
                ended = (first.wait(PATIENCE_SECONDS), second.wait(PATIENCE_SECONDS))
        assert (waited, ended) == (True, (0, 0))


@contextlib.contextmanager
def migrating(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "manage.py", "messaging_migrate", "--verbosity=0"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet) as process:
        try:
            yield process
        finally:
            process.kill()


def is_stopped_in_between(process: subprocess.Popen[bytes], observer: psycopg.Connection) -> bool:
    """Stop a process that has begun to migrate, unless it is in a transaction. Return whether it is stopped."""
    assert process.poll() is None
    if observer.execute("SELECT to_regclass('auth_user')").fetchone() == (None,):
        return False
    process.send_signal(signal.SIGSTOP)
    # Look more than once: a statement may have been on its way.
    if all(observer.execute(TRANSACTIONS).fetchall() == [] for _ in range(20)):
        return True
    process.send_signal(signal.SIGCONT)
    return False
