"""Time that a test controls."""


class Clock:
    """Seconds, as of time.monotonic. They pass only when the test says so."""

    def __init__(self) -> None:
        self._now = 1_000_000.0

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds
