"""The agreement of the code, docs/protocol.md and the schemas of docs/protocol/, by which other tests judge frames."""

import json
import re
from dataclasses import fields
from functools import cache
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

from messaging.protocol import codes, frames, limits
from messaging.protocol.codec import decode, encode
from messaging.protocol.codes import CloseCode, ErrorCode, ProtocolError, Scope
from tests.support.bad_frames import BAD_FRAMES, BadFrame
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
PROTOCOL = (DOCS / "protocol.md").read_text()

AT = "2026-11-22T10:00:00.000Z"
CURSOR = "0000000000001.0193a0b1c2d"
UUID = "0193a0b1-c2d3-7e4f-8a5b-6c7d8e9f0a1b"
QUICK = ({"key": "speak-german", "label": "Speak German", "content": "speak german"},)
MESSAGE = frames.Message(UUID, "Grüß Gott\n👋", AT, "user", CURSOR, UUID)
PAUSE = {"since": AT, "until": AT, "by": "Ada"}
PERSON: dict[str, int | str] = {"id": 1, "name": "Ada"}
STATE = frames.ConversationSummary(UUID, "closed", AT, PERSON, AT, CURSOR, CURSOR)
ANSWERED = frames.Message(UUID, "x" * 2000, AT, "admin", CURSOR, UUID, "c-1", "m-0000001", "speak-german", "Ada")

SERVER_FRAMES: list[frames.ServerFrame] = [
    frames.Greeting("c-1", AT, 25_000),
    frames.Identified("user", AT),
    frames.Identified("user", AT, v=2, token="t", conversation=UUID, cursor=CURSOR, recovered=False, quick=()),
    frames.Identified(
        "user",
        AT,
        v=2,
        id="1",
        token="t",
        conversation=UUID,
        cursor=CURSOR,
        recovered=True,
        quick=QUICK,
        read=CURSOR,
        presence={"admins": 0},
        writing="blocked",
    ),
    frames.Identified(
        "admin",
        AT,
        v=2,
        cursor=CURSOR,
        recovered=True,
        quick=QUICK,
        replies=QUICK,
        presence={"admins": 1, "users": 2},
        me=PERSON | {"author": "Ada"} | dict.fromkeys(("reply", "manage", "block", "unblock"), False),
        pause=PAUSE,
    ),
    frames.ConnectionTypeUpdated("admin", AT),
    frames.Ack("m-0000001", UUID, CURSOR, AT, duplicate=True),
    frames.Ack("1", None, None, AT, duplicate=False),
    frames.MessageStatus(3, AT),
    MESSAGE,
    ANSWERED,
    frames.HistoryPage("1", (), CURSOR, more=False),
    frames.HistoryPage("h-1", (MESSAGE, ANSWERED), f"{CURSOR}.c-1", more=True, partial=True),
    frames.HistoryPage("h-1", (), CURSOR, more=False, conversations=(STATE, frames.ConversationSummary(UUID, "open"))),
    frames.Read(UUID, "admin", UUID, CURSOR, AT),
    frames.ConversationChanged(UUID, "open", "claim", AT, PERSON, AT, "Ada"),
    frames.ConversationChanged(UUID, "erased", "forget", AT),
    frames.Presence(0, AT),
    frames.Presence(1, AT, 2),
    frames.Pong(AT),
    frames.Pong(AT, "1", CURSOR),
    frames.Pong(AT, "1", CURSOR, "paused"),
    frames.Pong(AT, "1", CURSOR, pause=PAUSE),
    *(frames.WritingChanged(state, AT) for state in get_args(frames.Writing)),
    frames.PauseChanged(AT),
    frames.PauseChanged(AT, PAUSE),
    frames.ServerShutdown(AT, 0),
    *(frames.Error(code, "text", "text", AT) for code in ErrorCode),
    frames.Error(ErrorCode.UNAVAILABLE, "text", "text", AT, "1", 2000, 1000),
    *(frames.Error(ErrorCode.RATE_LIMITED, "text", "text", AT, None, None, 1000, scope=one) for one in get_args(Scope)),
    frames.Error(ErrorCode.ALREADY_CLAIMED, "text", "text", AT, "1", by="Ada"),
]

