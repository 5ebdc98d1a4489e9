"""The rules of the product: one frame goes into the service, a list of actions comes out. The stores are real."""

import time
from dataclasses import replace
from datetime import timedelta
from unittest.mock import AsyncMock
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.utils import timezone

from messaging import tokens
from messaging.backends.memory import MemoryStore
from messaging.journal.journal import BLOCK_SECONDS, Journal
from messaging.models import Block, LoginSession, Message, QuickMessage
from messaging.protocol import frames
from messaging.protocol.codes import CloseCode, ErrorCode
from messaging.service.actions import Connection, Join, Publish, Reply
from messaging.service.contracts import (
    ADMINS,
    START,
    UNREAD,
    Cursor,
    StoredConnection,
    StoreUnavailable,
    conversation_group,
)
from messaging.service.identity import RECHECK_SECONDS
from messaging.service.registry import TOUCH_SECONDS
from messaging.transports.apigateway.connection_state import dump, restore
from tests.support.forged_tokens import FORGERIES, forged_admin, forged_visitor
from tests.support.in_process_service import (
    SPEAK_GERMAN,
    Admin,
    InProcessService,
    Visitor,
    acked,
    frame_of,
    in_process_service,
    refusal,
    replies,
    reply,
    staff,
)
from tests.support.logins import admin_token, login

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_new_connection_is_greeted_with_the_limits(service: InProcessService) -> None:
    (greeting,) = await service.connect(Connection("c1"))
    sent = frame_of(greeting, frames.Greeting).timestamp
    limits = {"frame": 16_384, "content": 2_000}
    assert greeting == Reply(frames.Greeting("c1", sent, 25_000, limits=limits))


async def test_a_visitor_without_a_token_is_a_new_one_and_comes_back_by_the_token_it_got(
    service: InProcessService,
) -> None:
    first, second = Visitor("c1"), Visitor("c2")
    joined, identified = await service.send(first, "identify", type="user", v=2, id="i")
    assert joined == Join()
    frame = frame_of(identified, frames.Identified)
    assert frame == frames.Identified(
        "user",
        frame.timestamp,
        v=2,
        id="i",
        token=frame.token,
        conversation=first.conversation,
        cursor="0000000000000.00000000000",
        recovered=False,
        quick=(SPEAK_GERMAN,),
        presence={"admins": 0},
    )
    await service.send(second, "identify", type="user", v=2, token=frame.token)
    assert second.conversation == first.conversation
    assert await service.store.count(conversation_group(first.conversation)) == 2


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_token_makes_a_new_visitor(forgery: str, service: InProcessService) -> None:
    """The new visitor is not the one whom the forged token names; the genuine token identifies that one."""
    victim, thief, owner = await service.visitor(), Connection("c1"), Connection("c2")
    await service.send(victim, "sendMessage", id="message-1", content="not for thieves")
    await service.send(thief, "identify", type="user", v=2, token=forged_visitor(forgery, victim.conversation))
    await service.send(owner, "identify", type="user", v=2, token=tokens.mint_visitor(victim.conversation))
    assert (thief.role, owner.conversation) == ("user", victim.conversation)
    assert thief.conversation not in (None, victim.conversation)
    assert await service.store.count(conversation_group(victim.conversation)) == 2
    for connection, contents in ((thief, []), (owner, ["not for thieves"])):
        page = reply(await service.send(connection, "history", id="h"), frames.HistoryPage)
        assert [message.content for message in page.messages] == contents


