"""The state of conversations apart from their messages: read positions, claims, closing, erasure, presence."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import OperationalError
from django.utils import timezone

from messaging import tokens
from messaging.journal import reader
from messaging.journal.journal import BLOCK_SECONDS, QUICK_SECONDS, Journal
from messaging.models import AddressBlock, Block, Conversation, ErasedConversation, Message, QuickMessage
from messaging.protocol import frames
from messaging.protocol.codes import CloseCode, ErrorCode
from messaging.service import actions as service_actions
from messaging.service import presence
from messaging.service.actions import Action, Close, CloseGroup, Join, Publish, Reply
from messaging.service.contracts import ADMINS, START, USERS, AlreadyClaimed, Claim, Cursor, conversation_group
from messaging.service.conversation_state import CLAIM_SECONDS
from messaging.service.registry import TOUCH_SECONDS
from tests.support.in_process_service import (
    SPEAK_GERMAN,
    InProcessService,
    Sent,
    Visitor,
    acked,
    frame_of,
    refusal,
    replies,
    reply,
)

pytestmark = pytest.mark.django_db(transaction=True)

MANAGER = ("view_message", "change_conversation", "add_block", "delete_block")
FORBIDDEN = (ErrorCode.FORBIDDEN, CloseCode.FORBIDDEN)


async def say(service: InProcessService, visitor: Visitor, number: int = 1) -> Sent:
    """Send message `number` of `visitor` and return its ack."""
    return acked((await service.send(visitor, "sendMessage", id=f"message-{number}", content=f"hello {number}"))[0])


async def change(
    service: InProcessService, admin: service_actions.Connection, visitor: Visitor, op: str
) -> list[Action]:
    return await service.send(admin, "conversation", id="c", conversation=visitor.conversation, op=op)


def changed(actions: list[Action], writing: frames.Writing | None = None) -> frames.ConversationChanged:
    """Assert that `actions` are the ack of a change and a frame to all staff; return that frame.

    `writing`: what the visitor is told as well.
    """
    ack, publish, *to_visitor = actions
    frame = frame_of(publish, frames.ConversationChanged)
    assert ack == Reply(frames.Ack("c", None, None, frame.timestamp, duplicate=False))
    assert publish == Publish(ADMINS, frame, min_version=2)
    told = [
        (action.group, frame_of(action, frames.WritingChanged).state)
        for action in to_visitor
        if hasattr(action, "group")
    ]
    assert told == ([(conversation_group(frame.conversation), writing)] if writing else [])
    return frame


def unchanged(actions: list[Action]) -> bool:
    return len(actions) == 1 and reply(actions, frames.Ack).duplicate


async def states(
    service: InProcessService, admin: service_actions.Connection, **fields: object
) -> list[frames.ConversationSummary]:
    """Return the conversation states in all parts of a history answer."""
    parts = replies(await service.send(admin, "history", id="h", **fields), frames.HistoryPage)
    return [state for part in parts for state in part.conversations or ()]


# --- Read positions -------------------------------------------------------------------------------------------


async def test_what_staff_have_read_is_told_to_the_visitor_and_to_the_other_admins(service: InProcessService) -> None:
    visitor, admin = await service.visitor(), await service.admin("view_message")
    sent = await say(service, visitor)
    read = {"conversation": visitor.conversation, "upTo": sent.message_id}
    ack, *publishes = await service.send(admin, "read", id="r", **read)
    at = frame_of(ack, frames.Ack).timestamp
    told = frames.Read(visitor.conversation, "admin", sent.message_id, sent.cursor, at)
    assert ack == Reply(frames.Ack("r", sent.message_id, sent.cursor, at, duplicate=False))
    assert publishes == [
        Publish(ADMINS, told, min_version=2, exclude=admin.id),
        Publish(conversation_group(visitor.conversation), told, min_version=2),
    ]
    identified = reply(await service.send(visitor, "identify", type="user", v=2), frames.Identified)
    assert identified.read == sent.cursor


async def test_what_a_visitor_has_read_is_told_to_admins_alone(service: InProcessService) -> None:
    visitor = await service.visitor()
    sent = await say(service, visitor)
    (publish,) = await service.send(visitor, "read", upTo=sent.message_id)
    at = frame_of(publish, frames.Read).timestamp
    told = frames.Read(visitor.conversation, "user", sent.message_id, sent.cursor, at)
    assert publish == Publish(ADMINS, told, min_version=2, exclude=visitor.id)


async def test_a_position_moves_forward_only_and_the_same_frame_again_does_no_harm(service: InProcessService) -> None:
    visitor, admin = await service.visitor(), await service.admin("view_message")
    first, second = await say(service, visitor, 1), await say(service, visitor, 2)
    for message in (second, second, first):
        answer = await service.send(admin, "read", id="r", conversation=visitor.conversation, upTo=message.message_id)
        again = message != second or len(answer) == 1
        ack = frame_of(answer[0], frames.Ack)
        assert ack == frames.Ack("r", message.message_id, message.cursor, ack.timestamp, duplicate=again)
        assert len(answer) == (1 if again else 3)
    (state,) = await states(service, admin, conversation=visitor.conversation)
    assert (state.read_by_staff, state.read_by_visitor) == (second.cursor, None)


async def test_what_can_not_have_been_read_is_not_found(service: InProcessService) -> None:
    visitor, other, admin = await service.visitor(), await service.visitor(), await service.admin("view_message")
    sent = await say(service, visitor)
    for up_to in ("never", str(uuid4())):
        assert refusal(await service.send(visitor, "read", upTo=up_to)) == (ErrorCode.NOT_FOUND,)
    assert refusal(await service.send(other, "read", upTo=sent.message_id)) == (ErrorCode.NOT_FOUND,)
    elsewhere = {"conversation": other.conversation, "upTo": sent.message_id}
    assert refusal(await service.send(admin, "read", **elsewhere)) == (ErrorCode.NOT_FOUND,)
    assert refusal(await service.send(admin, "read", upTo=sent.message_id)) == (ErrorCode.BAD_FRAME,)


async def test_a_position_outlives_its_message(service: InProcessService) -> None:
    visitor, admin = await service.visitor(), await service.admin("view_message")
    first, second = await say(service, visitor, 1), await say(service, visitor, 2)
    await service.send(visitor, "read", upTo=first.message_id)
    await Message.objects.filter(id=first.message_id).adelete()
    (state,) = await states(service, admin, conversation=visitor.conversation)
    assert state.read_by_visitor is not None
    assert first.cursor[:13] == state.read_by_visitor[:13]
    assert state.read_by_visitor < second.cursor


# --- Claims ---------------------------------------------------------------------------------------------------


async def test_one_staff_member_claims_a_conversation_and_another_is_told_who(service: InProcessService) -> None:
    visitor, ada, bob = await service.visitor(), await service.admin(*MANAGER), await service.admin(*MANAGER)
    await say(service, visitor)
    me: dict[str, int | str] = {"id": ada.staff, "name": "Ada"}
    told = changed(await change(service, ada, visitor, "claim"))
    assert told == frames.ConversationChanged(visitor.conversation, "open", "claim", told.timestamp, me, by="Ada")
    assert unchanged(await change(service, ada, visitor, "claim"))
    for op in ("claim", "release", "close"):
        refused = reply(await change(service, bob, visitor, op), frames.Error)
        assert (refused.code, refused.by, refused.id) == (ErrorCode.ALREADY_CLAIMED, "Ada", "c")
    (state,) = await states(service, bob, conversation=visitor.conversation)
    assert state == frames.ConversationSummary(visitor.conversation, "open", told.timestamp, me)
    told = changed(await change(service, ada, visitor, "release"))
    assert told == frames.ConversationChanged(visitor.conversation, "open", "release", told.timestamp, by="Ada")
    assert unchanged(await change(service, bob, visitor, "release"))
    assert changed(await change(service, bob, visitor, "claim")).claimed_by == {"id": bob.staff, "name": "Ada"}


async def test_of_many_who_claim_at_once_one_has_it(service: InProcessService) -> None:
    visitor = await service.visitor()
    await say(service, visitor)
    staff = [(await service.admin("view_message")).staff for _ in range(8)]
    journals = [Journal() for _ in range(2)]
    tries = (
        journals[i % 2].change(visitor.conversation, "claim", id, timedelta(minutes=1)) for i, id in enumerate(staff)
    )
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    (won,) = [number for number, outcome in enumerate(outcomes) if not isinstance(outcome, AlreadyClaimed)]
    outcome = outcomes[won]
    assert not isinstance(outcome, BaseException), outcome
    (state,), has_changed = outcome
    assert (state.claim, has_changed) == (Claim(staff[won], "Ada"), True)
    for journal in journals:
        await journal.close()


async def left(visitor: Visitor) -> float:
    """Return the seconds until the claim on the conversation of `visitor` ends."""
    row = await Conversation.objects.aget(pk=visitor.conversation)
    assert row.claimed_until is not None
    return (row.claimed_until - timezone.now()).total_seconds()


async def test_a_claim_ends_two_minutes_after_the_last_connection_of_its_holder(service: InProcessService) -> None:
    visitor, ada = await service.visitor(), await service.admin(*MANAGER)
    other_page = service_actions.Connection("other")
    await service.send(other_page, "identify", type="admin", v=2, token=tokens.mint_admin(ada.session))
    await say(service, visitor)
    await change(service, ada, visitor, "claim")
    lease = CLAIM_SECONDS + TOUCH_SECONDS + 25
    assert lease - 30 < await left(visitor) <= lease
    await service.disconnect(ada)
    assert lease - 30 < await left(visitor) <= lease
    await service.disconnect(other_page)
    assert CLAIM_SECONDS - 30 < await left(visitor) <= CLAIM_SECONDS


async def test_a_sign_of_life_puts_the_end_of_a_claim_off(service: InProcessService) -> None:
    visitor, ada, reader = await service.visitor(), await service.admin(*MANAGER), await service.admin("view_message")
    await say(service, visitor)
    await change(service, ada, visitor, "claim")

    async def after(connection: service_actions.Connection, action: str, **fields: object) -> float:
        await Conversation.objects.aupdate(claimed_until=timezone.now() + timedelta(seconds=10))
        await service.send(connection, action, **fields)
        return await left(visitor)

    assert await after(ada, "ping") <= 10  # no renewal is due yet
    service.clock.advance(TOUCH_SECONDS + 1)
    assert await after(ada, "ping") > CLAIM_SECONDS
    assert await after(reader, "ping") <= 10
    again = {"type": "admin", "v": 2, "token": tokens.mint_admin(ada.session)}
    assert await after(ada, "identify", **again) > CLAIM_SECONDS
    ada.held = False  # a gateway's connection pings seldom, so each ping renews the claim
    assert await after(ada, "ping") > CLAIM_SECONDS


async def test_a_claim_that_has_ended_counts_no_more_and_is_told_once(service: InProcessService) -> None:
    visitor, ada, bob = await service.visitor(), await service.admin(*MANAGER), await service.admin(*MANAGER)
    await say(service, visitor)
    await change(service, ada, visitor, "claim")
    await Conversation.objects.aupdate(claimed_until=timezone.now())
    (state,) = await states(service, bob, conversation=visitor.conversation)
    assert state.claimed_by is None
    told = []
    service.clock.advance(TOUCH_SECONDS + 1)
    for admin in (bob, ada):
        told += [action for action in await service.send(admin, "ping") if isinstance(action, Publish)]
    (publish,) = told
    at = frame_of(publish, frames.ConversationChanged).timestamp
    released = frames.ConversationChanged(visitor.conversation, "open", "release", at)
    assert publish == Publish(ADMINS, released, min_version=2)
    assert changed(await change(service, bob, visitor, "claim")).claimed_by == {"id": bob.staff, "name": "Ada"}


async def test_a_staff_account_that_is_deleted_claims_nothing(service: InProcessService) -> None:
    visitor, ada, bob = await service.visitor(), await service.admin(*MANAGER), await service.admin(*MANAGER)
    await say(service, visitor)
    await change(service, ada, visitor, "claim")
    await User.objects.filter(pk=ada.staff).adelete()
    assert changed(await change(service, bob, visitor, "claim")).claimed_by == {"id": bob.staff, "name": "Ada"}


# --- Closing, blocking, rights --------------------------------------------------------------------------------


async def test_a_conversation_is_closed_and_a_new_message_of_its_visitor_opens_it_again(
    service: InProcessService,
) -> None:
    visitor, ada = await service.visitor(), await service.admin(*MANAGER, "add_message")
    sent = await say(service, visitor)
    await change(service, ada, visitor, "claim")
    told = changed(await change(service, ada, visitor, "close"))
    closed = frames.ConversationChanged(visitor.conversation, "closed", "close", told.timestamp, by="Ada")
    assert told == closed  # closing has ended the claim
    assert unchanged(await change(service, ada, visitor, "close"))
    await service.send(ada, "sendMessage", id="message-2", content="goodbye", to=visitor.conversation)
    assert (await say(service, visitor)).message_id == sent.message_id  # the same message again, not a new one
    (state,) = await states(service, ada, conversation=visitor.conversation)
    assert state.status == "closed"
    *_, publish = await service.send(visitor, "sendMessage", id="message-3", content="one more thing")
    at = frame_of(publish, frames.ConversationChanged).timestamp
    opened_again = frames.ConversationChanged(visitor.conversation, "open", "reopen", at)
    assert publish == Publish(ADMINS, opened_again, min_version=2)
    assert at > told.timestamp
    assert unchanged(await change(service, ada, visitor, "reopen"))
    await change(service, ada, visitor, "close")
    assert changed(await change(service, ada, visitor, "reopen")).status == "open"


async def test_a_block_keeps_a_visitor_from_writing_until_it_is_taken_back(service: InProcessService) -> None:
    visitor, ada = await service.visitor(), await service.admin(*MANAGER)
    await say(service, visitor)
    told = changed(await change(service, ada, visitor, "block"), "blocked")
    until = service_actions.timestamp((await Block.objects.aget()).until)
    assert told == frames.ConversationChanged(visitor.conversation, "open", "block", told.timestamp, None, until, "Ada")
    (state,) = await states(service, ada, conversation=visitor.conversation)
    assert state == frames.ConversationSummary(visitor.conversation, "open", told.timestamp, None, until)
    service.clock.advance(BLOCK_SECONDS + 1)
    blocked = await service.send(visitor, "sendMessage", id="message-2", content="hello")
    assert refusal(blocked) == (ErrorCode.BLOCKED,)
    told = changed(await change(service, ada, visitor, "unblock"), "open")
    assert told == frames.ConversationChanged(visitor.conversation, "open", "unblock", told.timestamp, by="Ada")
    assert unchanged(await change(service, ada, visitor, "unblock"))


async def test_a_freed_visitor_at_another_address_that_is_blocked_is_not_told_that_it_may_write(
    service: InProcessService,
) -> None:
    visitor, ada = await service.visitor(), await service.admin(*MANAGER)
    await say(service, visitor)
    changed(await change(service, ada, visitor, "block"), "blocked")
    visitor.addresses = frozenset({"a café"})
    elsewhere = await AddressBlock.objects.acreate(address="a café")
    ((_, told),) = await service.standings([visitor])
    assert reply(told, frames.WritingChanged).state == "blocked"
    changed(await change(service, ada, visitor, "unblock"))
    assert await service.standings([visitor]) == []
    await elsewhere.adelete()
    ((_, told),) = await service.standings([visitor])
    assert reply(told, frames.WritingChanged).state == "open"


async def test_who_may_do_what_is_told_and_kept(service: InProcessService) -> None:
    visitor, reader = await service.visitor(), await service.admin("view_message")
    await say(service, visitor)
    rights = {"change_conversation": ["claim", "release", "close", "reopen"]}
    rights |= {"add_block": ["block"], "delete_block": ["unblock"]}
    for right, ops in rights.items():
        able = await service.admin("view_message", right)
        for op in ops:
            assert refusal(await change(service, reader, visitor, op)) == FORBIDDEN
            assert refusal(await change(service, visitor, visitor, op)) == FORBIDDEN
            assert reply(await change(service, able, visitor, op), frames.Ack)
        token = tokens.mint_admin(able.session)
        identified = reply(await service.send(able, "identify", type="admin", v=2, token=token), frames.Identified)
        may = {"manage": "change_conversation", "block": "add_block", "unblock": "delete_block"}
        shown = {name: needed == right for name, needed in may.items()}
        assert identified.me == {"id": able.staff, "name": "Ada", "author": "Ada", "reply": False} | shown


async def test_what_there_is_not_can_not_be_changed(service: InProcessService) -> None:
    visitor, ada = await service.visitor(), await service.admin(*MANAGER)
    assert refusal(await change(service, ada, visitor, "claim")) == (ErrorCode.NOT_FOUND,)
    answer = await service.send(ada, "conversation", id="c", conversation="never", op="claim")
    assert refusal(answer) == (ErrorCode.NOT_FOUND,)


async def test_what_staff_change_is_in_djangos_own_log(service: InProcessService) -> None:
    visitor, ada = await service.visitor(), await service.admin(*MANAGER)
    await say(service, visitor)
    for op in ("claim", "claim", "close", "block"):
        await change(service, ada, visitor, op)
    entries = LogEntry.objects.order_by("pk").values_list("user_id", "object_id", "change_message")
    expected = [(ada.staff, visitor.conversation, op) for op in ("claim", "close", "block")]
    assert [entry async for entry in entries] == expected


# --- History --------------------------------------------------------------------------------------------------


async def test_an_admins_history_tells_the_state_of_the_conversations_in_it_and_a_visitors_none(
    service: InProcessService,
) -> None:
    ada, bob, admin = await service.visitor(), await service.visitor(), await service.admin(*MANAGER)
    await say(service, ada)
    await say(service, bob)
    told = changed(await change(service, admin, bob, "close"))
    both = {
        frames.ConversationSummary(ada.conversation, "open"),
        frames.ConversationSummary(bob.conversation, "closed", told.timestamp),
    }
    assert set(await states(service, admin)) == both
    assert await states(service, admin, limit=1) == [
        frames.ConversationSummary(bob.conversation, "closed", told.timestamp)
    ]
    assert await states(service, admin, conversation=ada.conversation) == [
        frames.ConversationSummary(ada.conversation, "open")
    ]
    page = reply(await service.send(ada, "history", id="h"), frames.HistoryPage)
    assert page.conversations is None


async def test_who_was_away_is_told_what_has_changed_though_nobody_wrote(service: InProcessService) -> None:
    visitor, admin = await service.visitor(), await service.admin(*MANAGER)
    sent = await say(service, visitor)
    long_ago = Cursor.parse(sent.cursor)
    assert long_ago is not None
    later = str(Cursor(long_ago.seq, long_ago.ms + 60_000))
    assert await states(service, admin, since=later) == []
    await Conversation.objects.aupdate(changed_at=timezone.now() + timedelta(minutes=2), closed_at=timezone.now())
    (closed,) = await states(service, admin, since=later)
    assert (closed.conversation, closed.status) == (visitor.conversation, "closed")
    assert await states(service, admin, before=later) == []


# --- Erasure at the visitor's request -------------------------------------------------------------------------


async def test_a_visitor_who_asks_to_be_forgotten_is_somebody_new_and_everybody_is_told(
    service: InProcessService,
) -> None:
    visitor, other_page, admin = await service.visitor(), await service.visitor(), await service.admin(*MANAGER)
    before, token = visitor.conversation, tokens.mint_visitor(visitor.conversation)
    await say(service, visitor)
    await service.send(visitor, "read", upTo=(await Message.objects.aget()).id.hex)
    await Block.objects.acreate(conversation_id=before)
    joined, ack, answer, *told = await service.send(visitor, "forget", id="f")
    at = frame_of(ack, frames.Ack).timestamp
    assert (joined, ack) == (Join(), Reply(frames.Ack("f", None, None, at, duplicate=False)))
    identified = frame_of(answer, frames.Identified)
    assert identified.token is not None
    assert identified == frames.Identified(
        "user",
        identified.timestamp,
        v=2,
        token=identified.token,
        conversation=visitor.conversation,
        cursor=str(START),
        recovered=False,
        quick=(SPEAK_GERMAN,),
        presence={"admins": 1},
        writing="blocked",
    )
    assert tokens.read_visitor(identified.token) == visitor.conversation != before
    erased = frames.ConversationChanged(
        before, "erased", "forget", frame_of(told[0], frames.ConversationChanged).timestamp
    )
    assert told == [
        Publish(ADMINS, erased, min_version=2),
        Publish(conversation_group(before), erased, min_version=2, exclude=visitor.id),
        CloseGroup(conversation_group(before), CloseCode.RESTART, exclude=visitor.id),
    ]
    kept = [await model.objects.acount() for model in (Conversation, Message, Block, ErasedConversation)]
    assert kept == [1, 0, 1, 1]  # the block, for the new visitor
    assert [await service.store.count(conversation_group(id)) for id in (before, visitor.conversation)] == [0, 1]
    # The old token is no longer valid, and staff who missed the erasure receive it with the history.
    late = service_actions.Connection("late")
    await service.send(late, "identify", type="user", v=2, token=token)
    assert late.conversation not in (None, before, other_page.conversation)
    gone = frames.ConversationSummary(before, "erased", erased.timestamp)
    assert await states(service, admin, conversation=before) == [gone]
    assert await states(service, admin, since=str(START)) == [gone]


async def test_a_visitor_who_is_erased_but_can_not_go_on_is_told_so_and_has_to_come_back(
    service: InProcessService, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = await service.visitor()
    before = visitor.conversation
    await say(service, visitor)

    def fails(ids: set[str]) -> None:
        raise OperationalError

    monkeypatch.setattr(reader, "heads", fails)
    ack, *told, last = await service.send(visitor, "forget", id="f")
    at = frame_of(ack, frames.Ack).timestamp
    assert ack == Reply(frames.Ack("f", None, None, at, duplicate=False))
    assert last == Close(CloseCode.RESTART)
    groups = [action.group for action in told if isinstance(action, Publish | CloseGroup)]
    assert (len(told), groups) == (3, [ADMINS, conversation_group(before), conversation_group(before)])
    assert await Message.objects.acount() == 0


async def test_what_another_tab_still_sends_does_not_bring_back_what_was_erased(service: InProcessService) -> None:
    visitor, other_tab = await service.visitor(), await service.visitor()
    other_tab.conversation = visitor.conversation
    await say(service, visitor)
    await service.send(visitor, "forget", id="f")
    (refused,) = await service.send(other_tab, "sendMessage", id="message-2", content="too late")
    error = frame_of(refused, frames.Error)
    assert (error.code, error.id, error.retry_after_ms) == (ErrorCode.UNAVAILABLE, "message-2", 1000)
    assert [await model.objects.acount() for model in (Conversation, Message)] == [0, 0]


async def test_who_has_written_nothing_is_forgotten_without_a_word(service: InProcessService) -> None:
    visitor, admin = await service.visitor(), await service.admin(*MANAGER)
    before = visitor.conversation
    _, _, _, *told = await service.send(visitor, "forget", id="f")
    assert told == [CloseGroup(conversation_group(before), CloseCode.RESTART, exclude=visitor.id)]
    assert await ErasedConversation.objects.acount() == 0
    assert refusal(await service.send(admin, "forget", id="f")) == FORBIDDEN


async def test_what_was_erased_is_remembered_for_as_long_as_a_token_is_good(service: InProcessService) -> None:
    visitors = [await service.visitor() for _ in range(2)]
    for visitor in visitors:
        await say(service, visitor)
    await service.send(visitors[0], "forget", id="f")
    await ErasedConversation.objects.aupdate(erased_at=timezone.now() - timedelta(days=32))
    erased = visitors[1].conversation
    await service.send(visitors[1], "forget", id="f")
    assert [str(row.id) async for row in ErasedConversation.objects.all()] == [erased]


# --- Presence -------------------------------------------------------------------------------------------------


async def test_an_admin_is_told_every_change_and_a_visitor_whether_anybody_is_there(service: InProcessService) -> None:
    visitor, ada = await service.visitor(), await service.admin("view_message")
    old_page = await service.visitor(version=1)
    everybody = [visitor, ada, old_page]

    async def news() -> list[tuple[str, int, int | None]]:
        told = service.presence(everybody, await service.counts("admin") or {})
        shown = [(connection.id, reply(actions, frames.Presence)) for connection, actions in told]
        assert all(len(actions) == 1 for _, actions in told)
        return [(id, frame.admins, frame.users) for id, frame in shown]

    assert await news() == [(visitor.id, 1, None), (ada.id, 1, 2)]
    assert await news() == []
    bob = await service.admin("view_message")
    assert await news() == [(ada.id, 2, 2)]
    await service.disconnect(bob)
    await service.disconnect(ada)
    everybody.remove(ada)
    assert await news() == [(visitor.id, 0, None)]
    assert service.presence([old_page], {"admins": 1}) == []


async def test_admins_at_a_gateway_are_told_when_somebody_comes_or_goes_and_the_rest_by_pong(
    service: InProcessService,
) -> None:
    admin = await service.admin("view_message")
    admin.held = False
    visitors = [service_actions.Connection(f"visitor-{number}", held=False) for number in range(2)]
    _, identified, publish = await service.send(visitors[0], "identify", type="user", v=2)
    assert frame_of(identified, frames.Identified).presence == {"admins": 1}
    shown = frames.Presence(1, frame_of(publish, frames.Presence).timestamp, 1)
    assert publish == Publish(ADMINS, shown, min_version=2, exclude="visitor-0")
    assert len(await service.send(visitors[1], "identify", type="user", v=2)) == 2  # too soon for another one
    assert await service.store.count(USERS) == 2
    pong, answer = await service.send(admin, "ping")
    assert frame_of(pong, frames.Pong)
    assert answer == Reply(frames.Presence(1, frame_of(answer, frames.Presence).timestamp, 2))
    assert len(await service.send(admin, "ping")) == 1
    service.clock.advance(presence.RATE.seconds)
    (publish,) = await service.disconnect(visitors[0])
    shown = frame_of(publish, frames.Presence)
    assert (shown.admins, shown.users) == (1, 1)
    await service.disconnect(admin)
    assert await service.disconnect(visitors[1]) == []  # no staff are connected to be notified
    visitor = await service.visitor()
    visitor.held, visitor.presence = False, {"admins": 1}
    assert frame_of((await service.send(visitor, "ping"))[1], frames.Presence).admins == 0


# --- The rest -------------------------------------------------------------------------------------------------


async def test_quick_messages_and_replies_speak_the_language_that_was_asked_for(service: InProcessService) -> None:
    german = {"label_de": "Bitte Deutsch", "content_de": "bitte deutsch sprechen"}
    await QuickMessage.objects.acreate(key="hello", label="Hello", content="hello", position=1, **german)
    await QuickMessage.objects.acreate(key="wait", kind="reply", label="Wait", content="please wait")
    service.clock.advance(QUICK_SECONDS + 1)
    hello = {"key": "hello", "label": "Hello", "content": "hello"}
    hallo = {"key": "hello", "label": "Bitte Deutsch", "content": "bitte deutsch sprechen"}
    wait = {"key": "wait", "label": "Wait", "content": "please wait"}
    for lang, expected in (("de", hallo), ("en", hello), ("fr", hello), (None, hello)):
        visitor, admin = await service.visitor(), await service.admin("view_message")
        identified = reply(await service.send(visitor, "identify", type="user", v=2, lang=lang), frames.Identified)
        assert (identified.quick, identified.replies) == ((SPEAK_GERMAN, expected), None)
        token = tokens.mint_admin(admin.session)
        identified = reply(
            await service.send(admin, "identify", type="admin", v=2, token=token, lang=lang), frames.Identified
        )
        assert (identified.quick, identified.replies) == ((SPEAK_GERMAN, expected), (wait,))


async def test_version_1_can_ask_for_none_of_it(service: InProcessService) -> None:
    visitor, admin = await service.visitor(version=1), await service.admin(*MANAGER, version=1)
    read = {"upTo": str(uuid4()), "conversation": str(uuid4())}
    for connection, action, fields in (
        (visitor, "read", read),
        (visitor, "forget", {"id": "f"}),
        (admin, "read", read),
        (admin, "conversation", {"id": "c", "conversation": str(uuid4()), "op": "claim"}),
    ):
        assert refusal(await service.send(connection, action, **fields)) == (ErrorCode.UNKNOWN_ACTION,)
