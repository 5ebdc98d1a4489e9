"""The wire protocol (docs/protocol.md): client text to frames, server frames to text.

Pure: it never awaits, logs, or reads settings or the clock. `decode` is the only way in, `encode` the only way out.
"""

import dataclasses
import json
import re
from functools import cache
from typing import Any

from messaging.protocol import frames
from messaging.protocol.codes import ErrorCode
from messaging.protocol.fields import Fields, parse
from messaging.protocol.frames import VERSION, ClientFrame, HistoryPage, ServerFrame
from messaging.protocol.limits import PAGE_LIMIT


def decode(text: str | bytes, version: int) -> ClientFrame:
    """Return the frame in `text`, decoded by the rules of the connection's protocol `version` (1 or 2).

    Raise ProtocolError if the frame is invalid, with any code except those that need a store (docs/protocol.md).
    """
    data = parse(text)
    match data.get("action"):
        case "identify":
            version = VERSION if data.get("v") == VERSION else 1
            id, token = data.request_id(), data.text("token", 2048)
            since, seen = data.cursor("since"), data.cursor("seen")
            return frames.Identify(data.role("type"), version, id, token, since, seen, data.lang())
        case "setConnectionType":
            return frames.SetConnectionType(data.role("connectionType"), data.text("token", 2048))
        case "sendMessage":
            return _send_message(data, version)
        case "history":
            return _history(data)
        case "read":
            up_to = data.required_text("upTo", 64)
            return frames.MarkRead(up_to, data.text("conversation", 64), data.request_id())
        case "conversation":
            id, conversation = data.required_id(), data.required_text("conversation", 64)
            return frames.ChangeConversation(id, conversation, data.op())
        case "pause":
            return frames.ChangePause(data.required_id(), data.pause_op())
        case "forget":
            return frames.Forget(data.required_id())
        case "ping":
            return frames.Ping(data.request_id())
        case str():
            raise data.error(ErrorCode.UNKNOWN_ACTION, "Unknown action.")
        case _:
            raise data.error(ErrorCode.BAD_FRAME, "A frame needs 'action', a string.")


def _send_message(data: Fields, version: int) -> frames.SendMessage:
    id = data.message_id(required=version == VERSION)
    content = data.content()
    if content is None and version == VERSION:
        raise data.error(ErrorCode.EMPTY, "'sendMessage' needs 'content'.")
    return frames.SendMessage(content, id, data.quick(), data.text("to", 64))


def _history(data: Fields) -> frames.History:
    id = data.required_id()
    since, before = data.cursor("since"), data.cursor("before")
    if since is not None and before is not None:
        raise data.error(ErrorCode.BAD_FRAME, "'history' accepts 'since' or 'before', not both.")
    return frames.History(id, data.text("conversation", 64), since, before, data.limit())


def encode(frame: ServerFrame) -> str:
    """Return `frame` as compact JSON text."""
    return _json(_payload(frame))


# One encoder for all calls: json.dumps would create one for each.
_json = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


_NESTED = ("messages", "conversations")  # the fields that hold dataclasses


@cache
def _wire_names(frame_type: type) -> tuple[tuple[str, str], ...]:
    camel = re.compile(r"_([a-z])")
    return tuple(
        (field.name, camel.sub(lambda match: match[1].upper(), field.name).rstrip("_"))
        for field in dataclasses.fields(frame_type)
    )


def _payload(frame: "ServerFrame | frames.ConversationSummary") -> dict[str, Any]:
    payload: dict[str, Any] = {} if isinstance(frame, frames.ConversationSummary) else {"type": frame.TYPE}
    for name, wire_name in _wire_names(type(frame)):  # type: ignore[arg-type]
        value = getattr(frame, name)
        if value is not None:
            payload[wire_name] = [_payload(item) for item in value] if name in _NESTED else value
    return payload


def split_page(page: HistoryPage) -> list[HistoryPage]:
    """Return `page` as frames of at most PAGE_LIMIT bytes; all but the last have `more` and `partial` set.

    The states of conversations follow all messages: they are in the last frame, or in the last few.
    """
    pages: list[HistoryPage] = []
    messages: list[frames.Message] = []
    states: list[frames.ConversationSummary] = []
    size, cursor = 0, page.cursor
    items: list[frames.Message | frames.ConversationSummary] = [*page.messages, *(page.conversations or ())]
    for item in items:
        bytes_needed = len(_json(_payload(item)).encode()) + 1
        if size and size + bytes_needed > PAGE_LIMIT - 512:
            pages.append(HistoryPage(page.id, tuple(messages), cursor, True, True, tuple(states) or None))
            messages, states, size = [], [], 0
        if isinstance(item, frames.Message):
            messages.append(item)
            cursor = item.cursor
        else:
            states.append(item)
        size += bytes_needed
    conversations = None if page.conversations is None else tuple(states)
    return [*pages, HistoryPage(page.id, tuple(messages), page.cursor, page.more, conversations=conversations)]
