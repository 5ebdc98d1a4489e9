"""The recent number of each quick message from visitors, for pages that continue the count themselves."""

from datetime import timedelta
from typing import TypedDict

from django.db import transaction
from django.db.models import Count
from django.db.models.functions import Now, TruncSecond
from django.utils import timezone

from messaging.journal import reader
from messaging.models import Message

PERIOD = timedelta(minutes=10)


class QuickCount(TypedDict):
    """The `count` of a quick message in one second, by the database's clock. `second`: since 1970."""

    quick: str
    second: int
    count: int


class Tally(TypedDict):
    """The counts up to the message at `cursor`. `now`: ms since 1970."""

    cursor: str
    now: int
    counts: list[QuickCount]


def tally() -> Tally:
    """Return the counts of the last PERIOD, by second. Transactions may commit out of order, so ask again later."""
    sent = Message.objects.filter(sender=Message.Sender.USER, created_at__gt=Now() - PERIOD).exclude(quick="")
    with transaction.atomic():
        head = reader.head()
        rows = (
            sent.filter(seq__lte=head.seq)
            .annotate(second=TruncSecond("created_at"))
            .values_list("quick", "second")
            .annotate(count=Count("seq"))
            .order_by("second", "quick")
        )
        counts: list[QuickCount] = [
            {"quick": quick, "second": int(second.timestamp()), "count": count} for quick, second, count in rows
        ]
    return {"cursor": str(head), "now": int(timezone.now().timestamp() * 1000), "counts": counts}
