"""Metrics for CloudWatch, as log lines in its embedded metric format, which needs neither a request nor a library.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import logging
import time
from collections import defaultdict
from typing import Any

from messaging.observability.metrics import Counter, Histogram, Metric
from messaging.observability.recorder import Recorder

logger = logging.getLogger(__name__)

NAMESPACE = "messaging"
VALUES = 100  # the format's limit for one metric in one line; further values are dropped

Dimensions = tuple[tuple[str, str], ...]


class EmfRecorder(Recorder):
    """A recorder that writes the measurements of one invocation at its end, one line per set of dimensions.

    There are no gauges: no process lives long enough to have a state, and API Gateway counts its connections itself.
    """

    def __init__(self, *, version: str) -> None:
        super().__init__(version=version)
        self._counts: defaultdict[Dimensions, defaultdict[Metric, int]] = defaultdict(lambda: defaultdict(int))
        self._values: defaultdict[Dimensions, defaultdict[Metric, list[float]]] = defaultdict(lambda: defaultdict(list))

    def count(self, metric: Counter, *labels: str, by: int = 1) -> None:
        self._counts[_dimensions(metric, labels)][metric] += by

    def observe(self, metric: Histogram, value: float, *labels: str) -> None:
        values = self._values[_dimensions(metric, labels)][metric]
        if len(values) < VALUES:
            values.append(value)

    def flush(self) -> None:
        counts, values = self._counts.copy(), self._values.copy()
        self._counts.clear()
        self._values.clear()
        for dimensions in counts | values:
            measured: dict[Metric, Any] = {**counts.get(dimensions, {}), **values.get(dimensions, {})}
            logger.info("metrics", extra=_line(dimensions, measured))


def _dimensions(metric: Metric, labels: tuple[str, ...]) -> Dimensions:
    return tuple((name, value) for (name, _), value in zip(metric.labels, labels, strict=True))


def _line(dimensions: Dimensions, measured: dict[Metric, Any]) -> dict[str, Any]:
    definitions = [{"Name": metric.name, "Unit": _unit(metric)} for metric in measured]
    declared = {"Namespace": NAMESPACE, "Dimensions": [[name for name, _ in dimensions]], "Metrics": definitions}
    return {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [declared]},
        **dict(dimensions),
        **{metric.name: value for metric, value in measured.items()},
    }


def _unit(metric: Metric) -> str:
    return "Seconds" if metric.name.endswith("_seconds") else "Count"
