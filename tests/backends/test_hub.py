"""Fan-out: each frame reaches the right connections once and in one order, also while the channel layer is down."""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.layers import InMemoryChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.db import connections

from messaging.backends.memory import MemoryLimiter, MemoryStore
from messaging.journal.journal import Journal
from messaging.observability.meter import Meter
from messaging.observability.prometheus import PrometheusRecorder
from messaging.observability.tracer import Tracer
from messaging.protocol import frames
from messaging.protocol.codec import encode
from messaging.protocol.codes import CloseCode
from messaging.service.actions import Close, CloseGroup, Connection, Publish
from messaging.service.contracts import ADMINS, USERS, Cursor, NewMessage, StoreUnavailable, conversation_group
from messaging.service.service import MessagingService
from messaging.service.throttle import Rates
from messaging.transports.base import HeldTransport
from messaging.transports.channels.hub import Hub
from messaging_site.conf import backends
from tests.support.redis_services import Redis
from tests.support.services import started
from tests.support.waiting import SOON, eventually

UNLIMITED = Rates(visitor=None, admin=None, connection=None, address=None, conversations=None)

pytestmark = pytest.mark.django_db(transaction=True)


class Member(HeldTransport):
    """A connection that records the frames and the close code that it gets."""

    def __init__(self, id: str = "c1", staff: int | None = None, version: int = 2) -> None:
        self.connection = Connection(id, role="admin", version=version, staff=staff)
        self.got: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.delivered: list[frames.ServerFrame] = []

    def push(self, text: str, cursor: str = "") -> None:
        self.got.put_nowait((text, cursor))

    def deliver(self, frame: frames.ServerFrame) -> None:
        self.delivered.append(frame)

    def close(self, closing: Close) -> None:
        self.got.put_nowait(("", str(int(closing.code))))

    def join(self) -> None:
        raise NotImplementedError

    def publish(self, action: Publish | CloseGroup) -> None:
        raise NotImplementedError

    def restart(self) -> None:
        raise NotImplementedError

    async def next(self, seconds: float = 10) -> str:
        async with asyncio.timeout(seconds):
            return (await self.got.get())[1]


def cursor(number: int) -> str:
    return f"{number:013x}.{number:011x}"


def publish(number: int, *, min_version: int = 1, exclude: str = "") -> Publish:
    message = frames.Message(str(number), "hello", "t", "user", cursor(number), "v")
    return Publish(ADMINS, message, min_version, exclude)


@pytest.fixture
async def log() -> AsyncIterator[Journal]:
    log = Journal()
    yield log
    await log.close()
    await sync_to_async(connections.close_all)()


@pytest.fixture
def service(log: Journal) -> MessagingService:
    return MessagingService(
        MemoryStore(),
        log,
        pod="pod-a",
        limiter=MemoryLimiter(),
        rates=UNLIMITED,
        heartbeat_ms=25_000,
        retention_days=30,
    )


def opened(service: MessagingService, layer: Any) -> Hub:
    return Hub(service, layer, meter=Meter(PrometheusRecorder(version="dev")), tracer=Tracer(), catch_up_seconds=2.0)


@pytest.fixture
async def hub(service: MessagingService) -> AsyncIterator[Hub]:
    hub = opened(service, InMemoryChannelLayer(capacity=10_000))
    yield hub
    await hub.close()


async def test_a_group_is_handed_the_encoded_frame_with_its_cursor(hub: Hub) -> None:
    admin, stranger = Member(), Member("c2")
    hub.join(admin, [ADMINS])
    hub.join(stranger, ["conversation:x"])
    hub.publish(publish(1))
    assert await admin.got.get() == (encode(publish(1).frame), cursor(1))
    assert stranger.got.empty()


