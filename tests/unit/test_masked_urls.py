"""URLs as `messaging_check` prints them, without passwords."""

import pytest

from messaging.management.commands.messaging_check import masked


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("postgres://user:p%40ss@host:5432/name", "postgres://user:***@host:5432/name"),
        ("postgres://user:p@ss/w:ord@host/name", "postgres://user:***@host/name"),
        (
            "postgres://host/name?sslmode=require&password=secret&x=1",
            "postgres://host/name?sslmode=require&password=***&x=1",
        ),
        ("redis+sentinel://:secret@one:1,two:2/master/0", "redis+sentinel://:***@one:1,two:2/master/0"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("wss://chat.example.org:443/ws", "wss://chat.example.org:443/ws"),
    ],
)
def test_urls_are_shown_without_their_passwords(value: str, shown: str) -> None:
    assert masked("ANY_URL", value) == shown
