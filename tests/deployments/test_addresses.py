"""The number of connections of one client address over all processes, also when something breaks."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from uuid import uuid4

import pytest

from messaging.backends.base import Addresses
from messaging.backends.memory import MemoryAddresses
from messaging.backends.redis.addresses import RedisAddresses
from messaging.client.socket import connect as open_socket
from tests.support.connections import Frame, error, visitor
from tests.support.deployments import Deployment, Kubernetes, Pod
from tests.support.redis_services import Redis
from tests.support.services import started
from tests.support.waiting import SOON, eventually

BACKENDS = {"memory": None, "redis": "redis_server", "valkey": "valkey_server", "redis_cluster": "redis_cluster"}
LOST_SECONDS = 1  # without a heartbeat, after which a process does not count
MakeAddresses = Callable[[], Addresses]


@pytest.fixture(params=BACKENDS)
async def make_addresses(request: pytest.FixtureRequest) -> AsyncIterator[MakeAddresses]:
    fixture = BACKENDS[request.param]
    url = request.getfixturevalue(fixture).url if fixture else None
    made: list[Addresses] = []

    def make() -> Addresses:
        hasty = partial(RedisAddresses, timeout=2, beat=0.1, lost=LOST_SECONDS, patience=SOON)
        made.append(hasty(url=url) if url else MemoryAddresses())
        return made[-1]

    yield make
    for addresses in made:
        await addresses.close()


@pytest.fixture
def address() -> str:
    return uuid4().hex


shared = pytest.mark.parametrize("make_addresses", ["redis", "valkey", "redis_cluster"], indirect=True)


async def until_one_more_is(number: int, addresses: Addresses, address: str) -> None:
    """Return when one more connection would have the number `number`."""

    async def one_more() -> int:
        found = await addresses.enter(address, "one more")
        await addresses.leave(address, "one more")
        return found

    await eventually(one_more, f"one more is the one with number {number}", until=lambda found: found == number)


async def test_sockets_of_an_address_are_counted(make_addresses: MakeAddresses, address: str) -> None:
    addresses = make_addresses()
    assert [await addresses.enter(address, socket) for socket in ("a", "b", "b", "c")] == [1, 2, 2, 3]
    assert await addresses.enter(uuid4().hex, "d") == 1
    for socket in ("a", "a", "unknown"):
        await addresses.leave(address, socket)
    assert await addresses.enter(address, "e") == 3


async def test_of_many_at_once_each_has_its_own_number(make_addresses: MakeAddresses, address: str) -> None:
    addresses = make_addresses()
    numbers = await asyncio.gather(*(addresses.enter(address, str(socket)) for socket in range(1_000)))
    assert numbers == list(range(1, 1_001))


async def test_who_gives_up_waiting_takes_the_answer_from_nobody(make_addresses: MakeAddresses, address: str) -> None:
    addresses = make_addresses()
    leaver, stayer = (asyncio.create_task(addresses.enter(address, socket)) for socket in ("a", "b"))
    await asyncio.sleep(0)
    leaver.cancel()
    assert await stayer == 2


@shared
async def test_processes_count_together(make_addresses: MakeAddresses, address: str) -> None:
    here, there = make_addresses(), make_addresses()
    assert [await here.enter(address, "a"), await there.enter(address, "b"), await here.enter(address, "c")] == [
        1,
        2,
        3,
    ]
    await there.leave(address, "b")
    await until_one_more_is(3, here, address)


@shared
async def test_a_process_that_dies_leaves_nothing_behind(make_addresses: MakeAddresses, address: str) -> None:
    here, there = make_addresses(), make_addresses()
    for socket in "abc":
        await there.enter(address, socket)
    await until_one_more_is(4, here, address)
    await there.close()  # without leave() for its connections
    await until_one_more_is(1, here, address)


@shared
async def test_a_process_that_lives_goes_on_to_count(make_addresses: MakeAddresses, address: str) -> None:
    here, there = make_addresses(), make_addresses()
    assert await there.enter(address, "a") == 1
    await asyncio.sleep(2 * LOST_SECONDS)  # by the clock of Redis, which decides that a process is lost
    await until_one_more_is(2, here, address)


@pytest.mark.parametrize("make_addresses", ["redis"], indirect=True)
async def test_a_redis_that_lost_its_data_is_told_again(
    make_addresses: MakeAddresses, address: str, redis_server: Redis
) -> None:
    here, there = make_addresses(), make_addresses()
    await there.enter(address, "a")
    with redis_server.client() as client:
        client.flushall()
    await until_one_more_is(2, here, address)


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    redis = Redis()
    with started(redis):
        yield redis


async def test_without_redis_each_process_counts_its_own_and_says_so_once(
    own_redis: Redis, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "messaging")
    here = RedisAddresses(url=own_redis.url, timeout=2)
    assert await here.enter(address, "a") == 1
    await asyncio.to_thread(own_redis.kill)
    assert [await here.enter(address, socket) for socket in "cdefg"] == [2, 3, 4, 5, 6]
    assert caplog.messages == ["Redis down for addresses"]
    await here.leave(address, "a")
    await asyncio.to_thread(own_redis.start)
    there = RedisAddresses(url=own_redis.url, timeout=2)
    await there.enter(address, "b")
    await until_one_more_is(7, there, address)
    await until_one_more_is(7, here, address)
    assert caplog.messages == ["Redis down for addresses", "Redis up for addresses"]
    await asyncio.gather(here.close(), there.close())


async def test_what_ended_while_redis_was_silent_does_not_count_when_it_is_back(own_redis: Redis, address: str) -> None:
    """Redis hangs but does not die, so it keeps the earlier counts."""
    here, there = RedisAddresses(url=own_redis.url), RedisAddresses(url=own_redis.url)
    for socket in "abc":
        await here.enter(address, socket)
    own_redis.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(SOON):
            assert await here.enter(address, "d") == 4  # the call does not wait forever
        for socket in "abc":
            await here.leave(address, socket)
    finally:
        own_redis.send_signal(signal.SIGCONT)
    await until_one_more_is(2, there, address)
    await asyncio.gather(here.close(), there.close())


@pytest.fixture
def strict(kubernetes: Kubernetes, redis_server: Redis) -> Iterator[Deployment[Pod]]:
    with kubernetes.deployed(redis_server.url, SOCKETS_PER_ADDRESS="3") as deployment:
        yield deployment


async def test_an_address_has_so_many_sockets_on_all_pods_together(strict: Deployment) -> None:
    here, there = strict.websocket_urls
    async with contextlib.AsyncExitStack() as stack:
        for url in (here, there):
            await stack.enter_async_context(visitor(url))
        async with visitor(here):
            for url in (here, there):
                told = await eventually(partial(refusal, url), "both pods have told Redis of theirs")
                assert told == (error("rate_limited", scope="connections", retryAfterMs=1000), 4029)
        await eventually(lambda: refusal(there), "one more is welcome", until=lambda told: told is None)


async def refusal(url: str) -> tuple[Frame, int | None] | None:
    """Return the frame and the code with which one more connection is refused, or None if it is accepted."""
    async with open_socket(url, proxy=None) as socket:
        frame = await socket.receive()
        if frame["type"] == "connection":
            return None
        await socket.websocket.wait_closed()
        return frame, socket.close_code
