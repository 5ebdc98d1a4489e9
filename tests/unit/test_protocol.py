"""The frames that a client may send, and the answers to them. test_schemas.py tests the schemas."""

import json
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messaging.protocol import frames
from messaging.protocol.codec import decode, encode, split_page
from messaging.protocol.codes import CloseCode, ErrorCode, ProtocolError
from messaging.protocol.limits import PAGE_LIMIT
from tests.support.bad_frames import BadFrame, every_bad_frame
from tests.support.garbage import garbage


def message(**fields: object) -> str:
    fields = {"action": "sendMessage", "id": "message-1", "content": "hello", **fields}
    return json.dumps(fields, ensure_ascii=False)


def test_fields_are_read_at_the_top_level_or_under_data() -> None:
    expected = frames.SendMessage("hello", "message-1")
    assert decode(message(), 2) == expected
    nested = {"action": "sendMessage", "data": {"id": "message-1", "content": "hello"}}
    assert decode(json.dumps(nested), 2) == expected


def test_identify_says_its_version_and_anything_but_2_is_version_1() -> None:
    text = {"action": "identify", "type": "user", "v": 2, "id": "i", "token": "t", "since": "c", "lang": "de"}
    assert decode(json.dumps(text), 1) == frames.Identify("user", 2, "i", "t", "c", lang="de")
    assert decode(json.dumps({"action": "identify", "type": "admin", "v": 3}), 1) == frames.Identify("admin", 1)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("  hello\r\nworld\t ", "hello\nworld"),
        ("\u0000a\u001bb", "ab"),
        ("e\u0301", "é"),
        ("😀" * 2000, "😀" * 2000),
    ],
)
def test_content_is_cleaned(given: str, stored: str) -> None:
    assert decode(message(content=given), 2) == frames.SendMessage(stored, "message-1")


@every_bad_frame
def test_bad_input_is_named_with_what_is_allowed(bad: BadFrame) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(bad.data, 2)
    assert (caught.value.code, caught.value.id, caught.value.limit) == (bad.code, bad.id, bad.limit)


def test_version_1_may_leave_out_id_and_content() -> None:
    assert decode('{"action":"sendMessage","timestamp":1,"type":"user"}', 1) == frames.SendMessage(None)


def test_a_frame_is_compact_json_without_what_it_does_not_say() -> None:
    ack = frames.Ack("message-1", "m", "c", "2026-01-01T00:00:00.000Z", duplicate=False)
    assert encode(ack) == (
        '{"type":"ack","id":"message-1","messageId":"m","cursor":"c",'
        '"timestamp":"2026-01-01T00:00:00.000Z","duplicate":false}'
    )
    assert encode(frames.Pong("t")) == '{"type":"pong","timestamp":"t","action":"pong"}'


def test_a_long_history_page_is_split_below_the_limit_and_only_its_last_frame_ends_it() -> None:
    messages = tuple(frames.Message(f"m{n}", "é" * 2000, "t", "user", f"c{n}", "v") for n in range(20))
    pages = split_page(frames.HistoryPage("h", messages, "end", more=False))
    assert [message for page in pages for message in page.messages] == list(messages)
    assert all(len(encode(page).encode()) <= PAGE_LIMIT for page in pages)
    assert [(page.more, page.partial) for page in pages] == [(True, True)] * (len(pages) - 1) + [(False, None)]
    assert [page.cursor for page in pages] == [*(page.messages[-1].cursor for page in pages[:-1]), "end"]


def test_what_a_page_says_of_conversations_comes_behind_its_messages_in_as_many_frames_as_it_takes() -> None:
    messages = tuple(frames.Message(f"m{n}", "é" * 2000, "t", "user", f"c{n}", "v") for n in range(7))
    states = tuple(
        frames.ConversationSummary(f"v{n}", "open", claimed_by={"id": n, "name": "é" * 150}) for n in range(100)
    )
    pages = split_page(frames.HistoryPage("h", messages, "end", more=False, conversations=states))
    assert [message for page in pages for message in page.messages] == list(messages)
    assert [state for page in pages for state in page.conversations or ()] == list(states)
    assert all(len(encode(page).encode()) <= PAGE_LIMIT for page in pages)
    assert [(page.cursor, page.more, page.partial, page.conversations is None) for page in pages] == [
        ("c5", True, True, True),
        ("c6", True, True, False),
        ("end", False, None, False),
    ]


def test_a_close_code_says_by_its_range_whether_to_come_back() -> None:
    assert {code: code < 4100 for code in CloseCode} == {
        CloseCode.RESTART: True,
        CloseCode.SLOW_READER: True,
        CloseCode.TRY_LATER: True,
        CloseCode.RATE_LIMITED: True,
        CloseCode.BAD_FRAMES: False,
        CloseCode.UNAUTHORIZED: False,
        CloseCode.FORBIDDEN: False,
        CloseCode.NO_IDENTIFY: False,
        CloseCode.TOO_LARGE: False,
    }


@settings(max_examples=1_000, deadline=None)
@given(data=garbage, version=st.sampled_from([1, 2]))
def test_decode_gives_a_frame_or_an_error_of_the_table(data: str | bytes, version: int) -> None:
    try:
        outcome: object = decode(data, version)
    except ProtocolError as error:
        outcome = error.code
    assert isinstance(outcome, (*get_args(frames.ClientFrame), ErrorCode))
