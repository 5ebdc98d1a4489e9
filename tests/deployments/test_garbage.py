"""Garbage from clients: the server answers or closes by the tables of the protocol, without an unhandled exception.

test_refusals.py goes through the table of bad frames, one by one.
"""

import asyncio
import contextlib
from collections import Counter
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from messaging.client.frames import Frame, encode, identify, new_id
from messaging.client.socket import Socket, connect
from messaging.protocol.codes import RULES, ErrorCode
from tests.support.connections import COUNT, GATEWAY, validate
from tests.support.deployments import Deployment
from tests.support.garbage import BadRequest, every_bad_request, garbage
from tests.support.waiting import SOON

WELL = BadRequest("a good one", "/user/", status=200)


@pytest.fixture(scope="session", params=["local", "kubernetes"])
def own_deployment(request: pytest.FixtureRequest) -> Deployment:
    """Return a deployment on SQLite, and one on PostgreSQL, whose servers the tests reach without a proxy."""
    found: Deployment = request.getfixturevalue(f"{request.param}_deployment")
    return found


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


async def status(deployment: Deployment, bad: BadRequest) -> int:
    """Return the status with which the first server answers a staff member who sends `bad`."""
    session, origin = deployment.session("operator"), deployment.servers[0].origin
    await asyncio.to_thread(session.token)  # signs in
    cookies = "; ".join(f"{name}={value}" for name, value in session.cookies.items())
    headers = {"Cookie": cookies, "X-CSRFToken": session.cookies["csrftoken"], "Origin": origin, "Connection": "close"}
    if bad.headers.keys() & {"Cookie"} or bad.status == 403:
        del headers["X-CSRFToken"]
    if bad.form is not None:
        headers["Content-Length"] = str(len(bad.form))
    place = urlsplit(origin)
    lines = [f"{'GET' if bad.form is None else 'POST'} {bad.path} HTTP/1.1", f"Host: {place.netloc}"]
    lines += [f"{name}: {value}" for name, value in (headers | bad.headers).items()]
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    with contextlib.closing(writer):
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + (bad.form or b""))
        async with asyncio.timeout(SOON):
            return int((await reader.readline()).split()[1])


@every_bad_request
async def test_a_request_that_no_browser_sends_is_refused(bad: BadRequest, own_deployment: Deployment) -> None:
    logged = len(own_deployment.log)
    assert await status(own_deployment, bad) == bad.status
    assert await status(own_deployment, WELL) == 200
    log = own_deployment.log[logged:]
    assert [line for line in log.splitlines() if "ERROR" in line or "Traceback" in line] == []