async def test_a_message_goes_to_admins_and_the_visitors_other_pages_and_then_its_sender_is_told(
    service: InProcessService,
) -> None:
    visitor = await service.visitor()
    ack, *publishes = await service.send(
        visitor, "sendMessage", id="message-1", content=" hello ", quick="speak-german"
    )
    row = await Message.objects.aget()
    sent = acked(ack).timestamp
    assert ack == Reply(frames.Ack("message-1", str(row.id), visitor.head, sent, duplicate=False))
    message = frames.Message(
        str(row.id),
        "hello",
        sent,
        "user",
        visitor.head,
        visitor.conversation,
        connection_id=visitor.id,
        quick="speak-german",
    )
    own = replace(message, id="message-1")
    assert publishes == [
        Publish(ADMINS, message),
        Publish(conversation_group(visitor.conversation), own, min_version=2, exclude=visitor.id),
    ]


async def test_only_the_keys_of_quick_messages_are_kept(service: InProcessService) -> None:
    await QuickMessage.objects.acreate(key="Back_soon", kind="reply", label="Back soon", content="back soon")
    visitor, admin = await service.visitor(), await service.admin("view_message", "add_message")
    for number, quick in enumerate(("speak-german", "words-of-mine", "Back_soon")):
        await service.send(visitor, "sendMessage", id=f"message-{number}", content="hello", quick=quick)
    to = visitor.conversation
    await service.send(admin, "sendMessage", id="message-3", content="back soon", quick="Back_soon", to=to)
    kept = [message.quick async for message in Message.objects.order_by("seq")]
    assert kept == ["speak-german", "", "", "Back_soon"]


async def test_a_message_sent_again_gets_the_same_ack_and_is_published_again(service: InProcessService) -> None:
    visitor = await service.visitor()
    ack, *publishes = await service.send(visitor, "sendMessage", id="message-1", content="hello")
    again, *published_again = await service.send(visitor, "sendMessage", id="message-1", content="hello")
    assert again == Reply(replace(frame_of(ack, frames.Ack), duplicate=True))
    assert published_again == publishes
    conflict = await service.send(visitor, "sendMessage", id="message-1", content="other")
    assert refusal(conflict) == (ErrorCode.ID_CONFLICT,)


async def test_a_reply_goes_to_the_visitor_the_other_admins_and_its_authors_other_pages(
    service: InProcessService,
) -> None:
    visitor, admin = await service.visitor(), await service.admin("view_message", "add_message")
    await service.send(visitor, "sendMessage", id="message-1", content="hello")
    ack, *publishes = await service.send(
        admin, "sendMessage", id="message-2", content="hallo", to=visitor.conversation.upper()
    )
    sent = acked(ack)
    message = frames.Message(
        sent.message_id,
        "hallo",
        sent.timestamp,
        "admin",
        admin.head,
        visitor.conversation,
        connection_id=admin.id,
        author="Ada",
    )
    assert publishes == [
        Publish(conversation_group(visitor.conversation), message, min_version=2),
        Publish(ADMINS, message, min_version=2, exclude=admin.principal),
        Publish(admin.principal, replace(message, id="message-2"), min_version=2, exclude=admin.id),
    ]


async def test_a_reply_needs_the_right_and_a_conversation(service: InProcessService) -> None:
    visitor, reader = await service.visitor(), await service.admin("view_message")
    to = {"id": "message-1", "content": "hallo", "to": visitor.conversation}
    assert refusal(await service.send(reader, "sendMessage", **to)) == (ErrorCode.FORBIDDEN, CloseCode.FORBIDDEN)
    admin = await service.admin("view_message", "add_message")
    assert refusal(await service.send(admin, "sendMessage", **to)) == (ErrorCode.NOT_FOUND,)
    assert refusal(await service.send(admin, "sendMessage", **{**to, "to": "nobody"})) == (ErrorCode.NOT_FOUND,)
    assert refusal(await service.send(admin, "sendMessage", **{**to, "to": None})) == (ErrorCode.BAD_FRAME,)
    assert await Message.objects.acount() == 0


