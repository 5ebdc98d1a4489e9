"""What was said, as a file: CSV for spreadsheets, JSON for programs. Django admin and `messaging_export` share it."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from messaging.models import Message
from messaging.service.actions import timestamp

PAGE = 1_000  # messages of one query: nothing stays open between two, however slowly a reader takes them
COLUMNS = ("messageId", "conversation", "timestamp", "from", "author", "quick", "content")  # as the wire names them
# What makes a spreadsheet take a cell for a formula (OWASP, "CSV Injection"); some take the wide forms as well.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001

Row = tuple[int, UUID, UUID, datetime, str, str, str, str]  # the number in the journal, then COLUMNS


@dataclass(frozen=True, slots=True)
class Format:
    """How rows become text. `separator`: between two rows."""

    content_type: str
    row: Callable[[Row], str]
    head: str = ""
    separator: str = ""
    tail: str = ""


class _Text:
    """A file for csv.writer that hands every line back."""

    def write(self, line: str) -> str:
        return line


_writer: Any = csv.writer(_Text(), quoting=csv.QUOTE_ALL)


def _values(row: Row) -> tuple[str, ...]:
    _, message, conversation, created_at, *texts = row
    return str(message), str(conversation), timestamp(created_at), *texts


def _csv(row: Row) -> str:
    line: str = _writer.writerow([f"'{value}" if value.startswith(FORMULA) else value for value in _values(row)])
    return line


def _json(row: Row) -> str:
    return json.dumps(dict(zip(COLUMNS, _values(row), strict=True)), ensure_ascii=False)


FORMATS = {
    # Without the byte order mark Excel takes UTF-8 for something else.
    "csv": Format("text/csv; charset=utf-8", _csv, head="\ufeff" + _writer.writerow(COLUMNS)),
    "json": Format("application/json", _json, head="[\n", separator=",\n", tail="\n]\n"),
    "ndjson": Format("application/x-ndjson", lambda row: _json(row) + "\n"),
}


def pages(messages: QuerySet[Message]) -> Iterator[list[Row]]:
    """`messages` in the journal's order."""
    rows = messages.order_by("seq").values_list(
        "seq", "id", "conversation_id", "created_at", "sender", "author", "quick", "content"
    )
    after = 0
    while page := list(rows.filter(seq__gt=after)[:PAGE]):
        yield page
        after = page[-1][0]


def written(pages: Iterable[list[Row]], format: Format) -> Iterator[str]:
    """The parts of a file in `format`, one for each page."""
    yield format.head
    separator = ""
    for page in pages:
        yield separator + format.separator.join(map(format.row, page))
        separator = format.separator
    yield format.tail
