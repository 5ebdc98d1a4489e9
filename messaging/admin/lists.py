"""Lists of a table that may have millions of rows, which are to be read only: no page looks at all of them."""

from datetime import timedelta
from functools import cached_property
from typing import Any, cast

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Max, Min, QuerySet
from django.db.models.sql.where import WhereNode
from django.http import HttpRequest
from django.utils.timezone import localtime

COUNTED = 5_000  # rows: past that a list says "more", and who looks for an older one searches
SHOWN = 25  # rows of one page
SEARCHED = 20_000  # messages that are looked at for words, as the lists' help says
FOUND = 200  # hits of a search that looks at what people wrote
BEGINNING: dict[str, dict[str, int]] = {"year": {"month": 1, "day": 1}, "month": {"day": 1}, "day": {}}  # of a span


STYLE = "messaging/admin.css"


def newest(rows: QuerySet[Any], field: str, most: int) -> QuerySet[Any]:
    """Those of `rows` that are among the `most` newest of them by `field`, a time with an index."""
    end = rows.order_by(f"-{field}").values_list(field, flat=True)[most : most + 1].first()
    return rows if end is None else rows.filter(**{f"{field}__gt": end})


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than COUNTED, and asks for what a row shows only where it shows it."""

    @cached_property
    def _found(self) -> int:
        # In the list's order, which an index knows: the first rows in any order may lie behind what was pruned.
        rows = cast(QuerySet[Any], self.object_list)
        return rows.values("pk")[: COUNTED + 1].count()

    def _get_page(self, object_list: Any, *args: Any, **kwargs: Any) -> Any:
        """By their keys: PostgreSQL would work out the columns of the rows before this page as well."""
        keys = list(object_list.values_list("pk", flat=True))
        rows = cast(QuerySet[Any], self.object_list).all()
        rows.query.where = WhereNode()  # the keys say it all
        return super()._get_page(rows.filter(pk__in=keys), *args, **kwargs)  # type: ignore[misc]

    @cached_property
    def count(self) -> int:
        return min(self._found, COUNTED)

    @property
    def more(self) -> bool:
        """Whether there are more than `count` (templates/admin/messaging/pagination.html)."""
        return self._found > COUNTED


class Calendar(QuerySet[Any]):
    """Rows for a list with a date hierarchy.

    Django's own looks at every row for the dates that have one: 0.4 s of a million messages. Here the first row and the
    last one count that are within the dates that were chosen, which an index knows, whatever else was chosen.
    """

    def aggregate(self, *args: Any, **ends: Any) -> dict[str, Any]:
        dates = {end.get_source_expressions()[0].name for end in ends.values()}
        rows = self.model._default_manager.all()
        rows.query.where = WhereNode([each for each in self.query.where.children if _field_of(each) in dates])
        return cast(dict[str, Any], rows.aggregate(*args, **ends))

    def datetimes(self, field_name: str, kind: str, order: str = "ASC", tzinfo: Any = None) -> Any:
        """Every year, month or day from the first row to the last one."""
        ends = self.aggregate(first=Min(field_name), last=Max(field_name))
        if ends["first"] is None:
            return []
        first, last = (localtime(end).replace(hour=0, minute=0, second=0, microsecond=0) for end in ends.values())
        days = (first + timedelta(days=number) for number in range((last - first).days + 1))
        return sorted({day.replace(**BEGINNING[kind]) for day in days})  # type: ignore[arg-type]


def _field_of(condition: Any) -> str | None:
    """What a condition is about: the name of a field of the rows themselves."""
    return getattr(getattr(getattr(condition, "lhs", None), "target", None), "name", None)


class LongList(admin.ModelAdmin):  # type: ignore[type-arg]
    """Nothing is added, changed or deleted here: people write through /ws alone, where it is acked and published."""

    paginator = BoundedPaginator
    list_per_page = SHOWN
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
