"""The quick messages in each language: those of visitors, and the canned replies of staff."""

from typing import cast, get_args

from messaging.journal.sharing import ThreadCache
from messaging.models import QuickMessage
from messaging.protocol.fields import Lang
from messaging.service.contracts import Kind, QuickMessages


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


recent_quick_messages = ThreadCache(quick_messages, QuickMessage)
