"""What has been said: pages of the journal, and what this process has missed.

Numbers are given at insert, not at commit, so a message can appear behind one with a higher number that was read
before it. Every reader therefore re-reads an OVERLAP before its cursor. It covers the longest
transaction (its statements are cancelled after 2 s) and the time in which a process finds a lost hint (2 s).
"""

from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import TypeVar, cast, get_args

from django.contrib.auth import get_user_model
from django.db import InterfaceError, OperationalError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.models import Aggregate, OuterRef, QuerySet, Subquery
from django.db.models.functions import Now

from messaging.models import Block, Conversation, EndedSession, Message, QuickMessage, password_mark
from messaging.protocol.fields import Lang
from messaging.service.contracts import START, Cursor, Kind, Page, QuickMessages, StaffMember, StoredMessage

OVERLAP = timedelta(seconds=8)
HINT = timedelta(seconds=1)  # how long a hint may take
SETTLED = "s"  # the `page_of` of a page that ends before the overlap: anyone may continue right behind it

T = TypeVar("T")


def on_this_thread(read: Callable[[], T]) -> T:
    """`read()`; a connection that the database has closed meanwhile is replaced once."""
    try:
        return read()
    except (OperationalError, InterfaceError):
        connection.close()
        return read()


def heads(conversations: Collection[str | None]) -> dict[str | None, Cursor]:
    """The newest message of each of these conversations and (None) of all; START where there is none."""
    newest = Message.objects.filter(conversation=OuterRef("pk")).order_by("-seq")
    places = [Subquery(newest.values(field)[:1]) for field in ("seq", "created_at")]
    named = [id for id in conversations if id is not None]
    rows = Conversation.objects.filter(pk__in=named).order_by().values_list("pk", *places) if named else ()
    found = {str(id): _cursor(seq, created_at) for id, seq, created_at in rows if seq is not None}
    return {id: head() if id is None else found.get(id, START) for id in conversations}


def head() -> Cursor:
    """The newest message of all; START where there is none."""
    row = Message.objects.order_by("-seq").values_list("seq", "created_at").first()
    return _cursor(*row) if row else START


def last_number() -> int:
    """The last number that a message was given, whether it is still there or not; 0: none."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT pg_sequence_last_value(pg_get_serial_sequence('messaging_message', 'seq')::regclass)"
            )
        else:
            cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = 'messaging_message'")
        row = cursor.fetchone()
    return (row and row[0]) or 0


def newest(conversation: str | None, limit: int) -> Page:
    """The last `limit` messages; `more`: there are older ones."""
    rows = list(_messages(conversation).order_by("-seq")[: limit + 1])
    messages = _stored(reversed(rows[:limit]))
    return Page(messages, messages[-1].cursor if messages else START, more=len(rows) > limit)


def before(conversation: str | None, cursor: Cursor, limit: int) -> Page:
    """The `limit` messages that end before `cursor`; the page's cursor is its oldest message's."""
    rows = list(_messages(conversation).filter(seq__lt=cursor.seq).order_by("-seq")[: limit + 1])
    messages = _stored(reversed(rows[:limit]))
    return Page(messages, messages[0].cursor if messages else cursor, more=len(rows) > limit)


def since(conversation: str | None, cursor: Cursor, limit: int, connection_tag: str) -> Page:
    """The first `limit` messages after `cursor`, and the overlap before it unless this connection pages on."""
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
    """The number behind which a reader that stopped at `cursor` has to begin."""
    return min(cursor.seq, _settled(datetime.fromtimestamp(cursor.ms / 1000, UTC)))


def _settled(at: datetime | Now) -> int:
    """A number up to which no transaction could add a message any more at the time `at`: that of the last one that
    was older than the overlap. To ask for the first younger one by number would read all numbers before it.
    """
    older = Message.objects.filter(created_at__lt=at - OVERLAP)
    return older.order_by("-created_at", "-seq").values_list("seq", flat=True).first() or 0


def positions(floor: int | None) -> tuple[list[int], int]:
    """The numbers of the messages behind `floor` (None: of the overlap), in order, and the next floor.

    Messages younger than HINT are left out: theirs may well be on its way. Every message up to the next floor is
    settled: no transaction can add one there any more. Numbers alone, as each process asks for them again and again:
    to read their times took ten times as long. And from PostgreSQL as one array: to make 40,000 rows of Python holds up
    the event loop three times as long.
    """
    settled = _settled(Now())
    floor = settled if floor is None else floor
    rows = Message.objects.filter(seq__gt=floor, created_at__lt=Now() - HINT)
    if connection.vendor == "postgresql":
        numbers = rows.aggregate(found=Aggregate("seq", function="array_agg"))["found"] or []
    else:
        numbers = rows.values_list("seq", flat=True)
    return sorted(numbers), max(floor, settled)


def messages(numbers: list[int]) -> tuple[StoredMessage, ...]:
    """The messages with these numbers, in the journal's order."""
    return _stored(Message.objects.filter(seq__in=numbers).order_by("seq"))


def staff_members(ids: Iterable[int]) -> dict[int, StaffMember]:
    """The active staff members with these primary keys, and what they may do now."""
    users = get_user_model().objects.filter(pk__in=list(ids), is_active=True, is_staff=True)
    return {
        user.pk: StaffMember(
            id=user.pk,
            name=user.get_full_name() or user.get_username(),
            may_view=user.has_perm("messaging.view_message"),
            may_reply=user.has_perm("messaging.add_message"),
            may_manage=user.has_perm("messaging.change_conversation"),
            may_block=user.has_perm("messaging.add_block"),
            may_unblock=user.has_perm("messaging.delete_block"),
            password_mark=password_mark(user),
        )
        for user in users
    }


def ended_sessions(digests: Iterable[str]) -> set[str]:
    """Those of `digests` whose login session was signed out."""
    return set(EndedSession.objects.filter(digest__in=list(digests)).values_list("digest", flat=True))


def quick_messages() -> QuickMessages:
    """The active quick messages in their order, as the wire shows them, by kind and language."""
    found: QuickMessages = {(kind, lang): () for kind in get_args(Kind) for lang in get_args(Lang)}
    for row in QuickMessage.objects.filter(active=True):
        kind = cast(Kind, row.kind)
        english = {"key": row.key, "label": row.label, "content": row.content}
        german = {"key": row.key, "label": row.label_de or row.label, "content": row.content_de or row.content}
        found[kind, "en"] += (english,)
        found[kind, "de"] += (german,)
    return found


def blocked() -> frozenset[str]:
    """The conversations whose visitors may not write now."""
    return frozenset(map(str, Block.objects.filter(until__gt=Now()).values_list("conversation_id", flat=True)))


def ping() -> None:
    """Ask the database for an answer; raises django.db.Error where it gives none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def missing_migrations() -> list[str]:
    """What this version knows and the database has not, in order. What a newer version has added does no harm."""
    loader = MigrationLoader(connection)
    known = (node for leaf in loader.graph.leaf_nodes() for node in loader.graph.forwards_plan(leaf))
    return [f"{app}.{name}" for app, name in dict.fromkeys(known) if (app, name) not in loader.applied_migrations]


def stored(row: Message) -> StoredMessage:
    """`row` as plain data."""
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


def _cursor(seq: int, created_at: datetime) -> Cursor:
    return Cursor(seq, int(created_at.timestamp() * 1000))
