"""Frames from a client's point of view: those that it sends, and the meaning of those that it gets. Pure."""

import json
import re
from typing import Any
from uuid import uuid4

from messaging.protocol.codes import RULES, CloseCode
from messaging.protocol.fields import Role
from messaging.protocol.frames import VERSION

Frame = dict[str, Any]

# The errors that end a connection at once, with their close codes. On AWS the close itself may have another code.
CLOSES = {str(code): int(rule.close) for code, rule in RULES.items() if rule.after == 1}
_KIND = re.compile(rb'\s*\{\s*"type"\s*:\s*"(\w+)"')


def new_id() -> str:
    return uuid4().hex


def identify(role: Role, **fields: Any) -> Frame:
    """Return the first frame of a connection (docs/protocol.md). Fields that are None are left out."""
    known = {name: value for name, value in fields.items() if value is not None}
    return {"action": "identify", "v": VERSION, "type": role} | known


def send_message(content: str, *, id: str | None = None, **fields: Any) -> Frame:
    return {"action": "sendMessage", "id": id or new_id(), "content": content} | fields


def request(action: str, **fields: Any) -> Frame:
    """Return a frame with a new id, unless `fields` contain one. The answer carries the same id."""
    return {"action": action, "id": new_id()} | fields


def encode(frame: Frame) -> str:
    return json.dumps(frame)


def decode(text: str | bytes) -> Frame:
    frame: Frame = json.loads(text)
    return frame


def kind(payload: bytes) -> bytes:
    """Return the type of a server's frame without parsing all of it: every frame begins with its type."""
    found = _KIND.match(payload)
    return found[1] if found else b""


def answers(frame: Frame, id: str) -> bool:
    """Return whether `frame` answers the request with this id, or is the last part of its answer.

    A message carries the id that its author gave it, but is no answer to that request.
    """
    return frame.get("id") == id and frame["type"] != "message" and not frame.get("partial")


def stops(code: int | None) -> bool:
    """Return whether this close code asks the client to stay away until something changes.

    NO_IDENTIFY is in that range, but only means that this machine was slow.
    """
    return code is not None and 4400 <= code <= 4499 and code != CloseCode.NO_IDENTIFY
