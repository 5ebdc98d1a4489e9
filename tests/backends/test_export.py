"""The export of messages to a file: complete, in order, and without text that a spreadsheet would execute."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from messaging.models import Conversation, Message
from messaging.operations import export
from tests.support.paths import ROOT
from tests.support.services import Postgres

pytestmark = pytest.mark.django_db

BEGINNING = datetime(2026, 11, 1, 12, tzinfo=UTC)
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠A1"]  # noqa: RUF001
HARMLESS = ["1+1=2", "me@example.org", 'say "a, b; c"', "two\nlines", "ßüñ 🦦", "'=1"]

Export = Callable[..., str]


@pytest.fixture
def exported(capsys: pytest.CaptureFixture[str]) -> Export:
    def run(*arguments: str) -> str:
        call_command("messaging_export", *arguments)
        return capsys.readouterr().out

    return run


def say(*contents: str, conversation: UUID | None = None, **fields: Any) -> list[Message]:
    thread, _ = Conversation.objects.get_or_create(id=conversation or uuid4())
    return [
        Message.objects.create(
            conversation=thread,
            principal=f"visitor:{thread.pk}",
            client_id=uuid4().hex,
            sender="user",
            content=content,
            created_at=BEGINNING + timedelta(days=number),
            **fields,
        )
        for number, content in enumerate(contents)
    ]


def contents(ndjson: str) -> list[str]:
    return [json.loads(line)["content"] for line in ndjson.splitlines()]


def test_a_message_is_exported_as_the_wire_names_it(exported: Export) -> None:
    (message,) = say("hello", author="Ada", quick="hi")
    expected = {
        "messageId": str(message.id),
        "conversation": str(message.conversation_id),
        "timestamp": "2026-11-01T12:00:00.000Z",
        "from": "user",
        "author": "Ada",
        "quick": "hi",
        "content": "hello",
    }
    assert json.loads(exported()) == expected
    assert json.loads(exported("--format", "json")) == [expected]
    assert list(csv.DictReader(io.StringIO(exported("--format", "csv").removeprefix("\ufeff")))) == [expected]


@pytest.mark.parametrize("format", sorted(export.FORMATS))
def test_nothing_at_all_is_a_whole_file_too(exported: Export, format: str) -> None:
    header = "\ufeff" + ",".join(f'"{name}"' for name in export.COLUMNS) + "\r\n"
    assert exported("--format", format) == {"csv": header, "json": "[\n\n]\n", "ndjson": ""}[format]


def test_what_a_spreadsheet_would_execute_is_text_and_the_rest_is_as_it_was(exported: Export) -> None:
    say(*FORMULAS, *HARMLESS, author="=cmd()")
    text = exported("--format", "csv").removeprefix("\ufeff")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["content"] for row in rows] == [*(f"'{formula}" for formula in FORMULAS), *HARMLESS]
    assert {row["author"] for row in rows} == {"'=cmd()"}
    assert contents(exported()) == FORMULAS + HARMLESS


def test_every_message_is_exported_once_and_in_order_whatever_a_page_holds(
    exported: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [str(number) for number in range(10)]
    for content in said:  # each in its own conversation
        say(content)
    for page in (1, 3, 5, 10, 11):
        monkeypatch.setattr(export, "PAGE", page)
        assert contents(exported()) == said
        assert [row["content"] for row in json.loads(exported("--format", "json"))] == said


def test_an_export_may_be_of_some_conversations_and_of_a_time(exported: Export) -> None:
    first, second = uuid4(), uuid4()
    say("day 1", "day 2", "day 3", conversation=first)
    say("elsewhere", conversation=second)
    say("nowhere")
    assert contents(exported("--conversation", str(first), "--conversation", str(second))) == [
        "day 1",
        "day 2",
        "day 3",
        "elsewhere",
    ]
    assert contents(exported("--since", "2026-11-02", "--until", "2026-11-03T13:00:00+01:00")) == ["day 2"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--conversation", "3f2a"), "'3f2a' must be a UUID"),
        (("--since", "yesterday"), "'yesterday' must be a date or a time, such as 2026-11-25"),
        (("--format", "xml"), "invalid choice: 'xml'"),
        (("--conversation", str(UUID(int=7))), f"no such conversation: {UUID(int=7)}"),
    ],
)
def test_what_can_not_be_exported_is_named(exported: Export, arguments: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        exported(*arguments)


def test_progress_is_shown_on_a_terminal_alone(capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    say("one", "two")
    terminal, pipe = Terminal(), io.StringIO()
    call_command("messaging_export", stderr=terminal)
    call_command("messaging_export", stderr=pipe)
    assert terminal.getvalue() == "\r2 messages\n"
    assert pipe.getvalue() == ""


def test_the_audit_log_has_the_number_and_nothing_of_what_was_said(
    exported: Export, caplog: pytest.LogCaptureFixture
) -> None:
    say("one", "two")
    caplog.set_level("INFO", "messaging.audit")
    exported("--format", "csv")
    (record,) = map(vars, caplog.records)
    assert (record["message"], record["messages"], record["format"]) == ("messages exported", 2, "csv")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("format", sorted(export.FORMATS))
def test_a_reader_that_has_enough_ends_it_quietly(format: str, postgres: Postgres) -> None:
    say("one", "two")
    database = postgres.url(connection.settings_dict["NAME"])
    read, write = os.pipe()
    os.close(read)  # the reader ends as early as `head` can
    ended = subprocess.run(
        [sys.executable, "manage.py", "messaging_export", "--format", format],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database, "MESSAGING_LOG_LEVEL": "WARNING"},
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (ended.returncode, ended.stderr) == (1, "")
