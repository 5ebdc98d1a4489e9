"""New buckets of a rate limit."""

from uuid import uuid4

from messaging.backends.base import Bucket, Rate

SLOW = Rate(burst=3, seconds=60)


def bucket(rate: Rate = SLOW) -> Bucket:
    return Bucket(uuid4().hex, rate)
