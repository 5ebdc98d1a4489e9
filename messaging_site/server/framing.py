"""The most common WebSocket frame, which holds one whole text (RFC 6455 section 5.2). Pure.

autobahn handles all other frames; for this one it takes four times as long.
"""

from struct import pack


def whole_text(data: bytes) -> tuple[bytes, bytes] | None:
    """Return the payload of the masked, unfragmented text frame at the start of `data`, and the bytes after it.

    Return None if `data` starts with anything else: a frame of another kind, longer, incomplete or invalid.
    """
    if len(data) < 6 or data[0] != 0x81:
        return None
    length, start = data[1] - 0x80, 6
    if length == 126:
        length, start = int.from_bytes(data[2:4], "big"), 8
        if length < 126:
            return None
    elif not 0 <= length < 126:
        return None
    end = start + length
    if len(data) < end:
        return None
    key = (data[start - 4 : start] * (length // 4 + 1))[:length]
    payload = (int.from_bytes(data[start:end], "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError:
            return None
    return payload, data[end:]


def text_frame(text: str) -> bytes:
    """Return `text` as a frame: FIN and the opcode of text, then the length, without a mask (RFC 6455 section 5.2)."""
    payload = text.encode()
    length = len(payload)
    if length < 126:
        return b"\x81%c%b" % (length, payload)
    return (pack("!BBH", 0x81, 126, length) if length < 65536 else pack("!BBQ", 0x81, 127, length)) + payload
