"""Cursors: places in the journal, as text."""

from messaging.service.contracts import Cursor


def test_a_cursor_sorts_as_text_and_survives_its_text() -> None:
    cursors = [Cursor(2, 5), Cursor(10, 3), Cursor(300, 1)]
    assert sorted(map(str, reversed(cursors))) == list(map(str, cursors))
    assert [Cursor.parse(str(cursor)) for cursor in cursors] == cursors
    assert Cursor.parse(str(Cursor(1, 2, "abc"))) == Cursor(1, 2, "abc")
    assert [Cursor.parse(text) for text in ("", "x", "1.2", "0" * 13, "z" * 13 + "." + "0" * 11)] == [None] * 5
