"""A raw connection that speaks the documented protocol, and the frames that a test expects on it."""

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
    """Return a validator by frame type: a single one would try each type in turn, and could not report the error."""
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
    """Validate a server's frame. Raise jsonschema.ValidationError, or KeyError if its type is unknown."""
    VALIDATORS[frame["type"]].validate(frame)


class Matching:
    """A stand-in for a text that the server generates: it equals every text that matches `pattern`."""

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self._pattern.fullmatch(other) is not None

    def __hash__(self) -> int:
        return hash(self._pattern)

    def __repr__(self) -> str:
        return f"<text like {self._pattern.pattern}>"


class Count:
    """A stand-in that equals every whole number from 0: connections of other tests come and go."""

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
GATEWAY = "/execute-api/"  # is in the URL of a WebSocket that API Gateway holds
QUICK = [{"key": "speak-german", "label": TEXT, "content": "speak german"}]


def ack(id: str, *, duplicate: bool = False) -> Frame:
    return {
        "type": "ack", "id": id, "messageId": UUID7, "cursor": CURSOR, "timestamp": TIME, "duplicate": duplicate,
    }  # fmt: skip


def error(code: str, **fields: Any) -> Frame:
    return {"type": "error", "code": code, "error": TEXT, "message": TEXT, "timestamp": TIME} | fields


def message(content: str, conversation: str, **fields: Any) -> Frame:
    """Return a visitor's message as staff connections of version 2 get it live."""
    return Message({
        "type": "message", "messageId": UUID7, "content": content, "timestamp": TIME, "from": "user",
        "connectionId": TEXT, "cursor": CURSOR, "conversation": conversation,
    } | fields)  # fmt: skip


class Message(Frame):
    """A message as receivers get it.

    It also equals the message without `connectionId`, as it is read from the journal if its hint was late.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and dict(self) == {"connectionId": self["connectionId"]} | other

    __hash__ = None


class Connection:
    """One WebSocket, frame by frame. `id` is the server's ID for it, `conversation` that of a visitor."""

    def __init__(self, socket: Socket, *, gateway: bool) -> None:
        self._socket = socket
        self._gateway = gateway
        self.id = ""
        self.token = ""
        self.conversation = ""
        # The last presence frame. Version 2 gets such frames at any time, so `receive` does not return them.
        self.presence: Frame = {}
        # So do the frames that tell a visitor whether it may write, and staff whether new conversations are paused.
        self.writing = "open"
        self.pause: Frame | None = None
        self._version_2 = False
        self._acked: set[str] = set()  # journal IDs of this connection's own messages

    async def welcome(self) -> None:
        if self._gateway:  # it can't send on accept: the welcome comes before the first answer
            await self.send("ping")
        frame = await self.receive()
        assert frame == (WELCOME | {"heartbeatMs": 240_000} if self._gateway else WELCOME)
        if self._gateway:
            assert (await self.receive())["type"] == "pong"
        self.id = frame["connectionId"]

    async def send(self, action: str, **fields: Any) -> None:
        await self.send_raw(encode({"action": action} | fields))

    async def send_raw(self, data: str | bytes) -> None:
        with contextlib.suppress(ConnectionClosed):  # the next `receive` or `until_closed` raises or returns it
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
                self._note(frame)
                if frame["type"] in ("presence", "writing", "pause") and self._version_2:
                    continue
                if not (_has_lapsed(frame) or self._is_own(frame)):
                    return frame

    def _note(self, frame: Frame) -> None:
        match frame["type"]:
            case "presence":
                self.presence = frame
            case "writing":
                self.writing = frame["state"]
            case "identified" | "pong":
                self.writing, self.pause = frame.get("writing", "open"), frame.get("pause")
            case "pause":
                self.pause = frame.get("pause")

    async def request(self, action: str, **fields: Any) -> Frame:
        """Send a frame and return the next one that arrives."""
        await self.send(action, **fields)
        return await self.receive()

    async def identify(self, role: Role = "user", **fields: Any) -> Frame:
        self._version_2 = True  # a gateway may deliver presence frames before the answer
        frame, _ = await self._served(**identify(role, **fields))
        assert frame["type"] == "identified", frame
        self.token, self.conversation = frame.get("token", ""), frame.get("conversation", "")
        self.presence = frame.get("presence", self.presence)
        return frame

    async def say(self, content: str, **fields: Any) -> Frame:
        """Send a message. Return its ack."""
        id = fields.setdefault("id", new_id())
        answer, again = await self._served("sendMessage", content=content, **fields)
        assert answer == ack(id, duplicate=again and answer["duplicate"])
        self._acked.add(answer["messageId"])
        return answer

    async def _served(self, action: str, **fields: Any) -> tuple[Frame, bool]:
        """Return the answer, and whether the request was repeated: a server that stalls for 2 s is "unavailable"."""
        again = False
        while (answer := await self.request(action, **fields)).get("code") == "unavailable":
            again = True
            await asyncio.sleep(answer["retryAfterMs"] / 1000)
        return answer, again

    def _is_own(self, frame: Frame) -> bool:
        """Return whether `frame` is an own message, sent back from the journal because its hint was late."""
        return frame["type"] == "message" and "connectionId" not in frame and frame["messageId"] in self._acked

    async def receive_many(self, count: int) -> list[Frame]:
        return [await self.receive() for _ in range(count)]

    async def until_pong(self) -> list[Frame]:
        """Return the frames before the pong of a ping sent now: all that the server had to send to this connection."""
        id = new_id()
        await self.send("ping", id=id)
        frames = []
        while (frame := await self.receive()).get("id") != id:
            frames.append(frame)
        assert frame["type"] == "pong"
        return frames

    async def until_closed(self, within: float = SOON) -> tuple[list[Frame], object]:
        """Return the frames that still arrive, each `within` seconds, and the server's close code.

        A gateway closes with a code of its own, so any code is right there; the last error frame gives the reason.
        """
        frames = []
        try:
            while True:
                frames.append(await self.receive(within))
        except ConnectionClosed:
            assert self._socket.close_code is not None
            return frames, COUNT if self._gateway else self._socket.close_code


def _has_lapsed(frame: Frame) -> bool:
    """Return whether `frame` announces that a claim has expired: such a claim is of a test minutes ago."""
    return frame["type"] == "conversation" and frame["op"] == "release" and "by" not in frame


@contextlib.asynccontextmanager
async def connect(url: str, *, origin: str | None = None, with_pass: str = "") -> AsyncIterator[Connection]:
    """Open a connection and receive its welcome. Raise websockets.exceptions.InvalidStatus if the server refuses."""
    async with open_socket(url, origin=origin, proxy=None, patience=30, with_pass=with_pass) as socket:
        connection = Connection(socket, gateway=GATEWAY in url)
        await connection.welcome()
        yield connection


@contextlib.asynccontextmanager
async def visitor(url: str, token: str | None = None) -> AsyncIterator[Connection]:
    """Open the connection of a version 2 visitor, who is new without a `token`."""
    async with connect(url) as connection:
        await connection.identify(token=token)
        yield connection


@contextlib.asynccontextmanager
async def admin(url: str, token: str) -> AsyncIterator[Connection]:
    """Open a version 2 staff connection."""
    async with connect(url) as connection:
        await connection.identify("admin", token=token)
        yield connection
