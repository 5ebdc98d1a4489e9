"""The addresses that a process' connections come from: the numbers, and the warning when hundreds share one."""

import asyncio
from typing import Any

import pytest

from messaging.transports.channels.crowd import CAUSES, CROWD, Crowd, CrowdWatch, Sign, crowd
from messaging.transports.client_address import Client


class Socket:
    def __init__(self, key: str, private: bool = False, doubted: bool = False) -> None:
        self.client = Client(key, private, doubted)


@pytest.mark.parametrize(
    ("seen", "sign"),
    [
        (Crowd(CROWD - 1, 1, CROWD - 1, private=True, doubted=CROWD - 1), None),
        (Crowd(CROWD, 1, CROWD, private=True, doubted=CROWD), "doubted"),
        (Crowd(CROWD * 10, 900, CROWD, private=False, doubted=CROWD - 1), "doubted"),
        (Crowd(CROWD * 10, 900, CROWD, private=True, doubted=CROWD // 2), "private"),
        (Crowd(CROWD, 1, CROWD, private=False, doubted=0), "alone"),
        (Crowd(CROWD * 2, 900, CROWD, private=False, doubted=CROWD // 2), None),  # a hall, among others
    ],
)
def test_a_warning_says_what_is_known_of_an_address_with_hundreds_of_connections(
    seen: Crowd, sign: Sign | None
) -> None:
    assert seen.sign() == sign
    known = f"{seen.most} of {seen.connections} connections come from one client address; "
    assert seen.warning(sign) == (f"{known}{CAUSES[sign]}." if sign else None)


def test_a_crowd_has_the_numbers_of_the_address_with_the_most_connections() -> None:
    sockets: list[Any] = [Socket("a"), Socket("b", private=True, doubted=True), Socket("b", private=True)]
    unknown: Any = Socket("c")
    unknown.client = None
    assert crowd([*sockets, unknown]) == Crowd(connections=3, addresses=2, most=2, private=True, doubted=1)
    assert crowd([]) == Crowd()


async def test_a_change_is_logged_once_and_not_whenever_a_number_is_at_the_limit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "messaging")
    sockets: list[Any] = []
    watch = CrowdWatch(asyncio.get_running_loop(), sockets)
    try:
        for number, private in (
            (CROWD, False),
            (CROWD - 1, False),
            (CROWD, False),
            (CROWD, True),
            (10, True),
            (0, True),
        ):
            sockets[:] = [Socket("a", private)] * number
            watch.look()
            watch.look()
    finally:
        watch.close()
    known = f"{CROWD} of {CROWD} connections come from one client address; "
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", f"{known}{CAUSES['alone']}."),
        ("WARNING", f"{known}{CAUSES['private']}."),
        ("INFO", "no client address has most connections any more"),
    ]
