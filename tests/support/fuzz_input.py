"""The input of the fuzzer: what no browser sends, made from a seed and a number. Pure.

The same seed and number always make the same input, except for what only the running site knows, such as tokens: the
text below names it by words like @TOKEN@.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import quote_plus

from tests.support.attacker import HANDSHAKE

NASTY = (
    "", " ", "\0", "\x7f", "\r\n", "\r\nSet-Cookie: a=b", "\ud800", "\udfff\ud800", "\ufeff", "\u202e", "\u2028",
    "e\u0301", "ﷺ",
    "\U0001f600", "\U0010ffff", "ß", "İ", "0", "-1", "1e999", "NaN", "true", "null", "[]", "{}", "()", "(", "*", "%",
    "%00", "%s",
    "{0}", "{{7*7}}", "../../etc/passwd", "..%2f", "<script>",
    "'", '"', "';--", "\\", "\\000", "\u0660\u0661", "1_000", "0x10",
    "9" * 30, str(2**31), str(2**63), str(-(2**63) - 1), "x" * 65, "x" * 300, "x" * 2001, "\u20ac" * 700, "a=b&c",
    ",", ";", ":",
    "http://[", "//evil.example", "javascript:", "2024", "9999", "10000", "0001-01-01", "9999-12-31", "2024-02-30",
    "2024-01-01T00:00:00+23:59", "24:00:00", "00000000-0000-0000-0000-000000000000", "@CONVERSATION@", "@MESSAGE@",
    "@CURSOR@",
    "@TOKEN@", "0000000000001.00000000001", "fffffffffffff.fffffffffff", "0000000000001.00000000001.\ud800", "user",
    "admin",
)  # fmt: skip
OTHERS: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 2.0, 1.5, 1e308, 10**30, 2**53, [], {}, [[]], {"data": {}}, ["user"], {"user": 1},
    [None] * 50,
)  # fmt: skip
ENCODINGS = (
    "utf-8",
    "utf8",
    "latin-1",
    "utf-16",
    "utf-7",
    "hex",
    "base64",
    "zlib",
    "idna",
    "punycode",
    "undefined",
    "rot13",
    "\xff",
)

VISITOR: tuple[dict[str, Any], ...] = (
    {"action": "identify", "v": 2, "type": "user", "token": "@TOKEN@", "since": "@CURSOR@", "lang": "de", "id": "i"},
    {"action": "history", "id": "h", "limit": 20},
    {"action": "history", "id": "h2", "conversation": "@CONVERSATION@", "since": "@CURSOR@"},
    {"action": "history", "id": "h3", "before": "@CURSOR@", "limit": 100},
    {"action": "sendMessage", "id": "fuzz-message-1", "content": "hello"},
    {"action": "sendMessage", "id": "fuzz-message-2", "content": "speak german", "quick": "speak-german"},
    {"action": "read", "id": "r", "upTo": "@MESSAGE@"},
    {"action": "ping", "id": "p"},
    {"action": "forget", "id": "f"},
)
STAFF: tuple[dict[str, Any], ...] = (
    {"action": "identify", "v": 2, "type": "admin", "token": "@ADMIN@", "since": "@CURSOR@", "id": "i"},
    {"action": "history", "id": "h", "since": "@CURSOR@"},
    {"action": "history", "id": "h2", "conversation": "@CONVERSATION@", "before": "@CURSOR@"},
    {"action": "sendMessage", "id": "fuzz-reply-1", "content": "hello", "to": "@CONVERSATION@"},
    {"action": "read", "id": "r", "upTo": "@MESSAGE@", "conversation": "@CONVERSATION@"},
    *(
        {"action": "conversation", "id": f"c-{op}", "conversation": "@CONVERSATION@", "op": op}
        for op in ("claim", "release", "close", "reopen", "block", "unblock")
    ),
    {"action": "pause", "id": "p-1", "op": "resume"},  # a pause, or a block of the address, would stop everybody
    {"action": "ping", "id": "p"},
)
VERSION_1: tuple[dict[str, Any], ...] = (
    {"action": "identify", "data": {"type": "user"}},
    {"action": "setConnectionType", "data": {"connectionType": "user"}},
    {"action": "setConnectionType", "connectionType": "admin", "token": "@ADMIN@"},
    {"action": "sendMessage", "data": {"content": "hello"}, "timestamp": 1, "type": "user"},
    {"action": "sendMessage"},
    {"action": "ping"},
)

MODELS = (
    "messaging/message", "messaging/conversation", "messaging/block", "messaging/quickmessage", "auth/user",
    "auth/group", "axes/accessattempt", "messaging/addressblock", "messaging/pause",
)  # fmt: skip
PAGES = (
    "/", "/user/", "/user/send/", "/user/forget/", "/user/language/", "/admin/", "/admin/login/", "/admin/live/",
    "/admin/live/tally/", "/admin/live/sharing/", "/admin/live/sharing/?conversation=@CONVERSATION@",
    "/admin/live/token/", "/admin/language/", "/admin/password_change/", "/admin/jsi18n/", "/admin/autocomplete/",
    "/admin/r/1/1/",
    "/static/messaging/user.css", "/static/messaging/user.0123456789ab.css", "/favicon.ico", "/ws", "/health",
    "/metrics",
    *(f"/admin/{model}/" for model in MODELS),
    *(f"/admin/{model}/add/" for model in MODELS),
    *(f"/admin/{model}/{view}/" for model in MODELS for view in ("@CONVERSATION@/change", "1/change", "1/history",
    "x/delete")),
)  # fmt: skip
# No real account is named, and nothing is done to all rows (select_across) or to accounts: a well-behaved visitor and
# staff member have to stay who they are.
FORMS = (
    "/user/send/", "/user/forget/", "/user/language/", "/admin/login/", "/admin/language/", "/admin/live/token/",
    "/admin/password_change/", "/admin/auth/user/add/", "/admin/auth/group/add/", "/admin/messaging/conversation/",
    "/admin/messaging/message/", "/admin/messaging/block/", "/admin/messaging/block/add/",
    "/admin/messaging/quickmessage/", "/admin/messaging/addressblock/",
    "/admin/messaging/quickmessage/add/", "/admin/messaging/conversation/@CONVERSATION@/change/",
    "/admin/axes/accessattempt/",
)  # fmt: skip
NAMES = (
    "content", "quick", "id", "language", "next", "username", "password", "password1", "password2", "old_password",
    "new_password1",
    "action", "_selected_action", "index", "_popup", "_to_field", "_changelist_filters", "q", "p", "o", "e", "all",
    "view", "term",
    "app_label", "model_name", "field_name", "name", "permissions", "groups", "conversation", "until", "until_0",
    "until_1", "until__gte",
    "key", "label", "kind", "kind__exact", "position", "active", "active__exact", "status", "sender", "sender__exact",
    "conversation__id__exact",
    "created_at__year", "created_at__month", "created_at__day", "created_at__gte", "last_message_at__year",
    "last_message_at__lt",
    "id__range", "pk__in", "id__regex", "ip_address", "messages-TOTAL_FORMS", "_save", "_continue", "try",
)  # fmt: skip
ACTIONS = ("close", "reopen", "block", "erase", "export_csv", "export_json", "delete_selected")
HEADERS = (
    "Host", "Origin", "Referer", "Cookie", "User-Agent", "Accept", "Accept-Language", "Accept-Encoding", "Content-Type",
    "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Expect", "Range", "If-None-Match",
    "If-Modified-Since",
    "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-ID", "X-CSRFToken", "Authorization",
    "traceparent",
    "daphne-root-path", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
)  # fmt: skip
METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", "get", "PRI", "\xff", "")
CODES = (0, 1000, 1001, 1004, 1005, 1006, 1007, 1011, 1015, 2999, 3000, 4000, 4999, 5000, 65_535)


@dataclass(frozen=True)
class Input:
    """What is sent on one connection. `upgraded`: the first step is a handshake, whose answer is awaited."""

    number: int
    kind: str
    steps: tuple[bytes, ...]
    upgraded: bool = False

    def __str__(self) -> str:
        shown = b" | ".join(self.steps)
        return f"{self.number} {self.kind} {shown[:1500]!r}{'…' if len(shown) > 1500 else ''}"


class Source(Random):
    """The source of an input's chance. `site`: what words like @TOKEN@ stand for."""

    def __init__(self, seed: str, site: Mapping[str, str]) -> None:
        super().__init__(seed)
        self.site = site

    def filled(self, data: bytes) -> bytes:
        for word, value in self.site.items():
            data = data.replace(word.encode(), value.encode())
        return data


