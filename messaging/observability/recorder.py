"""The interface of recorders, the destinations of measurements."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from messaging.observability.metrics import Counter, Gauge, Histogram

Reading = tuple[Gauge, tuple[str, ...], float]  # a gauge, the values of its labels, its value


class Recorder(ABC):
    """The recorder of a process. Every method may be called on any thread, and neither waits nor raises.

    `version`: that of the running build.
    """

    def __init__(self, *, version: str) -> None:
        self.version = version

    @abstractmethod
    def count(self, metric: Counter, *labels: str, by: int = 1) -> None: ...

    @abstractmethod
    def observe(self, metric: Histogram, value: float, *labels: str) -> None: ...

    def expose(self, readings: Iterable[Reading], accept: str) -> tuple[str, bytes]:
        """Return the content type and the text for a scraper that accepts `accept`; no text if nothing is scraped."""
        return "text/plain", b""

    def flush(self) -> None:  # noqa: B027  most recorders buffer nothing
        """Write buffered measurements; called when the process may be suspended afterwards."""
