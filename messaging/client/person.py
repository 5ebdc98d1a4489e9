"""A client that follows every rule for clients in docs/protocol.md, as the pages do.

It reconnects for ever, resends unanswered requests under the same id, resumes by cursor, and shows no message twice.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed

from messaging.client.frames import Frame, identify, new_id, send_message
from messaging.client.link import Link
from messaging.client.place import Place
from messaging.client.reconnecting import Reconnecting
from messaging.protocol.codes import ErrorCode


@dataclass(eq=False)
class Person(Reconnecting):
    """A visitor or a staff member with an outbox, and a thread of at most the newest `keep` messages.

    `in_turn`: a request is sent when the one before it is answered, as the pages do; otherwise at once.
    Subclasses override the methods whose names begin with `on_`.
    """

    keep: int = field(default=10_000, kw_only=True)
    in_turn: bool = field(default=False, kw_only=True)

    outbox: dict[str, Frame] = field(default_factory=dict, init=False)  # requests without an answer, by id
    thread: dict[str, Frame] = field(default_factory=dict, init=False)  # messages by messageId, as they came
    conversation: str | None = field(default=None, init=False)
    resets: int = field(default=0, init=False)  # how often the thread began anew, because the server could not resume

    def __post_init__(self) -> None:
        super().__post_init__()
        self._link: Link | None = None  # while identified
        self._place = Place()
        self._sending = asyncio.Lock()
        self._settled = asyncio.Event()
        self._settled.set()

    def on_asked(self, frame: Frame) -> None:
        """Called when a request was put into the outbox."""

    def on_done(self, frame: Frame, answer: Frame) -> None:
        """Called when a request of the outbox is done. `answer`: its ack, or the message that it became."""

    def on_refused(self, frame: Frame, error: Frame) -> None:
        """Called when a request of the outbox is refused for good."""

    def on_error(self, error: Frame) -> None:
        """Called for every error frame."""

    def on_message(self, frame: Frame) -> None:
        """Called for each new message in the thread, but not while the thread is being loaded."""

    @property
    def messages(self) -> list[Frame]:
        """The thread in the order in which a person sees it."""
        return sorted(self.thread.values(), key=lambda frame: frame["cursor"])

    @property
    def ready(self) -> bool:
        """Return whether the client is identified and no history request is under way."""
        return self._link is not None and self._place.request is None

    async def say(self, content: str, **fields: Any) -> None:
        """Put a message into the outbox."""
        await self.ask(send_message(content, **fields))

    async def ask(self, frame: Frame) -> None:
        """Put `frame`, a request that is answered by an ack, into the outbox."""
        self.outbox[frame["id"]] = frame
        self._settled.clear()
        self.on_asked(frame)
        await self._write(frame["id"])

    async def settled(self) -> None:
        """Return when the outbox is empty."""
        await self._settled.wait()

    # --- Frames -----------------------------------------------------------------------------------------------

    def greeting(self, token: str | None) -> Frame:
        return identify(self.role, id=new_id(), token=token, since=self._place.since, seen=self._place.seen or None)

    def on_lost(self) -> None:
        self._link = self._place.request = None

    async def take(self, link: Link, frame: Frame) -> None:
        match frame:
            case {"type": "identified"}:
                await self._identified(link, frame)
            case {"type": "message"} if link.identified:  # earlier messages come with the history
                self._show(frame)
            case {"type": "ack", "id": id} if id in self.outbox:
                self._acked(frame)
            case {"type": "history", "id": id} if self._place.awaits(id):
                await self._read(link, frame)
            case {"type": "pong", "cursor": head} if head and link.identified:
                await self._request(link, self._place.compare(head))
            case {"type": "error"}:
                self._failed(link, frame)

    async def _identified(self, link: Link, frame: Frame) -> None:
        self.token, self.conversation = frame.get("token"), frame.get("conversation")
        if not (frame["recovered"] and self._place.since):
            self._begin_thread_anew()
        link.identified = True
        await self._request(link, self._place.catch_up())
        self.soon(self._write_all(link))

    async def _read(self, link: Link, page: Frame) -> None:
        loading = self._place.loading
        for message in page["messages"]:
            self._show(message, loading=loading)
        await self._request(link, self._place.read(page))

    async def _request(self, link: Link, frame: Frame | None) -> None:
        if frame is not None:
            await link.send(frame)

    def _acked(self, ack: Frame) -> None:
        frame = self._done(ack["id"], ack)
        if frame["action"] == "sendMessage":
            own = {"type": "message", "from": self.role, "conversation": frame.get("to", self.conversation)}
            self._show(ack | own | {"content": frame["content"]})
        elif frame["action"] == "forget":  # a new visitor's `identified` follows
            self.token = self.conversation = None
            self.outbox.clear()
            self._settled.set()
            self.thread.clear()
            self._place.restart()

    def _failed(self, link: Link, error: Frame) -> None:
        self.on_error(error)
        id, pause = error.get("id", ""), error.get("retryAfterMs")
        if not link.identified or self._place.awaits(id):  # a new connection starts from a clean state
            if pause is None:
                self._begin_thread_anew()  # the server may not know the place any more
            link.drop((pause or 0) / 1000)
        elif id not in self.outbox:
            pass
        elif pause is not None:
            self.soon(self._write(id, pause / 1000))
        elif error["code"] != ErrorCode.UNAUTHORIZED:  # with a fresh token it may be sent again
            self.on_refused(self._taken(id), error)

    def _begin_thread_anew(self) -> None:
        self.resets += self._place.since is not None
        self.thread.clear()
        self._place.restart()

    def _show(self, message: Frame, *, loading: bool = False) -> None:
        self._place.saw(message)
        if message.get("id") in self.outbox:
            self._done(message["id"], message)
        if message["messageId"] in self.thread:
            return
        self.thread[message["messageId"]] = message
        if len(self.thread) > self.keep:
            del self.thread[next(iter(self.thread))]
        if not loading:
            self.on_message(message)

    # --- The outbox -------------------------------------------------------------------------------------------

    async def _write_all(self, link: Link) -> None:
        """Send the whole outbox, in order. Other writes wait until that is done."""
        async with self._sending:
            if not link.dropped:
                self._link = link
                with contextlib.suppress(ConnectionClosed):
                    for id in list(self.outbox):
                        if self._may_go(id):
                            await link.send(self.outbox[id])

    async def _write(self, id: str, delay: float = 0.0) -> None:
        """Send a request of the outbox if there is a connection; otherwise the next connection sends it."""
        if delay:
            await asyncio.sleep(delay)
        async with self._sending:
            if self._link and self._may_go(id):
                with contextlib.suppress(ConnectionClosed):
                    await self._link.send(self.outbox[id])

    def _may_go(self, id: str) -> bool:
        """Return whether a request may be sent: it is still in the outbox and, with `in_turn`, the first one there."""
        return id == next(iter(self.outbox), None) if self.in_turn else id in self.outbox

    def _done(self, id: str, answer: Frame) -> Frame:
        frame = self._taken(id)
        self.on_done(frame, answer)
        return frame

    def _taken(self, id: str) -> Frame:
        """Remove a request from the outbox, and return it."""
        frame = self.outbox.pop(id)
        if not self.outbox:
            self._settled.set()
        elif self.in_turn:
            self.soon(self._write(next(iter(self.outbox))))
        return frame
