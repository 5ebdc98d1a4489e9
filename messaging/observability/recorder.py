"""Where measurements go: the promise of every recorder."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from messaging.observability.metrics import Counter, Gauge, Histogram

Reading = tuple[Gauge, tuple[str, ...], float]  # the values of its labels, then its own


class Recorder(ABC):
    """One per process; every method may be called on any thread, and neither waits nor raises.

    `version`: what runs here.
    """

    def __init__(self, *, version: str) -> None:
        self.version = version

    @abstractmethod
    def count(self, metric: Counter, *labels: str, by: int = 1) -> None: ...

    @abstractmethod
    def observe(self, metric: Histogram, value: float, *labels: str) -> None: ...

    def expose(self, readings: Iterable[Reading], accept: str) -> tuple[str, bytes]:
        """The content type and the text for a scraper that takes `accept`; nothing where nobody scrapes."""
        return "text/plain", b""

    def flush(self) -> None:  # noqa: B027  most recorders keep nothing back
        """Write what was kept back; called where the process may stop running afterwards."""
