"""Redis behind Sentinels, of which some are down or silent, or all speak TLS only."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer

from messaging.backends.redis.store import RedisStore
from messaging.service.contracts import USERS, StoredConnection
from messaging_site.conf import backends
from tests.support.redis_services import RedisSentinel
from tests.support.services import certify
from tests.support.waiting import SOON

ROW = StoredConnection("v1", "user", "c1", "visitor:c1", 2, "pod-a", "2026-01-01T00:00:00.000Z")


async def is_stored(url: str) -> None:
    """Assert that a process that starts now can store connections in the Redis at `url`."""
    store = RedisStore(url=url, timeout=2)
    await store.store_connection(ROW)
    assert await store.get_connections(USERS) == [ROW]
    await store.remove_connection(ROW)
    await store.close()


async def is_heard(url: str) -> None:
    """Assert that processes that start now receive each other's hints through the Redis at `url`."""
    config = backends.redis(url, None, "", ttl=60).layers["default"]["CONFIG"]
    here, there = RedisPubSubChannelLayer(**config), RedisPubSubChannelLayer(**config)
    async with asyncio.timeout(SOON):
        channel = await here.new_channel()
        await here.group_add("everybody", channel)
        await there.group_send("everybody", {"type": "hint"})
        assert await here.receive(channel) == {"type": "hint"}
    for layer in (here, there):
        (shard,) = layer._shards
        await shard._redis.connection_pool.sentinel_manager.aclose()  # the layer does not close it
        await layer.flush()


@pytest.fixture(scope="module")
def sentinel() -> Iterator[RedisSentinel]:
    sentinel = RedisSentinel()
    with sentinel.started():
        yield sentinel


async def test_a_first_sentinel_that_is_gone_keeps_nobody_waiting(sentinel: RedisSentinel) -> None:
    first = sentinel.sentinels[0]
    first.kill()
    try:
        await is_stored(sentinel.url)
        await is_heard(sentinel.url)
    finally:
        first.start()


async def test_two_silent_sentinels_do_not_use_up_the_time_of_the_third(sentinel: RedisSentinel) -> None:
    silent = sentinel.sentinels[:2]
    for one in silent:
        one.send_signal(signal.SIGSTOP)
    try:
        await is_stored(sentinel.url)
        await is_heard(sentinel.url)
    finally:
        for one in silent:
            one.send_signal(signal.SIGCONT)


async def test_with_tls_sentinels_and_data_are_spoken_to_over_tls_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = certify(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    sentinel = RedisSentinel(certificate=certificate)
    with sentinel.started():
        await is_stored(sentinel.url)
        await is_heard(sentinel.url)
