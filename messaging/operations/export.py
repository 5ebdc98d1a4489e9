"""Export of messages to a file, as CSV for spreadsheets or JSON; shared by the Django admin and `messaging_export`."""

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

PAGE = 1_000  # messages per query; nothing stays open between two queries, however slowly the output is read
COLUMNS = ("messageId", "conversation", "timestamp", "from", "author", "quick", "content")  # named as on the wire
# First characters that make a cell a formula (OWASP, "CSV Injection"); some spreadsheets accept the wide forms too.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001

Row = tuple[int, UUID, UUID, datetime, str, str, str, str]  # the number in the journal, then COLUMNS


@dataclass(frozen=True, slots=True)
class Format:
    """The text form of an export. `separator`: the text between two rows."""

    content_type: str
    row: Callable[[Row], str]
    head: str = ""
    separator: str = ""
    tail: str = ""


class _Text:
    """A file for csv.writer whose `write` returns the line."""

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
    # Without the byte order mark, Excel does not recognise UTF-8.
    "csv": Format("text/csv; charset=utf-8", _csv, head="\ufeff" + _writer.writerow(COLUMNS)),
    "json": Format("application/json", _json, head="[\n", separator=",\n", tail="\n]\n"),
    "ndjson": Format("application/x-ndjson", lambda row: _json(row) + "\n"),
}


def pages(messages: QuerySet[Message]) -> Iterator[list[Row]]:
    """Yield `messages` in the journal's order, up to PAGE at a time."""
    rows = messages.order_by("seq").values_list(
        "seq", "id", "conversation_id", "created_at", "sender", "author", "quick", "content"
    )
    after = 0
    while page := list(rows.filter(seq__gt=after)[:PAGE]):
        yield page
        after = page[-1][0]


def written(pages: Iterable[list[Row]], format: Format) -> Iterator[str]:
    """Yield the parts of a file in `format`: its head, one part per page, its tail."""
    yield format.head
    separator = ""
    for page in pages:
        yield separator + format.separator.join(map(format.row, page))
        separator = format.separator
    yield format.tail
