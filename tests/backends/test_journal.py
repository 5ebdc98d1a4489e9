"""The journal on PostgreSQL: messages are committed once and in one order, and no reader skips one."""

import asyncio
import threading
from collections.abc import AsyncIterator, Collection
from datetime import timedelta
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.db import connection, connections, transaction
from django.utils import timezone

from messaging.journal import conversations, reader
from messaging.journal.journal import Journal
from messaging.models import Conversation, Message, QuickMessage
from messaging.service.contracts import (
    START,
    Appended,
    ConversationNotFound,
    Cursor,
    IdConflict,
    JournalRestored,
    NewMessage,
    NotStorable,
    StaffMember,
    StoredMessage,
    StoreUnavailable,
)
from tests.support.logins import login
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)

VISITOR = str(uuid4())


@pytest.fixture(autouse=True)
async def orm_thread() -> AsyncIterator[None]:
    """Close the database connection of the thread on which the tests' own ORM calls run, after each test."""
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture
async def journal() -> AsyncIterator[Journal]:
    journal = Journal()
    yield journal
    await journal.close()


def new(client_id: str, content: str = "hello", conversation: str = VISITOR) -> NewMessage:
    return NewMessage(conversation, f"visitor:{conversation}", client_id, "user", content)


def reply(client_id: str, conversation: str) -> NewMessage:
    return NewMessage(conversation, "staff:1", client_id, "admin", "an answer", author="Ada")


def contents(messages: tuple[StoredMessage, ...]) -> list[str]:
    return [message.content for message in messages]


async def rows() -> int:
    return await Message.objects.acount()


async def test_an_append_is_committed_when_it_returns(journal: Journal) -> None:
    appended = await journal.append(new("message-1"))
    row = await Message.objects.aget()
    assert appended == Appended(reader.stored(row), duplicate=False)
    assert (row.content, row.principal, row.client_id, row.sender) == (
        "hello",
        f"visitor:{VISITOR}",
        "message-1",
        "user",
    )
    assert str((await Conversation.objects.aget()).id) == VISITOR


async def test_the_same_id_of_the_same_principal_is_stored_once(journal: Journal) -> None:
    first = await journal.append(new("message-1"))
    again = await journal.append(new("message-1"))
    assert again == Appended(first.message, duplicate=True)
    at_once = await asyncio.gather(*(journal.append(new("message-2")) for _ in range(20)))
    assert {appended.message.seq for appended in at_once} == {at_once[0].message.seq}
    assert [appended.duplicate for appended in at_once].count(False) == 1
    assert await rows() == 2


async def test_another_principal_may_use_the_same_id(journal: Journal) -> None:
    other = str(uuid4())
    await journal.append(new("message-1"))
    assert not (await journal.append(new("message-1", conversation=other))).duplicate
    assert await rows() == 2


async def test_the_same_id_for_other_content_is_a_conflict_and_changes_nothing(journal: Journal) -> None:
    await journal.append(new("message-1"))
    with pytest.raises(IdConflict):
        await journal.append(new("message-1", "something else"))
    assert contents((await journal.newest(VISITOR, 10)).messages) == ["hello"]


async def test_a_reply_needs_a_conversation_that_exists(journal: Journal) -> None:
    with pytest.raises(ConversationNotFound):
        await journal.append(reply("message-1", VISITOR))
    await journal.append(new("message-2"))
    assert (await journal.append(reply("message-1", VISITOR))).message.author == "Ada"


async def test_a_conversation_that_is_erased_meanwhile_does_not_begin_anew(journal: Journal) -> None:
    await journal.append(new("message-1"))
    erased, release = threading.Event(), threading.Event()

    def erase() -> None:
        with transaction.atomic():
            conversations.erase(VISITOR)
            erased.set()
            assert release.wait(20)
        connection.close()

    thread = threading.Thread(target=erase)
    thread.start()
    assert await asyncio.to_thread(erased.wait, 10)
    messages = [new("message-2"), reply("message-3", VISITOR), new("message-4", conversation=str(uuid4()))]
    under_way = [asyncio.create_task(journal.append(message)) for message in messages]
    await eventually(waiting_for_a_lock, "one waits for a lock")
    release.set()
    await asyncio.to_thread(thread.join)
    outcomes = await asyncio.gather(*under_way, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConversationNotFound, ConversationNotFound, Appended]
    with pytest.raises(ConversationNotFound):
        await journal.append(new("message-2"))
    assert (await rows(), await Conversation.objects.acount()) == (1, 1)


