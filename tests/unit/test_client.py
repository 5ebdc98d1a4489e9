"""The Python client, against a server whose frames the test chooses."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, get_args

import pytest
from websockets.asyncio.server import ServerConnection, serve

from messaging.client.frames import CLOSES, Frame, decode, encode, kind, request
from messaging.client.person import Person
from messaging.client.place import Place
from messaging.client.socket import Credentials
from messaging.protocol import frames
from messaging.protocol.codes import CloseCode
from tests.support.services import HOST

NEVER = 3600.0  # seconds; a client that waits this long fails its test
ME = "visitor-1"


class Peer:
    """The server's end of one connection."""

    def __init__(self, websocket: ServerConnection) -> None:
        self._websocket = websocket

    async def receive(self) -> Frame:
        return decode(await self._websocket.recv())

    async def send(self, type: str, **fields: Any) -> None:
        await self._websocket.send(encode({"type": type} | fields))

    async def refuse(self, frame: Frame, code: str, **fields: Any) -> None:
        await self.send("error", code=code, id=frame["id"], **fields)

    async def ack(self, frame: Frame) -> None:
        place = {"messageId": frame["id"], "cursor": f"c-{frame['content']}", "timestamp": "now"}
        await self.send("ack", id=frame["id"], duplicate=False, **place)

    async def close(self, code: int) -> None:
        await self._websocket.close(code)

    async def welcome(self, *messages: Frame, recovered: bool = False, cursor: str = "c-0") -> Frame:
        """Identify the client, send `messages` as its history, and return its `identify` frame."""
        asked = await self.receive()
        await self.send("identified", id=asked["id"], token="token-1", conversation=ME, recovered=recovered)
        history = await self.receive()
        assert (asked["action"], history["action"]) == ("identify", "history")
        await self.send("history", id=history["id"], messages=list(messages), cursor=cursor, more=False)
        return asked


class Server:
    def __init__(self) -> None:
        self.url = ""
        self._arrived: asyncio.Queue[Peer] = asyncio.Queue()

    async def serve(self, websocket: ServerConnection) -> None:
        self._arrived.put_nowait(Peer(websocket))
        await websocket.wait_closed()

    async def next(self) -> Peer:
        """Return the next connection."""
        return await self._arrived.get()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with serve(server.serve, HOST, 0) as listening, asyncio.timeout(30):
        (port,) = {socket.getsockname()[1] for socket in listening.sockets}
        server.url = f"ws://{HOST}:{port}"
        yield server


def message(content: str) -> Frame:
    return {"type": "message", "messageId": content, "content": content, "cursor": f"c-{content}", "from": "admin"}


def impatient(server: Server, **options: Any) -> Person:
    return Person(server.url, proxy=None, first_delay=0.0, **options)


async def test_one_who_was_not_identified_for_the_moment_begins_again(server: Server) -> None:
    async with impatient(server) as person:
        await person.say("hello")
        refusing = await server.next()
        await refusing.refuse(await refusing.receive(), "unavailable", retryAfterMs=0)
        peer = await server.next()
        await peer.welcome()
        assert (await peer.receive())["content"] == "hello"


async def test_what_is_not_answered_goes_again_over_the_next_connection_in_order(server: Server) -> None:
    async with impatient(server) as person:
        first = await server.next()
        await first.welcome()
        for content in ("1", "2", "3"):
            await person.say(content)
        sent = [await first.receive() for _ in range(3)]
        await first.ack(sent[0])
        await first.close(CloseCode.SLOW_READER)
        second = await server.next()
        await second.welcome(recovered=True)
        assert [await second.receive() for _ in range(2)] == sent[1:]
        for frame in sent[1:]:
            await second.ack(frame)
        await person.settled()
        assert [shown["content"] for shown in person.messages] == ["1", "2", "3"]


async def test_requests_go_in_turn_where_that_is_wanted(server: Server) -> None:
    async with impatient(server, in_turn=True) as person:
        peer = await server.next()
        await peer.welcome()
        for content in ("1", "2", "3"):
            await person.say(content)
        for content, refused in (("1", False), ("2", True), ("3", False)):
            sent = await peer.receive()
            assert sent["content"] == content
            await peer.send("pong", cursor="~")
            asked = await peer.receive()
            assert asked["action"] == "history"  # no message overtakes this request
            await peer.send("history", id=asked["id"], messages=[], cursor="c-0", more=False)
            await (peer.refuse(sent, "empty") if refused else peer.ack(sent))
        await person.settled()