def make(seed: str, number: int, site: Mapping[str, str]) -> Input:
    """Return input `number` of `seed` for a site; see Source."""
    random = Source(f"{seed}:{number}", site)
    kind = random.choice(list(KINDS))
    return KINDS[kind](random, number)


# --- HTTP ------------------------------------------------------------------------------------------------------


def _raw(random: Source, number: int) -> Input:
    data = random.randbytes(random.choice((1, 5, 100, 5_000)))
    return Input(number, "bytes", (random.choice((b"", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"\r\n")) + data,))


def _page(random: Source, number: int) -> Input:
    path = random.choice(PAGES) + ("?" + _fields(random) if random.random() < 0.7 else "")
    request = _request(random, "GET" if random.random() < 0.9 else random.choice(METHODS), path)
    return Input(number, "page", (request,))


def _form(random: Source, number: int) -> Input:
    content_type, body = _body(random)
    extra = {} if random.random() < 0.1 else {"Content-Type": content_type}
    return Input(number, "form", (_request(random, "POST", random.choice(FORMS), body, extra),))


def _http(random: Source, number: int) -> Input:
    """Return requests with errors in their form, often several on one connection."""
    made = []
    for _ in range(random.choice((1, 1, 2, 5))):
        path = random.choice(PAGES) if random.random() < 0.7 else _text(random)
        method = random.choice(METHODS)
        body = _body(random)[1] if method == "POST" or random.random() < 0.1 else None
        extra = {random.choice(HEADERS): _text(random) for _ in range(random.randrange(4))}
        request = _request(random, method, path, body, extra, chunked=random.random() < 0.3)
        made.append(_mutated(random, request))
    return Input(number, "http", (b"".join(made),))


