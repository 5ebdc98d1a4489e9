"""The protocol as one person meets it: identity, history, resuming, retrying; the same in every mode."""

from tests.support.connections import (
    COUNT,
    CURSOR,
    QUICK,
    TEXT,
    TIME,
    UUID,
    UUID7,
    Connection,
    Frame,
    ack,
    admin,
    connect,
    error,
    message,
    new_id,
    visitor,
)
from tests.support.deployments import Deployment


def identified(**fields: object) -> Frame:
    return {
        "type": "identified", "timestamp": TIME, "message": "Connection identified successfully", "v": 2,
        "cursor": CURSOR, "recovered": False, "quick": QUICK,
    } | fields  # fmt: skip


def own(content: str, socket: Connection, **fields: object) -> Frame:
    """Return a visitor's message as it appears in that visitor's history."""
    return {
        "type": "message", "messageId": UUID7, "content": content, "timestamp": TIME, "from": "user",
        "cursor": CURSOR, "conversation": socket.conversation, "id": TEXT,
    } | fields  # fmt: skip


async def say_all(socket: Connection, contents: list[str]) -> list[Frame]:
    """Send `contents` and return them as the visitor's history shows them."""
    acks = [await socket.say(content) for content in contents]
    shared = ("id", "messageId", "cursor", "timestamp")
    return [
        own(content, socket, **{key: answer[key] for key in shared})
        for content, answer in zip(contents, acks, strict=True)
    ]


async def test_a_visitor_gets_a_token_and_a_conversation(deployment: Deployment) -> None:
    async with connect(deployment.websocket_urls[0]) as socket:
        frame = await socket.identify(id="i-1")
        fields = {"id": "i-1", "token": TEXT, "conversation": UUID, "presence": {"admins": COUNT}}
        assert frame == identified(connectionType="user", **fields)


async def test_a_token_makes_the_same_visitor_at_any_server(deployment: Deployment) -> None:
    async with visitor(deployment.websocket_urls[0]) as socket:
        sent = await say_all(socket, ["here"])
    async with visitor(deployment.websocket_urls[-1], socket.token) as again:
        assert again.conversation == socket.conversation
        assert (await again.request("history", id="h"))["messages"] == sent


async def test_an_admin_is_told_its_name_and_rights(deployment: Deployment) -> None:
    everything, nothing = (dict.fromkeys(("manage", "block", "unblock"), may) for may in (True, False))
    rights = (
        ("operator", {"reply": True} | everything),
        ("colleague", {"reply": True} | nothing),
        ("reader", {"reply": False} | nothing),
    )
    for name, may in rights:
        async with connect(deployment.websocket_urls[0]) as socket:
            frame = await socket.identify("admin", token=await deployment.admin_token(name))
            presence = {"admins": COUNT, "users": COUNT}
            me = {"id": COUNT, "name": name, "author": ""} | may
            assert frame == identified(connectionType="admin", presence=presence, me=me, replies=[])


async def test_a_message_is_acked_and_reaches_the_visitors_other_pages(deployment: Deployment) -> None:
    async with (
        visitor(deployment.websocket_urls[0]) as page,
        visitor(deployment.websocket_urls[-1], page.token) as other_page,
    ):
        answer = await page.say("speak german", quick="speak-german", id="message-1")
        shared = {key: answer[key] for key in ("id", "messageId", "cursor", "timestamp")}
        assert await other_page.receive() == message(
            "speak german", page.conversation, quick="speak-german", connectionId=page.id, **shared
        )
        assert await page.until_pong() == []


async def test_content_is_cleaned(deployment: Deployment) -> None:
    async with visitor(deployment.websocket_urls[0]) as socket:
        await socket.say("  Gru\u0308\u00df Gott\x00\x07\r\n👋 \n")
        page = await socket.request("history", id="h")
        assert page["messages"] == [own("Gr\u00fc\u00df Gott\n👋", socket)]


async def test_history_is_paged_from_both_ends(deployment: Deployment) -> None:
    async with visitor(deployment.websocket_urls[0]) as socket:
        sent = await say_all(socket, [f"message {number}" for number in range(7)])

        def page(messages: list[Frame], *, more: bool) -> Frame:
            return {"type": "history", "id": "h", "messages": messages, "cursor": CURSOR, "more": more}

        assert await socket.request("history", id="h") == page(sent, more=False)
        assert await socket.request("history", id="h", limit=3) == page(sent[4:], more=True)
        before = sent[4]["cursor"]
        assert await socket.request("history", id="h", limit=3, before=before) == page(sent[1:4], more=True)
        before = sent[1]["cursor"]
        assert await socket.request("history", id="h", limit=3, before=before) == page(sent[:1], more=False)