async def test_what_waits_shares_a_transaction_and_one_bad_message_spoils_only_itself(journal: Journal) -> None:
    good = [new(f"message-{number:03}") for number in range(50)]
    refused = new("message-bad", "refused by PostgreSQL: \x00")
    outcomes = await asyncio.gather(*map(journal.append, [*good, refused]), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Appended] * 50 + [NotStorable]
    assert await rows() == 50


async def test_many_processes_that_write_the_same_messages_store_each_once() -> None:
    logs = [Journal() for _ in range(4)]
    visitors = [str(uuid4()) for _ in range(5)]
    batch = [new(f"message-{n:03}", conversation=visitor) for n in range(20) for visitor in visitors]
    outcomes = await asyncio.gather(*(journal.append(message) for journal in logs for message in batch))
    assert await rows() == 100
    assert [outcome.duplicate for outcome in outcomes].count(False) == 100
    for journal in logs:
        await journal.close()


async def test_pages_since_a_cursor_hold_every_message_once_and_in_order(journal: Journal) -> None:
    for number in range(25):
        await journal.append(new(f"message-{number:03}", str(number)))
    read, cursor, more = [], START, True
    while more:
        page = await journal.since(VISITOR, cursor, 10, "this-one")
        read += contents(page.messages)
        cursor, more = page.cursor, page.more
    assert read == [str(number) for number in range(25)]
    assert cursor == await journal.head(VISITOR)


async def test_pages_before_a_cursor_lead_to_the_first_message(journal: Journal) -> None:
    for number in range(12):
        await journal.append(new(f"message-{number:03}", str(number)))
    newest = await journal.newest(VISITOR, 5)
    assert (contents(newest.messages), newest.more) == (["7", "8", "9", "10", "11"], True)
    older = await journal.before(VISITOR, newest.messages[0].cursor, 5)
    assert (contents(older.messages), older.more) == (["2", "3", "4", "5", "6"], True)
    oldest = await journal.before(VISITOR, older.cursor, 5)
    assert (contents(oldest.messages), oldest.more) == (["0", "1"], False)


async def test_a_visitor_reads_its_own_conversation_and_staff_read_all(journal: Journal) -> None:
    other = str(uuid4())
    await journal.append(new("message-1", "mine"))
    await journal.append(new("message-2", "yours", other))
    assert contents((await journal.newest(VISITOR, 10)).messages) == ["mine"]
    assert contents((await journal.newest(None, 10)).messages) == ["mine", "yours"]
    assert (await journal.head(None)).seq > (await journal.head(VISITOR)).seq


class Transaction:
    """A transaction of another process: `insert` writes its message and `commit` commits it."""

    def __init__(self, content: str) -> None:
        self._content = content
        self._may_commit = threading.Event()
        self._inserted = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def insert(self) -> None:
        self._thread.start()
        assert self._inserted.wait(10)

    def commit(self) -> None:
        self._may_commit.set()
        self._thread.join(10)

    def _run(self) -> None:
        with transaction.atomic():
            Message.objects.create(
                conversation_id=VISITOR, principal=self._content, client_id="x", sender="user", content=self._content
            )
            self._inserted.set()
            assert self._may_commit.wait(10)
        connection.close()


async def overtaken_by(content: str) -> Transaction:
    """Return a transaction that has inserted but not committed, while a later one with `content` has done both."""
    slow, fast = Transaction("slow"), Transaction(content)
    await asyncio.to_thread(slow.insert)
    await asyncio.to_thread(fast.insert)
    await asyncio.to_thread(fast.commit)
    return slow


async def test_a_reader_between_two_commits_in_the_opposite_order_of_their_cursors_skips_nothing(
    journal: Journal,
) -> None:
    await journal.append(new("message-1", "before"))
    slow = await overtaken_by("fast")
    page = await journal.newest(VISITOR, 10)
    assert contents(page.messages) == ["before", "fast"]
    await asyncio.to_thread(slow.commit)
    resumed = await journal.since(VISITOR, page.cursor, 10, "a-new-connection")
    assert contents(resumed.messages) == ["before", "slow", "fast"]


async def test_a_page_that_ends_between_them_is_continued_without_overlap_by_its_own_connection_only(
    journal: Journal,
) -> None:
    await journal.append(new("message-1", "before"))
    slow = await overtaken_by("fast")
    await journal.append(new("message-2", "after"))
    page = await journal.since(VISITOR, START, 2, "mine")
    assert (contents(page.messages), page.more) == (["before", "fast"], True)
    await asyncio.to_thread(slow.commit)
    assert contents((await journal.since(VISITOR, page.cursor, 10, "mine")).messages) == ["after"]
    everything = await journal.since(VISITOR, page.cursor, 10, "another")
    assert contents(everything.messages) == ["before", "slow", "fast", "after"]


async def test_the_overlap_ends_where_every_transaction_has_ended(journal: Journal) -> None:
    for number in range(4):
        await journal.append(new(f"message-{number}", str(number)))
    long_ago = timezone.now() - timedelta(minutes=1)
    await Message.objects.filter(content__in=["0", "1", "2"]).aupdate(created_at=long_ago)
    page = await journal.since(VISITOR, START, 2, "mine")
    assert contents((await journal.since(VISITOR, page.cursor, 10, "another")).messages) == ["2", "3"]


async def test_those_who_ask_at_once_share_one_read(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, heads = list[set[str | None]](), reader.heads

    def noted(conversations: Collection[str | None]) -> dict[str | None, Cursor]:
        asked.append(set(conversations))
        return heads(conversations)

    monkeypatch.setattr(reader, "heads", noted)
    newest = (await journal.append(new("message-1", "one"))).message.cursor
    strangers = [str(uuid4()) for _ in range(50)]
    found = await asyncio.gather(*(journal.head(id) for id in (None, VISITOR, VISITOR, *strangers)))
    assert found == [newest, newest, newest, *[START] * 50]
    assert asked == [{None, VISITOR, *strangers}]


async def test_positions_name_what_came_since_the_floor_and_the_floor_waits_for_open_transactions(
    journal: Journal,
) -> None:
    await journal.append(new("message-1", "old"))
    await Message.objects.aupdate(created_at=timezone.now() - timedelta(minutes=1))
    numbers, floor = await journal.positions(None)
    assert numbers == []
    slow = Transaction("slow")
    await asyncio.to_thread(slow.insert)
    fast = (await journal.append(new("message-2", "fast"))).message
    assert await journal.positions(floor) == ([], floor)  # so new that its hint may still be on its way
    found = await eventually(lambda: journal.positions(floor), "one is found", until=lambda found: found[0])
    assert found == ([fast.seq], floor)
    await asyncio.to_thread(slow.commit)
    numbers, _ = await journal.positions(floor)
    assert contents(await journal.messages(numbers)) == ["slow", "fast"]
    await Message.objects.filter(seq__in=numbers).aupdate(created_at=timezone.now() - timedelta(minutes=1))
    newest = (await journal.newest(None, 1)).cursor
    assert await journal.positions(floor) == (numbers, newest)
    assert await journal.positions(newest) == ([], newest)


async def test_a_journal_that_lacks_a_message_it_had_was_restored_from_a_backup(journal: Journal) -> None:
    first, second = [(await journal.append(new(f"message-{number}"))).message for number in (1, 2)]
    _, floor = await journal.positions(None)
    await Message.objects.filter(seq=second.seq).adelete()
    await journal.positions(floor, second.cursor)  # an erased message is no sign of it

    def restore(number: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT setval(pg_get_serial_sequence('messaging_message', 'seq'), %s)", [number])

    await sync_to_async(restore)(first.seq)
    with pytest.raises(JournalRestored):
        await journal.positions(floor, second.cursor)
    again = (await journal.append(new("message-3"))).message
    assert (again.seq, again.cursor == second.cursor) == (second.seq, False)
    with pytest.raises(JournalRestored):
        await journal.positions(floor, second.cursor)
    with pytest.raises(JournalRestored):
        await journal.positions(second.cursor)
    await journal.positions(floor, again.cursor)


async def test_a_staff_member_is_known_with_the_rights_of_this_moment(journal: Journal) -> None:
    @sync_to_async
    def hire() -> User:
        user = User.objects.create_user("ada", first_name="Ada", last_name="Lovelace", is_staff=True)
        user.user_permissions.add(Permission.objects.get(codename="view_message"))
        return user

    user = await hire()
    session = await sync_to_async(login)(user)
    ada = StaffMember(user.pk, "Ada Lovelace", "Ada Lovelace", may_view=True, may_reply=False)
    assert await journal.signed_in([session, "another"]) == {session: ada}
    await User.objects.filter(pk=user.pk).aupdate(is_active=False)
    assert await journal.signed_in([session]) == {}


async def test_quick_messages_are_the_active_ones_in_their_order(journal: Journal) -> None:
    await QuickMessage.objects.all().adelete()
    await QuickMessage.objects.acreate(key="b", label="B", content="b", position=1)
    await QuickMessage.objects.acreate(key="a", label="A", content="a", position=2)
    await QuickMessage.objects.acreate(key="off", label="Off", content="off", active=False)
    assert await journal.quick_messages() == (
        {"key": "b", "label": "B", "content": "b"},
        {"key": "a", "label": "A", "content": "a"},
    )


@sync_to_async
def waiting_for_a_lock() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return int(cursor.fetchone()[0])


async def test_a_locked_database_is_unavailable_in_time_and_the_message_can_be_sent_again(journal: Journal) -> None:
    await journal.append(new("message-1", "before"))
    locked, release = threading.Event(), threading.Event()

    def lock() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE messaging_message IN ACCESS EXCLUSIVE MODE")
            locked.set()
            assert release.wait(20)
        connection.close()

    thread = threading.Thread(target=lock)
    thread.start()
    await asyncio.to_thread(locked.wait, 10)
    with pytest.raises(StoreUnavailable):
        await journal.append(new("message-2", "during"))
    with pytest.raises(StoreUnavailable):
        await journal.head(VISITOR)
    await eventually(waiting_for_a_lock, "none is left waiting in the database", until=lambda left: left == 0)
    release.set()
    await asyncio.to_thread(thread.join)
    await journal.append(new("message-2", "during"))
    assert contents((await journal.newest(VISITOR, 10)).messages) == ["before", "during"]


async def test_database_connections_that_were_cut_are_replaced(journal: Journal) -> None:
    await journal.append(new("message-1", "before"))
    await journal.head(None)

    @sync_to_async
    def cut() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    await cut()
    await journal.append(new("message-2", "after"))
    assert contents((await journal.newest(VISITOR, 10)).messages) == ["before", "after"]


async def test_the_writer_connects_when_it_is_told_to_and_not_only_with_the_first_message(journal: Journal) -> None:
    @sync_to_async
    def connected() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            return int(cursor.fetchone()[0])

    before = await connected()
    journal.connect()
    await eventually(connected, "the writer has connected", until=lambda number: number == before + 1)
    await journal.append(new("message-1"))
    assert await connected() == before + 2  # and a reader, for the blocked visitors


async def test_closing_commits_what_waits() -> None:
    journal = Journal()
    await journal.append(new("message-first"))
    appends = [asyncio.ensure_future(journal.append(new(f"message-{number:03}"))) for number in range(100)]
    await asyncio.sleep(0)
    await journal.close()
    await asyncio.gather(*appends)
    assert await rows() == 101


async def test_a_role_without_rights_counts_the_connections_of_others_as_well(journal: Journal) -> None:
    def counts() -> tuple[float, float]:
        with connection.cursor() as cursor:
            cursor.execute("CREATE ROLE plain IN ROLE pg_read_all_data")
            seen_by_owner = reader.database_state().connections
            cursor.execute("SET ROLE plain")
            seen_by_role = reader.database_state().connections
            cursor.execute("RESET ROLE")
            cursor.execute("DROP ROLE plain")
        return seen_by_owner, seen_by_role

    await journal.head(None)  # the journal has a connection, too
    seen_by_owner, seen_by_role = await sync_to_async(counts)()
    assert seen_by_owner == seen_by_role >= 2
