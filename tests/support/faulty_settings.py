"""The product's settings with a faulty limiter: a message raises an exception that the service does not expect."""

from messaging.backends.base import Bucket
from messaging.backends.memory import MemoryLimiter
from messaging_site.settings import *  # noqa: F403


class FaultyLimiter(MemoryLimiter):
    async def take(self, bucket: Bucket) -> float:
        raise TypeError("a fault of the limiter")


MESSAGING_LIMITER = {"BACKEND": "tests.support.faulty_settings.FaultyLimiter"}
