"""The promises of every connection store. To test a new store, add it to STORES."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from messaging.backends.base import ConnectionStore
from messaging.backends.dynamodb.store import DynamoDBStore
from messaging.backends.memory import MemoryStore
from messaging.backends.redis.store import SILENT_SECONDS, RedisStore
from messaging.service.contracts import ADMINS, USERS, StoreUnavailable, conversation_group, staff_group
from tests.support.dynamodb_table import DynamoDBTable
from tests.support.redis_services import Redis
from tests.support.services import started
from tests.support.stored_connections import admin, visitor
from tests.support.waiting import eventually

STORES: dict[str, str | None] = {
    # name of the store: fixture of its server, if it needs one
    "memory": None,
    "redis": "redis_server",
    "valkey": "valkey_server",
    "redis_sentinel": "redis_sentinel",
    "redis_cluster": "redis_cluster",
    "dynamodb": "dynamodb_table",
}

MakeStore = Callable[..., ConnectionStore]


@pytest.fixture(params=STORES)
async def make_store(request: pytest.FixtureRequest) -> AsyncIterator[MakeStore]:
    """Yield a factory of stores of one backend; each stands for another process."""
    fixture = STORES[request.param]
    server = request.getfixturevalue(fixture) if fixture else None
    made: list[ConnectionStore] = []

    def make(ttl: int = 60) -> ConnectionStore:
        match server:
            case None:
                made.append(MemoryStore(ttl=ttl))
            case DynamoDBTable():
                made.append(DynamoDBStore(**server.options, ttl=ttl, timeout=5))
            case _:
                made.append(RedisStore(url=server.url, ttl=ttl, timeout=2))
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture
async def store(make_store: MakeStore) -> ConnectionStore:
    store = make_store()
    for group in (ADMINS, USERS, staff_group(7), conversation_group("c1")):
        for row in await store.get_connections(group):
            await store.remove_connection(row)
    return store


async def test_a_stored_connection_is_in_its_groups_as_it_was(store: ConnectionStore) -> None:
    await store.store_connection(visitor("v1", "c1"))
    assert await store.get_connections(USERS) == [visitor("v1", "c1")]
    assert await store.get_connections(conversation_group("c1")) == [visitor("v1", "c1")]
    assert await store.get_connections(ADMINS) == []


async def test_connections_come_oldest_first(store: ConnectionStore) -> None:
    late, early = admin("late", connected_at="2026-01-02T00:00:00.000Z"), admin("early")
    await store.store_connection(late)
    await store.store_connection(early)
    assert await store.get_connections(ADMINS) == [early, late]
    assert await store.get_connections(staff_group(7)) == [early, late]


async def test_count_counts_a_group(store: ConnectionStore) -> None:
    assert await store.count(ADMINS) == 0
    for number in range(3):
        await store.store_connection(admin(f"a{number}"))
    await store.store_connection(visitor("v1", "c1"))
    assert (await store.count(ADMINS), await store.count(USERS)) == (3, 1)


async def test_storing_twice_keeps_one_with_the_newest_content(store: ConnectionStore) -> None:
    await store.store_connection(admin("a1"))
    await store.store_connection(admin("a1", version=1))
    assert await store.get_connections(ADMINS) == [admin("a1", version=1)]


async def test_a_removed_connection_is_gone_and_removing_it_again_is_no_error(store: ConnectionStore) -> None:
    await store.store_connection(admin("a1"))
    await store.store_connection(admin("a2"))
    await store.remove_connection(admin("a1"))
    await store.remove_connection(admin("a1"))
    assert await store.get_connections(ADMINS) == [admin("a2")]
    assert await store.count(ADMINS) == 1


async def test_touch_brings_back_what_the_store_has_lost(store: ConnectionStore) -> None:
    await store.touch(admin("a1"))
    assert await store.get_connections(ADMINS) == [admin("a1")]


async def test_a_connection_that_nobody_touches_is_forgotten(make_store: MakeStore, store: ConnectionStore) -> None:
    began = time.monotonic()
    store = make_store(ttl=2)  # real seconds: Redis has its own clock, and DynamoDB rounds up to seconds
    await store.store_connection(admin("silent"))
    await store.store_connection(admin("alive"))
    store.ttl = 60
    await store.touch(admin("alive"))
    await eventually(lambda: store.count(ADMINS), "one is forgotten", until=lambda count: count == 1)
    assert time.monotonic() - began > 1
    assert await store.get_connections(ADMINS) == [admin("alive")]


async def test_concurrent_changes_are_all_kept(store: ConnectionStore) -> None:
    rows = [admin(f"a{number:03}") for number in range(200)]
    await asyncio.gather(*(store.store_connection(row) for row in rows))
    await asyncio.gather(*(store.remove_connection(row) for row in rows[::2]))
    assert await store.get_connections(ADMINS) == rows[1::2]
    assert await store.count(ADMINS) == 100


@pytest.mark.parametrize("make_store", [name for name in STORES if name != "memory"], indirect=True)
async def test_other_processes_see_it(make_store: MakeStore, store: ConnectionStore) -> None:
    other = make_store()
    await store.store_connection(admin("a1"))
    assert await other.get_connections(ADMINS) == [admin("a1")]
    await other.remove_connection(admin("a1"))
    assert await store.get_connections(ADMINS) == []


async def test_a_redis_that_does_not_answer_is_unavailable_and_serves_again_when_it_is_back() -> None:
    redis = Redis()
    with started(redis):
        store = RedisStore(url=redis.url, timeout=2)
        await store.store_connection(admin("a1"))
        redis.kill()
        with pytest.raises(StoreUnavailable):
            await store.count(ADMINS)
        redis.start()

        async def fault() -> object:
            (outcome,) = await asyncio.gather(store.touch(admin("a1")), return_exceptions=True)
            return outcome

        await eventually(
            fault, "Redis is asked again", until=lambda fault: fault is None
        )  # after a failure, the store does not use Redis for a moment
        assert await store.get_connections(ADMINS) == [admin("a1")]
        await store.close()


async def test_the_redis_index_drops_members_whose_row_is_gone(redis_server: Redis) -> None:
    store = RedisStore(url=redis_server.url)
    for row in await store.get_connections(ADMINS):
        await store.remove_connection(row)
    await store.store_connection(admin("evicted"))
    await store.store_connection(admin("alive"))
    with redis_server.client() as client:
        client.delete("connection:evicted")
    assert await store.get_connections(ADMINS) == [admin("alive")]
    assert await store.count(ADMINS) == 1
    await store.close()


async def test_who_was_not_touched_for_a_while_counts_no_more_until_it_is(redis_server: Redis) -> None:
    store, group = RedisStore(url=redis_server.url), conversation_group("c9")
    await store.store_connection(visitor("silent", "c9"))  # its pod was killed, so no process removed it
    with redis_server.client() as client:
        (index,) = client.keys(f"connections:*{group}")
        client.zincrby(index, 1 - SILENT_SECONDS, "silent")  # instead of waiting for so long
        assert await store.count(group) == 1
        client.zincrby(index, -1, "silent")
        assert await store.count(group) == 0
        assert client.exists("connection:silent")
    await store.touch(visitor("silent", "c9"))
    assert await store.get_connections(group) == [visitor("silent", "c9")]
    await store.remove_connection(visitor("silent", "c9"))
    await store.close()