async def test_the_excluded_and_those_of_an_older_version_are_left_out(hub: Hub) -> None:
    old, other = Member("old", staff=1, version=1), Member("c3", staff=2)
    sender, colleague = Member("c1", staff=1), Member("c2", staff=1)
    for member in (old, sender, colleague, other):
        hub.join(member, [ADMINS])
    for hint in (publish(1, min_version=2, exclude="c1"), publish(2, min_version=2, exclude="staff:1"), publish(3)):
        hub.publish(hint)
    assert [await other.next() for _ in range(3)] == [cursor(n) for n in (1, 2, 3)]
    assert [await colleague.next() for _ in range(2)] == [cursor(n) for n in (1, 3)]
    assert [await sender.next(), await old.next()] == [cursor(3)] * 2


async def test_who_has_left_is_handed_nothing(hub: Hub) -> None:
    gone, there = Member(), Member("c2")
    hub.join(gone, [ADMINS])
    hub.join(there, [ADMINS])
    hub.leave(gone, [ADMINS])
    hub.publish(publish(1))
    await there.next()
    assert gone.got.empty()


async def test_what_is_published_again_is_handed_on_once(hub: Hub) -> None:
    member = Member()
    hub.join(member, [ADMINS])
    hub.publish(publish(1))
    hub.publish(publish(1))
    hub.publish(publish(2))
    assert [await member.next(), await member.next()] == [cursor(1), cursor(2)]


async def test_what_is_no_message_is_handed_on_every_time(hub: Hub) -> None:
    member = Member()
    hub.join(member, [ADMINS])
    read = frames.Read("v", "user", "m", cursor(1), "t")
    hub.publish(publish(1))
    for _ in range(3):
        hub.publish(Publish(ADMINS, read))
    cursors = [await member.next() for _ in range(4)]
    assert cursors == [cursor(1), "", "", ""]  # only a message moves the cursor of a connection


async def test_a_group_is_closed_behind_all_frames_but_for_the_excluded(hub: Hub) -> None:
    asker, other, old = Member("c1"), Member("c2"), Member("c3", version=1)
    for member in (asker, other, old):
        hub.join(member, [ADMINS])
    hub.publish(CloseGroup(ADMINS, CloseCode.RESTART, exclude="c1"))
    hub.publish(publish(1, min_version=2))
    assert [await other.next(), await other.next(), await old.next()] == [cursor(1), "4001", "4001"]
    assert await asker.next() == cursor(1)
    hub.publish(publish(2))
    assert await asker.next() == cursor(2)


async def test_who_is_there_is_told_once_and_again_when_it_changes(hub: Hub, service: MessagingService) -> None:
    member = Member()
    member.connection = Connection("v", role="user", version=2, conversation=str(uuid4()))
    hub.join(member, [USERS, *member.connection.groups])  # in two groups, but notified once
    await eventually(lambda: bool(member.delivered), "the number is told")
    admins = [Connection(f"a{number}", role="admin", version=2, staff=number) for number in range(2)]
    for admin in admins:
        await service._registry.touch(admin)
    await eventually(lambda: len(member.delivered) > 1, "the change is told")
    for admin in admins:
        await service.disconnect(admin)
    await eventually(lambda: len(member.delivered) > 2, "the next change is told")
    told = [frame for frame in member.delivered if isinstance(frame, frames.Presence)]
    assert [min(frame.admins, 1) for frame in told] == [0, 1, 0]


async def test_a_message_that_nobody_announced_is_found_in_the_log(hub: Hub, log: Journal) -> None:
    member = Member()
    hub.join(member, [ADMINS])
    visitor = str(uuid4())
    appended = await log.append(NewMessage(visitor, f"visitor:{visitor}", "message-1", "user", "hello"))
    assert await member.next() == str(appended.message.cursor)


