"""The API Gateway transport: events go into its handler, frames arrive at a management API. The stores are real."""

import asyncio
import json
import logging
import re
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection as database
from django.test import Client
from pytest_django import Settings
from zappa import websocket

from messaging import tokens
from messaging.backends.base import Rate
from messaging.backends.dynamodb.client import Table
from messaging.journal import logins
from messaging.models import Message
from messaging.protocol.codes import ErrorCode
from messaging.runtime import runtime
from messaging.service import presence
from messaging.service.actions import Connection
from messaging.service.contracts import ADMINS, UNREAD, USERS, StoredConnection, StoreUnavailable, conversation_group
from messaging.transports import admission
from messaging.transports.apigateway import gateway, handler, invocation
from messaging.transports.apigateway.connection_state import dump, restore
from messaging.transports.apigateway.posting import Posting
from tests.support import gateway_events
from tests.support.bad_frames import BAD_FRAMES, BadFrame
from tests.support.connections import COUNT, Frame, error
from tests.support.gateway import Gate, staff
from tests.support.gateway_events import HANG, ORIGIN, Context
from tests.support.logins import admin_token
from tests.support.paths import ROOT

pytestmark = pytest.mark.django_db(transaction=True)


def errors(frames: list[Frame]) -> list[str]:
    return [frame["code"] for frame in frames if frame["type"] == "error"]


def kept(gate: Gate, connection: str) -> dict[str, Any]:
    """Return the state of a connection. Raise AssertionError if there is none."""
    state = gate.state(connection)
    assert state is not None
    return state


# --- Events ---------------------------------------------------------------------------------------------------


def test_zappa_finds_a_handler_for_all_three_routes() -> None:
    assert websocket._registry == dict.fromkeys(("$connect", "$disconnect", "$default"), handler.handler)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": ORIGIN}, 200),
        ({"origin": ORIGIN}, 200),
        ({"ORIGIN": "https://CHAT.example.org"}, 200),
        ({}, 200),
        ({"Origin": "https://evil.test"}, 403),
        ({"origin": "null"}, 403),
        ({"Origin": f"https://{gateway_events.DOMAIN}"}, 403),
    ],
)
def test_browsers_connect_from_trusted_pages_only(gate: Gate, headers: dict[str, str], status: int) -> None:
    assert gate.event(gateway_events.connect("c1=", headers)) == status
    assert (gate.state("c1=") is not None) == (status == 200)
    gate.event(gateway_events.disconnect("c1="))


def test_a_handshake_without_any_headers_is_served(gate: Gate) -> None:
    event = gateway_events.connect("c1=")
    assert gate.event(event | {"headers": None, "multiValueHeaders": None}) == 200
    assert gate.event(gateway_events.disconnect("c1=")) == 200


def test_one_address_has_so_many_connections_and_the_next_is_told_so_with_its_first_frame(
    gate: Gate, settings: Settings
) -> None:
    settings.SOCKETS_PER_ADDRESS = 2
    full = [error("rate_limited", scope="connections", retryAfterMs=1000)]
    first, second = gate.connect(), gate.connect()
    third = gate.connect()
    assert gate.send(third, "identify", type="user", v=2) == full
    assert (third in gate.api.closed, gate.state(third)) == (True, None)
    gate.connect(source_ip="203.0.113.8")
    gate.event(gateway_events.disconnect(first))
    third = gate.connect()
    assert gate.send(gate.connect(), "ping") == full
    for ended in (second, third):
        gate.api.always_answers(ended, 410)
        gate.send(ended, "ping")
    assert [gate.send(gate.connect(), "ping", id="p")[0]["type"] for _ in range(3)] == ["connection"] * 2 + ["error"]
    assert "203.0.113.7" not in json.dumps(gate.state(gate.connect()))


