"""The SQL of one batch of messages: one transaction, with a single wait for the database."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from messaging.journal.connection import limited, limits
from messaging.journal.reader import stored
from messaging.models import Conversation, Message, uuid7s
from messaging.service.contracts import Appended, ConversationNotFound, IdConflict, NewMessage, Paused, StoredMessage

Outcome = Appended | IdConflict | ConversationNotFound | Paused
_Key = tuple[str, str]  # principal and client id: one message, however often it is sent
_Statement = tuple[str, list[Any]]  # its text and its parameters

# Plain SQL, for PostgreSQL and SQLite: the same with the ORM took five times as long per message.
# During a pause, no conversation begins: its messages are left out below.
_BEGIN_CONVERSATIONS = (
    "INSERT INTO messaging_conversation (id, address) SELECT * FROM ({rows}) AS fresh "
    "WHERE NOT EXISTS (SELECT 1 FROM messaging_pause WHERE until > {now}) "
    "OR (SELECT begun.id FROM messaging_conversation AS begun WHERE begun.id = fresh.column1) IS NOT NULL "
    "ON CONFLICT (id) DO UPDATE SET last_message_at = EXCLUDED.last_message_at, "
    "address = COALESCE(NULLIF(EXCLUDED.address, ''), messaging_conversation.address)"
)
# A subquery instead of a join, which might change the order. A resent message conflicts, and its row stays as it is.
# An error would write its content to PostgreSQL's log.
_INSERT_MESSAGES = (
    "INSERT INTO messaging_message (id, conversation_id, principal, client_id, sender, author, quick, content) "
    "SELECT * FROM ({rows}) AS fresh "
    "WHERE (SELECT begun.id FROM messaging_conversation AS begun WHERE begun.id = fresh.column2) IS NOT NULL "
    "ON CONFLICT (principal, client_id) DO NOTHING RETURNING principal, client_id, seq, created_at"
)
# An erased conversation must not begin anew. The first statement waits for a concurrent erasure, so these two see it.
_TAKE_BACK = (
    "DELETE FROM messaging_message WHERE id IN ({rows}) "
    "AND conversation_id IN (SELECT id FROM messaging_erasedconversation) RETURNING principal, client_id"
)
_END_AGAIN = (
    "DELETE FROM messaging_conversation WHERE id IN ({rows}) AND id IN (SELECT id FROM messaging_erasedconversation)"
)
# A visitor's new message reopens its conversation, whose row is locked: nothing can close it meanwhile.
_REOPEN = (
    "UPDATE messaging_conversation SET closed_at = NULL, changed_at = {version} "
    "FROM messaging_message AS message WHERE messaging_conversation.id = message.conversation_id "
    "AND closed_at IS NOT NULL AND sender = 'user' AND message.id IN ({rows}) RETURNING messaging_conversation.id"
)
_NOW = {"postgresql": "STATEMENT_TIMESTAMP()", "sqlite": "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')"}
# The time of the message, or that after the last change (messaging.journal.conversations.next_version).
_VERSION = {
    "postgresql": "GREATEST(message.created_at, messaging_conversation.changed_at + interval '1 ms')",
    "sqlite": "MAX(message.created_at, "
    "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', messaging_conversation.changed_at, '+0.001 seconds'))",
}


@dataclass(frozen=True, slots=True)
class _Inserted:
    """The new messages by key, the conversations that they have reopened, and the keys of messages to erased ones."""

    fresh: dict[_Key, StoredMessage]
    reopened: set[str]
    erased: set[_Key]


def commit(batch: list[NewMessage]) -> list[Outcome]:
    """Store `batch`; return the outcome of each message, in order.

    Raise django.db.DatabaseError or InterfaceError if the database fails or refuses the batch.
    """
    replies = {new.conversation for new in batch if new.sender == "admin"}
    found = _present(replies) if replies else set()
    begun = {new.conversation for new in batch if new.sender == "user"}
    # Of several copies of one message, the first counts.
    wanted = {_key(new): new for new in reversed(batch) if new.conversation in found | begun}
    done = _insert(list(reversed(wanted.values()))) if wanted else _Inserted({}, set(), set())
    present = done.fresh | _kept(wanted.keys() - done.fresh.keys())
    return [_outcome(new, present.get(_key(new)), done) for new in batch]


def _present(conversations: set[str]) -> set[str]:
    with limited():
        return {str(row.id) for row in Conversation.objects.filter(id__in=conversations)}


def _insert(batch: list[NewMessage]) -> _Inserted:
    """Store `batch`."""
    addresses = {new.conversation: "" for new in batch}
    addresses |= {new.conversation: new.address for new in batch if new.address}
    # The same order everywhere, so that two pods that lock the same conversations can't deadlock.
    conversations = [[_hex(id), address] for id, address in sorted(addresses.items())]
    rows = {_key(new): (id, new) for id, new in zip(uuid7s(len(batch)), batch, strict=True)}
    values = [
        [id.hex, _hex(new.conversation), *key, new.sender, new.author, new.quick, new.content]
        for key, (id, new) in rows.items()
    ]
    ids = [value[:1] for value in values]
    _, returned, erased, _, reopened = _together(
        _filled(_BEGIN_CONVERSATIONS.replace("{now}", _NOW[connection.vendor]), ["uuid", "text"], conversations),
        _filled(_INSERT_MESSAGES, ["uuid", "uuid", *["text"] * 6], values),
        _filled(_TAKE_BACK, ["uuid"], ids),
        _filled(_END_AGAIN, ["uuid"], [row[:1] for row in conversations]),
        _filled(_REOPEN.replace("{version}", _VERSION[connection.vendor]), ["uuid"], ids),
    )
    stored_messages = {}
    read = _datetime_reader()
    for principal, client_id, seq, created_at in returned:
        id, new = rows[principal, client_id]
        stored_messages[principal, client_id] = StoredMessage(
            seq, str(id), new.conversation, principal, client_id,
            new.sender, new.content, new.author, new.quick, read(created_at),
        )  # fmt: skip
    taken_back = {(principal, client_id) for principal, client_id in erased}
    for key in taken_back:
        del stored_messages[key]
    return _Inserted(stored_messages, {str(UUID(str(id))) for (id,) in reopened}, taken_back)


def _filled(statement: str, types: Sequence[str], rows: list[list[Any]]) -> _Statement:
    """Return `statement` filled with `rows`, whose columns have these SQL `types`."""
    if connection.vendor == "postgresql":
        # The text is the same for any number of rows: parsing a new text costs ten times as much as a row. JSON
        # instead of arrays: psycopg builds arrays in Python, at ten times the cost of JSON.
        columns = ", ".join(f"(value->>{column})::{type} AS column{column + 1}" for column, type in enumerate(types))
        source = f"SELECT {columns} FROM jsonb_array_elements(%s::jsonb)"  # noqa: S608  made of constants
        return statement.format(rows=source), [json.dumps(rows)]
    row = f"({', '.join(['%s'] * len(types))})"
    source = f"VALUES {', '.join([row] * len(rows))}"
    return statement.format(rows=source), [value for row in rows for value in row]


def _together(*statements: _Statement) -> list[list[Any]]:
    """Commit `statements` as one transaction; return the rows of each."""
    if connection.vendor != "postgresql":
        with transaction.atomic(), connection.cursor() as cursor:
            return [list(cursor.execute(*statement).fetchall()) for statement in statements]
    connection.ensure_connection()
    # One pipeline for all: whenever this thread waits for an answer, the event loop takes the interpreter's lock, and
    # releases it only milliseconds later.
    together = [limits(), *statements]
    cursors = [connection.cursor() for _ in together]
    with connection.wrap_database_errors, connection.connection.pipeline():
        for cursor, statement in zip(cursors, together, strict=True):
            cursor.execute(*statement)
    return [cursor.fetchall() if cursor.description else [] for cursor in cursors[1:]]


def _hex(id: str) -> str:
    """Return a UUID as both databases accept it: SQLite has no type for it, so Django stores text without dashes."""
    return id.replace("-", "")


def _datetime_reader() -> Callable[[Any], datetime]:
    """Return a function that converts a time from the database as Django does: SQLite returns text."""
    column = Message._meta.get_field("created_at").get_col("messaging_message")
    converters = connection.ops.get_db_converters(column)

    def read(value: Any) -> datetime:
        for convert in converters:
            value = convert(value, column, connection)
        moment: datetime = value
        return moment

    return read


def _kept(keys: set[_Key]) -> dict[_Key, StoredMessage]:
    """Return the messages that were stored before under `keys`."""
    if not keys:
        return {}
    principals, client_ids = ({key[part] for key in keys} for part in (0, 1))
    with limited():
        rows = Message.objects.filter(client_id__in=client_ids, principal__in=principals)
        return {(row.principal, row.client_id): stored(row) for row in rows}


def _key(new: NewMessage) -> _Key:
    return new.principal, new.client_id


def _outcome(new: NewMessage, message: StoredMessage | None, done: _Inserted) -> Outcome:
    if message is None:
        is_paused = new.sender == "user" and _key(new) not in done.erased
        return Paused() if is_paused else ConversationNotFound(new.conversation)
    if (message.conversation, message.content) != (new.conversation, new.content):
        return IdConflict(new.client_id)
    duplicate = done.fresh.pop(_key(new), None) is None  # so is a second copy in this batch
    return Appended(message, duplicate, reopened=not duplicate and message.conversation in done.reopened)