async def test_a_request_that_has_to_wait_goes_again_over_the_same_connection(server: Server) -> None:
    async with impatient(server) as person:
        peer = await server.next()
        await peer.welcome()
        await person.say("hello")
        sent = await peer.receive()
        await peer.refuse(sent, "rate_limited", retryAfterMs=1)
        assert await peer.receive() == sent


async def test_a_request_that_is_refused_for_good_leaves_the_outbox(server: Server) -> None:
    async with impatient(server) as person:
        peer = await server.next()
        await peer.welcome()
        await person.say(" ")
        await peer.refuse(await peer.receive(), "empty")
        await person.settled()
        assert person.thread == {}


async def test_a_message_of_its_own_settles_a_request_whose_ack_is_lost(server: Server) -> None:
    async with impatient(server) as person:
        peer = await server.next()
        await peer.welcome()
        await person.say("hello")
        sent = await peer.receive()
        await peer.send(**message("hello") | {"id": sent["id"]})
        await person.settled()


async def test_who_comes_back_resumes_and_shows_nothing_twice(server: Server) -> None:
    shown: list[str] = []

    class Reader(Person):
        def on_message(self, frame: Frame) -> None:
            shown.append(frame["content"])

    async with Reader(server.url, proxy=None, first_delay=0.0) as person:
        first = await server.next()
        assert "since" not in await first.welcome(message("old"), cursor="c-old")
        await first.send(**message("live"))
        await first.close(CloseCode.RESTART)
        second = await server.next()
        asked = await second.welcome(message("old"), message("live"), message("missed"), recovered=True)
        assert (asked["since"], asked["token"]) == ("c-old", "token-1")
        await second.send(**message("live"))
        await second.send(**message("newest"))
        await second.close(CloseCode.RESTART)
        await server.next()
        assert shown == ["live", "missed", "newest"]
        assert list(person.thread) == ["old", "live", "missed", "newest"]
        assert person.resets == 0


async def test_where_nothing_can_be_resumed_the_thread_begins_anew(server: Server) -> None:
    async with impatient(server) as person:
        first = await server.next()
        await first.welcome(message("old"), cursor="c-old")
        await first.close(CloseCode.RESTART)
        second = await server.next()
        await second.welcome(message("new"))
        await second.close(CloseCode.RESTART)
        await server.next()
        assert (list(person.thread), person.resets) == (["new"], 1)


async def test_who_is_refused_the_history_begins_the_thread_anew(server: Server) -> None:
    async with impatient(server) as person:
        first = await server.next()
        await first.welcome(message("old"), cursor="c-old")
        await first.close(CloseCode.RESTART)
        second = await server.next()
        asked = await second.receive()
        await second.send("identified", id=asked["id"], token="token-1", conversation=ME, recovered=True)
        await second.refuse(await second.receive(), "not_found")
        third = await server.next()
        assert "since" not in await third.welcome(message("new"))
        await third.close(CloseCode.RESTART)
        await server.next()
        assert (list(person.thread), person.resets) == (["new"], 1)


async def test_a_server_that_says_when_to_come_back_is_obeyed(server: Server) -> None:
    async with Person(server.url, proxy=None, first_delay=NEVER, longest_delay=NEVER):
        first = await server.next()
        await first.welcome()
        await first.send("serverShutdown", reconnectAfterMs=1)
        await first.close(CloseCode.RESTART)
        await server.next()


@pytest.mark.parametrize("code", [CloseCode.BAD_FRAMES, CloseCode.FORBIDDEN, CloseCode.TOO_LARGE])
async def test_a_close_code_that_says_stop_is_obeyed(code: CloseCode, server: Server) -> None:
    person = impatient(server)
    running = asyncio.create_task(person.run())
    await (await server.next()).close(code)
    await running
    assert person.stopped == code


@pytest.mark.parametrize("code", [CloseCode.TRY_LATER, CloseCode.NO_IDENTIFY, 1011])
async def test_any_other_close_code_lets_it_come_back(code: int, server: Server) -> None:
    async with impatient(server):
        await (await server.next()).close(code)
        await server.next()


async def test_an_error_that_ends_a_connection_does_so_whatever_the_close_code(server: Server) -> None:
    person = impatient(server)
    running = asyncio.create_task(person.run())
    await (await server.next()).send("error", code="forbidden")
    await running
    assert person.stopped == CLOSES["forbidden"]


async def test_staff_who_are_not_known_try_a_fresh_token_once(server: Server) -> None:
    tokens = iter("ab")

    async def mint() -> Credentials:
        return Credentials(next(tokens))

    person = Person(server.url, proxy=None, mint=mint, first_delay=NEVER, longest_delay=NEVER)
    running = asyncio.create_task(person.run())
    for token in "ab":
        peer = await server.next()
        asked = await peer.receive()
        assert (asked["type"], asked["token"]) == ("admin", token)
        await peer.refuse(asked, "unauthorized")
    await running
    assert person.stopped == CloseCode.UNAUTHORIZED


