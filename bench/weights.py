"""`python -m bench.weights`: the processor time of a pod for each kind of request (messaging/service/throttle.py).

Each figure is the median of several rounds: the user and system time of the server's process, divided by the number of
requests. PEOPLE connections send them, each one after the answer to the one before. More connections would cost less
each, since requests that wait together share queries and commits. PostgreSQL and Redis are other processes and do not
count.
"""

import asyncio
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from bench.contenders import surroundings
from bench.machine import cpu_seconds
from messaging.client.frames import Frame, decode, encode, identify, new_id
from messaging.client.socket import Socket, connect
from tests.support.deployments import UNMEASURED, Deployment, Pod

ROUNDS, REQUESTS, PEOPLE = 5, 30, 10

Make = Callable[["Person", int], Frame]


@dataclass
class Person:
    socket: Socket
    identified: Frame
    newest: str = ""  # the ID of the newest own message

    async def ask(self, frame: Frame) -> Frame:
        """Return the answer; of one in several frames, the last."""
        id = new_id()
        await self.socket.websocket.send(encode(frame | {"id": id}))
        while (answer := decode(await self.socket.websocket.recv())).get("id") != id or answer.get("partial"):
            pass
        return answer

    async def say(self, content: str) -> None:
        self.newest = (await self.ask({"action": "sendMessage", "content": content}))["messageId"]


@asynccontextmanager
async def person(url: str, token: str | None = None) -> AsyncIterator[Person]:
    async with connect(url, proxy=None) as socket:
        await socket.receive()
        yield Person(socket, await socket.ask(identify("admin" if token else "user", id=new_id(), token=token)))


async def show(name: str, pod: Pod, work: Callable[[], Awaitable[None]], number: int = PEOPLE * REQUESTS) -> None:
    """Print the milliseconds of processor time of one of the `number` requests of `work`."""
    rounds = []
    for _ in range(ROUNDS):
        before = cpu_seconds([pod.pid])
        await work()
        rounds.append((cpu_seconds([pod.pid]) - before) / number * 1000)
    print(f"{name:<30} {statistics.median(rounds):6.3f} ms", flush=True)


async def run(deployment: Deployment[Pod]) -> None:
    (pod,) = deployment.servers
    url = pod.websocket_url

    async def handshakes() -> None:
        for _ in range(REQUESTS):
            async with connect(url, proxy=None) as socket:
                await socket.receive()

    async def each(people: list[Person], make: Make) -> None:
        async def one(who: Person) -> None:
            for index in range(REQUESTS):
                await who.ask(make(who, index))

        await asyncio.gather(*map(one, people))

    async def together(*work: Awaitable[None]) -> None:
        await asyncio.gather(*work)

    async def forget(who: Person) -> None:
        for _ in range(REQUESTS // 2):
            await who.say("soon gone")
            await who.ask({"action": "forget"})

    page: Frame = {"action": "history", "limit": 100}
    await show("handshake, and its end", pod, lambda: together(*(handshakes() for _ in range(PEOPLE))))
    async with AsyncExitStack() as stack:
        people = [await stack.enter_async_context(person(url)) for _ in range(PEOPLE)]
        requests: dict[str, Make] = {
            "ping": lambda _, __: {"action": "ping"},
            "a frame that is refused": lambda _, __: {"action": "dance"},
            "identify": lambda who, _: identify("user", token=who.identified["token"]),
            "history, empty": lambda _, __: page,
            "sendMessage": lambda _, index: {"action": "sendMessage", "content": f"question {index}"},
            "read": lambda who, _: {"action": "read", "upTo": who.newest},
        }
        for name, make in requests.items():
            if name == "read":
                await together(*(one.say("the last one") for one in people))
            await show(name, pod, partial(each, people, make))
        for size, length in (("short", 20), ("long", 1_990)):
            for number in range(100):
                await together(*(one.say(f"{number} ".ljust(length, "x")) for one in people))
            await show(f"history, 100 {size} messages", pod, lambda: each(people, lambda _, __: page))
        ops = ("close", "reopen")
        token = await deployment.admin_token()
        staff = [await stack.enter_async_context(person(url, token)) for _ in range(PEOPLE)]
        of = {id(one): who.identified["conversation"] for one, who in zip(staff, people, strict=True)}
        change: Make = lambda who, index: {  # noqa: E731
            "action": "conversation", "conversation": of[id(who)], "op": ops[index % 2],
        }  # fmt: skip
        await show("conversation", pod, lambda: each(staff, change))
        for one in staff:
            await one.socket.websocket.close()
        await show("sendMessage, then forget", pod, lambda: together(*map(forget, people)), PEOPLE * REQUESTS // 2)


def main() -> None:
    with surroundings() as around, around.kubernetes.deployed(around.redis.url, UNMEASURED, pods=1) as deployment:
        asyncio.run(run(deployment))


if __name__ == "__main__":
    main()
