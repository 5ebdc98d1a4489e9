"""A clock that a test controls."""


class Clock:
    """A clock of seconds, like time.monotonic, that moves only when the test advances it."""

    def __init__(self) -> None:
        self._now = 1_000_000.0

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds
