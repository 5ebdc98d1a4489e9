"""The deletion of old messages, and erasure on request, which do not disturb visitors who write at the same time."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from messaging.journal import logins, retention
from messaging.models import AddressBlock, Block, Conversation, ErasedConversation, LoginSession, Message
from messaging.tokens import VISITOR_SECONDS

pytestmark = pytest.mark.django_db


Command = Callable[..., str]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str, **options: Any) -> str:
        call_command(*arguments, **options)
        return capsys.readouterr().out

    return run


def ago(days: float) -> datetime:
    return timezone.now() - timedelta(days=days)


def say(*days: float, id: UUID | None = None) -> Conversation:
    """Return a new conversation with one message for each entry of `days`, written that many days ago."""
    conversation = Conversation.objects.create(id=id or uuid4(), last_message_at=ago(min(days)))
    Message.objects.bulk_create(
        Message(
            conversation=conversation,
            principal=f"visitor:{conversation.pk}",
            client_id=uuid4().hex,
            sender="user",
            content=str(day),
            created_at=ago(day),
        )
        for day in days
    )
    return conversation


def kept() -> list[str]:
    return list(Message.objects.order_by("-created_at").values_list("content", flat=True))


# --- messaging_prune ----------------------------------------------------------------------------------------


def test_messages_go_with_their_time_and_conversations_with_their_last_message(command: Command) -> None:
    busy = say(1, 29, 31)
    say(40, 50)
    said = command("messaging_prune")
    assert said.endswith(": 3 messages, 1 conversations\n")
    assert kept() == ["1", "29"]
    assert list(Conversation.objects.all()) == [busy]
    assert command("messaging_prune").endswith(": nothing\n")


def test_the_days_are_the_settings_or_the_commands(command: Command, settings: Any) -> None:
    settings.MESSAGE_RETENTION_DAYS = 60
    say(1, 3, 59, 61)
    command("messaging_prune")
    assert kept() == ["1", "3", "59"]
    command("messaging_prune", "--days", "2")
    assert kept() == ["1"]


def test_the_audit_log_has_numbers_whether_it_ended_or_was_stopped(
    command: Command, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    caplog.set_level("INFO", "messaging.audit")
    say(40, 50)
    command("messaging_prune")
    say(60)
    monkeypatch.setattr("time.sleep", stop)
    with pytest.raises(KeyboardInterrupt):
        command("messaging_prune")
    said = [(record["message"], record["deleted"]) for record in map(vars, caplog.records)]
    assert said == [
        ("old messages deleted", {"messages": 2, "conversations": 1}),
        ("old messages deleted", {"messages": 1}),
    ]


@pytest.mark.parametrize("days", ["0", "-1", "1.5", "many"])
def test_days_are_a_number_of_at_least_one(command: Command, days: str) -> None:
    with pytest.raises(CommandError, match=f"'{days}' must be a number of days, at least 1"):
        command("messaging_prune", f"--days={days}")


def test_a_transaction_is_small_however_much_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for _ in range(3):
        say(40)
    assert list(retention.prune(ago(30))) == [
        ("messages", 2),
        ("messages", 1),
        ("conversations", 2),
        ("conversations", 1),
    ]


def test_a_block_keeps_its_conversation_for_as_long_as_it_counts(command: Command) -> None:
    blocked, free = say(40), say(40)
    Block.objects.create(conversation=blocked, until=timezone.now() + timedelta(hours=1))
    Block.objects.create(conversation=free, until=timezone.now() - timedelta(hours=1))
    command("messaging_prune")
    assert list(Conversation.objects.all()) == [blocked]
    assert Block.objects.get().conversation == blocked
    assert kept() == []


def test_the_pseudonym_of_an_address_goes_after_two_days_or_with_the_end_of_its_block(command: Command) -> None:
    addresses = {"today": say(1), "quiet": say(3), "blocked": say(3), "free again": say(3)}
    for address, conversation in addresses.items():
        Conversation.objects.filter(pk=conversation.pk).update(address=address)
    for address, days in {"blocked": -1, "free again": 1}.items():
        AddressBlock.objects.create(address=address, until=ago(days))
    assert "2 addresses of visitors" in command("messaging_prune")
    assert sorted(Conversation.objects.values_list("address", flat=True)) == ["", "", "blocked", "today"]
    assert AddressBlock.objects.get().address == "blocked"


def test_notes_outlive_every_token_that_they_are_about(command: Command) -> None:
    assert timedelta(seconds=VISITOR_SECONDS) < retention.NOTED
    for days in (1, 30, 32):
        ErasedConversation.objects.create(id=UUID(int=days), erased_at=ago(days))
    command("messaging_prune", "--days", "1")
    assert {row.pk.int for row in ErasedConversation.objects.all()} == {1, 30}


def test_logins_that_ran_out_go(command: Command) -> None:
    for days in (-1, 1):
        session = Session.objects.create(session_key=f"ran out {days} days ago", expire_date=ago(days))
        logins.recorded(session.session_key)
    logins.recorded("signed out")
    command("messaging_prune")
    assert [session.session_key for session in Session.objects.all()] == ["ran out -1 days ago"]
    assert [login.session_key for login in LoginSession.objects.all()] == ["ran out -1 days ago"]


@pytest.mark.django_db(transaction=True)
def test_who_writes_meanwhile_is_neither_waited_for_nor_lost(command: Command) -> None:
    """A visitor comes back after two months, and the new message is not committed yet."""
    conversation = say(60)
    written, pruned = threading.Event(), threading.Event()

    def write() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("UPDATE messaging_conversation SET last_message_at = now() WHERE id = %s", [conversation.pk])
            Message.objects.create(
                conversation=conversation, principal="visitor:x", client_id="back", sender="user", content="back"
            )
            written.set()
            assert pruned.wait(10), "pruning waits for a transaction that is under way"
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    assert written.wait(10)
    command("messaging_prune")
    pruned.set()
    writer.join()
    assert kept() == ["back"]
    assert list(Conversation.objects.all()) == [conversation]


# --- messaging_erase ----------------------------------------------------------------------------------------


def test_erasing_leaves_no_more_than_a_note(command: Command, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "messaging.audit")
    wanted, other = say(1, 2), say(3)
    Block.objects.create(conversation=wanted)
    said = command("messaging_erase", str(wanted.pk), "--no-input")
    assert said.splitlines()[0].startswith(f"{wanted.pk} (")
    assert said.splitlines()[0].endswith("), messages: 2")
    assert said.splitlines()[-1] == "erased: 1"
    assert (kept(), list(Conversation.objects.all()), Block.objects.count()) == (["3"], [other], 0)
    assert ErasedConversation.objects.get().pk == wanted.pk
    (record,) = map(vars, caplog.records)
    assert (record["message"], record["conversations"], record["messages"]) == ("conversations erased", 1, 2)


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_erasing_asks_first(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = say(1)
    monkeypatch.setattr("sys.stdin", Terminal())
    asked: list[str] = []

    def no(question: str) -> str:
        asked.append(question)
        return "no"

    monkeypatch.setattr("builtins.input", no)
    with pytest.raises(CommandError, match="Nothing was erased"):
        command("messaging_erase", str(conversation.pk))
    assert asked == ["Erase permanently? Type yes: "]
    monkeypatch.setattr("sys.stdin", StringIO())
    with pytest.raises(
        CommandError, match="Nothing was erased: without a terminal there is no confirmation, so use --no-input"
    ):
        command("messaging_erase", str(conversation.pk))
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", lambda question: "yes")
    command("messaging_erase", str(conversation.pk))
    assert kept() == []


def test_one_unknown_id_and_nothing_is_erased(command: Command) -> None:
    conversation = say(1)
    with pytest.raises(CommandError, match=f"no such conversation: {UUID(int=7)}. Nothing was erased."):
        command("messaging_erase", str(conversation.pk), str(UUID(int=7)), "--no-input")
    with pytest.raises(CommandError, match="'3f2a' must be a UUID"):
        command("messaging_erase", "3f2a", "--no-input")
    assert kept() == ["1"]
