"""How often somebody may do something: token buckets, kept by the generic cell rate algorithm (ITU-T I.371).

A bucket is one number, the time at which it will be full again. `Limiter` is the promise; `memory` keeps buckets in
the process, `redis` and `dynamodb` share them between processes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, then one every `seconds`."""

    burst: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """One key's allowance. Keys name people and addresses by pseudonyms only."""

    key: str
    rate: Rate


class Limiter(ABC):
    """One per process."""

    @abstractmethod
    async def take(self, buckets: Sequence[Bucket]) -> float:
        """Take one from every bucket, or from none: the seconds until all have one, 0 where they were taken.

        Never raises for a backend that is down: limits then hold for this process alone.
        """

    @abstractmethod
    async def close(self) -> None:
        """Give back what the limiter holds open."""
