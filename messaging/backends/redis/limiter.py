"""Rate limits that several pods share."""

from messaging.backends.base import Bucket, Limiter
from messaging.backends.memory import MemoryLimiter
from messaging.backends.redis.client import RedisClient
from messaging.backends.redis.timeouts import LIMITER_SECONDS
from messaging.service.contracts import StoreUnavailable

# The clock is that of Redis: pods' clocks may differ. A bucket is never emptier than its rate allows, even if it was
# emptied at a slower rate, which is now changed.
_TAKE = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1e6
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local empty = now + ARGV[1]
full_at = math.min(full_at, empty) + ARGV[2]
local wait = full_at - empty
if wait > 0 then return tostring(wait) end
redis.call('SET', KEYS[1], string.format('%.6f', full_at), 'PX', math.ceil((full_at - now) * 1000))
return '0'
"""


class RedisLimiter(Limiter):
    """Layout: `limit:{key}` holds the time at which the bucket is full again, and expires then.

    While Redis is down, this process limits by buckets of its own, in memory.

    `prefix`: of all these keys. `probe_seconds`: between two rehearsals of a Redis that failed.
    """

    def __init__(
        self,
        *,
        url: str,
        password: str | None = None,
        prefix: str = "",
        timeout: float = LIMITER_SECONDS,
        probe_seconds: float = 1.0,
    ) -> None:
        self._prefix = prefix
        self._client = RedisClient(
            url,
            password,
            timeout=timeout,
            purpose="limits",
            rehearsal=(("EVAL", _TAKE, 1, f"{prefix}limit:probe", 1, 0.001),),  # full again in a millisecond
            probe_seconds=probe_seconds,
        )
        self._fallback = MemoryLimiter()

    async def take(self, bucket: Bucket) -> float:
        key = f"{self._prefix}limit:{bucket.key}"
        try:
            (answer,) = await self._client.run(("EVAL", _TAKE, 1, key, bucket.most, bucket.seconds))
        except StoreUnavailable:
            return self._fallback.take_now(bucket)
        return float(answer)

    async def rehearse(self) -> None:
        await self._client.rehearse()

    async def close(self) -> None:
        await self._client.close()
