"""What is older than it may be goes, a little at a time, so that nobody who writes or reads waits for it."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial

from django.contrib.sessions.models import Session
from django.db import models, transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from messaging.models import Block, Conversation, EndedSession, ErasedConversation, Message

BATCH = 1_000  # rows of one transaction
NOTED = timedelta(days=31)  # longer than any token or session that a note could still be about lives


def prune(before: datetime) -> Iterator[tuple[str, int]]:
    """Delete the messages that were sent before then, the conversations that are empty since, and what else is past.

    Yields what it has deleted, and how many, after each transaction: whoever stops there has lost nothing, and several
    processes may do it at once.
    """
    yield from _in_turns("messages", partial(_messages, before))
    yield from _in_turns("conversations", partial(_empty_conversations, before))
    yield from _in_turns("notes of sessions that ended", partial(_past, EndedSession, "ended_at", NOTED))
    yield from _in_turns(
        "notes of conversations that were erased", partial(_past, ErasedConversation, "erased_at", NOTED)
    )
    yield from _in_turns("logins that ran out", partial(_past, Session, "expire_date", timedelta()))


def _in_turns(name: str, delete: Callable[[], int]) -> Iterator[tuple[str, int]]:
    while True:
        began = time.monotonic()
        deleted = delete()
        if not deleted:
            return
        yield name, deleted
        time.sleep(time.monotonic() - began)  # half of the time is everybody else's


def _messages(before: datetime) -> int:
    rows = Message.objects.filter(created_at__lt=before).order_by("created_at")
    return _delete(Message, list(rows.values_list("pk", flat=True)[:BATCH]))


@transaction.atomic
def _empty_conversations(before: datetime) -> int:
    """A block keeps its conversation for as long as it counts."""
    empty = Conversation.objects.filter(
        ~Exists(Message.objects.filter(conversation=OuterRef("pk"))),
        ~Exists(Block.objects.filter(conversation=OuterRef("pk"), until__gt=Now())),
        last_message_at__lt=before,
    ).values_list("pk", flat=True)
    # One that is being written to is locked by who does it, and stays. Once it is locked here, writers wait, and begin
    # it anew. The second look sees what was written in between.
    locked = list(empty.select_for_update(skip_locked=True)[:BATCH])
    return _delete(Conversation, list(empty.filter(pk__in=locked)))


def _past(model: type[models.Model], time_field: str, by: timedelta) -> int:
    rows = model._default_manager.filter(**{f"{time_field}__lt": Now() - by})
    return _delete(model, list(rows.values_list("pk", flat=True)[:BATCH]))


def _delete(model: type[models.Model], keys: list[object]) -> int:
    """By their keys: the database then looks at no other row."""
    if keys:
        model._default_manager.filter(pk__in=keys).delete()
    return len(keys)
