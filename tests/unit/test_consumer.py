"""The consumer at /ws as an ASGI application, driven by Channels' own communicator over the in-memory layer."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Permission, User
from django.db import connections
from pytest_django import Settings

from messaging import tokens
from messaging.backends.base import Rate
from messaging.journal import journal
from messaging.models import Block, Conversation
from messaging.runtime import runtime
from messaging.service.actions import Action, Connection
from messaging.service.contracts import ADMINS, conversation_group
from messaging.service.throttle import WEIGHTS
from messaging.transports import admission
from messaging.transports.channels import sockets
from messaging.transports.channels.consumer import MessagingConsumer
from tests.support.bad_frames import BY_NAME, SENSELESS, BadFrame
from tests.support.connections import (
    COUNT,
    CURSOR,
    TEXT,
    TIME,
    WELCOME,
    Frame,
    ack,
    error,
    message,
    new_id,
    validate,
)
from tests.support.logins import admin_token
from tests.support.services import PATIENCE_SECONDS
from tests.support.waiting import SOON

pytestmark = pytest.mark.django_db(transaction=True)

PONG: Frame = {"type": "pong", "timestamp": TIME, "action": "pong", "cursor": CURSOR}
SHUTDOWN: Frame = {"type": "serverShutdown", "timestamp": TIME, "message": TEXT, "reconnectAfterMs": COUNT}
LOGGER = "messaging.transports.channels.consumer"
FULL = error("unavailable", scope="server", retryAfterMs=1000)
HOST = b"testserver"  # one of ALLOWED_HOSTS in Django's tests


class Page(WebsocketCommunicator):
    """One WebSocket of a browser."""

    def __init__(
        self,
        *,
        origin: str | None = None,
        host: bytes = HOST,
        with_pass: str = "",
        extensions: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        headers = [(b"host", host), *([(b"origin", origin.encode())] if origin else [])]
        path = f"/ws?{urlencode({'pass': with_pass})}" if with_pass else "/ws"
        super().__init__(MessagingConsumer.as_asgi(**options), path, headers)
        self.scope |= {"client": ("192.0.2.1", 50_000), "extensions": {name: {} for name in extensions}}
        self.id = self.conversation = self.token = ""

    async def event(self) -> dict[str, Any]:
        """Return the next ASGI event of the application."""
        event: dict[str, Any] = await self.receive_output(SOON)
        return event

    async def opened(self) -> "Page":
        assert await self.connect(SOON) == (True, None)
        greeting = await self.frame()
        assert greeting == WELCOME
        self.id = greeting["connectionId"]
        return self

    async def refused(self) -> "Page":
        """Return when the application has refused and closed the page, which does not disconnect."""
        assert await self.connect(SOON) == (True, None)
        while (await self.event())["type"] != "websocket.close":
            pass
        return self

    async def frame(self) -> Frame:
        """Return the next frame other than a presence frame, which may arrive at any time."""
        while True:
            frame: Frame = json.loads(await self.receive_from(SOON))
            validate(frame)
            if frame["type"] != "presence":
                return frame

    async def request(self, action: str, **fields: Any) -> Frame:
        await self.send_json_to({"action": action, **fields})
        return await self.frame()

    async def identify(self, type: str = "user", **fields: Any) -> "Page":
        frame = await self.request("identify", v=2, type=type, **fields)
        assert (frame["type"], frame["connectionType"]) == ("identified", type)
        self.conversation, self.token = frame.get("conversation", ""), frame.get("token", "")
        return self

    async def say(self, content: str, **fields: Any) -> None:
        id = new_id()
        assert await self.request("sendMessage", id=id, content=content, **fields) == ack(id)

    async def until_closed(self) -> tuple[list[Frame], int]:
        """Return the remaining frames and the code with which the application closes, then disconnect."""
        frames = []
        while (event := await self.event())["type"] != "websocket.close":
            frames.append(json.loads(event["text"]))
        await self.disconnect(event["code"], SOON)
        return [frame for frame in frames if frame["type"] != "presence"], event["code"]


@pytest.fixture(autouse=True)
async def process(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Give each test new parts of a process, and close them after it."""
    monkeypatch.setattr(journal, "ANSWER_SECONDS", PATIENCE_SECONDS)
    yield
    await runtime.close()
    await sync_to_async(connections.close_all)()


