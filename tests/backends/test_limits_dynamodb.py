"""Limits in DynamoDB: cases that come from a table without a clock. test_limits.py has those of all limiters."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest

from messaging.backends.base import Rate
from messaging.backends.dynamodb.addresses import DynamoDBAddresses
from messaging.backends.dynamodb.limiter import DynamoDBLimiter
from tests.support.buckets import SLOW, bucket
from tests.support.chaos_proxy import ChaosProxy
from tests.support.dynamodb_table import DynamoDBTable
from tests.support.waiting import eventually

PATIENCE = 30.0  # seconds for code with a much lower limit of its own


@pytest.fixture
async def limiter(dynamodb_table: DynamoDBTable) -> AsyncIterator[DynamoDBLimiter]:
    limiter = DynamoDBLimiter(**dynamodb_table.options, timeout=5)
    yield limiter
    await limiter.close()


@pytest.fixture
async def make_addresses(dynamodb_table: DynamoDBTable) -> AsyncIterator[Callable[..., DynamoDBAddresses]]:
    """Yield a factory of address counters; each stands for another function."""
    made: list[DynamoDBAddresses] = []

    def make(timeout: float = 5) -> DynamoDBAddresses:
        made.append(DynamoDBAddresses(**dynamodb_table.options, timeout=timeout))
        return made[-1]

    yield make
    for addresses in made:
        await addresses.close()


def requests(limiter: DynamoDBLimiter) -> list[str]:
    """Return a list that grows by the name of each request that `limiter` makes."""
    made: list[str] = []
    events = limiter._table._client.meta.events
    events.register("provide-client-params.dynamodb", lambda model, **_: made.append(model.name))
    return made


async def test_concurrent_takers_get_the_burst_and_no_more(limiter: DynamoDBLimiter) -> None:
    mine = bucket(Rate(burst=5, seconds=60))
    waits = await asyncio.gather(*(limiter.take(mine) for _ in range(30)))
    assert waits.count(0) in (4, 5)  # a taker with an older clock reading may have to wait


async def test_a_bucket_costs_two_requests_at_most(limiter: DynamoDBLimiter) -> None:
    made, mine = requests(limiter), bucket()
    costs = []
    for _ in range(5):
        before = len(made)
        await limiter.take(mine)
        costs.append(len(made) - before)
    assert costs == [1, 2, 2, 1, 1]  # the bucket is full, twice neither full nor empty, then empty


async def test_a_bucket_is_removed_when_it_is_full_again(
    limiter: DynamoDBLimiter, dynamodb_table: DynamoDBTable
) -> None:
    mine = bucket()
    await limiter.take(mine)
    (item,) = dynamodb_table.items()
    full_at, expires_at = float(item.pop("full_at")["N"]), int(item.pop("expires_at")["N"])
    assert item == {"group": {"S": f"limit:{mine.key}"}, "connection_id": {"S": "-"}}
    assert full_at - time.time() <= 60
    assert full_at <= expires_at <= time.time() + SLOW.burst * SLOW.seconds + 1


async def test_without_its_table_this_process_goes_on_to_limit_and_says_so_once(
    dynamodb_table: DynamoDBTable, dynamodb_network: ChaosProxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "messaging")
    limiter, mine = DynamoDBLimiter(**dynamodb_table.options, timeout=0.3), bucket()
    dynamodb_network.refusing = True
    dynamodb_network.cut_all()
    async with asyncio.timeout(PATIENCE):
        assert [await limiter.take(mine) for _ in range(3)] == [0, 0, 0]
        assert await limiter.take(mine) > 30
        assert caplog.messages == ["DynamoDB down for limits"]
        dynamodb_network.refusing = False

        async def is_up() -> bool:
            await limiter.take(bucket())
            return "DynamoDB up for limits" in caplog.messages

        await eventually(is_up, "DynamoDB is up")
    assert caplog.messages == ["DynamoDB down for limits", "DynamoDB up for limits"]
    await limiter.close()


async def test_sockets_of_an_address_are_counted_over_all_functions(
    make_addresses: Callable[..., DynamoDBAddresses],
) -> None:
    here, there, address = make_addresses(), make_addresses(), uuid4().hex
    assert [await here.enter(address, "s1"), await there.enter(address, "s2"), await here.enter(address, "s3")] == [
        1,
        2,
        3,
    ]
    assert await there.enter(address, "s3") == 3
    assert await there.enter(uuid4().hex, "s4") == 1
    await there.leave(address, "s1")
    await there.leave(address, "s1")
    await there.leave(address, "unknown")
    assert await here.enter(address, "s5") == 3


async def test_a_socket_whose_end_nobody_told_is_forgotten_with_its_time_to_live(
    make_addresses: Callable[..., DynamoDBAddresses], dynamodb_table: DynamoDBTable
) -> None:
    addresses, address = make_addresses(), uuid4().hex
    await addresses.enter(address, "s1")
    (item,) = dynamodb_table.items()
    assert time.time() < int(item["expires_at"]["N"]) <= time.time() + 7_801
    outdated: dict[str, Any] = item | {"expires_at": {"N": str(int(time.time()))}}
    dynamodb_table.ministack.client("dynamodb").put_item(TableName=dynamodb_table.name, Item=outdated)
    assert await addresses.enter(address, "s2") == 1


async def test_without_the_table_a_function_counts_its_own_sockets_and_forgets_them_when_it_is_back(
    make_addresses: Callable[..., DynamoDBAddresses], dynamodb_table: DynamoDBTable, dynamodb_network: ChaosProxy
) -> None:
    addresses, address = make_addresses(timeout=0.3), uuid4().hex
    dynamodb_network.refusing = True
    async with asyncio.timeout(PATIENCE):
        assert [await addresses.enter(address, f"s{number}") for number in range(3)] == [1, 2, 3]
        await addresses.leave(address, "s2")
        assert await addresses.enter(address, "s4") == 3
        dynamodb_network.refusing = False

        async def counted() -> set[str]:
            await addresses.enter(uuid4().hex, "other")
            return {item["connection_id"]["S"] for item in dynamodb_table.items()}

        await eventually(counted, "sockets are counted in the table", until=lambda sockets: "other" in sockets)
        assert await addresses.enter(address, "s5") == 1
        dynamodb_network.refusing = True
        dynamodb_network.cut_all()
        assert await addresses.enter(address, "s6") == 1
