"""The read positions, claims, blocks and presence that staff and visitors see, the same in every mode."""

import asyncio
from functools import partial

from tests.support.connections import (
    COUNT,
    CURSOR,
    QUICK,
    TEXT,
    TIME,
    UUID,
    Connection,
    Frame,
    admin,
    connect,
    error,
    new_id,
    visitor,
)
from tests.support.deployments import Deployment
from tests.support.waiting import eventually

A_MINUTE_AHEAD = """
from datetime import timedelta
from django.utils import timezone
from messaging.models import Conversation
from messaging.service.actions import timestamp
ahead = timezone.now() + timedelta(minutes=1)
Conversation.objects.filter(pk="{}").update(changed_at=ahead)
print(timestamp(ahead))
"""
MANAGER = {"id": COUNT, "name": "manager"}
OPERATOR = {"id": COUNT, "name": "operator"}


def told(socket: Connection, status: str, op: str, **fields: object) -> Frame:
    return {
        "type": "conversation", "conversation": socket.conversation, "status": status, "op": op, "timestamp": TIME,
    } | fields  # fmt: skip


def done(*, duplicate: bool = False) -> Frame:
    return {"type": "ack", "id": "c", "timestamp": TIME, "duplicate": duplicate}


async def change(socket: Connection, conversation: str, op: str) -> Frame:
    """Send an op and return the answer."""
    return await socket.request("conversation", id="c", conversation=conversation, op=op)


async def change_told(
    operator: Connection,
    others: list[Connection],
    ada: Connection,
    op: str,
    *,
    status: str = "open",
    **expected: object,
) -> None:
    """Send an op; assert that all staff, including its sender, receive the same frame."""
    assert await change(operator, ada.conversation, op) == done()
    for socket in (operator, *others):
        assert await socket.receive() == told(ada, status, op, **expected)


async def test_changes_are_in_order_even_if_the_clock_of_the_database_was_set_back(deployment: Deployment) -> None:
    """A page ignores a change with an older time than it knows. Here the last one was a minute from now."""
    url = deployment.websocket_urls[0]
    async with visitor(url) as ada, admin(url, await deployment.admin_token("manager")) as manager:
        sent = await ada.say("hello")
        await manager.receive()
        ahead = await asyncio.to_thread(deployment.run, A_MINUTE_AHEAD.format(ada.conversation))
        times = [ahead.split()[-1]]
        for op in ("claim", "release", "block", "unblock", "close"):
            assert await change(manager, ada.conversation, op) == done()
            times.append((await manager.receive())["timestamp"])
        await ada.say("a message reopens it")
        frames = await manager.receive_many(2)
        times += [frame["timestamp"] for frame in frames if frame["type"] == "conversation"]
        await manager.request("read", id="c", conversation=ada.conversation, upTo=sent["messageId"])
        (state,) = await states(manager, conversation=ada.conversation)
        times.append(state["timestamp"])
        await ada.send("forget", id="f")
        await eventually(lambda: erasure(manager, times), "staff are told")
    assert (len(times), times) == (9, sorted(set(times)))


async def erasure(socket: Connection, times: list[str]) -> bool:
    frame = await socket.receive()
    if frame["type"] == "conversation" and frame["status"] == "erased":
        times.append(frame["timestamp"])
        return True
    return False


async def states(socket: Connection, **fields: object) -> list[Frame]:
    found: list[Frame] = (await socket.request("history", id="h", **fields))["conversations"]
    return found