@pytest.fixture
async def admin() -> Page:
    user = await sync_to_async(staff)()
    return await (await Page().opened()).identify("admin", token=await sync_to_async(admin_token)(user))


@pytest.fixture
async def visitor() -> Page:
    return await (await Page().opened()).identify()


class Held:
    """A record of the frames that the service begins to serve; none is finished before `go_on` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.order: list[str] = []
        self._receive = runtime.service.receive
        monkeypatch.setattr(runtime.service, "receive", self._held)

    async def _held(self, connection: Connection, frame: str | bytes) -> list[Action]:
        self.order.append("begun")
        self.begun.set()
        await self.go_on.wait()
        actions = await self._receive(connection, frame)
        self.order.append("ended")
        return actions


async def many_turns() -> None:
    """Run the event loop for 100 turns, in which a wrong order would show."""
    for _ in range(100):
        await asyncio.sleep(0)


def staff() -> User:
    user = User.objects.create_user(f"ada-{uuid4().hex}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_message", "add_message"]))
    return user


# --- The handshake ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example.org", HOST),
        ("http://testserver:81", HOST),
        ("null", HOST),
        (None, b"evil.example.org"),
    ],
)
async def test_a_page_of_another_site_is_refused_before_it_is_open(origin: str | None, host: bytes) -> None:
    page = Page(origin=origin, host=host)
    await page.send_input({"type": "websocket.connect"})
    assert await page.event() == {"type": "websocket.close"}
    await page.wait(SOON)
    assert len(runtime.sockets) == 0


@pytest.mark.parametrize("origin", ["http://testserver", "https://TESTSERVER", "https://pages.example.org", None])
async def test_a_page_of_this_site_is_welcomed(origin: str | None, settings: Settings) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://pages.example.org"]
    page = await Page(origin=origin).opened()
    assert len(runtime.sockets) == 1
    await page.disconnect(timeout=SOON)
    assert len(runtime.sockets) == 0


async def test_a_server_that_is_full_tells_its_client_to_come_back(visitor: Page, settings: Settings) -> None:
    runtime.sockets.limit = 1
    page = Page()
    assert await page.connect(SOON) == (True, None)
    assert await page.until_closed() == ([FULL], 4013)
    assert await visitor.request("ping", id="p") == {**PONG, "id": "p"}


async def test_an_address_with_too_many_sockets_is_told_to_come_back(settings: Settings) -> None:
    settings.SOCKETS_PER_ADDRESS = 1
    first, second = await Page().opened(), Page()
    assert await second.connect(SOON) == (True, None)
    assert await second.until_closed() == ([error("rate_limited", scope="connections", retryAfterMs=1000)], 4029)
    await first.disconnect(timeout=SOON)
    await (await Page().opened()).disconnect(timeout=SOON)


async def test_staff_with_a_pass_have_a_place_when_visitors_have_taken_all_others(settings: Settings) -> None:
    settings.SOCKETS_PER_ADDRESS = 1
    visitor = await (await Page().opened()).identify()
    runtime.sockets.limit = 1
    staff = [await Page(with_pass=tokens.mint_pass()).opened() for _ in range(3)]
    runtime.sockets.limit = 10
    page = Page()
    assert await page.connect(SOON) == (True, None)
    assert await page.until_closed() == ([error("rate_limited", scope="connections", retryAfterMs=1000)], 4029)
    for one in (visitor, *staff):
        await one.disconnect(timeout=SOON)
    assert len(runtime.sockets) == 0


async def test_refused_visitors_who_do_not_leave_take_no_place_of_staff(
    visitor: Page, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "STAFF_RESERVE", 2)
    runtime.sockets.limit = 1
    lingering = [await Page().refused() for _ in range(3)]
    staff = [await Page(with_pass=tokens.mint_pass()).opened() for _ in range(2)]
    assert len(runtime.sockets) == 3
    third = Page(with_pass=tokens.mint_pass())
    assert await third.connect(SOON) == (True, None)
    assert await third.until_closed() == ([FULL], 4013)
    for one in (visitor, *lingering, *staff):
        await one.disconnect(timeout=SOON)
    assert len(runtime.sockets) == 0


async def test_a_refused_visitor_who_does_not_leave_takes_no_place_of_its_address(settings: Settings) -> None:
    settings.SOCKETS_PER_ADDRESS = 1
    first = await Page().opened()
    lingering = await Page().refused()
    await first.disconnect(timeout=SOON)
    second = await Page().opened()
    await lingering.disconnect(timeout=SOON)
    third = Page()
    assert await third.connect(SOON) == (True, None)
    assert await third.until_closed() == ([error("rate_limited", scope="connections", retryAfterMs=1000)], 4029)
    await second.disconnect(timeout=SOON)


async def test_a_handshake_that_a_full_server_refuses_costs_its_address_as_much_as_any(settings: Settings) -> None:
    settings.MESSAGING_RATES = replace(settings.MESSAGING_RATES, address=Rate(burst=100, seconds=60))
    runtime.sockets.limit = 0
    answers = []
    for _ in range(100 // WEIGHTS["handshake"] + 1):
        page = Page()
        assert await page.connect(SOON) == (True, None)
        answers.append(await page.until_closed())
    too_much = error("rate_limited", scope="address", retryAfterMs=COUNT)
    assert answers == [([FULL], 4013)] * (100 // WEIGHTS["handshake"]) + [([too_much], 4029)]


async def test_a_pass_that_is_none_is_ignored(settings: Settings) -> None:
    settings.SOCKETS_PER_ADDRESS = 1
    for none in ("", "no pass", tokens.mint_admin("digest"), tokens.mint_visitor(str(uuid4()))):
        await without_place(none)


async def without_place(forged: str) -> None:
    first = await Page(with_pass=forged).opened()
    second = Page(with_pass=forged)
    assert await second.connect(SOON) == (True, None)
    assert await second.until_closed() == ([error("rate_limited", scope="connections", retryAfterMs=1000)], 4029)
    await first.disconnect(timeout=SOON)


async def test_staff_without_a_pass_count_as_visitors_only_until_they_have_identified_themselves(
    settings: Settings,
) -> None:
    settings.SOCKETS_PER_ADDRESS = 1
    user = await sync_to_async(staff)()
    admin = await (await Page().opened()).identify("admin", token=await sync_to_async(admin_token)(user))
    visitor = await Page().opened()
    for one in (admin, visitor):
        await one.disconnect(timeout=SOON)


async def test_most_refused_handshakes_of_a_flood_get_only_a_status(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SOCKETS_PER_ADDRESS = 1
    monkeypatch.setattr(admission, "TOLD", Rate(burst=2, seconds=60))
    first = await Page().opened()
    for _ in range(2):
        told = Page()
        assert await told.connect(SOON) == (True, None)
        assert await told.until_closed() == ([error("rate_limited", scope="connections", retryAfterMs=1000)], 4029)
    assert await Page().connect(SOON) == (False, 1000)
    await first.disconnect(timeout=SOON)
    assert len(runtime.sockets) == 0


async def test_whoever_says_nothing_is_closed() -> None:
    page = await Page(identify_seconds=0).opened()
    assert await page.until_closed() == ([], 4408)


# --- Frames -----------------------------------------------------------------------------------------------------------


async def test_a_message_is_acked_and_handed_to_the_other_pages_of_its_visitor_and_to_staff(
    visitor: Page, admin: Page
) -> None:
    tab = await (await Page().opened()).identify(token=visitor.token)
    stranger = await (await Page().opened()).identify()
    id = new_id()
    assert await visitor.request("sendMessage", id=id, content="hello") == ack(id)
    expected = message("hello", visitor.conversation, connectionId=visitor.id)
    assert await admin.frame() == expected
    assert await tab.frame() == {**expected, "id": id}
    for page in (visitor, stranger):  # these receive no message
        assert await page.request("ping", id="p") == {**PONG, "id": "p"}


async def test_a_reply_is_handed_to_its_visitor(visitor: Page, admin: Page) -> None:
    await visitor.say("hello")
    await admin.frame()
    await admin.say("hallo", to=visitor.conversation)
    reply = await visitor.frame()
    assert (reply["content"], reply["from"]) == ("hallo", "admin")


async def test_the_frames_of_one_connection_are_served_one_after_another(
    visitor: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    for id in ("first", "second"):
        await visitor.send_json_to({"action": "ping", "id": id})
    await held.begun.wait()
    await many_turns()
    held.go_on.set()
    assert [(await visitor.frame())["id"] for _ in range(2)] == ["first", "second"]
    assert held.order == ["begun", "ended", "begun", "ended"]


async def test_a_plain_channels_server_is_given_one_event_for_each_frame(visitor: Page) -> None:
    await visitor.send_json_to({"action": "ping", "id": "p"})
    event = await visitor.event()
    assert (set(event), json.loads(event["text"])) == ({"type", "text"}, {**PONG, "id": "p"})


async def test_a_server_that_takes_many_frames_at_once_is_given_one_event() -> None:
    page = Page(extensions=("websocket.send_many",))
    assert await page.connect(SOON) == (True, None)
    event = await page.event()
    assert (event["type"], [json.loads(text) for text in event["texts"]]) == ("websocket.send_many", [WELCOME])
    await page.send_json_to({"action": "ping", "id": "p"})
    event = await page.event()
    assert (event["type"], [json.loads(text)["id"] for text in event["texts"]]) == ("websocket.send_many", ["p"])
    await page.disconnect(timeout=SOON)


# --- Closing: the table of docs/protocol.md ---------------------------------------------------------------------------


@pytest.mark.parametrize("bad", SENSELESS, ids=str)
async def test_the_fifth_senseless_frame_closes_and_nothing_is_served_behind_it(bad: BadFrame, visitor: Page) -> None:
    kind = "bytes" if isinstance(bad.data, bytes) else "text"
    for _ in range(5):
        await visitor.send_input({"type": "websocket.receive", kind: bad.data})
    await visitor.send_json_to({"action": "ping"})
    assert await visitor.until_closed() == ([error(**bad.answer)] * 5, 4400)


async def test_a_frame_without_text_and_bytes_is_refused(visitor: Page) -> None:
    await visitor.send_input({"type": "websocket.receive"})
    assert await visitor.frame() == error("unsupported")


async def test_a_frame_that_is_too_large_closes(visitor: Page) -> None:
    bad = BY_NAME["more bytes than a frame may have"]
    await visitor.send_input({"type": "websocket.receive", "text": bad.data})
    assert await visitor.until_closed() == ([error(**bad.answer)], 4413)


async def test_a_flood_is_refused_and_then_closed(visitor: Page, settings: Settings) -> None:
    allowed = settings.MESSAGING_RATES.visitor.burst
    for number in range(allowed + 20):
        await visitor.send_json_to({"action": "sendMessage", "id": f"message-{number}", "content": "hello"})
    frames, code = await visitor.until_closed()
    refused = [
        error("rate_limited", scope="visitor", id=f"message-{number}", retryAfterMs=COUNT)
        for number in range(allowed, allowed + 20)
    ]
    assert (frames, code) == ([ack(f"message-{number}") for number in range(allowed)] + refused, 4029)


async def test_whoever_claims_to_be_an_admin_without_a_token_is_closed() -> None:
    page = await Page().opened()
    await page.send_json_to({"action": "identify", "v": 2, "type": "admin"})
    assert await page.until_closed() == ([error("unauthorized")], 4401)


async def test_whoever_reads_the_conversation_of_another_is_closed(visitor: Page) -> None:
    page = await (await Page().opened()).identify()
    await page.send_json_to({"action": "history", "id": "h", "conversation": visitor.conversation})
    assert await page.until_closed() == ([error("forbidden", id="h")], 4403)


async def test_a_blocked_visitor_is_refused_and_told(visitor: Page) -> None:
    conversation = await Conversation.objects.acreate(id=visitor.conversation)
    await Block.objects.acreate(conversation=conversation)
    assert await visitor.frame() == {"type": "writing", "state": "blocked", "timestamp": TIME}
    await visitor.send_json_to({"action": "sendMessage", "id": "message-1", "content": "hello"})
    assert await visitor.frame() == error("blocked", id="message-1")


async def test_a_reader_that_falls_too_far_behind_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    """The answer to `history` is larger than `outbox_bytes`, the most that may wait for a reader."""
    page = await (await Page(outbox_bytes=3_000).opened()).identify()
    for _ in range(2):
        await page.say("x" * 1_500)
    await page.send_json_to({"action": "history", "id": "h"})
    assert await page.until_closed() == ([], 4008)
    assert [record.name for record in caplog.records if record.message == "reader too slow"] == [LOGGER]


async def test_a_server_that_stops_sends_everybody_elsewhere(visitor: Page, admin: Page) -> None:
    draining = asyncio.create_task(runtime.sockets.drain(spread=0, patience=SOON))
    for page in (visitor, admin):
        assert await page.until_closed() == ([SHUTDOWN], 4001)
    assert await draining == 0


async def test_a_server_that_stops_waits_for_refused_visitors_as_well() -> None:
    runtime.sockets.limit = 0
    lingering = await Page().refused()
    assert await runtime.sockets.drain(spread=0, patience=0) == 1
    draining = asyncio.create_task(runtime.sockets.drain(spread=0, patience=SOON))
    await many_turns()
    assert not draining.done()
    await lingering.disconnect(timeout=SOON)
    assert await draining == 0


async def test_a_frame_that_is_being_served_when_the_server_stops_is_answered_first(
    visitor: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    await visitor.send_json_to({"action": "ping", "id": "p"})
    await held.begun.wait()
    draining = asyncio.create_task(runtime.sockets.drain(spread=0, patience=SOON))
    await many_turns()
    assert visitor.output_queue.empty()
    held.go_on.set()
    assert await visitor.until_closed() == ([{**PONG, "id": "p"}, SHUTDOWN], 4001)
    assert await draining == 0


async def test_whoever_is_erased_is_somebody_new_and_their_other_pages_come_back(visitor: Page) -> None:
    tab = await (await Page().opened()).identify(token=visitor.token)
    await visitor.say("forget me")
    await tab.frame()
    assert (await visitor.request("forget", id="f"))["type"] == "ack"
    identified = await visitor.frame()
    assert identified["type"] == "identified"
    assert identified["conversation"] != visitor.conversation
    assert (await tab.until_closed())[1] == 4001
    await visitor.say("who am I?")
    assert (await visitor.request("history", id="h"))["messages"][0]["content"] == "who am I?"


# --- The end ----------------------------------------------------------------------------------------------------------


async def test_nothing_is_left_of_a_page_that_disconnects(visitor: Page, admin: Page) -> None:
    group, store = conversation_group(visitor.conversation), runtime.store
    assert [await store.count(name) for name in (group, ADMINS)] == [1, 1]
    await visitor.disconnect(1001, SOON)
    assert [await store.count(name) for name in (group, ADMINS)] == [0, 1]
    await admin.disconnect(1000, SOON)
    assert [await store.count(name) for name in (group, ADMINS)] == [0, 0]
    assert len(runtime.sockets) == 0


async def test_an_exception_in_the_service_ends_the_connection_and_leaves_nothing_behind(
    visitor: Page, admin: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exception leaves the consumer: the server logs it and closes with 1011, as a test of the deployment shows."""

    async def fail(connection: Connection, frame: str | bytes) -> None:
        raise TypeError("a fault of the service")

    monkeypatch.setattr(runtime.service, "receive", fail)
    await visitor.send_json_to({"action": "ping"})
    with pytest.raises(TypeError, match="a fault of the service"):
        await visitor.wait(SOON)
    assert await runtime.store.count(conversation_group(visitor.conversation)) == 0
    assert len(runtime.sockets) == 1
    monkeypatch.undo()
    assert await admin.request("ping", id="p") == {**PONG, "id": "p"}


async def test_a_connection_is_counted_out_even_if_its_end_fails(
    visitor: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(connection: Connection) -> None:
        raise TypeError("a fault of the service")

    monkeypatch.setattr(runtime.service, "disconnect", fail)
    with pytest.raises(TypeError, match="a fault of the service"):
        await visitor.disconnect(timeout=SOON)
    assert len(runtime.sockets) == 0


async def test_a_connection_ends_if_what_waits_for_its_client_can_not_be_sent() -> None:
    """The failure ends the application, so the server closes the socket; a drain would wait for it otherwise."""

    async def send(event: dict[str, Any]) -> None:
        if event["type"] == "websocket.send":
            raise RuntimeError("no way out")

    arriving: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    arriving.put_nowait({"type": "websocket.connect"})
    scope = {"type": "websocket", "headers": [(b"host", HOST)], "client": ("192.0.2.1", 50_000)}
    with pytest.raises(RuntimeError, match="no way out"):
        async with asyncio.timeout(SOON):
            await MessagingConsumer()(scope, arriving.get, send)
    assert len(runtime.sockets) == 0
