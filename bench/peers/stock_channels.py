"""A peer that does the same job as the Channels tutorial teaches it. It stores nothing and guarantees nothing.

LAYER names the class of channels_redis, REDIS_URL its server. It runs on daphne.
"""

import json
import os
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

LAYER = os.environ["LAYER"]
# Without these two options, redis-py 8 drops the core layer's idle sockets and refuses its 101st connection.
CORE_OPTIONS = {"socket_timeout": None, "max_connections": 100_000} if LAYER == "core.RedisChannelLayer" else {}

settings.configure(
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": f"channels_redis.{LAYER}",
            "CONFIG": {"hosts": [{"address": os.environ["REDIS_URL"], **CORE_OPTIONS}]},
        }
    }
)


class ChatConsumer(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        frame = json.loads(text_data or "{}")
        if frame["action"] == "identify":
            if frame["type"] == "admin":
                await self.channel_layer.group_add("admins", self.channel_name)
            await self.answer({"type": "identified"})
        else:
            await self.channel_layer.group_send("admins", {"type": "chat.message", "content": frame["content"]})
            await self.answer({"type": "ack", "id": frame["id"]})

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.answer({"type": "message", "content": event["content"]})

    async def answer(self, frame: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps(frame))


application = ChatConsumer.as_asgi()
