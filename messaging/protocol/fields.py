"""Typed, checked access to the fields of a client frame. Pure. Invalid fields raise ProtocolError, which names them."""

import json
import re
import unicodedata
from typing import Any, Literal, NoReturn, cast, get_args

from messaging.protocol.codes import ErrorCode, ProtocolError
from messaging.protocol.limits import CONTENT_LIMIT, CURSOR_LIMIT, FRAME_LIMIT, HISTORY_DEFAULT, HISTORY_LIMIT

Role = Literal["user", "admin"]
Lang = Literal["de", "en"]
Op = Literal["claim", "release", "close", "reopen", "block", "blockAddress", "unblock"]
PauseOp = Literal["pause", "resume"]
StaffId = int | str  # the primary key of a staff member's account

_MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_QUICK_KEY = re.compile(r"[A-Za-z0-9_-]{1,50}")
_CONTROLS = {code: None for code in range(0x20) if code != 0x0A}


def parse(text: str | bytes) -> "Fields":
    """Return the JSON object in `text`.

    Raise ProtocolError (unsupported, too_large, bad_json or bad_frame) if there is none.
    """
    if isinstance(text, bytes):
        raise ProtocolError(ErrorCode.UNSUPPORTED, "Binary frames are not supported; send JSON as text.")
    if len(text) > FRAME_LIMIT or len(text.encode("utf-8", "surrogatepass")) > FRAME_LIMIT:
        raise ProtocolError(ErrorCode.TOO_LARGE, f"A frame may have at most {FRAME_LIMIT} bytes.", limit=FRAME_LIMIT)
    try:
        data = _json.decode(text)
    except (ValueError, RecursionError):
        raise ProtocolError(ErrorCode.BAD_JSON, "The frame is not valid JSON.") from None
    if not isinstance(data, dict):
        raise ProtocolError(ErrorCode.BAD_FRAME, "A frame must be a JSON object.")
    return Fields(data)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are Python's, not JSON's (RFC 8259 section 6)


_json = json.JSONDecoder(parse_constant=_refuse_constant)


class Fields:
    """The fields of one frame, at the top level or else under `data`: version 1 clients use either form."""

    __slots__ = ("_data", "_inner", "id")

    def __init__(self, data: dict[str, Any]) -> None:
        inner = data.get("data")
        self._data = data
        self._inner: dict[str, Any] = inner if isinstance(inner, dict) else {}
        value = self.get("id")
        # Every error about this frame carries its id, so that the client knows which frame is meant.
        self.id = value if isinstance(value, str) and _REQUEST_ID.fullmatch(value) else None

    def get(self, name: str) -> Any:
        value = self._data.get(name)
        return self._inner.get(name) if value is None else value

    def error(self, code: ErrorCode, message: str, limit: int | None = None) -> ProtocolError:
        return ProtocolError(code, message, id=self.id, limit=limit)

    def text(self, name: str, limit: int) -> str | None:
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.error(ErrorCode.BAD_FRAME, f"'{name}' must be a string.")
        if len(value) > limit:
            raise self.error(ErrorCode.BAD_FRAME, f"'{name}' may have at most {limit} characters.", limit)
        try:
            value.encode()
        except UnicodeEncodeError:  # JSON can escape it, but no text that is sent, stored or signed may contain it
            raise self.error(ErrorCode.BAD_FRAME, f"'{name}' contains an unpaired surrogate.") from None
        return value

    def cursor(self, name: str) -> str | None:
        return self.text(name, CURSOR_LIMIT)

    def role(self, name: str) -> Role:
        match self.get(name):
            case "user":
                return "user"
            case "admin":
                return "admin"
        raise self.error(ErrorCode.BAD_TYPE, f"'{name}' must be 'user' or 'admin'.")

    def lang(self) -> Lang:
        return "de" if self.get("lang") == "de" else "en"

    def op(self) -> Op:
        value = self.get("op")
        if value not in get_args(Op):
            raise self.error(ErrorCode.BAD_FRAME, f"'op' must be one of {', '.join(get_args(Op))}.")
        return cast(Op, value)

    def pause_op(self) -> PauseOp:
        value = self.get("op")
        if value not in get_args(PauseOp):
            raise self.error(ErrorCode.BAD_FRAME, f"'op' must be one of {', '.join(get_args(PauseOp))}.")
        return cast(PauseOp, value)

    def required_text(self, name: str, limit: int) -> str:
        value = self.text(name, limit)
        if value is None:
            raise self.error(ErrorCode.BAD_FRAME, f"'{name}' is missing.")
        return value

    def request_id(self) -> str | None:
        return None if self.get("id") is None else self.required_id()

    def required_id(self) -> str:
        if self.id is None:
            raise self.error(ErrorCode.BAD_ID, "'id' must match [A-Za-z0-9_-]{1,64}.")
        return self.id

    def message_id(self, *, required: bool) -> str | None:
        given = self.get("id") is not None
        if (required or given) and not (self.id and _MESSAGE_ID.fullmatch(self.id)):
            raise self.error(ErrorCode.BAD_ID, "'id' must match [A-Za-z0-9_-]{8,64}.")
        return self.id

    def quick(self) -> str:
        key = self.text("quick", 50) or ""
        if key and not _QUICK_KEY.fullmatch(key):
            raise self.error(ErrorCode.BAD_FRAME, "'quick' must match [A-Za-z0-9_-]{1,50}.")
        return key

    def content(self) -> str | None:
        """Return the message text, cleaned: NFC, no control characters except newlines, trimmed.

        Return None if the field is missing. Raise ProtocolError (bad_frame, empty or too_long) if it is invalid.
        """
        content = self.text("content", FRAME_LIMIT)
        if content is None:
            return None
        content = unicodedata.normalize("NFC", content.translate(_CONTROLS)).strip()
        if not content:
            raise self.error(ErrorCode.EMPTY, "The message is empty.")
        if len(content) > CONTENT_LIMIT:
            message = f"A message may have at most {CONTENT_LIMIT} characters."
            raise self.error(ErrorCode.TOO_LONG, message, CONTENT_LIMIT)
        return content

    def limit(self) -> int:
        value = self.get("limit")
        if value is None:
            return HISTORY_DEFAULT
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= HISTORY_LIMIT:
            message = f"'limit' must be a whole number from 1 to {HISTORY_LIMIT}."
            raise self.error(ErrorCode.BAD_FRAME, message, HISTORY_LIMIT)
        return value