async def test_nobody_becomes_admin_without_the_right(service: InProcessService) -> None:
    denied = (ErrorCode.UNAUTHORIZED, CloseCode.UNAUTHORIZED)
    visitor_token = tokens.mint_visitor(str(uuid4()))
    with_the_right = await sync_to_async(login)(await staff("view_message"))
    forged = [forged_admin(forgery, with_the_right) for forgery in FORGERIES]
    for token in (None, "", "x", visitor_token, tokens.mint_admin(""), tokens.mint_admin("no session"), *forged):
        connection = Connection(uuid4().hex)
        assert refusal(await service.send(connection, "identify", type="admin", v=2, token=token)) == denied
        assert (connection.role, connection.groups) == (None, ())
    clerk = await sync_to_async(admin_token)(await staff())
    refused = await service.send(Connection("c1"), "identify", type="admin", v=2, token=clerk)
    assert refusal(refused) == (ErrorCode.FORBIDDEN, CloseCode.FORBIDDEN)
    assert await service.store.count(ADMINS) == 0


async def test_a_connection_stays_who_it_is(service: InProcessService) -> None:
    visitor, admin = await service.visitor(), await service.admin("view_message")
    forbidden = (ErrorCode.FORBIDDEN, CloseCode.FORBIDDEN)
    token = await sync_to_async(admin_token)(await staff("view_message"))
    assert refusal(await service.send(visitor, "identify", type="admin", v=2, token=token)) == forbidden
    assert refusal(await service.send(admin, "identify", type="user", v=2)) == forbidden
    other = tokens.mint_visitor(str(uuid4()))
    assert refusal(await service.send(visitor, "identify", type="user", v=2, token=other)) == forbidden


async def test_an_admins_rights_are_looked_at_again(service: InProcessService) -> None:
    admin = await service.admin("view_message")
    await User.objects.filter(pk=admin.staff).aupdate(is_active=False)
    assert replies(await service.send(admin, "ping"), frames.Pong)
    service.clock.advance(RECHECK_SECONDS + 1)
    assert refusal(await service.send(admin, "ping")) == (ErrorCode.UNAUTHORIZED, CloseCode.UNAUTHORIZED)


async def test_an_admin_whom_no_process_watches_is_looked_at_with_every_frame(service: InProcessService) -> None:
    admin = await service.admin("view_message")
    assert frame_of((await service.send(restored(admin), "ping"))[0], frames.Pong)
    await User.objects.filter(pk=admin.staff).aupdate(is_active=False)
    assert refusal(await service.send(restored(admin), "ping")) == (ErrorCode.UNAUTHORIZED, CloseCode.UNAUTHORIZED)


def restored(connection: Connection) -> Connection:
    """Return `connection` as the next process gets it, if a gateway holds it."""
    return restore(connection.id, dump(connection))


async def test_staff_who_sign_out_or_lose_a_right_are_told_and_closed(service: InProcessService) -> None:
    admins = [await service.admin("view_message") for _ in range(7)]
    _stays, inactive, not_staff, without_right, new_password, signed_out, expired = admins
    assert await service.revoked(admins) == []

    @sync_to_async
    def change() -> None:
        User.objects.filter(pk=inactive.staff).update(is_active=False)
        User.objects.filter(pk=not_staff.staff).update(is_staff=False)
        User.objects.get(pk=without_right.staff).user_permissions.clear()
        user = User.objects.get(pk=new_password.staff)
        user.set_password("another one")
        user.save()
        Session.objects.filter(pk=session_key(signed_out)).delete()
        Session.objects.filter(pk=session_key(expired)).update(expire_date=timezone.now())

    await change()
    revoked = {connection.id: refusal(actions) for connection, actions in await service.revoked(admins)}
    unauthorized = (ErrorCode.UNAUTHORIZED, CloseCode.UNAUTHORIZED)
    assert revoked == {
        inactive.id: unauthorized,
        not_staff.id: unauthorized,
        without_right.id: (ErrorCode.FORBIDDEN, CloseCode.FORBIDDEN),
        new_password.id: unauthorized,
        signed_out.id: unauthorized,
        expired.id: unauthorized,
    }
    token = tokens.mint_admin(signed_out.session)
    assert refusal(await service.send(Connection("late"), "identify", type="admin", v=2, token=token)) == unauthorized


