"""A staff member at another machine, for tests that drive a browser."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from tests.support import connections as wire
from tests.support.deployments import Deployment

T = TypeVar("T")


class Staff:
    """A colleague with a client on an event loop of its own, as Playwright occupies the test's."""

    def __init__(self, deployment: Deployment) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        token = self.do(deployment.admin_token())
        self._connecting = wire.admin(deployment.servers[0].websocket_url, token)
        self.connection: wire.Connection = self.do(self._connecting.__aenter__())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def leave(self) -> None:
        self.do(self._connecting.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def ask(self, action: str, **fields: Any) -> wire.Frame:
        """Send a request. Return its answer; skip the frames that arrive before it."""

        async def answer() -> wire.Frame:
            frame = await self.connection.request(action, id="the-request", **fields)
            while frame.get("id") != "the-request":
                frame = await self.connection.receive()
            return frame

        return self.do(answer())

    def newest(self) -> wire.Frame:
        message: wire.Frame = self.ask("history", limit=1)["messages"][-1]
        return message

    def reply(self, *contents: str) -> None:
        conversation = self.newest()["conversation"]

        async def send() -> None:
            for content in contents:
                await self.connection.send("sendMessage", id=wire.new_id(), content=content, to=conversation)
            await self.connection.until_pong()

        self.do(send())

    def has_read(self) -> None:
        message = self.newest()
        self.ask("read", conversation=message["conversation"], upTo=message["messageId"])


@contextlib.contextmanager
def staff(deployment: Deployment) -> Iterator[Staff]:
    colleague = Staff(deployment)
    try:
        yield colleague
    finally:
        colleague.leave()
