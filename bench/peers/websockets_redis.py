"""A peer that does the same job with only `websockets` and redis-py. It stores nothing and guarantees nothing.

REDIS_URL is the address of its Redis; it listens on HOST and PORT.
"""

import asyncio
import json
import os

import uvloop
from redis.asyncio import BlockingConnectionPool, Redis
from websockets.asyncio.server import ServerConnection, broadcast, serve

CHANNEL = "admins"
BACKLOG = 4096
PUBLISHERS = 50  # connections: a pool without a limit opens one for each of a thousand visitors that write at once

# No timeouts: by default redis-py 8 ends a subscription that is silent for 5 s, and a publish that waits too long.
pool = BlockingConnectionPool.from_url(
    os.environ["REDIS_URL"], max_connections=PUBLISHERS, timeout=None, socket_timeout=None
)
redis = Redis(connection_pool=pool)
admins: set[ServerConnection] = set()


async def fan_out() -> None:
    async with redis.pubsub() as subscription:
        await subscription.subscribe(CHANNEL)
        async for message in subscription.listen():
            if message["type"] == "message":
                broadcast(admins, message["data"].decode())


async def converse(socket: ServerConnection) -> None:
    try:
        async for text in socket:
            frame = json.loads(text)
            if frame["action"] == "identify":
                if frame["type"] == "admin":
                    admins.add(socket)
                await socket.send(json.dumps({"type": "identified"}))
            else:
                await redis.publish(CHANNEL, json.dumps({"type": "message", "content": frame["content"]}))
                await socket.send(json.dumps({"type": "ack", "id": frame["id"]}))
    finally:
        admins.discard(socket)


async def main() -> None:
    host, port = os.environ["HOST"], int(os.environ["PORT"])
    async with asyncio.TaskGroup() as tasks, serve(converse, host, port, backlog=BACKLOG, compression=None):
        tasks.create_task(fan_out())
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(main())