async def test_the_visitor_sees_that_staff_have_read_and_staff_that_the_visitor_has(deployment: Deployment) -> None:
    here, there = deployment.websocket_urls[0], deployment.websocket_urls[-1]
    async with (
        visitor(here) as ada,
        admin(there, await deployment.admin_token()) as operator,
        admin(here, await deployment.admin_token("reader")) as reader,
    ):
        sent = await ada.say("hello")
        for socket in (operator, reader):
            await socket.receive()
        place = {key: sent[key] for key in ("messageId", "cursor")}
        read = {"type": "read", "conversation": ada.conversation, "upTo": sent["messageId"], "cursor": sent["cursor"]}
        up_to = {"upTo": sent["messageId"]}
        answer = await operator.request("read", id="c", conversation=ada.conversation, **up_to)
        assert answer == done() | place
        for socket in (ada, reader):
            assert await socket.receive() == read | {"by": "admin", "timestamp": TIME}
        assert await ada.request("read", id="c", **up_to) == done() | place
        for socket in (operator, reader):
            assert await socket.receive() == read | {"by": "user", "timestamp": TIME}
        answer = await reader.request("read", id="c", conversation=ada.conversation, **up_to)
        assert answer == done(duplicate=True) | place
        assert [await socket.until_pong() for socket in (ada, operator, reader)] == [[], [], []]
        assert await states(reader, conversation=ada.conversation) == [
            {"conversation": ada.conversation, "status": "open", "timestamp": TIME}
            | {"readByStaff": sent["cursor"], "readByVisitor": sent["cursor"]}
        ]
    async with connect(there) as again:
        assert (await again.identify(token=ada.token))["read"] == sent["cursor"]


async def test_a_claim_is_seen_by_all_staff_and_only_one_can_have_it(deployment: Deployment) -> None:
    here, there = deployment.websocket_urls[0], deployment.websocket_urls[-1]
    async with (
        visitor(here) as ada,
        admin(here, await deployment.admin_token()) as operator,
        admin(there, await deployment.admin_token("manager")) as manager,
    ):
        await ada.say("hello")
        for socket in (operator, manager):
            await socket.receive()
        await change_told(operator, [manager], ada, "claim", claimedBy=OPERATOR, by="operator")
        refused = error("already_claimed", id="c", by="operator")
        assert await change(manager, ada.conversation, "claim") == refused
        (state,) = await states(manager, conversation=ada.conversation)
        assert state == {"conversation": ada.conversation, "status": "open", "timestamp": TIME, "claimedBy": OPERATOR}
        await change_told(operator, [manager], ada, "release", by="operator")
        await change_told(manager, [operator], ada, "claim", claimedBy=MANAGER, by="manager")
        assert [await socket.until_pong() for socket in (ada, operator, manager)] == [[], [], []]


async def test_a_closed_conversation_is_opened_again_by_its_visitors_next_message(deployment: Deployment) -> None:
    here, there = deployment.websocket_urls[0], deployment.websocket_urls[-1]
    async with (
        visitor(here) as ada,
        admin(here, await deployment.admin_token()) as operator,
        admin(there, await deployment.admin_token("manager")) as manager,
    ):
        await ada.say("hello")
        for socket in (operator, manager):
            await socket.receive()
        await change_told(operator, [manager], ada, "close", status="closed", by="operator")
        assert await change(manager, ada.conversation, "close") == done(duplicate=True)
        await ada.say("one more thing")
        for socket in (operator, manager):
            frames = await socket.receive_many(2)
            by_type = {frame["type"]: frame for frame in frames}
            assert by_type["message"]["content"] == "one more thing"
            assert by_type["conversation"] == told(ada, "open", "reopen")
        assert await ada.until_pong() == []


async def test_a_blocked_visitor_is_told_and_may_write_again_when_staff_say(deployment: Deployment) -> None:
    here, there = deployment.websocket_urls[0], deployment.websocket_urls[-1]
    async with visitor(here) as ada, admin(there, await deployment.admin_token("manager")) as manager:
        await ada.say("hello")
        await manager.receive()
        await change_told(manager, [], ada, "block", blockedUntil=TIME, by="manager")
        (state,) = await states(manager, conversation=ada.conversation)
        assert state == {"conversation": ada.conversation, "status": "open", "timestamp": TIME, "blockedUntil": TIME}
        again = partial(answer, ada)  # blocks take effect within seconds
        refused = await eventually(again, "the visitor is refused", until=lambda told: told["type"] != "ack")
        assert refused == error("blocked", id=refused["id"])
        assert ada.writing == "blocked"
        async with visitor(here, ada.token) as again_here:  # and on the next page, before anything is written
            assert again_here.writing == "blocked"
        await manager.until_pong()
        await change_told(manager, [], ada, "unblock", by="manager")
        await eventually(ada.until_pong, "the visitor is told", until=lambda _: ada.writing == "open")
        await ada.say("hello again")