def test_most_refused_handshakes_of_a_flood_get_only_a_status(
    gate: Gate, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SOCKETS_PER_ADDRESS = 1
    monkeypatch.setattr(admission, "TOLD", Rate(burst=1, seconds=60))
    gate.connect()
    statuses = [gate.event(gateway_events.connect(name)) for name in ("told=", "third=", "fourth=")]
    assert (statuses, gate.state("third=")) == ([200, 429, 429], None)


def test_staff_with_a_pass_have_a_place_when_visitors_have_taken_all_others(gate: Gate, settings: Settings) -> None:
    settings.SOCKETS_PER_ADDRESS = 1
    visitor = gate.connect()
    staff = gate.connect(query={"pass": tokens.mint_pass()})
    without = gate.connect(query={"pass": "\ud800"})
    answers = [gate.send(one, "ping", id="p")[0]["type"] for one in (visitor, staff, without)]
    assert answers == ["connection", "connection", "error"]


def test_nothing_is_posted_during_connect_and_the_greeting_comes_once_with_the_first_answer(gate: Gate) -> None:
    connection = gate.connect()
    assert gate.api.frames[connection] == []
    greeting, identified = gate.send(connection, "identify", type="user", v=2)
    assert (greeting["type"], greeting["connectionId"], identified["type"]) == ("connection", connection, "identified")
    assert [frame["type"] for frame in gate.send(connection, "ping")] == ["pong"]


def test_a_message_is_acked_and_reaches_every_admin_and_the_visitors_other_pages(gate: Gate) -> None:
    admins, visitor = [gate.admin(), gate.admin()], gate.visitor()
    other = gate.connect()
    gate.send(other, "identify", type="user", v=2, token=tokens.mint_visitor(gate.conversations[visitor]))
    stranger = gate.visitor()
    assert gate.say(visitor)["type"] == "ack"
    assert {name: gate.contents(name) for name in (*admins, other, visitor, stranger)} == {
        admins[0]: ["hello"],
        admins[1]: ["hello"],
        other: ["hello"],
        visitor: [],
        stranger: [],
    }


def test_a_reply_reaches_its_visitor_the_other_admins_and_its_authors_other_pages(gate: Gate) -> None:
    ada = staff()
    author, authors_other, colleague = gate.admin(ada), gate.admin(ada), gate.admin()
    visitor, stranger = gate.visitor(), gate.visitor()
    gate.say(visitor)
    assert gate.say(author, "hallo", to=gate.conversations[visitor])["type"] == "ack"
    assert [gate.contents(name) for name in (visitor, colleague, authors_other, author, stranger)] == [
        ["hallo"],
        ["hello", "hallo"],
        ["hello", "hallo"],
        ["hello"],
        [],
    ]


def test_a_version_1_visitor_gets_version_1_frames_only(gate: Gate) -> None:
    connection, admin = gate.connect(), gate.admin()
    frames = gate.send(connection, "sendMessage", data={"content": "hello"})
    assert [frame["type"] for frame in frames] == ["connection", "messageStatus"]
    conversation = gate.api.frames[admin][-1]["conversation"]
    gate.say(admin, "hallo", to=conversation)
    assert gate.contents(connection) == []


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 4001])
def test_who_disconnects_is_forgotten(gate: Gate, code: int) -> None:
    admin = gate.admin()
    assert gate.rows(ADMINS) == [admin]
    assert gate.event(gateway_events.disconnect(admin, code, "")) == 200
    assert (gate.rows(ADMINS), gate.state(admin)) == ([], None)


def test_the_end_of_an_unknown_connection_is_no_error(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    assert gate.event(gateway_events.disconnect("never=")) == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_frame_of_an_unknown_connection_closes_it(gate: Gate) -> None:
    assert gate.event(gateway_events.message("unknown=", '{"action":"ping"}')) == 200
    assert (gate.api.closed, gate.api.frames["unknown="]) == (["unknown="], [])


@pytest.mark.parametrize("bad", [bad for bad in BAD_FRAMES if isinstance(bad.data, str)], ids=str)
def test_a_bad_frame_is_answered_as_the_table_says(gate: Gate, bad: BadFrame) -> None:
    assert isinstance(bad.data, str)
    connection = gate.visitor()
    assert gate.frame(connection, bad.data) == [error(**bad.answer)]
    assert gate.api.closed == ([connection] if bad.close else [])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"action":"dance"}', "unknown_action"),
        (b"\xff\xfe\x00", "unsupported"),
        (b"", "bad_json"),
    ],
)
def test_a_base64_body_is_decoded_and_what_is_no_text_is_refused(gate: Gate, data: bytes, code: str) -> None:
    connection = gate.visitor()
    assert errors(gate.frame(connection, b64encode(data).decode(), base64=True)) == [code]


def test_a_body_that_is_no_base64_is_refused(gate: Gate) -> None:
    connection = gate.visitor()
    assert errors(gate.frame(connection, "no base64", base64=True)) == ["unsupported"]
    event = gateway_events.message(connection, "")
    del event["body"]
    assert gate.event(event) == 200
    assert errors(gate.api.frames[connection]) == ["unsupported", "bad_json"]


@pytest.mark.parametrize("size", [16 * 1024 + 1, 32 * 1024 + 1])
def test_a_frame_that_is_too_large_is_refused_and_its_connection_closed(gate: Gate, size: int) -> None:
    connection = gate.visitor()
    assert errors(gate.frame(connection, '{"action":"ping","x":"' + "x" * (size - 24) + '"}')) == ["too_large"]
    assert gate.api.closed == [connection]
    assert gate.state(connection) is None


