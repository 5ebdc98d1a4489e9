"""Rate limits: the promises of every limiter."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable

import pytest

from messaging.backends.base import Bucket, Limiter, Rate
from messaging.backends.dynamodb.limiter import DynamoDBLimiter
from messaging.backends.memory import MemoryLimiter
from messaging.backends.redis.client import RedisClient
from messaging.backends.redis.limiter import RedisLimiter
from messaging.service.contracts import StoreUnavailable
from tests.support.buckets import bucket
from tests.support.dynamodb_table import DynamoDBTable
from tests.support.redis_services import Redis
from tests.support.services import started
from tests.support.waiting import eventually

LIMITERS = {
    "memory": None,
    "redis": "redis_server",
    "valkey": "valkey_server",
    "redis_cluster": "redis_cluster",
    "dynamodb": "dynamodb_table",
}


@pytest.fixture(params=LIMITERS)
async def make_limiter(request: pytest.FixtureRequest) -> AsyncIterator[Callable[[], Limiter]]:
    fixture = LIMITERS[request.param]
    server = request.getfixturevalue(fixture) if fixture else None
    made: list[Limiter] = []

    def make() -> Limiter:
        match server:
            case None:
                made.append(MemoryLimiter())
            case DynamoDBTable():
                made.append(DynamoDBLimiter(**server.options, timeout=5))
            case _:
                # A busy machine does not look like a Redis that is down.
                made.append(RedisLimiter(url=server.url, timeout=10))
        return made[-1]

    yield make
    for limiter in made:
        await limiter.close()


@pytest.fixture
def limiter(make_limiter: Callable[[], Limiter]) -> Limiter:
    return make_limiter()


async def test_a_burst_passes_and_the_next_one_waits(limiter: Limiter) -> None:
    mine, other = bucket(), bucket()
    assert [await limiter.take(mine) for _ in range(3)] == [0, 0, 0]
    assert 30 < await limiter.take(mine) <= 60
    assert await limiter.take(other) == 0


async def test_the_bucket_fills_again(limiter: Limiter) -> None:
    fast = bucket(Rate(burst=2, seconds=0.2))
    while not (wait := await limiter.take(fast)):
        pass
    assert 0 < wait <= 0.2
    # Wait in real time, for as long as the limiter said: Redis has its own clock, and so has each function.
    await asyncio.sleep(wait + 0.05)
    assert await limiter.take(fast) == 0


async def test_a_full_bucket_gives_its_whole_burst_whatever_the_clock_reads(limiter: Limiter) -> None:
    assert [await limiter.take(bucket(Rate(burst=1, seconds=0.2))) for _ in range(50)] == [0] * 50


async def test_a_bucket_gives_as_many_at_once_as_it_is_asked_for(limiter: Limiter) -> None:
    key, rate = bucket().key, Rate(burst=10, seconds=60)
    assert await limiter.take(Bucket(key, rate, 6)) == 0
    assert 60 < await limiter.take(Bucket(key, rate, 6)) <= 120
    assert await limiter.take(Bucket(key, rate, 4)) == 0
    assert 0 < await limiter.take(Bucket(key, rate)) <= 60


@pytest.mark.parametrize("make_limiter", ["redis", "valkey", "redis_cluster", "dynamodb"], indirect=True)
async def test_a_bucket_that_was_emptied_at_a_slower_rate_soon_obeys_a_faster_one(limiter: Limiter) -> None:
    key = bucket().key
    assert await limiter.take(Bucket(key, Rate(burst=100, seconds=3600), 100)) == 0
    fast = Bucket(key, Rate(burst=2, seconds=0.2))
    while (wait := await limiter.take(fast)) == 0:
        pass
    assert wait < 0.3


async def test_refusals_do_not_make_the_wait_longer(limiter: Limiter) -> None:
    mine = bucket()
    waits = [await limiter.take(mine) for _ in range(20)]
    assert max(waits) <= 60


@pytest.mark.parametrize("make_limiter", ["redis", "valkey", "redis_cluster", "dynamodb"], indirect=True)
async def test_processes_share_a_limit(make_limiter: Callable[[], Limiter]) -> None:
    here, there, mine = make_limiter(), make_limiter(), bucket()
    assert [await here.take(mine), await there.take(mine), await here.take(mine)] == [0, 0, 0]
    assert await there.take(mine) > 30


async def test_without_redis_this_process_goes_on_to_limit_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "messaging")
    redis = Redis()
    with started(redis):
        limiter, mine = RedisLimiter(url=redis.url, timeout=2), bucket()
        assert await limiter.take(mine) == 0
        redis.kill()
        assert [await limiter.take(mine) for _ in range(3)] == [0, 0, 0]
        assert await limiter.take(mine) > 30
        assert caplog.messages == ["Redis down for limits"]
        redis.start()

        async def is_up() -> bool:
            await limiter.take(bucket())
            return "Redis up for limits" in caplog.messages

        await eventually(is_up, "Redis is up")
        for _ in range(3):
            await limiter.take(bucket())
        assert caplog.messages == ["Redis down for limits", "Redis up for limits"]
        await limiter.close()


async def test_only_the_first_waits_for_a_redis_that_hangs() -> None:
    redis = Redis()
    with started(redis):
        limiter = RedisLimiter(url=redis.url, timeout=0.1, probe_seconds=0.1)
        assert await limiter.take(bucket()) == 0
        redis.send_signal(signal.SIGSTOP)
        try:
            assert await limiter.take(bucket()) == 0
            # Wait in real time, because Redis itself hangs: with its pause and its time-outs each probe takes 0.3 s.
            probed = time.monotonic() + 1
            while time.monotonic() < probed:
                with pytest.raises(StopIteration):  # it answers without waiting for anything
                    limiter.take(bucket()).send(None)
                await asyncio.sleep(0.05)
        finally:
            redis.send_signal(signal.SIGCONT)
        await limiter.close()


async def test_who_asks_for_what_is_no_command_is_told_and_nobody_else_waits(redis_server: Redis) -> None:
    client = RedisClient(redis_server.url, None, timeout=1, purpose="tests", rehearsal=[("PING",)])
    with pytest.raises(IndexError):
        await client.run(())
    assert await client.run(("PING",)) == [True]
    await client.close()


async def test_a_probe_outlives_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    redis = Redis()
    with started(redis):
        client = RedisClient(redis.url, None, timeout=1, purpose="tests", rehearsal=[("PING",)], probe_seconds=0.1)
        redis.kill()
        with pytest.raises(StoreUnavailable):
            await client.run(("PING",))
        faults = []

        def pipeline(transaction: bool) -> None:
            faults.append(transaction)
            raise LookupError

        monkeypatch.setattr(client.redis, "pipeline", pipeline)
        await eventually(lambda: len(faults) > 1, "it goes on")
        monkeypatch.undo()
        redis.start()

        async def answer() -> list[object]:
            with contextlib.suppress(StoreUnavailable):
                return await client.run(("PING",))
            return []

        assert await eventually(answer, "Redis is asked again") == [True]
        await client.close()
