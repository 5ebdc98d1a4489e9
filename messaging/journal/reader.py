"""Reads of the journal: pages of messages, and the messages that this process has missed.

Numbers are assigned at insert, not at commit, so a message can appear after one with a higher number was read. Every
reader therefore re-reads an OVERLAP before its cursor. It covers the longest transaction (its statements are cancelled
after 2 s) and the time in which a process finds a lost hint (2 s).
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.models import Aggregate, OuterRef, QuerySet, Subquery
from django.db.models.functions import Now

from messaging.models import Conversation, Message
from messaging.service.contracts import START, Cursor, JournalRestored, Page, StoredMessage

OVERLAP = timedelta(seconds=8)
HINT = timedelta(seconds=1)  # how long a hint may take to arrive
# A role without special rights sees of the others' sessions only to which database and user they belong.
_CLIENTS = """
    SELECT count(*), current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true), '0')::int  -- from PostgreSQL 16
    FROM pg_stat_activity
    WHERE datid IS NOT NULL AND usesysid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
"""
SETTLED = "s"  # the `page_of` of a page that ends before the overlap: any connection may continue directly after it


def heads(conversations: Collection[str | None]) -> dict[str | None, Cursor]:
    """Return the cursor of the newest message of each conversation, and under None that of all; START if none."""
    newest = Message.objects.filter(conversation=OuterRef("pk")).order_by("-seq")
    places = [Subquery(newest.values(field)[:1]) for field in ("seq", "created_at")]
    named = [id for id in conversations if id is not None]
    rows = Conversation.objects.filter(pk__in=named).order_by().values_list("pk", *places) if named else ()
    found = {str(id): Cursor.of(seq, created_at) for id, seq, created_at in rows if seq is not None}
    return {id: head() if id is None else found.get(id, START) for id in conversations}


def head() -> Cursor:
    """Return the cursor of the newest message of all; START if there is none."""
    row = Message.objects.order_by("-seq").values_list("seq", "created_at").first()
    return Cursor.of(*row) if row else START


def last_number() -> int:
    """Return the last number that was assigned to a message, even if it was deleted since; 0 if there is none."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT pg_sequence_last_value(pg_get_serial_sequence('messaging_message', 'seq')::regclass)"
            )
        else:
            cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = 'messaging_message'")
        row = cursor.fetchone()
    return (row and row[0]) or 0


def holds(places: Collection[Cursor], conversation: str | None) -> bool:
    """Return whether `places`, without `page_of`, are of this journal, and not of another one or of a newer copy of it.

    Where the messages of all conversations are read, an erased one keeps its place.
    """
    sent = dict(
        _messages(conversation).filter(seq__in=[place.seq for place in places]).values_list("seq", "created_at")
    )
    missing = [place.seq for place in places if place.seq not in sent and place != START]
    if missing and (conversation is not None or max(missing) > last_number()):
        return False
    return all(Cursor.of(place.seq, sent[place.seq]) == place for place in places if place.seq in sent)


def newest(conversation: str | None, limit: int) -> Page:
    """Return the last `limit` messages, with the cursor of the newest. `more`: there are older ones."""
    rows = list(_messages(conversation).order_by("-seq")[: limit + 1])
    messages = _stored(reversed(rows[:limit]))
    return Page(messages, messages[-1].cursor if messages else START, more=len(rows) > limit)


def before(conversation: str | None, cursor: Cursor, limit: int) -> Page:
    """Return the last `limit` messages before `cursor`, with the cursor of the oldest. `more`: there are older ones."""
    rows = list(_messages(conversation).filter(seq__lt=cursor.seq).order_by("-seq")[: limit + 1])
    messages = _stored(reversed(rows[:limit]))
    return Page(messages, messages[0].cursor if messages else cursor, more=len(rows) > limit)


def since(conversation: str | None, cursor: Cursor, limit: int, connection_tag: str) -> Page:
    """Return up to `limit` messages, oldest first, from an overlap before `cursor` on.

    They begin directly after `cursor` if its `page_of` is SETTLED or `connection_tag`. The page's cursor is the start
    of the next page, or the newest message if there is no `more`.
    """
    start = cursor.seq if cursor.page_of in (SETTLED, connection_tag) else _overlap(cursor)
    query = _messages(conversation).filter(seq__gt=start).annotate(now=Now())
    rows = list(query.order_by("seq")[: limit + 1])
    if len(rows) <= limit:
        end = stored(rows[-1]).cursor if rows else Cursor(cursor.seq, cursor.ms)
        return Page(_stored(rows), end, more=False)
    last = rows[limit - 1]
    page_of = SETTLED if last.created_at < last.now - OVERLAP else connection_tag
    end = Cursor(last.seq, stored(last).cursor.ms, page_of)
    return Page(_stored(rows[:limit]), end, more=True)


def _overlap(cursor: Cursor) -> int:
    """Return the number after which a reader that stopped at `cursor` has to continue."""
    return min(cursor.seq, _settled(datetime.fromtimestamp(cursor.ms / 1000, UTC)).seq)


