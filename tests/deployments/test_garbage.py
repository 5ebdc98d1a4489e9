"""Garbage from clients: the server answers or closes by the tables of the protocol, without an unhandled exception."""

import asyncio
import contextlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from messaging.client.frames import Frame, encode, identify, new_id
from messaging.client.socket import Socket, connect
from messaging.protocol.codes import RULES, ErrorCode
from tests.support.connections import COUNT, GATEWAY, validate
from tests.support.deployments import Deployment
from tests.support.garbage import garbage
from tests.support.waiting import SOON


def close_after(given: list[Frame]) -> int | None:
    """Return the code with which a server closes after these answers, or None if it does not close."""
    strikes: Counter[str] = Counter()
    for answer in given:
        if answer["type"] == "error":
            strikes[answer["code"]] += 1
            rule = RULES.get(ErrorCode(answer["code"]))
            if rule and strikes[answer["code"]] == rule.after:
                return rule.close
    return None


async def answers(url: str, frames: list[str | bytes]) -> tuple[list[Frame], object]:
    """Return the server's answers to `frames`, after its welcome, and the code with which it closes, or None.

    A gateway receives each frame after the answer to the one before, because it would serve both at the same time.
    """
    given: list[Frame] = []
    end = new_id()
    last = encode({"action": "ping", "id": end})
    async with connect(url, proxy=None) as socket, asyncio.timeout(SOON):
        try:
            if GATEWAY in url:
                for data in frames:
                    await socket.websocket.send(data)
                    given.append(await _answer(socket))
                    if close_after(given) is not None:
                        break
                else:
                    await socket.websocket.send(last)
            else:
                await socket.receive()
                with contextlib.suppress(ConnectionClosed):  # the frames before the close are read below
                    for data in [*frames, last]:
                        await socket.websocket.send(data)
            while (frame := await _answer(socket)).get("id") != end:
                given.append(frame)
        except ConnectionClosed:
            assert socket.close_code is not None
            return given, COUNT if GATEWAY in url else socket.close_code  # behind a gateway any code is right
    return given, None


async def _answer(socket: Socket) -> Frame:
    while (frame := await socket.receive())["type"] in ("connection", "presence"):  # these answer no request
        pass
    validate(frame)
    return frame


def test_a_server_answers_every_frame_and_closes_when_the_table_says_so(deployment: Deployment) -> None:
    # Fewer behind a gateway: the same code decodes there, and each frame takes a tenth of a second.
    @settings(max_examples=30 if deployment.gateway else 100, deadline=None)
    @given(frames=st.lists(garbage.filter(bool), min_size=1, max_size=8), identified=st.booleans())
    def answers_and_closes(frames: list[str | bytes], identified: bool) -> None:
        if deployment.gateway:  # the gateway itself closes when it receives bytes
            frames = [frame for frame in frames if isinstance(frame, str)]
        if identified:
            frames = [encode(identify("user")), *frames]
        told, code = asyncio.run(answers(deployment.websocket_urls[0], frames))
        assert close_after(told) == code
        if code is None:
            assert len(told) >= len(frames)
        else:
            assert close_after(told[:-1]) is None, "it went on after the error that closes"

    answers_and_closes()
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
