"""The frames that the server parses from the bytes of a WebSocket itself, and those that it leaves to autobahn."""

from hypothesis import given
from hypothesis.strategies import binary, integers, sampled_from, text
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from messaging_site.server.framing import text_frame, whole_text

LENGTHS = (0, 1, 125, 126, 127, 65_535)


def from_client(opcode: Opcode, payload: bytes, **fields: bool) -> bytes:
    return Frame(opcode, payload, **fields).serialize(mask=True)


@given(text(), binary())
def test_a_whole_text_is_taken_and_what_follows_is_left(content: str, rest: bytes) -> None:
    payload = content.encode()
    assert whole_text(from_client(Opcode.TEXT, payload) + rest) == (payload, rest)


def test_a_text_of_any_length_that_two_bytes_can_say_is_taken() -> None:
    for length in LENGTHS:
        payload = b"x" * length
        assert whole_text(from_client(Opcode.TEXT, payload)) == (payload, b"")
        assert text_frame("x" * length) == Frame(Opcode.TEXT, payload).serialize(mask=False)
    payload = b"x" * 65_536
    assert whole_text(from_client(Opcode.TEXT, payload)) is None
    assert text_frame("x" * 65_536) == Frame(Opcode.TEXT, payload).serialize(mask=False)


@given(text(min_size=1), integers(min_value=1))
def test_a_text_of_which_not_all_has_arrived_is_left(content: str, missing: int) -> None:
    data = from_client(Opcode.TEXT, content.encode())
    assert whole_text(data[: len(data) - 1 - missing % len(data)]) is None


def test_every_other_frame_is_left() -> None:
    others = {
        "binary": from_client(Opcode.BINARY, b"x"),
        "ping": from_client(Opcode.PING, b"x"),
        "continuation": from_client(Opcode.CONT, b"x"),
        "first of several": from_client(Opcode.TEXT, b"x", fin=False),
        "reserved bit": b"\xc1\x81mask" + b"x",
        "not masked": Frame(Opcode.TEXT, b"x").serialize(mask=False),
        "length not minimal": b"\x81\xfe\x00\x01mask" + b"x",
        "not UTF-8": from_client(Opcode.TEXT, b"\xff"),
    }
    assert {name: whole_text(data) for name, data in others.items()} == dict.fromkeys(others)


@given(sampled_from((b"\x81", b"\xc1", b"\x82", b"\x01")), integers(0, 255), binary(max_size=300))
def test_of_any_bytes_only_what_another_parser_finds_is_taken(first: bytes, length: int, rest: bytes) -> None:
    data = first + bytes([length]) + rest
    found = whole_text(data)
    assert found is None or (Frame(Opcode.TEXT, found[0]), found[1]) == parsed(data)


def parsed(data: bytes) -> tuple[Frame, bytes]:
    """Return the frame that websockets parses at the beginning of `data`, and the bytes after it."""
    reader = StreamReader()
    reader.feed_data(data)
    parser = Frame.parse(reader.read_exact, mask=True)
    try:
        next(parser)
    except StopIteration as result:
        return result.value, bytes(reader.buffer)
    raise AssertionError(f"not a whole frame: {data!r}")