async def test_a_long_history_comes_in_frames_under_28_kib(deployment: Deployment) -> None:
    async with visitor(deployment.websocket_urls[0]) as socket:
        sent = await say_all(socket, [f"{number:03}" + "ä" * 1_997 for number in range(20)])
        await socket.send("history", id="h", limit=100)
        parts = [await socket.receive()]
        while parts[-1].get("partial"):
            parts.append(await socket.receive())
        assert [frame for part in parts for frame in part["messages"]] == sent
        assert [part["more"] for part in parts] == [True] * (len(parts) - 1) + [False]
        assert len(parts) == 4  # 20 messages of 4 kB, 6 in a frame


async def test_a_client_that_comes_back_gets_what_it_missed(deployment: Deployment) -> None:
    async with visitor(deployment.websocket_urls[0]) as socket:
        (first,) = await say_all(socket, ["before"])
    async with visitor(deployment.websocket_urls[0], socket.token) as other_page:
        missed = await say_all(other_page, ["while it was away", "and again"])
    async with connect(deployment.websocket_urls[-1]) as again:
        frame = await again.identify(token=socket.token, since=first["cursor"])
        assert (frame["recovered"], frame["cursor"]) == (True, missed[-1]["cursor"])
        page = await again.request("history", id="h", since=first["cursor"])
        # The overlap repeats messages that the client may have; the client drops the ids that it knows.
        assert page["messages"] == [first, *missed]
        assert page["more"] is False


async def test_an_unknown_cursor_is_not_recovered(deployment: Deployment) -> None:
    async with connect(deployment.websocket_urls[0]) as socket:
        assert (await socket.identify(since="never-a-cursor"))["recovered"] is False
        bad = error("bad_frame", id="h")
        assert await socket.request("history", id="h", since="never-a-cursor") == bad


async def test_an_admins_history_covers_all_conversations_or_one(deployment: Deployment) -> None:
    url = deployment.websocket_urls[0]
    async with visitor(url) as ada, visitor(url) as bob, admin(url, await deployment.admin_token()) as operator:
        (of_ada,), (of_bob,) = await say_all(ada, ["from Ada"]), await say_all(bob, ["from Bob"])
        await operator.receive_many(2)
        shown = [{key: value for key, value in frame.items() if key != "id"} for frame in (of_ada, of_bob)]
        assert (await operator.request("history", id="h", limit=2))["messages"] == shown
        page = await operator.request("history", id="h", conversation=ada.conversation)
        assert page["messages"] == shown[:1]


async def test_a_message_sent_again_is_acked_again_and_stored_once(deployment: Deployment) -> None:
    first_server, last_server = deployment.websocket_urls[0], deployment.websocket_urls[-1]
    id = new_id()
    async with visitor(first_server) as socket:
        answer = await socket.say("once", id=id)
    async with visitor(last_server, socket.token) as again:
        assert await again.request("sendMessage", content="once", id=id) == answer | {"duplicate": True}
        assert (await again.request("history", id="h"))["messages"] == [own("once", socket, id=id)]


async def test_the_same_id_for_another_message_is_a_conflict(deployment: Deployment) -> None:
    async with visitor(deployment.websocket_urls[0]) as socket:
        await socket.say("this", id="the-same-id")
        answer = await socket.request("sendMessage", content="that", id="the-same-id")
        assert answer == error("id_conflict", id="the-same-id")
        assert (await socket.request("history", id="h"))["messages"] == [own("this", socket)]


async def test_the_same_id_of_another_visitor_is_another_message(deployment: Deployment) -> None:
    url = deployment.websocket_urls[0]
    async with visitor(url) as ada, visitor(url) as bob:
        await ada.say("from Ada", id="the-same-id")
        assert await bob.request("sendMessage", content="from Bob", id="the-same-id") == ack("the-same-id")


async def test_who_has_read_the_history_gets_the_newest_cursor_with_a_pong(deployment: Deployment) -> None:
    async with visitor(deployment.websocket_urls[0]) as socket:
        answer = await socket.say("hello")
        await socket.request("history", id="h")
        pong = {"type": "pong", "action": "pong", "timestamp": TIME, "id": "p-1", "cursor": answer["cursor"]}
        assert await socket.request("ping", id="p-1") == pong
