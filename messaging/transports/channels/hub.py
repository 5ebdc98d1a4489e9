"""Fan-out: one subscription of the channel layer per process, and a local table of each group's members.

A subscription per socket would cost a Redis round trip at every connect and disconnect, and a copy per receiver.
All that is published in one turn of the event loop travels in one message of the layer.

The group of the layer is named after the site, because Redis' publishing knows no databases: two sites on one Redis
would receive each other's hints.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from messaging.backends import availability
from messaging.background import lasting
from messaging.observability.meter import Meter
from messaging.observability.tracer import Tracer
from messaging.protocol.codec import encode
from messaging.protocol.codes import CloseCode
from messaging.protocol.frames import Message, ServerFrame
from messaging.service.actions import Close, CloseGroup, Publish, is_for
from messaging.service.contracts import ADMINS, START, Cursor, JournalRestored, StoreUnavailable
from messaging.service.presence import PRESENCE_SECONDS
from messaging.service.service import MessagingService
from messaging.transports.base import HeldTransport
from messaging.transports.channels.hints import Bundle, Ending, Hint, bundle, hint
from messaging.transports.channels.swallowed import swallowed

logger = logging.getLogger(__name__)

LAYER_GROUP = "messaging"
PUBLISH_SECONDS = 1.0  # how long one publish may take before the layer counts as down
HEAR_SECONDS = 3.0  # how long a process may take to hear itself before it subscribes anew
LISTEN_SECONDS = 2.0  # between two tests whether it hears itself
DOWN_SECONDS = 1.0  # the pause before a layer that is down is tried again
WAITING = 10_000  # the most hints that wait for the layer; beyond that, messages are found in the journal
WATCH_SECONDS = 3.0  # between two checks of the rights of connected staff
BARRIER_SECONDS = 1.0  # between two checks of whether visitors may write


class Hub:
    """The hub of an event loop.

    `layer`: a channel layer. `catch_up_seconds`: between two searches of the journal for messages that no hint
    announced.
    """

    def __init__(
        self, service: MessagingService, layer: Any, *, meter: Meter, tracer: Tracer, catch_up_seconds: float
    ) -> None:
        self._service = service
        self._catch_up_seconds = catch_up_seconds
        self._layer = layer
        self._meter, self._tracer = meter, tracer
        self._traces: dict[str, str] = {}  # the traces of waiting messages, by cursor
        self._groups: dict[str, dict[HeldTransport, None]] = {}
        self._waiting: list[Hint] = []
        self._encoded: tuple[ServerFrame | None, str] = (None, "")  # the last published frame, and its text
        self._endings: list[Ending] = []
        # Number of a message -> its cursor ("" if it was there before this process), and the groups that got it.
        self._known: OrderedDict[int, tuple[str, tuple[str, ...]]] = OrderedDict()
        self._restored = False  # whether clients show messages of a journal that was replaced by a backup
        self._newest = ""  # the cursor of the newest message that was delivered
        self._floor: Cursor | None = None  # the journal is asked for the messages after this one
        self._joined = False  # whether a member has joined since the last presence frames
        self._site = ""  # the identity of the journal, once it was read
        self._channel = ""  # the channel of the layer that is this process's own, while it is subscribed
        self._subscribed, self._heard = asyncio.Event(), asyncio.Event()
        self._down_until = 0.0  # on the clock of the loop: until then, nothing is published
        self._down = False  # whether the last publish, or the last test of the subscription, failed
        self._wake = asyncio.Event()
        work = (self._listen, self._flush, self._catch_up, self._watch, self._count, self._tell_standings)
        self._tasks = [asyncio.create_task(lasting(run)) for run in work]

    @property
    def layer_up(self) -> bool:
        """Return whether this process receives what is published, and its last publish reached the channel layer."""
        return self._subscribed.is_set() and not self._down

    def join(self, member: HeldTransport, groups: Iterable[str]) -> None:
        """Add `member` to `groups`: from now on it gets what is published to them."""
        self._joined = True
        for group in groups:
            self._groups.setdefault(group, {})[member] = None

    def leave(self, member: HeldTransport, groups: Iterable[str]) -> None:
        for group in groups:
            members = self._groups.get(group, {})
            members.pop(member, None)
            if not members:
                self._groups.pop(group, None)

    def publish(self, action: Publish | CloseGroup) -> None:
        """Send `action` to every process, this one included, in the same order everywhere. Never waits.

        All that is published in one turn of the event loop travels in one message, whose CloseGroups take effect last.
        """
        if isinstance(action, CloseGroup):
            self._endings.append((action.group, int(action.code), action.exclude))
        elif len(self._waiting) < WAITING:
            if action.frame is not self._encoded[0]:  # one frame for several groups is encoded once
                self._encoded = action.frame, encode(action.frame)
            self._waiting.append(hint(action, self._encoded[1]))
            if isinstance(action.frame, Message) and (trace := self._tracer.trace()):
                self._traces[action.frame.cursor] = trace
        else:
            self._meter.dropped("hint")
        self._wake.set()

    async def close(self) -> None:
        """Send what waits, then stop. Tasks get PUBLISH_SECONDS to end: a layer that is down delays unsubscribing."""
        await self._send_waiting()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=PUBLISH_SECONDS)

    async def _flush(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._send_waiting()

    async def _send_waiting(self) -> None:
        hints, self._waiting = self._waiting, []
        endings, self._endings = self._endings, []
        traces, self._traces = self._traces, {}
        if not hints and not endings:
            return
        try:
            site = await self._journal_site()
        except StoreUnavailable as error:
            logger.warning("hints not published", extra={"error": str(error)})
            return self._deliver(hints, endings, traces)
        if asyncio.get_running_loop().time() < self._down_until:
            return self._deliver(hints, endings, traces)
        deaf = not self._subscribed.is_set()
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self._layer.group_send(_group(site), bundle(site, hints, endings, traces))
        except Exception as error:  # any error of a layer: other processes find the messages in the journal
            self._goes_down(_why(error))
            self._down_until = asyncio.get_running_loop().time() + DOWN_SECONDS
            self._meter.publish_failed()
            self._deliver(hints, endings, traces)
        else:
            if deaf:
                self._deliver(hints, endings, traces)
            else:
                self._goes_up()

    def _goes_down(self, why: str) -> None:
        if not self._down:
            self._down = True
            logger.warning("channel layer down", extra={"error": why})

    def _goes_up(self) -> None:
        if self._down:
            self._down = False
            logger.info("channel layer up")

    async def _journal_site(self) -> str:
        """Return the identity of the journal. Raise StoreUnavailable if it was never read and the journal is down."""
        if not self._site:
            self._site = await self._service.site()
        return self._site

    async def _listen(self) -> None:
        """Stay subscribed. Begin anew if nothing is heard, or if the site or the layer's server has changed."""
        while True:
            try:
                site, moves = await self._journal_site(), availability.moves()
            except StoreUnavailable:  # the search of the journal logs it
                await asyncio.sleep(DOWN_SECONDS)
                continue
            receiving = asyncio.create_task(lasting(self._receive))
            try:
                why = await self._until_silent(site, moves)
                self._subscribed.clear()
                await self._layer.flush()  # first: to unsubscribe over a dead connection takes long
            finally:
                receiving.cancel()
                await asyncio.wait([receiving])
            if why:
                self._goes_down(why)
                await asyncio.sleep(DOWN_SECONDS)

    async def _until_silent(self, site: str, moves: int) -> str:
        """Wait until nothing is heard, and return the reason; "" if the site or the layer's server has changed."""
        while (self._site, availability.moves()) == (site, moves):
            if why := await self._fault():
                return why
            self._goes_up()
            swallowed.reason = ""
            await asyncio.sleep(LISTEN_SECONDS)
        return ""

    async def _fault(self) -> str:
        """Return why what this process publishes to itself now does not arrive in HEAR_SECONDS; "" if it does."""
        self._heard.clear()
        try:
            async with asyncio.timeout(HEAR_SECONDS):
                await self._subscribed.wait()
                await self._layer.send(self._channel, bundle(self._site))
                await self._heard.wait()
        except Exception as error:  # any error of a layer
            return _why(error)
        return ""

    async def _receive(self) -> None:
        await self._subscribe()
        while True:
            try:
                message: Bundle = await self._layer.receive(self._channel)
                self._heard.set()
                if message.get("site") == self._site:
                    self._deliver(message["hints"], message["endings"], message["traces"])
                else:
                    self._meter.foreign()
            except Exception:
                logger.exception("channel layer receive failed")
                await asyncio.sleep(DOWN_SECONDS)

    async def _subscribe(self) -> None:
        """Subscribe this process, trying until the layer answers."""
        swallowed.reason = ""
        while True:
            try:
                self._channel = await self._layer.new_channel()
                await self._layer.group_add(_group(self._site), self._channel)
            except Exception as error:  # any error of a layer: until it is back, messages are found in the journal
                self._goes_down(_why(error))
                await asyncio.sleep(DOWN_SECONDS)
            else:
                return self._subscribed.set()

    async def _catch_up(self) -> None:
        while True:
            try:
                await self._notice_site()
                if self._floor is None:
                    # Clients that connect from now on get the messages that already exist through `history`.
                    present, self._floor = await self._service.present()
                    self._known.update((number, ("", ())) for number in present)
                    self._restart_members()
                else:
                    newest = Cursor.parse(self._newest) or START
                    missed, self._floor = await self._service.missed(self._known, self._floor, newest)
                    hints = [hint(publish, encode(publish.frame)) for publish in missed]
                    self._meter.caught_up(len({cursor for _, _, _, cursor, _ in hints}))
                    self._deliver(hints)
                    self._forget(self._floor.seq)
            except JournalRestored:
                self._begin_anew()
                continue
            except StoreUnavailable as error:
                logger.warning("catch-up failed", extra={"error": str(error)})
            await asyncio.sleep(self._catch_up_seconds)

    def _begin_anew(self) -> None:
        """Forget the messages of a journal that was replaced by a backup."""
        logger.warning("journal restored from a backup: clients reconnect")
        self._known.clear()
        self._floor, self._newest, self._restored = None, "", True

    def _restart_members(self) -> None:
        """If the journal was restored, let every client reconnect: it drops messages that the journal lacks."""
        if self._restored:
            self._restored = False
            for member in self._members():
                member.restart()

    async def _notice_site(self) -> None:
        """Follow the journal to another server: subscribe there (`_listen`), and count this process's members there."""
        before, self._site = self._site, await self._service.site(again=True)
        if before not in ("", self._site):
            logger.info("journal on another server, or restarted")
            await self._service.register([member.connection for member in self._members()])

    def _members(self) -> list[HeldTransport]:
        return list({member: None for group in self._groups.values() for member in group})

    async def _watch(self) -> None:
        """Close this process's connections of staff who have signed out (anywhere) or lost the right to read."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            admins = {member.connection.id: member for member in self._groups.get(ADMINS, ())}
            if not admins:
                continue
            try:
                revoked = await self._service.revoked([member.connection for member in admins.values()])
            except StoreUnavailable as error:
                logger.warning("rights not checked", extra={"error": str(error)})
                continue
            for connection, actions in revoked:
                admins[connection.id].perform(actions)

    async def _count(self) -> None:
        """Send presence frames to members for whom the counts have changed. The store is read once for all members."""
        known = None
        while True:
            await asyncio.sleep(PRESENCE_SECONDS)
            counts = await self._service.counts("admin" if self._groups.get(ADMINS) else "user")
            if counts is None or (counts == known and not self._joined):
                continue
            known, self._joined = counts, False
            members = {member.connection.id: member for member in self._members()}
            for connection, actions in self._service.presence([m.connection for m in members.values()], counts):
                members[connection.id].perform(actions)

    async def _tell_standings(self) -> None:
        """Tell visitors who were blocked, paused or freed, also by the end of a block, and staff of the pause."""
        while True:
            await asyncio.sleep(BARRIER_SECONDS)
            members = {member.connection.id: member for member in self._members()}
            try:
                news = await self._service.standings([member.connection for member in members.values()])
            except StoreUnavailable as error:  # the search of the journal logs it as a warning
                logger.debug("standings not checked", extra={"error": str(error)})
                continue
            for connection, actions in news:
                members[connection.id].perform(actions)

    def _deliver(
        self, hints: Iterable[Hint], endings: Iterable[Ending] = (), traces: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        for group, min_version, exclude, cursor, text in hints:
            if cursor:
                number = Cursor.number(cursor)
                known, given = self._known.get(number, (cursor, ()))
                if known not in ("", cursor):
                    self._begin_anew()  # the number was that of another message
                    given = ()
                elif group in given:
                    continue  # a message sent again, or one already found in the journal
                self._known[number] = cursor, (*given, group)
                self._newest = max(self._newest, cursor)
            members = self._groups.get(group, ())
            receivers = [
                member for member in members if is_for(member.connection, min_version=min_version, exclude=exclude)
            ]
            with self._tracer.delivered(traces.get(cursor, "") if receivers else "", len(receivers)):
                for member in receivers:
                    member.push(text, cursor)
            if cursor and receivers:
                self._meter.delivered(cursor)
        for group, code, exclude in endings:
            for member in self._groups.get(group, ()):
                if is_for(member.connection, exclude=exclude):
                    member.close(Close(CloseCode(code)))

    def _forget(self, floor: int) -> None:
        """Forget the messages up to number `floor`: the journal is no longer asked for those."""
        while self._known and next(iter(self._known)) <= floor:
            self._known.popitem(last=False)


def _why(error: Exception) -> str:
    """Return the reason of `error`: if only time is up, that of the refusal that the layer has swallowed."""
    return (isinstance(error, TimeoutError) and swallowed.reason) or availability.reason(error)


def _group(site: str) -> str:
    return f"{LAYER_GROUP}-{site}"