def test_who_is_closed_is_told_first_and_forgotten(gate: Gate) -> None:
    connection = gate.visitor()
    group = conversation_group(gate.conversations[connection])
    for _ in range(4):
        assert errors(gate.frame(connection, "{")) == ["bad_json"]
    assert (gate.api.closed, gate.rows(group)) == ([], [connection])
    assert errors(gate.frame(connection, "{")) == ["bad_json"]
    assert (gate.api.closed, gate.rows(group), gate.state(connection)) == ([connection], [], None)
    assert gate.event(gateway_events.disconnect(connection, 1000, "")) == 200


def test_no_text_of_an_exception_leaves_the_process(
    gate: Gate, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = gate.visitor()

    async def fail(*_: object) -> None:
        raise TypeError("the password is secret")

    monkeypatch.setattr(runtime.service, "receive", fail)
    caplog.clear()
    assert gate.event(gateway_events.message(connection, '{"action":"ping"}')) == 500
    assert "secret" not in json.dumps(gate.api.frames)
    assert gate.api.closed == [connection]  # the client reconnects and sends the frame again
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert (record.message, record.exc_info is not None) == ("event not served", True)


# --- State between two events ---------------------------------------------------------------------------------


def test_a_connection_is_the_same_in_another_process() -> None:
    connection = Connection(
        "c1=",
        held=False,
        address="pseudonym",
        greeted=True,
        role="admin",
        version=2,
        staff=7,
        session="digest",
        name="Ada",
        may_reply=True,
        head="0000000000001.00000000001",
        strikes={ErrorCode.BAD_JSON: 3},
    )
    state = json.loads(json.dumps(dump(connection))) | {"of a later version": True}
    assert restore("c1=", state) == connection


def test_the_budget_of_an_address_is_shared_by_all_processes(gate: Gate, settings: Settings) -> None:
    settings.MESSAGING_RATES = replace(settings.MESSAGING_RATES, address=Rate(burst=100, seconds=60))
    visitor = gate.visitor()  # a handshake and an identify: 21
    for _ in range(3):
        assert errors(gate.send(visitor, "identify", type="user", v=2)) == []  # 13 each
        invocation.run(runtime.close())  # another process serves the next event
    assert errors(gate.send(visitor, "history", id="h1")) == []
    invocation.run(runtime.close())
    *_, (refused,) = [gate.send(visitor, "identify", type="user", v=2) for _ in range(3)]
    assert refused == error("rate_limited", scope="address", retryAfterMs=COUNT)


def test_a_client_whose_handshake_the_budget_refuses_is_told_when_it_may_come_back(
    gate: Gate, settings: Settings
) -> None:
    settings.MESSAGING_RATES = replace(settings.MESSAGING_RATES, address=Rate(burst=8, seconds=60))
    gate.connect()  # 8
    late = gate.connect()
    invocation.run(runtime.close())  # another process serves the next event
    (refused,) = gate.send(late, "identify", type="user", v=2)
    assert refused == error("rate_limited", scope="address", retryAfterMs=refused["retryAfterMs"])
    assert 400_000 < refused["retryAfterMs"] <= 480_000
    assert (late in gate.api.closed, gate.state(late)) == (True, None)


def test_an_event_costs_as_many_requests_to_dynamodb_as_documented(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: Counter[str] = Counter()
    run = Table.run

    async def recorded(table: Table, operation: str, **arguments: Any) -> dict[str, Any]:
        counted["reads" if operation in ("get_item", "query") else "writes"] += 1
        return await run(table, operation, **arguments)

    def cost(event: Callable[[], Any]) -> tuple[int, int]:
        counted.clear()
        event()
        return counted["writes"], counted["reads"]

    monkeypatch.setattr(Table, "run", recorded)
    monkeypatch.setattr(presence, "RATE", Rate(1, 3600))  # the staff member's arrival is the one that is counted
    gate.admin()
    opened: list[str] = []
    events: dict[str, Callable[[], Any]] = {
        "a connection begins": lambda: opened.append(gate.connect()),
        "`identify`": lambda: gate.send(opened[0], "identify", type="user", v=2),
        "`history`": lambda: gate.send(opened[0], "history", id="first", limit=50),
        "a message": lambda: gate.say(opened[0]),
        "a ping, every 4 minutes": lambda: gate.send(opened[0], "ping", id="ping"),
        "the connection ends": lambda: gate.event(gateway_events.disconnect(opened[0])),
    }
    page = (ROOT / "docs" / "aws.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| (?:(\d+)|–)[^|]* \| (?:(\d+)|–)[^|]* \|$", page, re.MULTILINE)
    documented = {event: (int(writes or 0), int(reads or 0)) for event, writes, reads in rows if event in events}
    assert {event: cost(happens) for event, happens in events.items()} == documented


def test_visitors_who_arrive_just_after_someone_else_count_nobody(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    count = runtime.store.count

    async def recorded(group: str) -> int:
        counted.append(group)
        return await count(group)

    monkeypatch.setattr(presence, "RATE", Rate(1, 3600))  # they arrive within it, however slow this machine is
    gate.admin()
    monkeypatch.setattr(runtime.store, "count", recorded)
    for _ in range(5):
        gate.visitor()
    assert USERS not in counted


def test_a_plain_message_writes_no_state(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    admin, visitor = gate.admin(), gate.visitor()  # staff who came later would change the visitor's presence
    states, saved = runtime.states, []
    save = states.save

    async def count(connection: str, state: dict[str, Any], **fields: Any) -> bool:
        saved.append(connection)
        return await save(connection, state, **fields)

    gate.say(visitor)  # begins the conversation, which is noted
    monkeypatch.setattr(states, "save", count)
    gate.say(visitor)
    gate.send(visitor, "ping")
    assert (gate.contents(admin), saved) == (["hello", "hello"], [])
    gate.send(visitor, "sendMessage", id="short", content="counts as an error")
    gate.frame(visitor, "{")
    assert saved == [visitor]


def test_frames_that_are_served_at_the_same_time_do_not_undo_who_the_connection_is(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, states = gate.connect(), runtime.states
    load, identified = states.load, []

    async def identify_meanwhile(connection_id: str) -> dict[str, Any] | None:
        state = await load(connection_id)
        monkeypatch.setattr(states, "load", load)
        frame = json.dumps({"action": "identify", "type": "user", "v": 2})
        await handler._receive(connection_id, frame, "203.0.113.7", Posting(lambda: 20.0))
        identified.append(gate.api.frames[connection][-1]["conversation"])
        return state

    monkeypatch.setattr(states, "load", identify_meanwhile)
    assert errors(gate.frame(connection, "{")) == ["bad_json"]
    assert kept(gate, connection)["conversation"] == identified[0]
    monkeypatch.setattr(states, "load", load)
    assert [frame["type"] for frame in gate.send(connection, "history", id="h")] == ["history"]


def test_a_conversation_counts_once_even_if_another_frame_was_served_with_its_first_message(
    gate: Gate, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MESSAGING_RATES = replace(settings.MESSAGING_RATES, conversations=Rate(burst=1, seconds=3600))
    connection, states = gate.visitor(), runtime.states
    load = states.load

    async def send_garbage_meanwhile(connection_id: str) -> dict[str, Any] | None:
        state = await load(connection_id)
        monkeypatch.setattr(states, "load", load)
        await handler._receive(connection_id, "{", "203.0.113.7", Posting(lambda: 20.0))
        return state

    monkeypatch.setattr(states, "load", send_garbage_meanwhile)
    answers = gate.send(connection, "sendMessage", id="message-1", content="hello")
    assert [frame["type"] for frame in answers] == ["error", "ack"]
    assert gate.say(connection)["type"] == "ack"
    assert kept(gate, connection)["strikes"] == {"bad_json": 1}


def test_who_ended_meanwhile_stays_forgotten(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    connection, states = gate.visitor(), runtime.states
    load = states.load

    async def end_meanwhile(connection_id: str) -> dict[str, Any] | None:
        state = await load(connection_id)
        await Posting(lambda: 20.0).forget(connection_id)
        return state

    with monkeypatch.context() as patched:
        patched.setattr(states, "load", end_meanwhile)
        gate.frame(connection, "{")
    assert gate.state(connection) is None


def test_an_admin_whom_messages_would_not_find_is_sent_away(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: StoredConnection) -> None:
        raise StoreUnavailable("no answer")

    connection, user = gate.connect(), staff()
    monkeypatch.setattr(runtime.store, "touch", fail)
    frames = gate.send(connection, "identify", type="admin", v=2, token=admin_token(user), id="i")
    assert [(frame["type"], frame.get("code"), frame.get("id")) for frame in frames] == [
        ("connection", None, None),
        ("error", "unavailable", "i"),
    ]
    assert gate.api.closed == [connection]


def test_an_admin_whose_state_is_not_kept_is_sent_away(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable("no answer")

    connection, user = gate.connect(), staff()
    monkeypatch.setattr(runtime.states, "save", fail)
    assert errors(gate.send(connection, "identify", type="admin", v=2, token=admin_token(user))) == ["unavailable"]
    assert (gate.api.closed, gate.rows(ADMINS)) == ([connection], [])


def test_while_states_can_not_be_read_a_frame_is_to_be_sent_again(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise StoreUnavailable("no answer")

    connection = gate.visitor()
    with monkeypatch.context() as broken:
        broken.setattr(runtime.states, "load", fail)
        (error,) = gate.send(connection, "sendMessage", id="message-1", content="hello")
        assert (error["code"], error["id"], error["retryAfterMs"]) == ("unavailable", "message-1", 1000)
        broken.setattr(runtime.states, "save", fail)
        assert gate.event(gateway_events.connect("c1=")) == 503
    assert gate.api.closed == []
    assert [frame["type"] for frame in gate.send(connection, "sendMessage", id="message-1", content="hello")] == ["ack"]


def test_a_pong_says_whether_there_is_something_that_the_client_has_not_read(gate: Gate) -> None:
    visitor, admin = gate.visitor(), gate.admin()

    def pong() -> str:
        (frame,) = gate.send(admin, "ping")
        cursor: str = frame["cursor"]
        return cursor

    def read(**fields: Any) -> str:
        (page,) = gate.send(admin, "history", id="h", **fields)
        cursor: str = page["cursor"]
        return cursor

    gate.say(visitor, "first")
    assert pong() == UNREAD
    since = read()
    assert pong() == since
    gate.api.answers(admin, 403)
    gate.say(visitor, "lost")
    gate.say(visitor, "third")
    assert gate.contents(admin) == ["first", "third"]
    assert pong() == UNREAD  # although it has the newest message
    assert read(since=since) == pong()


def test_two_events_share_the_loop_and_the_database_connections(gate: Gate) -> None:
    def backends() -> set[int]:
        with database.cursor() as cursor:
            cursor.execute(  # clients only: autovacuum comes and goes
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type LIKE 'client%'"
            )
            return {pid for (pid,) in cursor.fetchall()}

    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    visitor, first = gate.visitor(), invocation.run(loop())
    gate.say(visitor)
    before, log = backends(), runtime.journal
    for _ in range(3):
        gate.say(visitor)
    assert (invocation.run(loop()), runtime.journal, backends()) == (first, log, before)
    assert Message.objects.count() == 4


# --- Posts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [410, 400])
def test_a_ghost_is_removed_at_the_first_post_and_nobody_misses_anything(gate: Gate, status: int) -> None:
    ghosts, alive = [gate.admin(), gate.admin()], gate.admin()
    visitor = gate.visitor()
    for ghost in ghosts:
        gate.api.always_answers(ghost, status)
    gate.say(visitor)
    assert (gate.contents(alive), gate.rows(ADMINS)) == (["hello"], [alive])
    assert [gate.state(ghost) for ghost in ghosts] == [None, None]
    tries = {ghost: len(gate.api.arrivals[ghost]) for ghost in ghosts}
    gate.say(visitor)
    assert tries == {ghost: len(gate.api.arrivals[ghost]) for ghost in ghosts}


def test_a_sender_who_is_gone_is_forgotten_and_its_message_delivered(gate: Gate) -> None:
    admin, visitor = gate.admin(), gate.visitor()
    gate.api.always_answers(visitor, 410)
    assert gate.send(visitor, "sendMessage", id="message-1", content="farewell") == []
    assert (gate.contents(admin), gate.state(visitor)) == (["farewell"], None)
    assert gate.rows(conversation_group(gate.conversations[visitor])) == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_throttled_post_is_tried_again(gate: Gate, status: int) -> None:
    admin, visitor = gate.admin(), gate.visitor()
    gate.api.answers(admin, status, status)
    gate.api.answers(visitor, status)
    assert gate.say(visitor)["type"] == "ack"
    assert gate.contents(admin) == ["hello"]


def test_posts_that_were_throttled_together_are_not_tried_again_together(gate: Gate, settings: Settings) -> None:
    settings.MESSAGING_GATEWAY["OPTIONS"] |= {"backoff_seconds": 1.0}
    admins, visitor = [gate.admin() for _ in range(9)], gate.visitor()
    before = {admin: len(gate.api.arrivals[admin]) for admin in admins}
    for admin in admins:
        gate.api.answers(admin, 429)
    gate.say(visitor)
    waits = sorted(second - first for first, second in (gate.api.arrivals[a][before[a] :] for a in admins))
    assert waits[-1] - waits[0] > 0.1  # drawn from 1 s: all nine within 0.1 s has a chance of 1 in 10 million
    assert max(waits) < 5


def test_what_fails_for_good_is_counted_and_the_sender_has_its_ack(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    throttled, forbidden, alive = gate.admin(), gate.admin(), gate.admin()
    visitor = gate.visitor()
    gate.api.always_answers(throttled, 429)
    gate.api.always_answers(forbidden, 403)
    tries = len(gate.api.arrivals[throttled]), len(gate.api.arrivals[forbidden])
    caplog.clear()
    assert gate.say(visitor)["type"] == "ack"
    assert (gate.contents(alive), sorted(gate.rows(ADMINS))) == (["hello"], sorted([throttled, forbidden, alive]))
    assert len(gate.api.arrivals[throttled]) - tries[0] == gateway.ATTEMPTS
    assert len(gate.api.arrivals[forbidden]) - tries[1] == 1
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (record.message, vars(record)["posts"]) == (
        "posts failed",
        {"LimitExceededException": 1, "ForbiddenException": 1},
    )


def test_an_answer_that_can_not_be_posted_closes_the_connection(gate: Gate) -> None:
    visitor = gate.visitor()
    gate.api.answers(visitor, *[429] * gateway.ATTEMPTS)
    assert gate.send(visitor, "history", id="h") == []
    assert (gate.api.closed, gate.state(visitor)) == ([visitor], None)


def test_an_admin_is_answered_before_all_admins_are_told(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    chief = User.objects.create_superuser(f"chief-{uuid4().hex}")
    admin, colleague, visitor = gate.admin(chief), gate.admin(), gate.visitor()
    gate.say(visitor)
    post = gateway.Gateway.post

    async def late_ack(self: gateway.Gateway, connection: str, text: str, *rest: Any) -> str:
        if json.loads(text)["type"] == "ack":
            await asyncio.to_thread(told.wait, 10)
        outcome = await post(self, connection, text, *rest)
        if connection == colleague:
            told.set()
        return outcome

    told = threading.Event()
    monkeypatch.setattr(gateway.Gateway, "post", late_ack)
    conversation = kept(gate, visitor)["conversation"]
    frames = gate.send(admin, "conversation", id="c", conversation=conversation, op="claim")
    assert [frame["type"] for frame in frames] == ["ack", "conversation"]
    assert gate.api.frames[colleague][-1] == frames[1]


def test_who_hangs_delays_nobody_and_the_event_by_one_time_out(gate: Gate, settings: Settings) -> None:
    settings.MESSAGING_GATEWAY["OPTIONS"] |= {"read_seconds": 3.0}
    hanging, alive = gate.admin(), [gate.admin() for _ in range(3)]
    visitor = gate.visitor()
    gate.api.always_answers(hanging, HANG)
    arrivals = {name: len(gate.api.arrivals[name]) for name in (hanging, *alive, visitor)}
    began = time.monotonic()
    assert gate.say(visitor)["type"] == "ack"
    lasted = time.monotonic() - began
    assert 3.0 <= lasted < 3.0 + 10
    for name in (*alive, visitor):
        assert gate.api.arrivals[name][arrivals[name]] - began < lasted - 0.5  # it was not delayed by the hanging one
    assert [gate.contents(name) for name in alive] == [["hello"]] * 3
    assert len(gate.api.arrivals[hanging]) == arrivals[hanging] + 1  # not tried again after the time-out


def test_however_many_hang_the_event_ends_in_time_and_the_next_one_is_answered(gate: Gate, settings: Settings) -> None:
    settings.MESSAGING_GATEWAY["OPTIONS"] |= {"read_seconds": 20.0}
    visitor, user = gate.visitor(), staff()
    for number in range(gateway.THREADS + 5):
        stored = row(f"hangs-{number}=", user)
        invocation.run(runtime.store.store_connection(stored))
        gate.api.always_answers(stored.id, HANG)
    gate.seconds = invocation.RESERVE_SECONDS + 3
    began = time.monotonic()
    assert gate.say(visitor)["type"] == "ack"
    assert 3 <= time.monotonic() - began < 20
    assert [frame["type"] for frame in gate.send(visitor, "ping")] == ["pong", "presence"]


def row(connection: str, user: User) -> StoredConnection:
    return StoredConnection(connection, "admin", None, f"staff:{user.pk}", 2, "pod", "2026-01-01T00:00:00.000Z")


def test_a_fan_out_is_complete_when_the_handler_returns_and_never_wider_than_32(gate: Gate) -> None:
    visitor, user = gate.visitor(), staff()
    rows = [row(f"admin-{number}=", user) for number in range(80)]
    for stored in rows:
        invocation.run(runtime.store.store_connection(stored))
    gate.api.delay = 0.5
    gate.say(visitor)
    assert [gate.contents(stored.id) for stored in rows] == [["hello"]] * 80
    assert 8 < gate.api.most_at_once <= gateway.THREADS


def test_posting_stops_before_the_time_is_over_and_says_how_many_are_left(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    visitor, user = gate.visitor(), staff()
    rows = [row(f"admin-{number}=", user) for number in range(80)]
    for stored in rows:
        invocation.run(runtime.store.store_connection(stored))
    gate.api.delay = 1.5
    gate.seconds = invocation.RESERVE_SECONDS + 4
    caplog.clear()
    assert gate.event(gateway_events.message(visitor, say("hello"))) == 200
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.message == "not enough time for all posts"
    assert 0 < vars(record)["left"] <= 80
    assert not any(stored.id in record.getMessage() for stored in rows)


def say(content: str) -> str:
    return json.dumps({"action": "sendMessage", "id": uuid4().hex, "content": content})


def test_without_time_nothing_is_posted(gate: Gate) -> None:
    visitor, admin = gate.visitor(), gate.admin()
    gate.seconds = invocation.RESERVE_SECONDS
    assert gate.send(visitor, "sendMessage", id="message-1", content="hello") == []
    assert (gate.contents(admin), Message.objects.count()) == ([], 1)


# --- Revoked rights -------------------------------------------------------------------------------------------


@pytest.fixture
def browser(settings: Settings) -> Callable[[User], Client]:
    """Return a factory of browsers that are logged in to the pages that the same function serves."""
    settings.MIDDLEWARE = ["messaging.transports.apigateway.revocation.close_revoked", *settings.MIDDLEWARE]
    settings.ALLOWED_HOSTS = ["testserver"]

    def sign_in(user: User) -> Client:
        environ: dict[str, Any] = {"lambda.context": Context()}
        client = Client(**environ)
        client.force_login(user, "django.contrib.auth.backends.ModelBackend")
        return client

    return sign_in


def test_who_signs_out_is_told_and_closed_before_the_page_is_answered(
    gate: Gate, browser: Callable[[User], Client]
) -> None:
    ada = staff()
    client, elsewhere = browser(ada), browser(ada)
    sessions = [signed_in.session.session_key for signed_in in (client, elsewhere)]
    here, there = (gate.admin(ada, logins.recorded(session)) for session in sessions if session)
    colleague = gate.admin()
    client.post("/admin/logout/")
    assert gate.api.closed == [here]
    assert errors(gate.api.frames[here]) == ["unauthorized"]
    assert sorted(gate.rows(ADMINS)) == sorted([there, colleague])
    assert gate.state(here) is None


def test_who_is_deactivated_loses_the_right_or_has_a_new_password_is_closed_by_the_change(
    gate: Gate, browser: Callable[[User], Client]
) -> None:
    root = browser(User.objects.create_superuser("root"))
    inactive, without_right, new_password, unchanged = staff(), staff(), staff(), staff()
    admins = {user: gate.admin(user) for user in (inactive, without_right, new_password, unchanged)}

    def change(user: User, **fields: Any) -> None:
        form = root.get(f"/admin/auth/user/{user.pk}/change/").context["adminform"].form
        values = {name: value for name in form.fields if (value := form[name].value()) not in (None, False)}
        values |= {"date_joined_0": user.date_joined.date(), "date_joined_1": user.date_joined.time(), **fields}
        data = {name: value for name, value in values.items() if value is not None}
        assert root.post(f"/admin/auth/user/{user.pk}/change/", data).status_code == 302

    change(inactive, is_active=None)
    change(without_right, user_permissions=[])
    root.post(
        f"/admin/auth/user/{new_password.pk}/password/",
        {"password1": "another one entirely", "password2": "another one entirely", "usable_password": "true"},
    )
    assert gate.api.closed == [admins[inactive], admins[without_right], admins[new_password]]
    assert [errors(gate.api.frames[admins[user]]) for user in admins] == [
        ["unauthorized"],
        ["forbidden"],
        ["unauthorized"],
        [],
    ]


def test_only_requests_that_change_something_in_the_admin_look(gate: Gate, browser: Callable[[User], Client]) -> None:
    ada, reader, client = staff(), staff(), browser(User.objects.create_superuser("root"))
    connection, readers = gate.admin(ada), gate.admin(reader)
    User.objects.filter(pk=ada.pk).update(is_active=False)
    reader.user_permissions.remove(Permission.objects.get(codename="add_message"))
    client.get("/admin/")
    client.get("/user/")
    client.post("/admin/live/token/")
    client.post("/nowhere/")
    assert (gate.api.closed, kept(gate, readers)["may_reply"]) == ([], True)
    client.post("/admin/logout/")
    assert (gate.api.closed, kept(gate, readers)["may_reply"]) == ([connection], False)


def test_a_store_that_is_down_does_not_spoil_the_page(
    gate: Gate, browser: Callable[[User], Client], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: str) -> None:
        raise StoreUnavailable("no answer")

    client = browser(staff())
    monkeypatch.setattr(runtime.store, "get_connections", fail)
    caplog.clear()
    assert client.post("/admin/logout/").status_code == 200
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == ["rights not checked"]


def test_states_that_can_not_be_read_or_saved_keep_nobody_connected_who_has_lost_the_right(
    gate: Gate, browser: Callable[[User], Client], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reader, unread, inactive = staff(), staff(), staff()
    readers, unreads, lost = (gate.admin(user) for user in (reader, unread, inactive))
    client, states = browser(User.objects.create_superuser("root")), runtime.states
    load, save = states.load, states.save

    async def load_others(connection_id: str) -> dict[str, Any] | None:
        if connection_id == unreads:
            raise StoreUnavailable("no answer")
        return await load(connection_id)

    async def save_others(connection_id: str, state: dict[str, Any], **fields: Any) -> bool:
        if connection_id == readers:
            raise StoreUnavailable("no answer")
        return await save(connection_id, state, **fields)

    reader.user_permissions.remove(Permission.objects.get(codename="add_message"))
    User.objects.filter(pk__in=[unread.pk, inactive.pk]).update(is_active=False)
    gate.api.delay = 0.5  # the error comes before the post is answered
    with monkeypatch.context() as broken:
        broken.setattr(states, "load", load_others)
        broken.setattr(states, "save", save_others)
        caplog.clear()
        client.post("/admin/logout/")
    warnings = [(record.message, vars(record)["connection"]) for record in caplog.records if record.levelno > 20]
    assert warnings == [("rights not checked", unreads), ("state not saved", readers)]
    assert (gate.api.closed, errors(gate.api.frames[lost]), gate.state(lost)) == ([lost], ["unauthorized"], None)
    gate.send(unreads, "ping")
    assert gate.api.closed == [lost, unreads]
    gate.send(readers, "ping")
    assert kept(gate, readers)["may_reply"] is False


def test_a_receiver_that_can_not_be_forgotten_keeps_no_frame_from_others(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone, visitor = gate.admin(), gate.visitor()
    admins = [gate.admin() for _ in range(3)]
    gate.api.always_answers(gone, 410)
    for admin in admins:
        gate.api.answers(admin, 429, 429)  # their frames arrive after the error
    gate.api.delay = 0.3
    disconnect = runtime.service.disconnect

    async def fail_once(connection: Connection) -> Any:
        if connection.id == gone:
            raise TypeError("a fault of the service")
        return await disconnect(connection)

    monkeypatch.setattr(runtime.service, "disconnect", fail_once)
    caplog.clear()
    assert gate.say(visitor)["type"] == "ack"
    assert [gate.contents(admin) for admin in admins] == [["hello"]] * 3
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == ["frame not delivered"]


def test_what_an_invocation_measured_is_written_when_it_ends(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    admin, page = gate.admin(), gate.visitor()
    caplog.set_level(logging.INFO, "messaging.observability")
    caplog.clear()
    gate.say(page)
    gate.event(foreign_origin())
    gate.event(gateway_events.disconnect(page, code=1001))
    gate.event(gateway_events.disconnect(admin, code=77))
    measured = [
        {name: value for name, value in vars(record).items() if name.startswith("messaging_") or name in LABELS}
        for record in caplog.records
        if hasattr(record, "_aws")
    ]
    assert measured == [
        {"role": "user", "result": "accepted", "messaging_messages_total": 1},
        {
            "messaging_message_ack_seconds": [SHORT],
            "messaging_message_delivery_seconds": [SHORT, SHORT],
            "messaging_commit_seconds": [SHORT],
            "messaging_commit_messages": [1],
        },
        {"result": "origin", "messaging_websocket_connects_total": 1},
        {"role": "user", "code": "1001", "messaging_websocket_disconnects_total": 1},
        {"messaging_websocket_connection_duration_seconds": [SHORT]},
        {"role": "admin", "code": "other", "messaging_websocket_disconnects_total": 1},
        {"messaging_websocket_connection_duration_seconds": [SHORT]},
    ]


LABELS = {"role", "result", "code"}


class Short:
    """An object that equals every duration of a test, from 0 to 60 seconds."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and 0 <= other < 60

    def __hash__(self) -> int:
        return 0


SHORT = Short()


def foreign_origin() -> gateway_events.Event:
    headers = gateway_events.HEADERS | {"Origin": "https://evil.example.org"}
    return gateway_events.connect("refused=", headers)
