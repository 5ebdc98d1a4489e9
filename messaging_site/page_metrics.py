"""Metrics of the views, by django-prometheus: how often each answers, with which class of status, and after how long.

Every series exists from the start, and no client can add one. Whole requests, with their wait for a turn and with those
that reach no view, are measured by `messaging_http_request_seconds`.
"""

from collections.abc import Callable
from itertools import product
from typing import Any

from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse
from django.urls.resolvers import URLPattern, URLResolver
from django_prometheus import middleware

from messaging.observability.metrics import OTHER, STATUSES
from messaging_site.urls import urlpatterns

ADMIN = "admin"  # stands for all views of the Django admin


def _names(part: URLPattern | URLResolver) -> list[str]:
    """Return the names of the views in a part of the URLs, as `reverse` takes them."""
    if isinstance(part, URLPattern):
        return [OTHER]
    if part.app_name == ADMIN:
        return [ADMIN]
    return [f"{part.app_name}:{view.name}" for view in part.url_patterns if isinstance(view, URLPattern)]


VIEWS = tuple(dict.fromkeys([*(name for part in urlpatterns for name in _names(part)), OTHER]))
METHODS = ("GET", "POST", OTHER)
LABELS = {"view": VIEWS, "method": METHODS, "status": STATUSES}
# Those of the library's metrics that say something which no other metric says.
KEPT = ("django_http_requests_latency_seconds_by_view_method", "django_http_responses_total_by_status_view_method")


class _Nothing:
    """A metric that is not kept."""

    def inc(self) -> None: ...

    def observe(self, amount: float) -> None: ...


NOTHING = _Nothing()


class Metrics(middleware.Metrics):
    def register_metric(self, metric_cls: Any, name: str, text: str, labelnames: Any = (), **kwargs: Any) -> Any:
        if name not in KEPT:
            return NOTHING
        metric = super().register_metric(metric_cls, name, text, labelnames, **kwargs)
        for values in product(*(LABELS[label] for label in labelnames)):
            metric.labels(*values)
        return metric


class Views(middleware.PrometheusAfterMiddleware):
    metrics_cls = Metrics

    def label_metric(self, metric: Any, request: HttpRequest, response: Any = None, **labels: Any) -> Any:
        if metric is NOTHING:
            return metric
        if "status" in labels:
            labels["status"] = f"{labels['status'][0]}xx"
        # The library's own check leaves methods out that it passes on as they came.
        return super().label_metric(metric, request, response, **labels | {"method": self._method(request)})

    def _method(self, request: HttpRequest) -> str:
        return request.method if request.method in METHODS else OTHER

    def _get_view_name(self, request: HttpRequest) -> str:
        match = request.resolver_match
        if match is None:
            return OTHER
        if match.app_names[:1] == [ADMIN]:
            return ADMIN
        return match.view_name if match.view_name in VIEWS else OTHER


def measured(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Return a middleware that measures views. Place it last, or before others that are asynchronous as well.

    It is synchronous and has no hook but these two calls. So Django runs every middleware before it on one thread:
    between asynchronous ones, each request would change its thread at least eight times more.
    """
    if not urlpatterns:
        raise MiddlewareNotUsed
    views = Views(get_response)

    def respond(request: HttpRequest) -> HttpResponse:
        views.process_request(request)
        response: HttpResponse = views.process_response(request, get_response(request))
        return response

    return respond