async def test_a_server_that_owes_an_answer_and_says_nothing_is_given_up(server: Server) -> None:
    async with impatient(server, silence_seconds=0.05) as person:
        await (await server.next()).receive()  # `identify`, which the server never answers
        person.silence_seconds = NEVER  # for the next connection
        await (await server.next()).welcome()


async def test_one_answer_that_is_lost_ends_the_connection_while_others_come(server: Server) -> None:
    async with impatient(server, answer_seconds=1.0) as person:
        first = await server.next()
        await first.welcome()
        person.answer_seconds = NEVER  # for the next connection
        await first.send("connection", heartbeatMs=50)
        await person.say("hello")
        sent = await first.receive()
        with contextlib.suppress(Exception):  # the client ends the connection
            while (frame := await first.receive())["action"] == "ping":
                await first.send("pong", id=frame["id"])
        second = await server.next()
        await second.welcome()
        assert await second.receive() == sent


async def test_it_pings_and_reads_what_a_pong_shows_to_be_missing(server: Server) -> None:
    async with impatient(server) as person:
        peer = await server.next()
        await peer.welcome()
        await peer.send("connection", heartbeatMs=100)
        ping = await peer.receive()
        assert ping["action"] == "ping"
        await peer.send("pong", id=ping["id"], cursor="c-missed")
        while (frame := await peer.receive())["action"] == "ping":
            pass
        assert (frame["action"], frame["since"]) == ("history", "c-0")
        await peer.send("history", id=frame["id"], messages=[message("missed")], cursor="c-missed", more=False)
        await peer.close(CloseCode.RESTART)
        assert (await (await server.next()).receive())["since"] == "c-missed"
        assert list(person.thread) == ["missed"]


async def test_who_is_forgotten_begins_anew_with_nothing(server: Server) -> None:
    async with impatient(server) as person:
        peer = await server.next()
        await peer.welcome(message("old"))
        await person.ask(request("forget"))
        await person.say("too late")
        await peer.send("ack", id=(await peer.receive())["id"], duplicate=False)
        await peer.receive()
        await person.settled()
        assert (person.thread, person.token) == ({}, None)
        await peer.close(CloseCode.RESTART)
        asked = await (await server.next()).receive()
        assert {"token", "since"} & asked.keys() == set()
        assert person.resets == 0


async def test_a_thread_keeps_the_newest_messages(server: Server) -> None:
    async with impatient(server, keep=2) as person:
        peer = await server.next()
        await peer.welcome(*map(message, "abc"))
        await peer.close(CloseCode.RESTART)
        await server.next()
        assert list(person.thread) == ["b", "c"]


async def test_back_off_grows_to_its_bound_and_begins_anew_after_a_stable_connection(server: Server) -> None:
    longest: list[float] = []

    def draw(least: float, most: float) -> float:
        longest.append(most)
        return least

    async with Person(server.url, proxy=None, first_delay=0.5, longest_delay=3.0, draw=draw) as person:
        for stable_seconds in (NEVER, NEVER, NEVER, NEVER, NEVER, 0.0):
            person.stable_seconds = stable_seconds
            peer = await server.next()
            await peer.welcome()
            await peer.close(CloseCode.TRY_LATER)
        await server.next()
    assert longest == [0.5, 1.0, 2.0, 3.0, 3.0, 0.5]


def test_a_long_history_is_read_page_by_page_and_the_newest_page_alone() -> None:
    place = Place()
    assert place.loading is False
    assert "since" not in place.catch_up()
    assert place.loading
    assert place.read({"cursor": "1", "more": True, "partial": True}) is None
    assert place.since is None
    assert place.read({"cursor": "2", "more": True}) is None
    assert place.since == "2"
    assert place.catch_up()["since"] == "2"
    assert place.read({"cursor": "3", "more": True, "partial": True}) is None
    following = place.read({"cursor": "4", "more": True})
    assert following is not None
    assert following["since"] == "4"
    assert place.read({"cursor": "5", "more": False}) is None
    assert (place.since, place.request) == ("5", None)


@pytest.mark.parametrize("type", [type.TYPE for type in get_args(frames.ServerFrame)])
def test_the_type_of_a_frame_is_read_without_the_rest(type: str) -> None:
    assert kind(f'{{"type":"{type}","id":"1"}}'.encode()) == type.encode()
    assert kind(f'{{"type": "{type}", "id": "1"}}'.encode()) == type.encode()


def test_what_is_no_frame_has_no_type() -> None:
    assert kind(b'["type"]') == b""
