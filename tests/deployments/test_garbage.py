"""Whatever a client sends: an answer or a close from the tables of the protocol, never an unhandled exception."""

import asyncio
import contextlib
import json
from collections import Counter
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from messaging.client.frames import encode, identify, new_id
from messaging.client.socket import connect
from messaging.protocol import decode
from messaging.protocol.codes import RULES, ErrorCode, ProtocolError
from messaging.protocol.frames import ClientFrame
from tests.support.connections import COUNT, GATEWAY, validate
from tests.support.deployments import Deployment
from tests.support.waiting import SOON

ACTIONS = ("identify", "sendMessage", "history", "ping", "setConnectionType")
FIELDS = (
    "type", "v", "id", "token", "since", "before", "limit", "content", "quick", "to", "conversation", "connectionType",
    "data",
)  # fmt: skip

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["user", "admin", "message-1", 2, 1, "0" * 13 + "." + "0" * 11]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=4),
    max_leaves=8,
)
almost_frames = st.fixed_dictionaries(
    {"action": st.sampled_from(ACTIONS) | values}, optional=dict.fromkeys(FIELDS, values)
)
garbage = st.text() | st.binary() | (almost_frames | values).map(json.dumps)


@settings(max_examples=1_000, deadline=None)
@given(data=garbage, version=st.sampled_from([1, 2]))
def test_decode_gives_a_frame_or_an_error_of_the_table(data: str | bytes, version: int) -> None:
    try:
        outcome: object = decode(data, version)
    except ProtocolError as error:
        outcome = error.code
    assert isinstance(outcome, (*get_args(ClientFrame), ErrorCode))


async def answers(url: str, frames: list[str | bytes]) -> list[object]:
    """What the server says to `frames`, after its welcome: its frames, then the close code if it closes."""
    end = new_id()
    given: list[object] = []
    async with connect(url, proxy=None) as socket:
        try:
            if GATEWAY not in url:
                await socket.receive()
            with contextlib.suppress(ConnectionClosed):  # what it said before that is still to be read
                for data in [*frames, encode({"action": "ping", "id": end})]:
                    await socket.websocket.send(data)
            async with asyncio.timeout(SOON):
                while (frame := await socket.receive()).get("id") != end:
                    validate(frame)
                    if frame["type"] != "connection":
                        given.append(frame)
        except ConnectionClosed:
            assert socket.close_code is not None
            given.append(COUNT if GATEWAY in url else socket.close_code)  # there any code is right
    return given


@settings(max_examples=100, deadline=None)
@given(frames=st.lists(garbage.filter(bool), min_size=1, max_size=8), identified=st.booleans())
def test_a_server_answers_every_frame_and_closes_when_the_table_says_so(
    deployment: Deployment, frames: list[str | bytes], identified: bool
) -> None:
    if deployment.gateway:  # it closes by itself when it gets bytes
        frames = [frame for frame in frames if isinstance(frame, str)]
    if identified:
        frames = [encode(identify("user")), *frames]
    strikes: Counter[str] = Counter()
    closing = None
    given = asyncio.run(answers(deployment.websocket_urls[0], frames))
    for answer in given:
        if closing is not None:
            assert answer == closing
            break
        assert isinstance(answer, dict), f"closed with {answer}, but the last error was none that closes"
        if answer["type"] == "error":
            strikes[answer["code"]] += 1
            rule = RULES.get(ErrorCode(answer["code"]))
            if rule and strikes[answer["code"]] == rule.after:
                closing = rule.close
    else:
        assert closing is None, f"still open after {strikes}"
        assert len(given) >= len(frames)
    assert "Traceback" not in deployment.log


@pytest.mark.parametrize("data", [b"\xff\xfe", b'{"action":"ping","id":"\xed\xa0\x80"}'])
async def test_text_that_is_no_utf_8_closes_with_1007(data: bytes, deployment: Deployment) -> None:
    deployment.needs_own_sockets("text that is no UTF-8")
    async with connect(deployment.websocket_urls[0], proxy=None) as socket, asyncio.timeout(SOON):
        await socket.receive()
        await socket.websocket.send(data, text=True)
        with pytest.raises(ConnectionClosed):
            await socket.receive()
        assert socket.close_code == 1007
