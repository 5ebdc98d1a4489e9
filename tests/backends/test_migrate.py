"""`messaging_migrate`: the first process to run brings both databases to the schema of this version."""

import os
import re
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings as SettingsWrapper

from messaging.backends.dynamodb.schema import Schema
from messaging.management.commands.messaging_migrate import LOCK
from tests.support.deployments import SECRET_KEY
from tests.support.dynamodb_table import DynamoDBTable
from tests.support.paths import ROOT
from tests.support.services import Postgres
from tests.support.waiting import wait_until

MIGRATIONS = len([*(ROOT / "messaging/migrations").glob("0*.py")])


@pytest.fixture
def database(postgres: Postgres) -> str:
    """Return the URL of a new, empty database."""
    return postgres.create_database(f"migrate-{uuid4().hex}")


def start(database: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "manage.py", "messaging_migrate", *arguments]
    environment = {
        "PATH": os.environ["PATH"],
        "DEPLOYMENT_MODE": "local",
        "SECRET_KEY": SECRET_KEY,
        "VAR_DIR": tempfile.gettempdir(),  # nothing is stored there: database and key are given
        "DATABASE_URL": database,
    }
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(database: str, *arguments: str) -> tuple[int, str, str]:
    process = start(database, *arguments)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def applied(database: str) -> list[tuple[str]]:
    with psycopg.connect(database) as connection:
        return connection.execute("SELECT name FROM django_migrations WHERE app = 'messaging' ORDER BY name").fetchall()


def test_several_processes_at_once_migrate_a_new_database_and_each_step_is_done_once(database: str) -> None:
    processes = [start(database) for _ in range(3)]
    ended = [(process.communicate(timeout=100), process.returncode) for process in processes]
    assert [code for _, code in ended] == [0, 0, 0], ended
    assert len(applied(database)) == MIGRATIONS
    assert sum(output.count("Applying messaging.0001_initial") for (output, _), _ in ended) == 1
    assert run(database, "--check") == (0, "up to date\n", "")


def test_an_index_that_was_not_finished_is_made_anew(database: str) -> None:
    assert run(database)[0] == 0
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DELETE FROM django_migrations WHERE app = 'messaging' AND name >= '0007'")
        # Of the migrations after it:
        connection.execute("DROP TABLE messaging_loginsession, messaging_addressblock, messaging_pause")
        connection.execute("ALTER TABLE messaging_conversation DROP address")
        connection.execute("ALTER TABLE messaging_erasedconversation DROP blocked_until")
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'conversation_ending'::regclass")
        assert run(database)[0] == 0
        assert connection.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid").fetchone() == (0,)


def test_it_waits_for_who_is_at_it(database: str, postgres: Postgres) -> None:
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        process = start(database)
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE query = 'ROLLBACK' AND state = 'idle'"
        wait_until(lambda: other.execute(waiting).fetchone() == (1,), "the command waits", within=60)
        assert other.execute("SELECT to_regclass('django_migrations')").fetchone() == (None,)
    (audit,) = process.communicate(timeout=60)[1].splitlines()
    assert "messaging.audit: database migrated migrations=" in audit
    assert f"'messaging.{applied(database)[-1][0]}'" in audit
    assert process.returncode == 0
    assert len(applied(database)) == MIGRATIONS


def test_check_names_each_missing_migration_and_changes_nothing(database: str) -> None:
    for _ in range(2):
        code, output, errors = run(database, "--check")
        assert code == 1
        assert len(re.findall(r"^migration messaging\.\d{4}\w* is missing$", output, re.MULTILINE)) == MIGRATIONS
        assert "migration auth.0001_initial is missing\n" in output
        assert errors == "CommandError: not up to date: run `manage.py messaging_migrate`\n"
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_a_laptop_migrates_its_file(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'db.sqlite3'}"
    assert run(database, "--check")[0] == 1
    assert run(database)[0] == 0
    assert run(database, "--check") == (0, "up to date\n", "")


def test_a_role_that_may_not_create_tables_is_told_the_remedy_in_one_line(database: str, postgres: Postgres) -> None:
    role = f"guest-{uuid4().hex}"
    postgres.execute(f'CREATE ROLE "{role}" LOGIN')
    as_role = database.replace("messaging@", f"{role}@")
    code, _, errors = run(as_role)
    assert (code, errors.count("\n")) == (1, 1)
    assert errors.startswith("CommandError: database: permission denied for schema public. ")
    remedy = errors.strip().rpartition(": ")[2]
    postgres.execute(remedy, database.rpartition("/")[2])
    assert run(as_role)[0] == 0


