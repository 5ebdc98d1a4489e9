"""The table of bad frames, each with the error that answers it on a connection of protocol version 2.

The codec, the schemas, the servers and the gateway's function are all tested with this table, so a frame that the
protocol refuses is listed only here.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn
from uuid import UUID

import pytest

from messaging.protocol.codes import ErrorCode

CONVERSATION = str(UUID(int=1))
MESSAGE = {"action": "sendMessage", "id": "message-1", "content": "hello"}
IDENTIFY = {"action": "identify", "v": 2, "type": "user"}
HISTORY = {"action": "history", "id": "h"}
CLAIM = {"action": "conversation", "id": "1", "conversation": CONVERSATION, "op": "claim"}
PAUSE = {"action": "pause", "id": "1", "op": "pause"}
PADDED = '{"pad":"%s"}'
READ = {"action": "read", "upTo": CONVERSATION}


@dataclass(frozen=True)
class BadFrame:
    """A frame that is refused. `id` and `limit`: fields of the answer. `close`: the close code if a single such frame
    closes the connection.

    `in_schema` is false for a frame that docs/protocol/client.schema.json allows, because version 1 may send it or
    because a schema can't describe the error. `reaches_application` is false for a frame that API Gateway answers
    itself.
    """

    name: str
    data: str | bytes
    code: ErrorCode
    id: str | None = None
    limit: int | None = None
    close: int | None = None
    in_schema: bool = field(default=True, kw_only=True)
    reaches_application: bool = field(default=True, kw_only=True)

    def __str__(self) -> str:
        return self.name

    @property
    def answer(self) -> dict[str, Any]:
        """The fields of the answer that are always the same."""
        fields = {"code": self.code.value, "id": self.id, "limit": self.limit}
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def is_json(self) -> bool:
        """Return whether the frame is a text frame with a JSON document, which a schema can judge."""
        try:
            json.loads(self.data, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return False
        return isinstance(self.data, str)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def text(base: Mapping[str, object], **changes: object) -> str:
    """Return `base` with `changes` as JSON; a field that becomes None is left out."""
    frame = {name: value for name, value in {**base, **changes}.items() if value is not None}
    return json.dumps(frame, ensure_ascii=False)


def halves() -> Iterator[tuple[str, str]]:
    """Yield each frame with @ in one of its text fields, and the name of that field."""
    fields: list[tuple[Mapping[str, object], tuple[str, ...]]] = [
        (IDENTIFY, ("token", "since")),
        ({"action": "setConnectionType", "connectionType": "user"}, ("token",)),
        (MESSAGE, ("content", "to")),
        (HISTORY, ("conversation", "since", "before")),
        (READ, ("upTo", "conversation")),
        (CLAIM, ("conversation",)),
    ]
    for base, names in fields:
        for name in names:
            yield text(base, **{name: "@"}), name


E = ErrorCode
BAD_FRAMES = [
    BadFrame("binary", b'{"action":"ping"}', E.UNSUPPORTED, reaches_application=False),
    BadFrame("no text at all", "", E.BAD_JSON),
    BadFrame("half a JSON document", "{", E.BAD_JSON),
    BadFrame("NaN, which is not JSON", '{"action":"ping","x":NaN}', E.BAD_JSON),
    BadFrame("JSON nested too deep", "[" * 16_000, E.BAD_JSON, reaches_application=False),
    BadFrame("a number of 16,000 digits", "1" * 16_000, E.BAD_JSON),
    BadFrame("null", "null", E.BAD_FRAME),
    BadFrame("a list", "[]", E.BAD_FRAME),
    BadFrame("no action", "{}", E.BAD_FRAME),
    BadFrame("an action that is no text", '{"action":7,"id":"a"}', E.BAD_FRAME, "a"),
    BadFrame("an unknown action", '{"action":"dance","id":"a"}', E.UNKNOWN_ACTION, "a"),
    BadFrame("more bytes than a frame may have", PADDED % ("x" * 16_384), E.TOO_LARGE, limit=16_384, close=4413),
    BadFrame("more bytes, though fewer characters", PADDED % ("é" * 8_192), E.TOO_LARGE, limit=16_384, close=4413),
    # identify
    BadFrame("identify without a type", text(IDENTIFY, type=None), E.BAD_TYPE),
    BadFrame("identify as an unknown type", text(IDENTIFY, type="root"), E.BAD_TYPE),
    BadFrame("identify as an unknown type in version 1", text(IDENTIFY, v=None, type="root"), E.BAD_TYPE),
    BadFrame("identify with a type that is a list", text(IDENTIFY, type=["user"]), E.BAD_TYPE),
    BadFrame("identify with a token that is no text", text(IDENTIFY, token=7), E.BAD_FRAME),
    BadFrame("identify with a long token", text(IDENTIFY, token="t" * 2_049), E.BAD_FRAME, limit=2_048),
    BadFrame("identify with a long cursor", text(IDENTIFY, since="c" * 65), E.BAD_FRAME, limit=64),
    BadFrame("identify with an empty id", text(IDENTIFY, id=""), E.BAD_ID),
    BadFrame("setConnectionType without a type", '{"action":"setConnectionType"}', E.BAD_TYPE),
    BadFrame(
        "setConnectionType to an unknown type",
        '{"action":"setConnectionType","data":{"connectionType":"root"}}',
        E.BAD_TYPE,
    ),
    # sendMessage
    BadFrame("a message without an id", text(MESSAGE, id=None), E.BAD_ID, in_schema=False),
    BadFrame("a message with a short id", text(MESSAGE, id="short"), E.BAD_ID, "short"),
    BadFrame("a message with a long id", text(MESSAGE, id="x" * 65), E.BAD_ID),
    BadFrame("a message with a space in its id", text(MESSAGE, id="not an id"), E.BAD_ID),
    BadFrame("a message without content", text(MESSAGE, content=None), E.EMPTY, "message-1", in_schema=False),
    BadFrame("a message of white space and controls", text(MESSAGE, content=" \n\u0007 "), E.EMPTY, "message-1"),
    BadFrame("a message whose content is a number", text(MESSAGE, content=5), E.BAD_FRAME, "message-1"),
    BadFrame("a message whose content is a list", text(MESSAGE, content=[]), E.BAD_FRAME, "message-1"),
    BadFrame("a long message", text(MESSAGE, content="x" * 2_001), E.TOO_LONG, "message-1", 2_000, in_schema=False),
    BadFrame("a quick message with a bad key", text(MESSAGE, quick="Not A Key"), E.BAD_FRAME, "message-1"),
    BadFrame("a message to a long name", text(MESSAGE, to="c" * 65), E.BAD_FRAME, "message-1", 64),
    # history
    BadFrame("history without an id", text(HISTORY, id=None), E.BAD_ID),
    BadFrame("history of no message", text(HISTORY, limit=0), E.BAD_FRAME, "h", 100),
    BadFrame("history of too many messages", text(HISTORY, limit=101), E.BAD_FRAME, "h", 100),
    BadFrame("history with a limit that is no number", text(HISTORY, limit=True), E.BAD_FRAME, "h", 100),
    BadFrame("history since and before", text(HISTORY, since="a", before="b"), E.BAD_FRAME, "h"),
    BadFrame("history since a long cursor", text(HISTORY, since="x" * 65), E.BAD_FRAME, "h", 64),
    # read
    BadFrame("read without a message", text(READ, upTo=None), E.BAD_FRAME),
    BadFrame("read of a message that is a number", text(READ, upTo=1), E.BAD_FRAME),
    BadFrame("read with a bad id", text(READ, id="?"), E.BAD_ID),
    BadFrame("read in a conversation with a long name", text(READ, conversation="c" * 65), E.BAD_FRAME, limit=64),
    # conversation
    BadFrame("a claim without an id", text(CLAIM, id=None), E.BAD_ID),
    BadFrame("a claim of no conversation", text(CLAIM, conversation=None), E.BAD_FRAME, "1"),
    BadFrame("a change that does not say which", text(CLAIM, op=None), E.BAD_FRAME, "1"),
    BadFrame("a change whose name is a list", text(CLAIM, op=["claim"]), E.BAD_FRAME, "1"),
    BadFrame("a change of an unknown kind", text(CLAIM, op="forget"), E.BAD_FRAME, "1"),
    # pause
    BadFrame("a pause without an id", text(PAUSE, id=None), E.BAD_ID),
    BadFrame("a pause that does not say which", text(PAUSE, op=None), E.BAD_FRAME, "1"),
    BadFrame("a pause that is a list", text(PAUSE, op=["pause"]), E.BAD_FRAME, "1"),
    BadFrame("a pause of an unknown kind", text(PAUSE, op="block"), E.BAD_FRAME, "1"),
    # the rest
    BadFrame("forget without an id", '{"action":"forget"}', E.BAD_ID),
    BadFrame("a ping with a bad id", '{"action":"ping","id":"?"}', E.BAD_ID),
    # half a surrogate pair, which JSON can escape but no UTF-8 can hold, in each text field of each frame
    *(
        BadFrame(
            f"half a surrogate pair in {field} of {json.loads(frame)['action']}",
            frame.replace("@", "0000000000001.00000000001.\\ud800"),
            E.BAD_FRAME,
            json.loads(frame).get("id"),
            in_schema=False,
        )
        for frame, field in halves()
    ),
]  # fmt: skip

BY_NAME = {frame.name: frame for frame in BAD_FRAMES}
# One of each kind that counts as senseless: the fifth closes the connection.
SENSELESS = [BY_NAME[name] for name in ("half a JSON document", "no action", "binary")]
every_bad_frame = pytest.mark.parametrize("bad", BAD_FRAMES, ids=str)
