"""The product's settings with a slow channel layer: LATE_MS pass between the commit of a message and its fan-out."""

import asyncio
import os
from typing import Any

from channels_redis.pubsub import RedisPubSubChannelLayer

from messaging_site.settings import *  # noqa: F403
from messaging_site.settings import CHANNEL_LAYERS


class LateLayer(RedisPubSubChannelLayer):  # type: ignore[misc]  # channels-redis has no types
    """Publishes after a pause."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await asyncio.sleep(int(os.environ["LATE_MS"]) / 1000)
        await self.__getattr__("group_send")(group, message)


CHANNEL_LAYERS["default"]["BACKEND"] = "tests.support.late_settings.LateLayer"