def test_a_database_that_is_not_there_is_told_in_one_line() -> None:
    for arguments in ((), ("--check",)):
        code, _, errors = run("postgres://user:secret@127.0.0.1:1/none", *arguments)
        assert code == 1
        assert errors.startswith("CommandError: database: ")
        assert "Traceback" not in errors
        assert "secret" not in errors


class TestTheTable:
    """The second database of mode aws: the table of the connection store."""

    @pytest.fixture
    def table(self, dynamodb_table: DynamoDBTable, settings: SettingsWrapper, transactional_db: None) -> DynamoDBTable:
        table = DynamoDBTable(f"connections-{uuid4().hex}", dynamodb_table.ministack)
        settings.MESSAGING_STORE = {
            "BACKEND": "messaging.backends.dynamodb.store.DynamoDBStore",
            "OPTIONS": table.options,
        }
        return table

    @staticmethod
    def differences() -> list[str]:
        output = StringIO()
        try:
            call_command("messaging_migrate", check=True, stdout=output)
        except CommandError:
            assert output.getvalue()
            return output.getvalue().splitlines()
        assert output.getvalue() == "up to date\n"
        return []

    @staticmethod
    def migrate() -> None:
        call_command("messaging_migrate", verbosity=0, stdout=StringIO())

    def test_is_created_once_and_then_found_as_it_should_be(self, table: DynamoDBTable) -> None:
        assert self.differences() == [f"table {table.name} is missing"]
        assert self.differences() == [f"table {table.name} is missing"]
        self.migrate()
        assert self.differences() == []
        client = table.ministack.client("dynamodb")
        created = client.describe_table(TableName=table.name)["Table"]
        assert created["KeySchema"] == [
            {"AttributeName": "group", "KeyType": "HASH"},
            {"AttributeName": "connection_id", "KeyType": "RANGE"},
        ]
        assert created["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
        assert created["SSEDescription"]["Status"] == "ENABLED"
        expiry = client.describe_time_to_live(TableName=table.name)["TimeToLiveDescription"]
        assert expiry == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}
        self.migrate()
        assert client.describe_table(TableName=table.name)["Table"]["TableId"] == created["TableId"]

    def test_gets_back_what_somebody_has_switched_off(self, table: DynamoDBTable) -> None:
        self.migrate()
        client, name = table.ministack.client("dynamodb"), table.name
        off = {"Enabled": False, "AttributeName": "expires_at"}
        client.update_time_to_live(TableName=name, TimeToLiveSpecification=off)
        expired = f"table {name} does not delete expired items: time to live is not enabled on expires_at"
        assert self.differences() == [expired]
        other = {"Enabled": True, "AttributeName": "connected_at"}
        client.update_time_to_live(TableName=name, TimeToLiveSpecification=other)
        assert self.differences() == [expired]
        recovery = {"PointInTimeRecoveryEnabled": False}
        client.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=recovery)
        assert self.differences() == [expired, f"table {name} has no point-in-time recovery"]
        self.migrate()
        assert self.differences() == []

    def test_gets_what_a_table_made_by_hand_lacks(self, table: DynamoDBTable) -> None:
        table.ministack.client("dynamodb").create_table(
            TableName=table.name,
            KeySchema=[
                {"AttributeName": "group", "KeyType": "HASH"},
                {"AttributeName": "connection_id", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "connection_id", "AttributeType": "S"},
                {"AttributeName": "group", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        assert self.differences() == [
            f"table {table.name} does not delete expired items: time to live is not enabled on expires_at",
            f"table {table.name} has no point-in-time recovery",
            f"table {table.name} is not encrypted with a KMS key of this account",
        ]
        self.migrate()
        assert self.differences() == []

    def test_of_somebody_else_is_left_alone(self, table: DynamoDBTable) -> None:
        client = table.ministack.client("dynamodb")
        client.create_table(
            TableName=table.name,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        before = client.describe_table(TableName=table.name)["Table"]
        keys = "the partition key group and the sort key connection_id, both strings"
        complaint = f"table {table.name} does not have {keys}: it was created for something else"
        assert self.differences() == [complaint]
        with pytest.raises(CommandError, match=complaint):
            self.migrate()
        assert client.describe_table(TableName=table.name)["Table"] == before

    def test_is_made_by_several_at_once(self, table: DynamoDBTable) -> None:
        together = threading.Barrier(6)

        def migrate() -> None:
            together.wait()
            with Schema(**table.options) as schema:
                schema.migrate()

        with ThreadPoolExecutor(6) as threads:
            for ended in [threads.submit(migrate) for _ in range(6)]:
                ended.result()
        assert self.differences() == []