def session_key(admin: Admin) -> str:
    return LoginSession.objects.get(digest=admin.session).session_key


async def test_a_connection_does_not_pass_to_the_next_person_who_signs_in(service: InProcessService) -> None:
    ada = await service.admin("view_message")
    token = await sync_to_async(admin_token)(await staff("view_message"))
    refused = await service.send(ada, "identify", type="admin", v=2, token=token)
    assert refusal(refused) == (ErrorCode.UNAUTHORIZED, CloseCode.UNAUTHORIZED)


async def test_a_blocked_visitor_may_not_write_until_the_block_ends(service: InProcessService) -> None:
    visitor, other = await service.visitor(), await service.visitor()
    for connection in (visitor, other):
        await service.send(connection, "sendMessage", id="message-0", content="hello")
    block = await Block.objects.acreate(conversation_id=visitor.conversation)
    assert timedelta(hours=23) < block.until - timezone.now() <= timedelta(days=1)
    service.clock.advance(BLOCK_SECONDS + 1)
    refused = await service.send(visitor, "sendMessage", id="message-1", content="hello")
    assert refusal(refused) == (ErrorCode.BLOCKED,)
    assert acked((await service.send(other, "sendMessage", id="message-1", content="hello"))[0])
    await Block.objects.aupdate(until=timezone.now())
    service.clock.advance(BLOCK_SECONDS + 1)
    assert acked((await service.send(visitor, "sendMessage", id="message-1", content="hello"))[0])


async def test_a_visitor_reads_only_its_own_conversation(service: InProcessService) -> None:
    mine, theirs = await service.visitor(), await service.visitor()
    await service.send(mine, "sendMessage", id="message-1", content="mine")
    await service.send(theirs, "sendMessage", id="message-2", content="theirs")
    page = reply(await service.send(mine, "history", id="h"), frames.HistoryPage)
    assert [(message.content, message.id) for message in page.messages] == [("mine", "message-1")]
    refused = await service.send(mine, "history", id="h", conversation=theirs.conversation)
    assert refusal(refused) == (ErrorCode.FORBIDDEN, CloseCode.FORBIDDEN)


async def test_staff_read_all_conversations_or_one_without_other_peoples_ids(service: InProcessService) -> None:
    visitor, other, admin = await service.visitor(), await service.visitor(), await service.admin("view_message")
    await service.send(visitor, "sendMessage", id="message-1", content="one")
    await service.send(other, "sendMessage", id="message-2", content="two")
    page = reply(await service.send(admin, "history", id="h"), frames.HistoryPage)
    assert [(message.content, message.id) for message in page.messages] == [("one", None), ("two", None)]
    page = reply(await service.send(admin, "history", id="h", conversation=other.conversation), frames.HistoryPage)
    assert [message.content for message in page.messages] == ["two"]


async def test_recovered_says_whether_history_since_a_cursor_is_complete(service: InProcessService) -> None:
    visitor = await service.visitor()
    await service.send(visitor, "sendMessage", id="message-1", content="hello")

    async def recovered(since: str | None) -> bool | None:
        frame = reply(await service.send(visitor, "identify", type="user", v=2, since=since), frames.Identified)
        return frame.recovered

    assert await recovered(visitor.head)
    assert await recovered("0000000000000.00000000000")
    assert not await recovered(None)
    assert not await recovered("never a cursor")
    assert not await recovered(f"{10**9:013x}.{int(time.time() * 1000):011x}")
    long_ago = timezone.now() - timedelta(days=31)
    assert not await recovered(f"{1:013x}.{int(long_ago.timestamp() * 1000):011x}")


