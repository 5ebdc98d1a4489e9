"""Metrics for Prometheus. Loaded only if the settings name it: Lambda functions should not pay for its memory."""

from collections.abc import Iterable
from itertools import product
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from messaging.observability import metrics
from messaging.observability.metrics import Counter, Histogram, Metric
from messaging.observability.recorder import Reading, Recorder

Series = tuple[Metric, *tuple[str, ...]]


class PrometheusRecorder(Recorder):
    """A recorder with every series at 0 from the start, so that alerts see the first error as an increase."""

    def __init__(self, *, version: str) -> None:
        super().__init__(version=version)
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the number of series
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._series: dict[Series, Any] = {}
        for metric in metrics.METRICS:
            self._add(metric)

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

    def _add(self, metric: Metric) -> None:
        labels = [name for name, _ in metric.labels]
        match metric:
            case Counter():
                made: Any = prometheus_client.Counter(metric.name, metric.help, labels, registry=self._registry)
            case Histogram(buckets=buckets):
                made = prometheus_client.Histogram(
                    metric.name, metric.help, labels, registry=self._registry, buckets=buckets
                )
            case _:
                made = prometheus_client.Gauge(metric.name, metric.help, labels, registry=self._registry)
        for values in product(*((self.version,) if name == "version" else given for name, given in metric.labels)):
            self._series[metric, *values] = made.labels(*values) if values else made