def _request(
    random: Source,
    method: str,
    path: str,
    body: bytes | None = None,
    extra: dict[str, str] | None = None,
    *,
    chunked: bool = False,
) -> bytes:
    headers = {"Host": "localhost", "Connection": "close"}
    if random.random() < 0.7:
        headers |= {"Cookie": "csrftoken=@CSRF@; messaging-visitor=@TOKEN@", "X-CSRFToken": "@CSRF@"}
        if random.random() < 0.8:
            headers["Cookie"] += "; sessionid=@SESSION@"
    body = None if body is None else random.filled(body)
    if body is not None and not chunked:
        headers["Content-Length"] = str(len(body))
    if random.random() < 0.15:
        headers[random.choice(HEADERS)] = _text(random)
    headers |= extra or {}
    if body is not None and chunked:
        headers["Transfer-Encoding"] = random.choice(("chunked", "Chunked", "gzip, chunked", "chunked, chunked"))
        body = _chunks(random, body)
    lines = [f"{method} {path} {random.choice(('HTTP/1.1',) * 20 + ('HTTP/1.0', 'HTTP/2.0', 'HTTP/1.1 x', ''))}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return random.filled("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass")) + (body or b"")


def _chunks(random: Source, body: bytes) -> bytes:
    made = b""
    while body:
        size = random.randrange(1, len(body) + 1)
        length = random.choice((f"{size:x}",) * 8 + (f"{size:X};a=b", f"0{size:x}", "-1", "zz", "f" * 20, ""))
        made += length.encode() + b"\r\n" + body[:size] + b"\r\n"
        body = body[size:]
    return made + random.choice((b"0\r\n\r\n",) * 4 + (b"0\r\nX: y\r\n\r\n", b"0\r\n", b"", b"0\r\n\xff\r\n\r\n"))


def _body(random: Source) -> tuple[str, bytes]:
    if random.random() < 0.75:
        encoding = f"; charset={random.choice(ENCODINGS)}" if random.random() < 0.1 else ""
        body = _fields(random).encode()
        return f"application/x-www-form-urlencoded{encoding}", _mutated(random, body) if random.random() < 0.2 else body
    boundary = random.choice(("x", "x" * 80, "\xff", ""))
    parts = b""
    for _ in range(random.randrange(4)):
        name = random.choice((f'name="{random.choice(NAMES)}"', "name*=foo''x", "name*=utf-8''%ff", "", 'name="\0"'))
        file = random.choice(("", "", '; filename="a"', "; filename*=hex''00", '; filename="\0/.."'))
        more = random.choice(
            ("", "", "\r\nContent-Transfer-Encoding: base64", "\r\nContent-Type: text/plain; charset=hex")
        )
        head = f"--{boundary}\r\nContent-Disposition: form-data; {name}{file}{more}\r\n\r\n"
        parts += head.encode() + _text(random).encode("utf-8", "surrogatepass") + b"\r\n"
    encoding = f"; charset={random.choice(ENCODINGS)}" if random.random() < 0.5 else ""
    return f"multipart/form-data; boundary={boundary}{encoding}", parts + f"--{boundary}--\r\n".encode()


def _fields(random: Source) -> str:
    made = []
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        name = random.choice(NAMES) if random.random() < 0.95 else _text(random)
        value = random.choice(ACTIONS) if name == "action" and random.random() < 0.7 else _text(random)
        if name == "_selected_action" and random.random() < 0.3:
            value = "@CONVERSATION@"
        if "@" in value or random.random() < 0.05:
            made.append(f"{name}={value}".replace(" ", "+").replace("\r", "").replace("\n", "").replace("\0", "%00"))
        else:
            made.append(f"{quote_plus(name, errors='surrogatepass')}={quote_plus(value, errors='surrogatepass')}")
    return "&".join(made).encode("utf-8", "replace").decode()


# --- WebSocket -------------------------------------------------------------------------------------------------


def _handshake(random: Source, number: int) -> Input:
    head, *lines = HANDSHAKE.decode().rstrip("\r\n").split("\r\n")
    for _ in range(random.randrange(1, 4)):
        line = f"{random.choice(HEADERS)}: {_text(random)}"
        if random.random() < 0.5 and lines:
            lines[random.randrange(len(lines))] = line
        else:
            lines.append(line)
    if random.random() < 0.2:
        path = random.choice(("/ws", "/ws/", f"/ws?{_fields(random)}", _text(random)))
        head = f"{random.choice(METHODS)} {path} HTTP/1.1"
    data = random.filled("\r\n".join([head, *lines, "", ""]).encode("utf-8", "surrogatepass"))
    return Input(
        number, "handshake", (_mutated(random, data) if random.random() < 0.3 else data, _frames(random, VISITOR)), True
    )


def _socket(session: tuple[dict[str, Any], ...]) -> Callable[[Source, int], Input]:
    def make(random: Source, number: int) -> Input:
        begin = frame(random.filled(json.dumps(session[0]).encode())) if random.random() < 0.8 else b""
        more = [_frames(random, session) for _ in range(random.choice((1, 2, 4)))]
        name = {id(VISITOR): "visitor", id(STAFF): "staff"}.get(id(session), "version 1")
        return Input(number, f"{name}'s socket", (HANDSHAKE, begin + more[0], *more[1:]), True)

    return make


def _frames(random: Source, session: tuple[dict[str, Any], ...]) -> bytes:
    return b"".join(_any_frame(random, session) for _ in range(random.choice((1, 1, 3, 8))))


def _any_frame(random: Source, session: tuple[dict[str, Any], ...]) -> bytes:
    match random.randrange(10):
        case 0:  # wrong by RFC 6455
            payload, opcode = random.randbytes(random.choice((0, 1, 125, 126, 300))), random.randrange(16)
            fin, reserved, masked = random.random() < 0.5, random.choice((0, 0, 4, 7)), random.random() < 0.7
            return frame(payload, opcode, fin=fin, reserved=reserved, masked=masked)
        case 1:  # a close
            return frame(random.choice(CODES).to_bytes(2) + random.randbytes(random.choice((0, 0, 3, 123))), 8)
        case 2:  # in fragments, perhaps with a control frame between them, or without an end
            data, at = _payload(random, session), random.randrange(4)
            between = random.choice((b"", b"", frame(b"x", 9), frame(b"{}"), frame(b"", 0, fin=False)))
            return frame(data[:at], fin=False) + between + frame(data[at:], 0, fin=random.random() < 0.8)
        case 3:  # a length that is not that of the payload
            data = _payload(random, session)
            size = random.choice((0, len(data) + 1, 2**16, 2**31, 2**63, 2**64 - 1))
            return b"\x81\xff" + size.to_bytes(8) + b"\0\0\0\0" + data
        case 4:
            return frame(_mutated(random, _payload(random, session)))
        case _:
            return frame(_payload(random, session), random.choice((1,) * 15 + (2,)))


def frame(payload: bytes, opcode: int = 1, *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """Return a frame, valid or not (RFC 6455 section 5.2). Its mask is of zeros."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    mask = 0x80 if masked else 0
    length = len(payload)
    if length < 126:
        size = bytes([mask | length])
    else:
        size = bytes([mask | 126]) + length.to_bytes(2) if length < 65_536 else bytes([mask | 127]) + length.to_bytes(8)
    return bytes([first]) + size + (b"\0\0\0\0" if masked else b"") + payload


def _payload(random: Source, session: tuple[dict[str, Any], ...]) -> bytes:
    value: Any = random.choice(session)
    for _ in range(random.choice((0, 1, 1, 2, 4))):
        value = _changed(random, value)
    try:
        text = json.dumps(value, ensure_ascii=random.random() < 0.7)
    except RecursionError:
        text = "[" * 10_000
    if random.random() < 0.03:
        text = random.choice(
            ("[" * 15_000, '{"a":' * 5_000, "1" * 16_000, text * 50, " " * 16_384, text + "\0", "\ufeff" + text)
        )
    return random.filled(text.encode("utf-8", "surrogatepass"))


def _changed(random: Source, value: Any) -> Any:
    """Return a copy of a JSON value with one part replaced, removed, renamed or nested."""
    if not isinstance(value, dict) or not value or random.random() < 0.05:
        return _value(random)
    name = random.choice(list(value))
    match random.randrange(6):
        case 0:
            return {key: part for key, part in value.items() if key != name}
        case 1:
            return {(_text(random) if key == name else key): part for key, part in value.items()}
        case 2:
            return {"action": value.get("action"), "data": value}
        case 3:
            return value | {
                random.choice(("id", "v", "since", "before", "to", "token", "limit", "data")): _value(random)
            }
        case 4 if isinstance(value[name], dict):
            return value | {name: _changed(random, value[name])}
    return value | {name: _value(random)}


def _value(random: Source) -> Any:
    return _text(random) if random.random() < 0.7 else random.choice(OTHERS)


def _text(random: Source) -> str:
    text = random.choice(NASTY)
    return text + random.choice(NASTY) if random.random() < 0.1 else text


def _mutated(random: Source, data: bytes) -> bytes:
    """Return `data` with some bytes changed, removed, repeated or added."""
    changed = bytearray(data)
    for _ in range(random.choice((0, 1, 1, 2, 5))):
        at = random.randrange(len(changed) + 1)
        size = random.choice((1, 1, 2, 10))
        match random.randrange(4):
            case 0 if at < len(changed):
                changed[at] ^= 1 << random.randrange(8)
            case 1:
                del changed[at : at + size]
            case 2:
                changed[at:at] = changed[at : at + size] * random.choice((1, 2, 50))
            case _:
                changed[at:at] = _text(random).encode("utf-8", "surrogatepass")
    return bytes(changed)


KINDS: dict[str, Callable[[Source, int], Input]] = {
    "bytes": _raw,
    "page": _page,
    "form": _form,
    "http": _http,
    "handshake": _handshake,
    "visitor": _socket(VISITOR),
    "staff": _socket(STAFF),
    "version 1": _socket(VERSION_1),
}