async def answer(socket: Connection) -> Frame:
    return await socket.request("sendMessage", content="hello", id=new_id())


async def test_a_visitor_who_asks_for_it_is_forgotten_everywhere(deployment: Deployment) -> None:
    here, there = deployment.websocket_urls[0], deployment.websocket_urls[-1]
    async with (
        visitor(here) as ada,
        visitor(there, ada.token) as other_page,
        admin(there, await deployment.admin_token()) as operator,
    ):
        await ada.say("forget this")
        for socket in (other_page, operator):
            await socket.receive()
        before = ada.conversation
        assert await ada.request("forget", id="c") == done()
        frame = await ada.receive()
        assert frame == {
            "type": "identified", "connectionType": "user", "timestamp": TIME, "v": 2, "token": TEXT,
            "message": "Connection identified successfully", "conversation": UUID, "cursor": CURSOR,
            "recovered": False, "quick": QUICK, "presence": {"admins": COUNT},
        }  # fmt: skip
        erased = {"type": "conversation", "conversation": before, "status": "erased", "op": "forget", "timestamp": TIME}
        assert await operator.receive() == erased
        assert await other_page.until_closed() == ([erased], COUNT if deployment.gateway else 4001)
        gone = {"conversation": before, "status": "erased", "timestamp": TIME}
        page = await operator.request("history", id="h", conversation=before)
        assert (page["messages"], page["conversations"]) == ([], [gone])
        # The same connection is now that of a new visitor, for sending and for receiving.
        ada.conversation = frame["conversation"]
        await ada.say("hello again")
        assert (await operator.receive())["conversation"] == ada.conversation != before
        await operator.say("hello", to=ada.conversation)
        assert (await ada.receive())["content"] == "hello"
    async with visitor(here, ada.token) as late:
        assert late.conversation not in (before, ada.conversation)
    async with visitor(here, frame["token"]) as back:
        assert back.conversation == ada.conversation


async def test_staff_are_told_who_is_there_and_a_visitor_that_somebody_is(deployment: Deployment) -> None:
    here, there = deployment.websocket_urls[0], deployment.websocket_urls[-1]
    async with visitor(here) as ada:
        await until_told(ada, {"admins": 0})
        async with admin(there, await deployment.admin_token()) as operator:
            await until_told(ada, {"admins": 1})
            await until_told(operator, {"admins": 1, "users": 1})
            async with visitor(here):
                await until_told(operator, {"admins": 1, "users": 2})
            await until_told(operator, {"admins": 1, "users": 1})
        await until_told(ada, {"admins": 0})


async def test_quick_messages_come_in_the_language_that_was_asked_for(deployment: Deployment) -> None:
    deployment.run("from messaging.models import QuickMessage as Q; Q.objects.update(label_de='Bitte Deutsch')")

    async def quick(lang: str) -> list[Frame]:
        # On a new connection each time: one connection may not identify as often as this looks.
        async with visitor(deployment.websocket_urls[0]) as ada:
            messages: list[Frame] = (await ada.identify(lang=lang))["quick"]
            return messages

    translated = [{**QUICK[0], "label": "Bitte Deutsch"}]
    await eventually(lambda: quick("de"), "the server reads the new label", until=lambda quick: quick == translated)
    assert (await quick("en"))[0]["label"] != "Bitte Deutsch"


async def until_told(socket: Connection, expected: Frame) -> None:
    """Return when `expected` is the last presence that `socket` received; behind a gateway a ping may bring it."""

    async def told() -> Frame:
        assert await socket.until_pong() == []
        return {name: socket.presence[name] for name in ("admins", "users") if name in socket.presence}

    await eventually(told, "it is told who is there", until=lambda told: told == expected)
