"""Metrics for Prometheus. Loaded only if the settings name it: Lambda functions should not pay for its memory."""

from collections.abc import Iterable
from functools import cache
from itertools import product
from typing import Any

import prometheus_client
from django_prometheus.migrations import applied_migrations, unapplied_migrations
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder

from messaging.observability import metrics
from messaging.observability.metrics import Counter, Histogram, Metric
from messaging.observability.recorder import Reading, Recorder

Series = tuple[Metric, *tuple[str, ...]]


# Gauges that django-prometheus registers itself.
REGISTERED: dict[Metric, Any] = {
    metrics.MIGRATIONS_APPLIED: applied_migrations,
    metrics.MIGRATIONS_UNAPPLIED: unapplied_migrations,
}


class PrometheusRecorder(Recorder):
    """A recorder with every series at 0 from the start, so that alerts see the first error as an increase.

    `registry`: all that is exposed. In the default one are django-prometheus' metrics, and those of the process.
    """

    def __init__(self, *, version: str, registry: CollectorRegistry = REGISTRY) -> None:
        super().__init__(version=version)
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the number of series
        self._registry = registry
        self._series = _series(registry, version)

    def count(self, metric: Counter, *labels: str, by: int = 1) -> None:
        self._series[metric, *labels].inc(by)

    def observe(self, metric: Histogram, value: float, *labels: str) -> None:
        self._series[metric, *labels].observe(value)

    def expose(self, readings: Iterable[Reading], accept: str) -> tuple[str, bytes]:
        for gauge, labels, value in readings:
            self._series[gauge, *labels].set(value)
        encode, content_type = choose_encoder(accept)
        text: bytes = encode(self._registry)
        return content_type, text


@cache  # a registry takes each metric once
def _series(registry: CollectorRegistry, version: str) -> dict[Series, Any]:
    series: dict[Series, Any] = {}
    for metric in metrics.METRICS:
        made = REGISTERED.get(metric) or _made(metric, registry)
        for values in product(*((version,) if name == "version" else given for name, given in metric.labels)):
            series[metric, *values] = made.labels(*values) if values else made
    return series


def _made(metric: Metric, registry: CollectorRegistry) -> Any:
    labels = [name for name, _ in metric.labels]
    match metric:
        case Counter():
            return prometheus_client.Counter(metric.name, metric.help, labels, registry=registry)
        case Histogram(buckets=buckets):
            return prometheus_client.Histogram(metric.name, metric.help, labels, registry=registry, buckets=buckets)
        case _:
            return prometheus_client.Gauge(metric.name, metric.help, labels, registry=registry)