CLIENT_FRAMES = [
    ({"action": "identify", "v": 2, "type": "user"}, frames.Identify("user", 2)),
    (
        {"action": "identify", "v": 2, "type": "admin", "id": "1", "token": "t", "since": CURSOR, "seen": CURSOR},
        frames.Identify("admin", 2, "1", "t", CURSOR, CURSOR),
    ),
    ({"action": "identify", "v": 2, "type": "user", "lang": "de"}, frames.Identify("user", 2, lang="de")),
    ({"action": "identify", "v": 2, "type": "user", "lang": ["fr"]}, frames.Identify("user", 2)),
    ({"action": "identify", "type": "user"}, frames.Identify("user")),
    ({"action": "identify", "data": {"type": "user"}}, frames.Identify("user")),
    ({"action": "identify", "v": 3, "type": "user", "unknown": [1]}, frames.Identify("user")),
    ({"action": "sendMessage", "content": "a", "id": "12345678"}, frames.SendMessage("a", "12345678")),
    (
        {"action": "sendMessage", "content": " a ", "id": "m-0000001", "quick": "speak-german", "to": UUID},
        frames.SendMessage("a", "m-0000001", "speak-german", UUID),
    ),
    ({"action": "history", "id": "1"}, frames.History("1")),
    (
        {"action": "history", "id": "1", "conversation": UUID, "since": CURSOR, "limit": 100},
        frames.History("1", UUID, CURSOR, None, 100),
    ),
    (
        {"action": "history", "id": "1", "before": CURSOR, "limit": 1},
        frames.History("1", None, None, CURSOR, 1),
    ),
    ({"action": "read", "upTo": UUID}, frames.MarkRead(UUID)),
    ({"action": "read", "upTo": UUID, "conversation": UUID, "id": "1"}, frames.MarkRead(UUID, UUID, "1")),
    (
        {"action": "conversation", "id": "1", "conversation": UUID, "op": "claim"},
        frames.ChangeConversation("1", UUID, "claim"),
    ),
    (
        {"action": "conversation", "id": "1", "conversation": UUID, "op": "blockAddress"},
        frames.ChangeConversation("1", UUID, "blockAddress"),
    ),
    ({"action": "pause", "id": "1", "op": "pause"}, frames.ChangePause("1", "pause")),
    ({"action": "pause", "id": "1", "data": {"op": "resume"}, "op": "resume"}, frames.ChangePause("1", "resume")),
    ({"action": "forget", "id": "1"}, frames.Forget("1")),
    ({"action": "ping"}, frames.Ping()),
    ({"action": "ping", "id": "1"}, frames.Ping("1")),
    ({"action": "setConnectionType", "data": {"connectionType": "user"}}, frames.SetConnectionType("user")),
    (
        {"action": "setConnectionType", "data": {"connectionType": "admin", "token": "t"}},
        frames.SetConnectionType("admin", "t"),
    ),
    ({"action": "setConnectionType", "connectionType": "admin"}, frames.SetConnectionType("admin")),
]

VERSION_1_MESSAGES = [
    ({"action": "sendMessage"}, frames.SendMessage(None)),
    ({"action": "sendMessage", "content": "a"}, frames.SendMessage("a")),
    ({"action": "sendMessage", "data": {"content": "a"}}, frames.SendMessage("a")),
]


def document(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "protocol" / f"{name}.schema.json").read_text())
    return found


@cache
def schema(name: str) -> Draft202012Validator:
    Draft202012Validator.check_schema(document(name))
    return Draft202012Validator(document(name))


