"""The errors with which the server refuses frames, and the connections that it then closes; the same in every mode."""

import pytest

from tests.support.bad_frames import SENSELESS, BadFrame, every_bad_frame
from tests.support.connections import Connection, Frame, admin, connect, error, visitor
from tests.support.deployments import Deployment


@every_bad_frame
async def test_a_bad_frame_is_answered_and_closes_only_where_the_table_says_so(
    bad: BadFrame, deployment: Deployment
) -> None:
    if not bad.reaches_application:
        deployment.needs_own_sockets(bad.name)
    async with visitor(deployment.websocket_urls[0]) as socket:
        await socket.send_raw(bad.data)
        if bad.close:
            assert await socket.until_closed() == ([error(**bad.answer)], bad.close)
        else:
            assert await socket.receive() == error(**bad.answer)
            assert await socket.until_pong() == []


@pytest.mark.parametrize("bad", SENSELESS, ids=str)
async def test_the_fifth_senseless_frame_closes(bad: BadFrame, deployment: Deployment) -> None:
    if not bad.reaches_application:
        deployment.needs_own_sockets(bad.name)
    async with visitor(deployment.websocket_urls[0]) as socket:
        answers = []
        for _ in range(5):
            await socket.send_raw(bad.data)
            if deployment.gateway:  # if frames are served at the same time, not all of them are counted
                answers.append(await socket.receive())
        last, code = await socket.until_closed()
        assert (answers + last, code) == ([error(**bad.answer)] * 5, 4400)


async def test_other_errors_do_not_count_towards_the_fifth(deployment: Deployment) -> None:
    async with visitor(deployment.websocket_urls[0]) as socket:
        for _ in range(10):
            assert await socket.request("dance") == error("unknown_action")
        assert await socket.until_pong() == []


def padded(size: int) -> str:
    """Return a ping of `size` bytes, padded with characters of two bytes."""
    frame = '{"action":"ping","id":"p","x":"%s"}'
    room = size - len(frame % "")
    return frame % ("ä" * (room // 2) + "x" * (room % 2))


async def test_a_frame_of_16_kib_is_served(deployment: Deployment) -> None:
    async with visitor(deployment.websocket_urls[0]) as socket:
        await socket.send_raw(padded(16 * 1024))
        assert (await socket.receive())["type"] == "pong"


async def test_a_larger_frame_closes_with_4413(deployment: Deployment) -> None:
    async with visitor(deployment.websocket_urls[0]) as socket:
        await socket.send_raw(padded(16 * 1024 + 1))
        assert await socket.until_closed() == ([error("too_large", limit=16_384)], 4413)


async def test_a_frame_over_64_kib_is_not_even_read(deployment: Deployment) -> None:
    deployment.needs_own_sockets("frames over 32 KB")
    async with visitor(deployment.websocket_urls[0]) as socket:
        await socket.send_raw(padded(64 * 1024 + 1))
        assert await socket.until_closed() == ([], 1009)


async def test_a_visitor_cannot_become_another_visitor(deployment: Deployment) -> None:
    url = deployment.websocket_urls[0]
    async with visitor(url) as ada, visitor(url) as bob:
        await bob.send("identify", v=2, type="user", token=ada.token)
        assert await bob.until_closed() == ([error("forbidden")], 4403)


async def test_a_visitor_cannot_become_an_admin(deployment: Deployment) -> None:
    async with visitor(deployment.websocket_urls[0]) as socket:
        await socket.send("identify", v=2, type="admin", token=await deployment.admin_token())
        assert await socket.until_closed() == ([error("forbidden")], 4403)


async def refused_reply(socket: Connection, **fields: object) -> Frame:
    return await socket.request("sendMessage", content="an answer", id="message-1", **fields)


async def test_a_reply_needs_a_conversation_that_exists(deployment: Deployment) -> None:
    async with admin(deployment.websocket_urls[0], await deployment.admin_token()) as operator:
        assert await refused_reply(operator) == error("bad_frame", id="message-1")
        for nobody in ("no-uuid", "00000000-0000-4000-8000-000000000000"):
            assert await refused_reply(operator, to=nobody) == error("not_found", id="message-1")
        assert await operator.until_pong() == []


async def test_a_reply_needs_the_right_to_add_messages(deployment: Deployment) -> None:
    url = deployment.websocket_urls[0]
    async with visitor(url) as ada, admin(url, await deployment.admin_token("reader")) as reader:
        await ada.say("a question")
        await reader.receive()
        await reader.send("sendMessage", content="an answer", id="message-1", to=ada.conversation)
        assert await reader.until_closed() == ([error("forbidden", id="message-1")], 4403)
        assert await ada.until_pong() == []


@pytest.mark.parametrize("path", ["/ws", "/ws/"])
async def test_both_forms_of_the_path_are_served(path: str, deployment: Deployment) -> None:
    async with connect(deployment.websocket_urls[0].removesuffix("/ws") + path) as socket:
        assert await socket.until_pong() == []
