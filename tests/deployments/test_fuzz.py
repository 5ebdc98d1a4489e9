"""A short run of the fuzzer, with the same input each time. `make fuzz` runs it for longer, with new input."""

import pytest

from tests.support.fuzz_input import make
from tests.support.fuzzer import closes, fuzz

pytestmark = pytest.mark.slow


@pytest.mark.timeout(400)  # after a fault, it looks for the input that causes it
def test_what_no_browser_sends_breaks_nothing_and_leaves_nothing_behind() -> None:
    fuzz(20, "the suite")


def test_a_seed_and_a_number_always_make_the_same_input() -> None:
    site = {"@TOKEN@": "token", "@CSRF@": "csrf"}
    made = [make("seed", number, site) for number in range(500)]
    assert made == [make("seed", number, site) for number in range(500)]
    assert len({input.kind for input in made}) == 8


def test_the_fuzzer_sees_the_close_code_behind_other_frames() -> None:
    greeting, long = b"\x81\x02{}", b"\x81\x7e\x01\x00" + b"x" * 256
    answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + greeting + long + b"\x88\x02\x03\xf3"
    assert closes(answer) == [(1011).to_bytes(2)]