def _settled(at: datetime | Now) -> Cursor:
    """Return a place up to which no transaction could add a message any more at the time `at`.

    It is that of the last message older than the overlap. A query for the first younger message by number would read
    all numbers before it.
    """
    older = Message.objects.filter(created_at__lt=at - OVERLAP)
    row = older.order_by("-created_at", "-seq").values_list("seq", "created_at").first()
    return Cursor.of(*row) if row else START


def positions(floor: Cursor | None, newest: Cursor = START) -> tuple[list[int], Cursor]:
    """Return the numbers of the messages after `floor` (None: of those in the overlap), in order, and the next floor.

    `newest`: the newest message that the caller knows. Raise JournalRestored if it or `floor` is not of this journal.

    Messages of the last HINT are left out, because their hints may be under way; those of the future are not: the
    database's clock was set back since. The next floor is settled: no
    transaction can add a message up to there any more. Each process asks every few seconds, so only numbers are
    read: to read `created_at` as well took ten times as long. PostgreSQL returns them as one array: building 40,000
    Python rows blocks the event loop for three times as long.
    """
    settled = _settled(Now())
    floor = settled if floor is None else floor
    if not holds((floor, newest), None):
        raise JournalRestored
    rows = Message.objects.filter(seq__gt=floor.seq).exclude(created_at__range=(Now() - HINT, Now()))
    if connection.vendor == "postgresql":
        numbers = rows.aggregate(found=Aggregate("seq", function="array_agg"))["found"] or []
    else:
        numbers = rows.values_list("seq", flat=True)
    return sorted(numbers), max(floor, settled)


def messages(numbers: list[int]) -> tuple[StoredMessage, ...]:
    """Return the messages with these numbers, in the journal's order."""
    return _stored(Message.objects.filter(seq__in=numbers).order_by("seq"))


def wrong_encoding() -> str:
    """Return the reason why the database cannot store every text, and the remedy; an empty string if it can."""
    if connection.vendor != "postgresql":
        return ""
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_encoding")
        encoding: str = cursor.fetchone()[0]
    wanted = "create it again with ENCODING 'UTF8' TEMPLATE template0"
    return "" if encoding == "UTF8" else f"its encoding is {encoding}, which cannot store every text: {wanted}"


def site() -> str:
    """Return the identity of the journal: no two databases that are in use at the same time have the same one.

    It is made of the database, its table of messages, and the start of its server. So the copies of a database have
    different ones, however they were made, and nobody has to give a copy a name. It changes when the server restarts or
    another one takes its place. SQLite has no server that several processes could share: `local`.
    """
    if connection.vendor != "postgresql":
        return "local"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT concat_ws('-', oid, 'messaging_message'::regclass::oid, extract(epoch FROM start))"
            " FROM pg_database, pg_postmaster_start_time() AS start WHERE datname = current_database()"
        )
        return str(cursor.fetchone()[0])


def missing_migrations() -> list[str]:
    """Return the migrations of this version that the database lacks, in order. Others are ignored."""
    return _missing(MigrationLoader(connection))


def _missing(loader: MigrationLoader) -> list[str]:
    known = (node for leaf in loader.graph.leaf_nodes() for node in loader.graph.forwards_plan(leaf))
    return [f"{app}.{name}" for app, name in dict.fromkeys(known) if (app, name) not in loader.applied_migrations]


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """The state of the database for operators. NaN: not known; connections never are with SQLite.

    `applied`, `unapplied`: the migrations that it has, and those of this version that it lacks. `connections`: those of
    all clients of the server; `connections_limit`: as many as it accepts.
    """

    applied: float = math.nan
    unapplied: float = math.nan
    connections: float = math.nan
    connections_limit: float = math.nan


def database_state() -> DatabaseState:
    loader = MigrationLoader(connection)
    migrations = len(loader.applied_migrations or ()), len(_missing(loader))
    if connection.vendor != "postgresql":
        return DatabaseState(*migrations)
    with connection.cursor() as cursor:
        cursor.execute(_CLIENTS)
        return DatabaseState(*migrations, *cursor.fetchone())


def stored(row: Message) -> StoredMessage:
    """Return `row` as plain data."""
    return StoredMessage(
        seq=row.seq,
        message_id=str(row.id),
        conversation=str(row.conversation_id),
        principal=row.principal,
        client_id=row.client_id,
        sender="admin" if row.sender == Message.Sender.ADMIN else "user",
        content=row.content,
        author=row.author,
        quick=row.quick,
        created_at=row.created_at,
    )


def _messages(conversation: str | None) -> QuerySet[Message]:
    return Message.objects.all() if conversation is None else Message.objects.filter(conversation_id=conversation)


def _stored(rows: Iterable[Message]) -> tuple[StoredMessage, ...]:
    return tuple(stored(row) for row in rows)
