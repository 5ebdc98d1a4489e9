"""The documented protocol, frame by frame: a raw connection, and the frames that a test expects on it."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

from jsonschema import Draft202012Validator
from websockets.exceptions import ConnectionClosed

from messaging.client.frames import Frame as Frame
from messaging.client.frames import encode, identify
from messaging.client.frames import new_id as new_id
from messaging.client.socket import Socket
from messaging.client.socket import connect as open_socket
from messaging.protocol.fields import Role
from tests.support.paths import ROOT
from tests.support.waiting import SOON

SCHEMA = ROOT / "docs" / "protocol" / "server.schema.json"


def _validators() -> dict[str, Draft202012Validator]:
    """Return one for each type of frame: one for all of them tries each type in turn, and can't say what is wrong."""
    document = json.loads(SCHEMA.read_text())
    definitions = document["$defs"]
    variants: dict[str, list[dict[str, str]]] = {}
    for variant in document["oneOf"]:
        _, _, name = variant["$ref"].rpartition("/")
        variants.setdefault(definitions[name]["properties"]["type"]["const"], []).append(variant)
    return {
        type: Draft202012Validator({"$defs": definitions} | (found[0] if len(found) == 1 else {"oneOf": found}))
        for type, found in variants.items()
    }


VALIDATORS = _validators()


def validate(frame: Frame) -> None:
    """Hold a server's frame against its schema. Raises jsonschema.ValidationError, KeyError for an unknown type."""
    VALIDATORS[frame["type"]].validate(frame)


class Matching:
    """Equals every text that matches `pattern`: stands in an expected frame for what the server makes up."""

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self._pattern.fullmatch(other) is not None

    def __hash__(self) -> int:
        return hash(self._pattern)

    def __repr__(self) -> str:
        return f"<text like {self._pattern.pattern}>"


class Count:
    """Equals every whole number from 0: other tests' connections come and go."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int) and other >= 0

    def __hash__(self) -> int:
        return 0


COUNT = Count()
TEXT = Matching(r".+")
CURSOR = Matching(r"[!-~]{1,64}")
TIME = Matching(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UUID = Matching(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
UUID7 = Matching(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

WELCOME: Frame = {
    "type": "connection",
    "connectionId": TEXT,
    "message": "Connected successfully",
    "timestamp": TIME,
    "protocol": 2,
    "heartbeatMs": 25_000,
    "limits": {"frame": 16_384, "content": 2_000},
}
GATEWAY = "/execute-api/"  # in the URL of a WebSocket that an API Gateway holds
QUICK = [{"key": "speak-german", "label": TEXT, "content": "speak german"}]


def ack(id: str, *, duplicate: bool = False) -> Frame:
    return {
        "type": "ack", "id": id, "messageId": UUID7, "cursor": CURSOR, "timestamp": TIME, "duplicate": duplicate,
    }  # fmt: skip


def error(code: str, **fields: Any) -> Frame:
    return {"type": "error", "code": code, "error": TEXT, "message": TEXT, "timestamp": TIME} | fields


def message(content: str, conversation: str, **fields: Any) -> Frame:
    """A visitor's message as version 2 admins get it live."""
    return Message({
        "type": "message", "messageId": UUID7, "content": content, "timestamp": TIME, "from": "user",
        "connectionId": TEXT, "cursor": CURSOR, "conversation": conversation,
    } | fields)  # fmt: skip


