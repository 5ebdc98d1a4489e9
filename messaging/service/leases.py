"""Budgets that processes share and spend in memory: a process takes a part of one ahead from the backend, a lease."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf

from messaging.backends.base import Bucket, Limiter

LEASES = 500  # a lease is this part of its budget: what a hundred processes leave unspent is a fifth of it
MOST_OWED = 10  # what a process may owe is at most this part of the budget
# The leases that a process keeps. Of more, the least recently used is forgotten: what is left of it stays unspent, and
# what it owes is not paid.
KEYS = 100_000


@dataclass(slots=True)
class _Lease:
    """The units that are left of a lease; fewer than none if more was spent.

    `refused_until`: the time before which the backend is not asked again.
    """

    left: int = 0
    refused_until: float = -inf
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Leases:
    """The leases of this process. `clock`: returns seconds, to measure intervals.

    A process that ends leaves the rest of its leases unspent, and one that has just begun takes new ones.
    """

    def __init__(self, limiter: Limiter, clock: Callable[[], float]) -> None:
        self._limiter = limiter
        self._clock = clock
        self._leases: OrderedDict[str, _Lease] = OrderedDict()

    async def take(self, bucket: Bucket) -> float:
        """Spend the cost of `bucket`. Return 0 if that succeeds, else the seconds until another try may succeed."""
        lease = self._of(bucket)
        if lease.left < bucket.cost:
            async with lease.turn:  # of many callers at once, one asks for all
                if lease.left < bucket.cost and (wait := await self._renew(lease, bucket)) > 0:
                    return wait
                lease.left -= bucket.cost
                return 0.0
        lease.left -= bucket.cost
        return 0.0

    def give_back(self, bucket: Bucket) -> None:
        """Return to the lease the cost of `bucket`, which was taken for nothing."""
        lease = self._of(bucket)
        lease.left = min(lease.left + bucket.cost, bucket.rate.burst)

    def owe(self, bucket: Bucket) -> None:
        """Spend the cost of `bucket`, whatever is left: the next lease pays for it, up to a part of the budget."""
        lease = self._of(bucket)
        lease.left = max(lease.left - bucket.cost, -(bucket.rate.burst // MOST_OWED))

    async def _renew(self, lease: _Lease, bucket: Bucket) -> float:
        """Add what `bucket` costs, or a whole lease. Return 0 if that succeeds, else the seconds to wait."""
        wait = lease.refused_until - self._clock()
        if wait > 0:
            return wait
        wanted = max(bucket.rate.burst // LEASES, bucket.cost) - lease.left
        wait = await self._limiter.take(replace(bucket, cost=min(wanted, bucket.rate.burst)))
        if wait > 0:
            lease.refused_until = self._clock() + wait
        else:
            lease.left += wanted
        return wait

    def _of(self, bucket: Bucket) -> _Lease:
        lease = self._leases.get(bucket.key)
        if lease is None:
            lease = self._leases[bucket.key] = _Lease()
            if len(self._leases) > KEYS:
                self._leases.popitem(last=False)
        else:
            self._leases.move_to_end(bucket.key)
        return lease
