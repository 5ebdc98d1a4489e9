"""The deletion of expired rows, in small batches, so that no writer or reader waits for it."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial

from django.contrib.sessions.models import Session
from django.db import models, transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from messaging.models import AddressBlock, Block, Conversation, ErasedConversation, LoginSession, Message

BATCH = 1_000  # rows per transaction
NOTED = timedelta(days=31)  # longer than the life of any token that a note can be about
ADDRESSED = timedelta(days=2)  # how long the pseudonym of a visitor's address is kept, unless the address is blocked


def prune(before: datetime) -> Iterator[tuple[str, int]]:
    """Delete messages sent before `before`, conversations that are empty and as old, and other expired rows.

    Yield the kind and number of rows deleted, after each transaction. The caller may stop at any time, and several
    processes may do it at once.
    """
    yield from _in_turns("messages", partial(_messages, before))
    yield from _in_turns("conversations", partial(_empty_conversations, before))
    yield from _in_turns("addresses of visitors", _addresses)
    yield from _in_turns("ended blocks of addresses", partial(_past, AddressBlock, "until", timedelta()))
    yield from _in_turns("records of erased conversations", partial(_past, ErasedConversation, "erased_at", NOTED))
    yield from _in_turns("expired logins", partial(_past, Session, "expire_date", timedelta()))
    yield from _in_turns("records of ended logins", _ended_logins)


def _in_turns(name: str, delete: Callable[[], int]) -> Iterator[tuple[str, int]]:
    while True:
        began = time.monotonic()
        deleted = delete()
        if not deleted:
            return
        yield name, deleted
        time.sleep(time.monotonic() - began)  # leave half of the time to other work of the database


def _messages(before: datetime) -> int:
    rows = Message.objects.filter(created_at__lt=before).order_by("created_at")
    return _delete(Message, list(rows.values_list("pk", flat=True)[:BATCH]))


@transaction.atomic
def _empty_conversations(before: datetime) -> int:
    """Delete empty conversations, except those with a valid block. Return their number."""
    empty = Conversation.objects.filter(
        ~Exists(Message.objects.filter(conversation=OuterRef("pk"))),
        ~Exists(Block.objects.filter(conversation=OuterRef("pk"), until__gt=Now())),
        last_message_at__lt=before,
    ).values_list("pk", flat=True)
    # A conversation that is being written to is locked by the writer, and stays. Once it is locked here, writers wait,
    # and then create it anew. The second query sees the messages that were written before the lock.
    locked = list(empty.select_for_update(skip_locked=True)[:BATCH])
    return _delete(Conversation, list(empty.filter(pk__in=locked)))


def _addresses() -> int:
    """Forget the pseudonyms of addresses from which nobody has written for ADDRESSED. Return their number."""
    blocked = AddressBlock.objects.filter(address=OuterRef("address"), until__gt=Now())
    old = Conversation.objects.exclude(address="").filter(~Exists(blocked), last_message_at__lt=Now() - ADDRESSED)
    ids = list(old.order_by("pk").values_list("pk", flat=True)[:BATCH])
    # Not one that its visitor writes in meanwhile: it has the address of today.
    return old.filter(pk__in=ids).order_by().update(address="") if ids else 0


def _ended_logins() -> int:
    live = Session.objects.filter(pk=OuterRef("session_key"))
    return _delete(LoginSession, list(LoginSession.objects.filter(~Exists(live)).values_list("pk", flat=True)[:BATCH]))


def _past(model: type[models.Model], time_field: str, by: timedelta) -> int:
    rows = model._default_manager.filter(**{f"{time_field}__lt": Now() - by})
    return _delete(model, list(rows.values_list("pk", flat=True)[:BATCH]))


def _delete(model: type[models.Model], keys: list[object]) -> int:
    """Delete rows by their keys, so that the database looks at no other row. Return their number."""
    if keys:
        model._default_manager.filter(pk__in=keys).delete()
    return len(keys)
