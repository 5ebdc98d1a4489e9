"""Rate limits of one process."""

import time
from collections.abc import Callable, Sequence

from messaging.limits import Bucket, Limiter

KEYS = 100_000  # buckets that are remembered; full ones are forgotten first


class MemoryLimiter(Limiter):
    """`clock`: the seconds by which buckets fill."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at: dict[str, float] = {}

    async def take(self, buckets: Sequence[Bucket]) -> float:
        return self.take_now(buckets)

    def take_now(self, buckets: Sequence[Bucket]) -> float:
        now = self._clock()
        full_at = {b.key: max(self._full_at.get(b.key, now), now) + b.rate.seconds for b in buckets}
        wait = max((full_at[b.key] - now - b.rate.burst * b.rate.seconds for b in buckets), default=0.0)
        if wait > 0:
            return wait
        if len(self._full_at) > KEYS:
            self._full_at = {key: at for key, at in self._full_at.items() if at > now}
        self._full_at |= full_at
        return 0.0

    async def close(self) -> None:
        self._full_at.clear()