async def test_where_the_newest_message_was_erased_staff_have_missed_nothing(service: InProcessService) -> None:
    """A cursor past the end of the journal is not recovered: this journal is another one, or an older copy."""
    visitor, admin = await service.visitor(), await service.admin("view_message")
    await service.send(visitor, "sendMessage", id="message-1", content="hello")
    page = reply(await service.send(admin, "history", id="h"), frames.HistoryPage)
    await service.send(visitor, "forget", id="f")

    async def recovered(since: str) -> bool | None:
        token = tokens.mint_admin(admin.session)
        frame = reply(
            await service.send(admin, "identify", type="admin", v=2, token=token, since=since), frames.Identified
        )
        return frame.recovered

    assert await recovered(page.cursor)
    seq, ms = (int(part, 16) for part in page.cursor.split("."))
    assert not await recovered(f"{seq + 1000:013x}.{ms:011x}")
    page = reply(await service.send(admin, "history", id="h", since=page.cursor), frames.HistoryPage)
    assert [state.status for state in page.conversations or ()] == ["erased"]


async def test_pong_names_the_newest_message_that_the_connection_was_given(service: InProcessService) -> None:
    visitor = await service.visitor()
    await service.send(visitor, "sendMessage", id="message-1", content="hello")
    pong = reply(await service.send(visitor, "ping", id="p"), frames.Pong)
    assert pong == frames.Pong(pong.timestamp, "p", visitor.head)


async def test_where_posts_get_lost_one_by_one_pong_says_unread_until_the_history_was_read(
    service: InProcessService,
) -> None:
    visitor, admin = await service.visitor(), await service.admin("view_message")
    visitor.held = admin.held = False

    async def pong(connection: Connection) -> str | None:
        frame, *_ = await service.send(connection, "ping")
        return frame_of(frame, frames.Pong).cursor

    async def read(**fields: object) -> str:
        page = reply(await service.send(admin, "history", id="h", **fields), frames.HistoryPage)
        return page.cursor

    start = await read()
    assert await pong(admin) == start
    acks = [
        acked((await service.send(visitor, "sendMessage", id=f"message-{number}", content="hello"))[0])
        for number in range(3)
    ]
    assert [await pong(visitor), await pong(admin)] == [UNREAD, UNREAD]
    assert acks[2].cursor < UNREAD
    await read(before=f"{10**9:013x}.{0:011x}", limit=1)
    await read(conversation=visitor.conversation)
    assert await pong(admin) == UNREAD  # these pages do not show what is new in all conversations
    await read(since=start, limit=2)
    assert await pong(admin) == UNREAD
    await read(since=acks[1].cursor)
    assert await pong(admin) == acks[2].cursor
    await read(since=acks[0].cursor, limit=1)
    assert await pong(admin) == acks[2].cursor


async def test_a_row_names_the_version_that_its_connection_speaks(service: InProcessService) -> None:
    for version in (1, 2):
        visitor = await service.visitor(version)
        (row,) = await service.store.get_connections(conversation_group(visitor.conversation))
        assert (row.version, visitor.version) == (version, version)


class BrokenStore(MemoryStore):
    async def store_connection(self, connection: StoredConnection) -> None:
        raise StoreUnavailable("no answer")


async def test_only_who_is_found_by_its_row_has_to_have_one() -> None:
    async with in_process_service(BrokenStore()) as service:
        assert reply(await service.send(Connection("c0"), "identify", type="user", v=2), frames.Identified)
        elsewhere = Connection("c1", held=False)
        refused = await service.send(elsewhere, "identify", type="user", v=2, id="i")
    assert refusal(refused) == (ErrorCode.UNAVAILABLE, CloseCode.TRY_LATER)
    assert frame_of(refused[0], frames.Error).id == "i"


async def test_a_frame_that_could_not_be_handed_over_is_answered_under_its_id(service: InProcessService) -> None:
    error = StoreUnavailable("no answer")
    text = '{"action":"sendMessage","id":"message-1","content":"hello"}'
    frame = reply(service.unavailable(Connection("c1", held=False), text, error), frames.Error)
    assert (frame.code, frame.id, frame.retry_after_ms) == ("unavailable", "message-1", 1000)
    assert refusal(service.unavailable(Connection("c1"), "{", error)) == (ErrorCode.BAD_JSON,)


async def test_a_heartbeat_refreshes_the_row_of_a_connection_when_that_is_due(service: InProcessService) -> None:
    visitor = await service.visitor()
    await service.store.close()
    await service.send(visitor, "ping")
    assert await service.store.count(conversation_group(visitor.conversation)) == 0
    service.clock.advance(TOUCH_SECONDS + 1)
    visitor.held = False
    await service.send(visitor, "ping")
    assert await service.store.count(conversation_group(visitor.conversation)) == 0  # a gateway's row is not renewed
    visitor.held = True
    await service.send(visitor, "ping")
    assert await service.store.count(conversation_group(visitor.conversation)) == 1


async def test_disconnect_forgets_the_connection(service: InProcessService) -> None:
    admin = await service.admin("view_message")
    assert await service.store.count(ADMINS) == 1
    await service.disconnect(admin)
    await service.disconnect(Connection("never identified"))
    assert await service.store.count(ADMINS) == 0


async def test_five_bad_frames_close_and_good_ones_between_them_do_not_help(service: InProcessService) -> None:
    visitor = await service.visitor()
    for _ in range(4):
        assert refusal(await service.receive(visitor, "{")) == (ErrorCode.BAD_JSON,)
        await service.send(visitor, "ping")
    assert refusal(await service.receive(visitor, "{")) == (ErrorCode.BAD_JSON, CloseCode.BAD_FRAMES)


async def test_version_1_gets_version_1_frames_only(service: InProcessService) -> None:
    admin = await service.admin("view_message")
    visitor = Visitor("c1")
    joined, identified = await service.send(visitor, "identify", type="user")
    at = frame_of(identified, frames.Identified).timestamp
    assert (joined, identified) == (Join(), Reply(frames.Identified("user", at)))
    status, *publishes = await service.send(visitor, "sendMessage", data={"content": "hello"})
    assert status == Reply(frames.MessageStatus(1, frame_of(status, frames.MessageStatus).timestamp))
    versions = {action.group: action.min_version for action in publishes if isinstance(action, Publish)}
    assert (len(publishes), versions) == (2, {ADMINS: 1, conversation_group(visitor.conversation): 2})
    assert refusal(await service.send(visitor, "history", id="h")) == (ErrorCode.UNKNOWN_ACTION,)
    pong = reply(await service.send(visitor, "ping"), frames.Pong)
    assert pong == frames.Pong(pong.timestamp)
    assert admin.head == "0000000000000.00000000000"


async def test_version_1_may_send_the_default_quick_message_without_saying_who_it_is(service: InProcessService) -> None:
    visitor = Connection("c1")
    joined, status, *_ = await service.send(visitor, "sendMessage")
    assert (joined, visitor.role) == (Join(), "user")
    assert frame_of(status, frames.MessageStatus)
    row = await Message.objects.aget()
    assert (row.content, row.quick) == ("speak german", "speak-german")


async def test_version_1_may_set_its_type_by_its_other_frame(service: InProcessService) -> None:
    visitor = Connection("c1")
    joined, updated = await service.send(visitor, "setConnectionType", data={"connectionType": "user"})
    at = frame_of(updated, frames.ConnectionTypeUpdated).timestamp
    assert (joined, updated) == (Join(), Reply(frames.ConnectionTypeUpdated("user", at)))
    refused = await service.send(Connection("c2"), "setConnectionType", data={"connectionType": "admin"})
    assert refusal(refused) == (ErrorCode.UNAUTHORIZED, CloseCode.UNAUTHORIZED)


