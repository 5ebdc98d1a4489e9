"""The quick messages in each language: those of visitors, and the canned replies of staff."""

import math
import time
from typing import cast, get_args

from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from messaging.models import QuickMessage
from messaging.protocol.fields import Lang
from messaging.service.contracts import Kind, QuickMessages

RECENT_SECONDS = 5.0  # for which pages may show quick messages that another process has changed


class _Recent:
    """All quick messages as they were read last."""

    until = -math.inf
    found: QuickMessages = {}  # noqa: RUF012  replaced, never changed


def quick_messages(*kinds: Kind) -> QuickMessages:
    """Return the active ones of `kinds` (none: all) by kind and language, in order and in the form of the wire."""
    found: QuickMessages = {(kind, lang): () for kind in get_args(Kind) for lang in get_args(Lang)}
    for row in QuickMessage.objects.filter(active=True, kind__in=kinds or get_args(Kind)):
        kind = cast(Kind, row.kind)
        english = {"key": row.key, "label": row.label, "content": row.content}
        german = {"key": row.key, "label": row.label_de or row.label, "content": row.content_de or row.content}
        found[kind, "en"] += (english,)
        found[kind, "de"] += (german,)
    return found


def recent_quick_messages() -> QuickMessages:
    """Return all of `quick_messages()`, read at most RECENT_SECONDS ago and after the last change by this process."""
    if time.monotonic() > _Recent.until:
        until = time.monotonic() + RECENT_SECONDS
        _Recent.found = quick_messages()
        _Recent.until = until
    return _Recent.found


def forget_recent() -> None:
    """Let the next call of `recent_quick_messages` read the database."""
    _Recent.until = -math.inf


@receiver([post_save, post_delete], sender=QuickMessage)
def _changed(using: str, **_: object) -> None:
    transaction.on_commit(forget_recent, using=using)