async def test_a_fault_of_ours_ends_no_background_work(
    hub: Hub, log: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    member, visitor = Member(), str(uuid4())
    hub.join(member, [conversation_group(visitor)])
    positions = log.positions

    async def fails(floor: Cursor, newest: Cursor) -> None:
        monkeypatch.setattr(log, "positions", positions)
        raise LookupError(floor, newest)

    first = await log.append(NewMessage(visitor, f"visitor:{visitor}", "message-1", "user", "hello"))
    assert await member.next() == str(first.message.cursor)
    monkeypatch.setattr(log, "positions", fails)
    await eventually(lambda: failures(caplog), "a search of the journal has failed")
    second = await log.append(NewMessage(visitor, f"visitor:{visitor}", "message-2", "user", "hello"))
    assert await member.next() == str(second.message.cursor)
    (failed,) = failures(caplog)
    assert failed.exc_info
    assert (vars(failed)["work"], failed.exc_info[0]) == ("Hub._catch_up", LookupError)


def failures(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.message == "background work failed"]


async def test_a_laptop_that_runs_for_days_still_hears_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = InMemoryChannelLayer(**backends.memory(ttl=60).layers["default"]["CONFIG"])
    channel = await layer.new_channel()
    await layer.group_add("everybody", channel)
    later = time.time() + 30 * 86_400
    monkeypatch.setattr("channels.layers.time.time", lambda: later)
    await layer.group_send("everybody", {"type": "hint"})
    async with asyncio.timeout(SOON):
        assert await layer.receive(channel) == {"type": "hint"}


async def test_without_a_journal_a_process_serves_its_own_and_subscribes_when_it_has_read_one(
    service: MessagingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a start before the database answers, or before it was migrated."""
    site, missing = service.site, True

    async def unknown(*, again: bool = False) -> str:
        if missing:
            raise StoreUnavailable("no table")
        return await site(again=again)

    monkeypatch.setattr(service, "site", unknown)
    hub, member = opened(service, InMemoryChannelLayer()), Member()
    hub.join(member, [ADMINS])
    hub.publish(publish(1))
    assert await member.next() == cursor(1)
    assert not hub.layer_up
    missing = False
    await eventually(lambda: hub.layer_up, "the hub has subscribed")
    hub.publish(publish(2))
    assert await member.next() == cursor(2)
    await hub.close()


async def test_two_processes_hand_on_the_same_order_and_go_on_without_redis(service: MessagingService) -> None:
    redis = Redis()
    with started(redis):
        host = {"address": redis.url, "socket_timeout": 15, "socket_connect_timeout": 1}
        here, there = (opened(service, RedisPubSubChannelLayer(hosts=[host])) for _ in range(2))
        mine, theirs = Member(), Member()
        here.join(mine, [ADMINS])
        there.join(theirs, [ADMINS])
        numbers = list(range(1, 101))
        await eventually(lambda: here.layer_up and there.layer_up, "both have subscribed")
        for number in numbers:
            (here if number % 2 else there).publish(publish(number))
        orders = [[await member.next() for _ in numbers] for member in (mine, theirs)]
        assert orders[0] == orders[1]
        assert sorted(orders[0]) == [cursor(number) for number in numbers]

        redis.kill()
        here.publish(publish(500))
        assert await mine.next() == cursor(500)
        assert not here.layer_up
        redis.start()
        more = itertools.count(600)
        for author, reader in ((here, theirs), (there, mine)):
            reader.got = asyncio.Queue()

            def is_heard(author: Hub = author, reader: Member = reader) -> bool:
                author.publish(publish(next(more)))
                return not reader.got.empty()

            await eventually(is_heard, "each hears the other again")
        await here.close()
        await there.close()


async def test_a_process_that_hears_nothing_says_so_and_subscribes_when_it_can(service: MessagingService) -> None:
    redis = Redis()
    with started(redis), redis.client() as client:
        client.config_set("requirepass", "secret")
        hub = opened(service, RedisPubSubChannelLayer(hosts=[redis.url]))
        await eventually(lambda: not hub.layer_up, "the hub knows that it is deaf")
        client.config_set("requirepass", "")
        await eventually(lambda: hub.layer_up, "the hub has subscribed")
        member = Member()
        hub.join(member, [ADMINS])
        hub.publish(publish(1))
        assert await member.next() == cursor(1)
        await hub.close()