async def test_a_version_1_visitor_whose_first_message_is_refused_still_joins_its_group(
    service: InProcessService, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = await service.admin("view_message", "add_block", "delete_block")
    await service.send(manager, "pause", id="p", op="pause")
    waiting = Connection("c1")
    join, paused = await service.send(waiting, "sendMessage", data={"content": "hello"})
    assert (join, frame_of(paused, frames.Error).code) == (Join(), ErrorCode.PAUSED)
    assert refusal(await service.send(waiting, "sendMessage", data={"content": "hello"})) == (ErrorCode.PAUSED,)
    await service.send(manager, "pause", id="r", op="resume")
    monkeypatch.setattr(Journal, "append", AsyncMock(side_effect=StoreUnavailable("a failover")))
    unlucky = Connection("c2")
    join, failed = await service.send(unlucky, "sendMessage", data={"content": "hello"})
    assert (join, frame_of(failed, frames.Error).code) == (Join(), ErrorCode.UNAVAILABLE)
    for one in (waiting, unlucky):
        assert one.conversation
        assert one.groups == (conversation_group(one.conversation),)


async def test_missed_finds_what_nobody_announced_and_leaves_out_what_is_known(service: InProcessService) -> None:
    known, floor = await service.present()
    visitor = await service.visitor()
    first, *_ = await service.send(visitor, "sendMessage", id="message-1", content="announced")
    second, *_ = await service.send(visitor, "sendMessage", id="message-2", content="lost")
    publishes: list[Publish] = []
    while not publishes:
        publishes, _ = await service.missed({*known, Cursor.number(acked(first).cursor)}, floor, START)
    messages = [frame_of(publish, frames.Message) for publish in publishes]
    assert [(publish.group, publish.exclude) for publish in publishes] == [
        (ADMINS, ""),
        (conversation_group(visitor.conversation), ""),
    ]
    assert [(message.content, message.cursor) for message in messages] == [("lost", acked(second).cursor)] * 2


async def limited(service: InProcessService, connection: Connection, number: int, **fields: object) -> int:
    """Send message `number`; return the milliseconds after which it may be sent again, or 0 if it is accepted."""
    answer = (await service.send(connection, "sendMessage", id=f"message-{number}", content="hello", **fields))[0]
    if isinstance(answer, Reply) and isinstance(answer.frame, frames.Ack):
        return 0
    error = frame_of(answer, frames.Error)
    scope = "staff" if connection.role == "admin" else "visitor"
    assert (error.code, error.scope, error.id) == (ErrorCode.RATE_LIMITED, scope, f"message-{number}")
    assert error.retry_after_ms
    return error.retry_after_ms


async def test_a_visitor_who_writes_too_fast_is_told_when_the_same_message_may_come_again(
    service: InProcessService,
) -> None:
    visitor = await service.visitor()
    assert [await limited(service, visitor, number) for number in range(5)] == [0] * 5
    assert await limited(service, visitor, 5) == 60_000
    assert await Message.objects.acount() == 5


async def test_staff_have_a_limit_of_their_own(service: InProcessService) -> None:
    visitor, admin = await service.visitor(), await service.admin("view_message", "add_message")
    await service.send(visitor, "sendMessage", id="message-0", content="hello")
    to = visitor.conversation
    assert [await limited(service, admin, number, to=to) for number in range(1, 4)] == [0] * 3
    assert await limited(service, admin, 4, to=to) == 60_000


async def test_who_does_not_slow_down_is_closed(service: InProcessService) -> None:
    visitor = await service.visitor()
    for number in range(5):
        await service.send(visitor, "sendMessage", id=f"message-{number}", content="hello")
    answers = [await service.send(visitor, "sendMessage", id="message-x", content="hello") for _ in range(20)]
    assert [refusal(answer) for answer in answers[:19]] == [(ErrorCode.RATE_LIMITED,)] * 19
    assert refusal(answers[19]) == (ErrorCode.RATE_LIMITED, CloseCode.RATE_LIMITED)