@pytest.mark.parametrize("frame", SERVER_FRAMES, ids=lambda frame: frame.TYPE)
def test_every_frame_of_the_server_is_valid_by_its_schema(frame: frames.ServerFrame) -> None:
    schema("server").validate(json.loads(encode(frame)))


def test_every_type_and_field_of_the_server_has_an_example_here() -> None:
    shown = {
        (type(frame), field.name)
        for frame in [*SERVER_FRAMES, STATE]
        for field in fields(frame)
        if getattr(frame, field.name) is not None
    }
    kinds = [*get_args(frames.ServerFrame), frames.ConversationSummary]
    assert shown == {(kind, field.name) for kind in kinds for field in fields(kind)}


def test_the_schema_refuses_a_field_that_is_not_documented() -> None:
    payload = json.loads(encode(MESSAGE))
    assert schema("server").is_valid(payload)
    assert not schema("server").is_valid({**payload, "secret": 1})


@pytest.mark.parametrize(("payload", "frame"), CLIENT_FRAMES)
@pytest.mark.parametrize("version", [1, 2])
def test_every_frame_of_a_client_is_valid_and_decodes(payload: object, frame: frames.ClientFrame, version: int) -> None:
    schema("client").validate(payload)
    assert decode(json.dumps(payload), version) == frame


@pytest.mark.parametrize(("payload", "frame"), VERSION_1_MESSAGES)
def test_only_version_1_may_leave_out_id_and_content(payload: object, frame: frames.SendMessage) -> None:
    schema("client").validate(payload)
    assert decode(json.dumps(payload), 1) == frame
    with pytest.raises(ProtocolError):
        decode(json.dumps(payload), 2)


def test_every_type_of_client_frame_has_an_example_here() -> None:
    shown = {type(frame) for _, frame in CLIENT_FRAMES}
    assert shown == set(get_args(frames.ClientFrame))


@pytest.mark.parametrize("bad", [bad for bad in BAD_FRAMES if bad.is_json], ids=str)
def test_the_schema_refuses_every_bad_frame_that_it_can_describe(bad: BadFrame) -> None:
    assert schema("client").is_valid(json.loads(bad.data)) is not bad.in_schema


def test_every_error_code_is_documented_with_its_close_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\d{4}|stays open)[^|]*\|$", PROTOCOL, re.MULTILINE)
    closes = {code.value: str(rule.close.value) for code, rule in codes.RULES.items()}
    assert dict(rows) == {code.value: "stays open" for code in ErrorCode} | closes


def test_every_close_code_is_documented() -> None:
    rows = re.findall(r"^\| (\d{4}) \|", PROTOCOL, re.MULTILINE)
    assert [int(row) for row in rows] == sorted(CloseCode)


def test_every_frame_and_field_is_documented() -> None:
    documented = set(re.findall(r"\w+", PROTOCOL))
    for name in ("client", "server"):
        definitions = document(name)["$defs"].values()
        framed = [definition["properties"] for definition in definitions if "properties" in definition]
        assert {field for properties in framed for field in properties} - {"data"} <= documented
        kinds = {p[key]["const"] for p in framed for key in ("action", "type") if "const" in p.get(key, {})}
        assert {f"`{kind}`" for kind in kinds} <= set(re.findall(r"`\w+`", PROTOCOL))


@pytest.mark.parametrize(
    "limit",
    [
        f"{limits.FRAME_LIMIT // 1024} KiB",
        f"{limits.SOCKET_LIMIT // 1024} KiB",
        f"{limits.PAGE_LIMIT // 1024} KiB",
        f"{limits.CONTENT_LIMIT:,} code points",
        f"1 to {limits.HISTORY_LIMIT}, default {limits.HISTORY_DEFAULT}",
        f"at most {limits.CURSOR_LIMIT} characters",
        f"within {limits.IDENTIFY_SECONDS} seconds",
    ],
)
def test_every_limit_is_documented(limit: str) -> None:
    assert limit in PROTOCOL
