"""Lists of a table that may have millions of rows, which are to be read only: no page looks at all of them."""

from datetime import timedelta
from functools import cached_property
from typing import Any, cast

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Max, Min, QuerySet
from django.http import HttpRequest
from django.utils.timezone import localtime

COUNTED = 10_000  # rows: past that a list says "more", and who looks for an older one searches
BEGINNING: dict[str, dict[str, int]] = {"year": {"month": 1, "day": 1}, "month": {"day": 1}, "day": {}}  # of a span


STYLE = "messaging/admin.css"


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than COUNTED."""

    @cached_property
    def _found(self) -> int:
        rows = cast(QuerySet[Any], self.object_list)
        return rows.order_by()[: COUNTED + 1].count()

    @cached_property
    def count(self) -> int:
        return min(self._found, COUNTED)

    @property
    def more(self) -> bool:
        """Whether there are more than `count` (templates/admin/messaging/pagination.html)."""
        return self._found > COUNTED


class Calendar(QuerySet[Any]):
    """Rows for a list with a date hierarchy."""

    def datetimes(self, field_name: str, kind: str, order: str = "ASC", tzinfo: Any = None) -> Any:
        """Every year, month or day from the first row to the last one, which an index knows.

        Django's own looks at every row for those that have one: 0.4 s of a million messages.
        """
        ends = self.aggregate(first=Min(field_name), last=Max(field_name))
        if ends["first"] is None:
            return []
        first, last = (localtime(end).replace(hour=0, minute=0, second=0, microsecond=0) for end in ends.values())
        days = (first + timedelta(days=number) for number in range((last - first).days + 1))
        return sorted({day.replace(**BEGINNING[kind]) for day in days})  # type: ignore[arg-type]


class LongList(admin.ModelAdmin):  # type: ignore[type-arg]
    """Nothing is added, changed or deleted here: people write through /ws alone, where it is acked and published."""

    paginator = BoundedPaginator
    show_full_result_count = False  # a count of all rows
    show_facets = admin.ShowFacets.NEVER  # a count for each choice of each filter

    class Media:
        css = {"all": (STYLE,)}  # noqa: RUF012  Django's own form of this

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return Calendar(self.model).order_by(*self.get_ordering(request))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