class Message(Frame):
    """A message as its receivers get it. Found in the journal because its hint was late, it names no connection."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and dict(self) == {"connectionId": self["connectionId"]} | other

    __hash__ = None


class Connection:
    """One WebSocket, frame by frame. `id` is the server's name for it, `conversation` a visitor's own."""

    def __init__(self, socket: Socket, *, gateway: bool) -> None:
        self._socket = socket
        self._gateway = gateway
        self.id = ""
        self.token = ""
        self.conversation = ""
        # What it was told last. Version 2 gets a frame of this type at any time, so `receive` leaves them out.
        self.presence: Frame = {}
        self._version_2 = False
        self._acked: set[str] = set()  # ids that messages of its own have in the log

    async def welcome(self) -> None:
        if self._gateway:  # nothing can be sent on accept: the frame comes before the first answer
            await self.send("ping")
        frame = await self.receive()
        assert frame == (WELCOME | {"heartbeatMs": 240_000} if self._gateway else WELCOME)
        if self._gateway:
            assert (await self.receive())["type"] == "pong"
        self.id = frame["connectionId"]

    async def send(self, action: str, **fields: Any) -> None:
        await self.send_raw(encode({"action": action} | fields))

    async def send_raw(self, data: str | bytes) -> None:
        with contextlib.suppress(ConnectionClosed):  # the next `receive` or `closed` tells
            await self._socket.websocket.send(data)

    async def close(self, code: int) -> None:
        await self._socket.websocket.close(code)

    def cut(self) -> None:
        self._socket.cut()

    async def receive(self, within: float = SOON) -> Frame:
        async with asyncio.timeout(within):
            while True:
                frame = await self._socket.receive()
                validate(frame)
                if frame["type"] == "presence" and self._version_2:
                    self.presence = frame
                elif not (_has_lapsed(frame) or self._is_own(frame)):
                    return frame

    async def request(self, action: str, **fields: Any) -> Frame:
        """Sends a frame and returns the next one that comes."""
        await self.send(action, **fields)
        return await self.receive()

    async def identify(self, role: Role = "user", **fields: Any) -> Frame:
        self._version_2 = True  # a gateway finds the connection before it has its answer
        frame, _ = await self._served(**identify(role, **fields))
        assert frame["type"] == "identified", frame
        self.token, self.conversation = frame.get("token", ""), frame.get("conversation", "")
        self.presence = frame.get("presence", self.presence)
        return frame

    async def say(self, content: str, **fields: Any) -> Frame:
        """Sends a message; returns its ack."""
        id = fields.setdefault("id", new_id())
        answer, again = await self._served("sendMessage", content=content, **fields)
        assert answer == ack(id, duplicate=again and answer["duplicate"])
        self._acked.add(answer["messageId"])
        return answer

    async def _served(self, action: str, **fields: Any) -> tuple[Frame, bool]:
        """The answer, and whether it was asked for again: a server that stands still for 2 s has none, and says so."""
        again = False
        while (answer := await self.request(action, **fields)).get("code") == "unavailable":
            again = True
            await asyncio.sleep(answer["retryAfterMs"] / 1000)
        return answer, again

    def _is_own(self, frame: Frame) -> bool:
        """Return whether a message of this connection came back from the journal, as its hint was late."""
        return frame["type"] == "message" and "connectionId" not in frame and frame["messageId"] in self._acked

    async def receive_many(self, count: int) -> list[Frame]:
        return [await self.receive() for _ in range(count)]

    async def until_pong(self) -> list[Frame]:
        """The frames that come before the pong of a ping sent now: all that the server had for this connection."""
        id = new_id()
        await self.send("ping", id=id)
        frames = []
        while (frame := await self.receive()).get("id") != id:
            frames.append(frame)
        assert frame["type"] == "pong"
        return frames

    async def until_closed(self, within: float = SOON) -> tuple[list[Frame], object]:
        """The frames that still come, each `within` seconds, and the code with which the server then closes.

        On a gateway the last error says why; the code is its own, and any is right.
        """
        frames = []
        try:
            while True:
                frames.append(await self.receive(within))
        except ConnectionClosed:
            assert self._socket.close_code is not None
            return frames, COUNT if self._gateway else self._socket.close_code


def _has_lapsed(frame: Frame) -> bool:
    """Whether a claim has ended by itself: one of a test minutes ago, which says nothing to this one."""
    return frame["type"] == "conversation" and frame["op"] == "release" and "by" not in frame


@contextlib.asynccontextmanager
async def connect(url: str, *, origin: str | None = None) -> AsyncIterator[Connection]:
    """A connection that the server has welcomed. Raises websockets.exceptions.InvalidStatus where it refuses."""
    async with open_socket(url, origin=origin, proxy=None, patience=30) as socket:
        connection = Connection(socket, gateway=GATEWAY in url)
        await connection.welcome()
        yield connection


@contextlib.asynccontextmanager
async def visitor(url: str, token: str | None = None) -> AsyncIterator[Connection]:
    """A version 2 visitor, new without a `token`."""
    async with connect(url) as connection:
        await connection.identify(token=token)
        yield connection


@contextlib.asynccontextmanager
async def admin(url: str, token: str) -> AsyncIterator[Connection]:
    """A version 2 admin."""
    async with connect(url) as connection:
        await connection.identify("admin", token=token)
        yield connection
