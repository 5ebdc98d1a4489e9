"""Rate limits that Lambda functions share."""

import time

from messaging.backends.base import Bucket, Limiter
from messaging.backends.dynamodb.client import ConditionFailed, Item, Table, expiry, key, rehearse
from messaging.backends.memory import MemoryLimiter
from messaging.service.contracts import StoreUnavailable


class DynamoDBLimiter(Limiter):
    """Layout: an item of the connection store's table for each bucket that is not full.

    - partition key `group`: `limit:{key}`; sort key `connection_id`: `-`
    - `full_at`: when the bucket is full again, seconds since 1970
    - `expires_at`: the same, in whole seconds

    The clock is the function's own, since DynamoDB has none to ask; AWS synchronises the functions' clocks to within
    a millisecond. A bucket costs one request, or two while it is neither full nor empty. While the table is down, this
    process limits by buckets of its own, in memory.
    """

    def __init__(self, *, table: str, region: str, timeout: float = 0.5) -> None:
        self._table = Table(table, region, timeout=timeout, purpose="limits")
        self._fallback = MemoryLimiter()

    async def take(self, bucket: Bucket) -> float:
        try:
            return await self._take(bucket)
        except StoreUnavailable:
            return self._fallback.take_now(bucket)

    async def rehearse(self) -> None:
        await rehearse(self._table)

    async def close(self) -> None:
        await self._table.close()

    async def _take(self, bucket: Bucket) -> float:
        now = time.time()
        last = now + bucket.most - bucket.seconds  # the latest `full_at` from which the cost may be taken
        try:
            await self._set(
                bucket,
                "SET full_at = :full_at, expires_at = :expires_at",
                # The last part: it was emptied at a slower rate, which is now changed.
                "attribute_not_exists(full_at) OR full_at <= :now OR full_at > :never",
                {":now": now, ":full_at": now + bucket.seconds, ":never": now + 2 * bucket.most},
            )
            return 0.0
        except ConditionFailed as failed:
            full_at = _full_at(failed.item, now)
        if full_at > last:
            return full_at - last
        try:
            await self._set(
                bucket,
                "SET full_at = full_at + :seconds, expires_at = :expires_at",
                "full_at > :now AND full_at <= :last",
                {":now": now, ":seconds": bucket.seconds, ":last": last},
            )
            return 0.0
        except ConditionFailed as failed:  # other functions have taken the rest meanwhile
            return max(_full_at(failed.item, now) - last, 0.0)

    async def _set(self, bucket: Bucket, update: str, condition: str, values: dict[str, float]) -> None:
        numbers = {name: {"N": f"{value:.6f}"} for name, value in values.items()}
        numbers[":expires_at"] = expiry(bucket.most)["expires_at"]
        await self._table.run(
            "update_item",
            Key=key(f"limit:{bucket.key}", "-"),
            UpdateExpression=update,
            ConditionExpression=condition,
            ExpressionAttributeValues=numbers,
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )


def _full_at(item: Item, now: float) -> float:
    return float(item["full_at"]["N"]) if item else now
