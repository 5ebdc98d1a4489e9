"""Read-only lists of tables with possibly millions of rows: no page reads all of them."""

from datetime import timedelta
from functools import cached_property
from typing import Any, cast

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Max, Min, QuerySet
from django.db.models.sql.where import WhereNode
from django.http import HttpRequest
from django.utils.timezone import localtime

COUNTED = 5_000  # rows; beyond that a list says "more than", and older rows are found by search
SHOWN = 25  # rows of one page
SEARCHED = 20_000  # the newest messages, in which a search finds words, as the lists' help text says
FOUND = 200  # the most hits of a search for words in messages
BEGINNING: dict[str, dict[str, int]] = {"year": {"month": 1, "day": 1}, "month": {"day": 1}, "day": {}}  # of a period


STYLE = "messaging/admin.css"


def newest(rows: QuerySet[Any], field: str, most: int) -> QuerySet[Any]:
    """Return the newest of `rows` by `field` (a time with an index), at most `most` of them."""
    end = rows.order_by(f"-{field}").values_list(field, flat=True)[most : most + 1].first()
    return rows if end is None else rows.filter(**{f"{field}__gt": end})


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """A paginator that counts no further than COUNTED, and computes columns only for the rows that it shows."""

    @cached_property
    def _found(self) -> int:
        # In the list's order, which has an index: an unordered scan may first have to pass many pruned rows.
        rows = cast(QuerySet[Any], self.object_list)
        return rows.values("pk")[: COUNTED + 1].count()

    def _get_page(self, object_list: Any, *args: Any, **kwargs: Any) -> Any:
        """Select rows by their keys: else PostgreSQL would also compute the columns of the rows before this page."""
        keys = list(object_list.values_list("pk", flat=True))
        rows = cast(QuerySet[Any], self.object_list).all()
        rows.query.where = WhereNode()  # the keys are enough
        return super()._get_page(rows.filter(pk__in=keys), *args, **kwargs)  # type: ignore[misc]

    @cached_property
    def count(self) -> int:
        return min(self._found, COUNTED)

    @property
    def more(self) -> bool:
        """Return whether there are more rows than `count` (templates/admin/messaging/pagination.html)."""
        return self._found > COUNTED


class Calendar(QuerySet[Any]):
    """A queryset for a list with a date hierarchy.

    Django's own reads every row to find the dates that have one: 0.4 s with a million messages. This one offers all
    dates from the first to the last row of the chosen period, which an index finds, and ignores other filters.
    """

    def aggregate(self, *args: Any, **ends: Any) -> dict[str, Any]:
        dates = {end.get_source_expressions()[0].name for end in ends.values()}
        rows = self.model._default_manager.all()
        rows.query.where = WhereNode([each for each in self.query.where.children if _field_of(each) in dates])
        return cast(dict[str, Any], rows.aggregate(*args, **ends))

    def datetimes(self, field_name: str, kind: str, order: str = "ASC", tzinfo: Any = None) -> Any:
        """Return every year, month or day from the first row to the last one."""
        ends = self.aggregate(first=Min(field_name), last=Max(field_name))
        if ends["first"] is None:
            return []
        first, last = (localtime(end).replace(hour=0, minute=0, second=0, microsecond=0) for end in ends.values())
        days = (first + timedelta(days=number) for number in range((last - first).days + 1))
        return sorted({day.replace(**BEGINNING[kind]) for day in days})  # type: ignore[arg-type]


def _field_of(condition: Any) -> str | None:
    """Return the name of the field that `condition` is about, or None if it is no field of the rows themselves."""
    return getattr(getattr(getattr(condition, "lhs", None), "target", None), "name", None)


class LongList(admin.ModelAdmin):  # type: ignore[type-arg]
    """A read-only list: messages are written only through a transport, where they are acknowledged and published."""

    paginator = BoundedPaginator
    list_per_page = SHOWN
    show_full_result_count = False  # would count all rows
    show_facets = admin.ShowFacets.NEVER  # would count the rows for each choice of each filter

    class Media:
        css = {"all": (STYLE,)}  # noqa: RUF012  the form that Django documents

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return Calendar(self.model).order_by(*self.get_ordering(request))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
