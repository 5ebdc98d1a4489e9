"""The promises of the DynamoDB store beyond those of every store, and the saved states of a gateway's connections."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from messaging.backends.dynamodb.addresses import DynamoDBAddresses
from messaging.backends.dynamodb.limiter import DynamoDBLimiter
from messaging.backends.dynamodb.states import ConnectionStates
from messaging.backends.dynamodb.store import DynamoDBStore
from messaging.service.contracts import ADMINS, USERS, StoredConnection, StoreUnavailable, conversation_group
from tests.support.chaos_proxy import ChaosProxy
from tests.support.dynamodb_table import DynamoDBTable
from tests.support.stored_connections import admin, visitor
from tests.support.waiting import eventually

PATIENCE = 30.0  # seconds for code with a much lower limit of its own; boto3's own limit is minutes


@pytest.fixture
async def store(dynamodb_table: DynamoDBTable) -> AsyncIterator[DynamoDBStore]:
    store = DynamoDBStore(**dynamodb_table.options, timeout=5)
    yield store
    await store.close()


@pytest.fixture
async def states(dynamodb_table: DynamoDBTable) -> AsyncIterator[ConnectionStates]:
    states = ConnectionStates(**dynamodb_table.options, timeout=5)
    yield states
    await states.close()


def outdate(table: DynamoDBTable) -> None:
    """Let all items of `table` expire now but stay, since DynamoDB takes up to two days to remove them."""
    client = table.ministack.client("dynamodb")
    off = {"Enabled": False, "AttributeName": "expires_at"}
    client.update_time_to_live(TableName=table.name, TimeToLiveSpecification=off)  # ministack deletes every minute
    for item in table.items():
        client.put_item(TableName=table.name, Item=item | {"expires_at": {"N": str(int(time.time()))}})


async def succeeds(work: Callable[[], Awaitable[object]]) -> bool:
    try:
        await work()
    except StoreUnavailable:
        return False
    return True


async def test_a_group_larger_than_a_page_of_dynamodb_is_read_and_counted_whole(store: DynamoDBStore) -> None:
    rows = [admin(f"a{number:03}", pod="p" * 20_000) for number in range(120)]  # 2.4 MB; a page has 1 MB
    await asyncio.gather(*(store.store_connection(row) for row in rows))
    assert await store.get_connections(ADMINS) == rows
    assert await store.count(ADMINS) == 120


async def test_what_has_expired_is_not_read_though_it_is_still_there(
    store: DynamoDBStore, states: ConnectionStates, dynamodb_table: DynamoDBTable
) -> None:
    await store.store_connection(admin("a1"))
    await states.save("a1", {"version": 2})
    outdate(dynamodb_table)
    await store.store_connection(admin("a2"))
    assert await store.get_connections(ADMINS) == [admin("a2")]
    assert await store.count(ADMINS) == 1
    assert await states.load("a1") is None
    assert {item["connection_id"]["S"] for item in dynamodb_table.items()} == {"a1", "a2"}


async def test_every_read_is_strongly_consistent(store: DynamoDBStore, states: ConnectionStates) -> None:
    asked: list[tuple[str, bool]] = []

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        asked.append((model.name, params.get("ConsistentRead", False)))

    for part in (store, states):
        for operation in ("Query", "GetItem"):
            part._table._client.meta.events.register(f"provide-client-params.dynamodb.{operation}", note)
    await store.get_connections(ADMINS)
    await store.count(ADMINS)
    await states.load("a1")
    assert asked == [("Query", True), ("Query", True), ("GetItem", True)]


async def test_visitors_are_spread_over_partitions_and_found_in_all_of_them(
    store: DynamoDBStore, dynamodb_table: DynamoDBTable
) -> None:
    rows = [visitor(f"v{number:02}", f"c{number}") for number in range(40)]
    await asyncio.gather(*(store.store_connection(row) for row in rows))
    groups = {item["group"]["S"] for item in dynamodb_table.items()} - {f"conversation:c{n}" for n in range(40)}
    assert groups == {f"users#{shard}" for shard in range(8)}
    assert await store.get_connections(USERS) == rows
    assert await store.count(USERS) == 40


async def test_a_connection_has_an_item_in_each_group_and_an_unknown_one_is_removed_without_an_error(
    store: DynamoDBStore, dynamodb_table: DynamoDBTable
) -> None:
    await store.remove_connection(visitor("v1", "c1"))
    await store.store_connection(visitor("v1", "c1"))
    assert len(dynamodb_table.items()) == 2
    await store.remove_connection(replace(visitor("v1", "c1"), pod="another"))
    assert dynamodb_table.items() == []


async def test_a_row_is_back_with_the_next_touch_after_the_table_was_emptied(
    store: DynamoDBStore, dynamodb_table: DynamoDBTable
) -> None:
    await store.store_connection(visitor("v1", "c1"))
    dynamodb_table.empty()
    assert await store.get_connections(conversation_group("c1")) == []
    await store.touch(visitor("v1", "c1"))
    assert await store.get_connections(conversation_group("c1")) == [visitor("v1", "c1")]


async def test_rows_and_states_name_their_time_to_live(dynamodb_table: DynamoDBTable) -> None:
    before = time.time()
    store, states = DynamoDBStore(**dynamodb_table.options, ttl=600), ConnectionStates(**dynamodb_table.options, ttl=60)
    await store.store_connection(admin("a1"))
    await states.save("a1", {})
    expiries = {item["group"]["S"]: int(item["expires_at"]["N"]) - before for item in dynamodb_table.items()}
    assert {group: seconds // 60 for group, seconds in expiries.items()} == {
        "admins": 10,
        "staff:7": 10,
        "connection:a1": 1,
    }
    await store.close()
    await states.close()


async def test_a_state_is_loaded_as_it_was_saved_last_and_taken_once(states: ConnectionStates) -> None:
    assert await states.load("c1") is None
    assert await states.take("c1") is None
    await states.save("c1", {"greeted": False})
    state = {"greeted": True, "strikes": {"rate_limited": 2}, "staff": None, "at": 1.5, "name": "Zoë"}
    await states.save("c1", state)
    await states.save("c2", {})
    assert await states.load("c1") == state
    taken = await asyncio.gather(*(states.take("c1") for _ in range(10)))
    assert [state for state in taken if state is not None] == [state]
    assert await states.load("c1") is None
    assert await states.load("c2") == {}


CALLS: dict[str, Callable[[DynamoDBStore, ConnectionStates, StoredConnection], Awaitable[Any]]] = {
    "store": lambda store, states, row: store.store_connection(row),
    "remove": lambda store, states, row: store.remove_connection(row),
    "get": lambda store, states, row: store.get_connections(USERS),
    "count": lambda store, states, row: store.count(USERS),
    "load": lambda store, states, row: states.load("v1"),
    "save": lambda store, states, row: states.save("v1", {}),
    "take": lambda store, states, row: states.take("v1"),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_table_that_does_not_answer_is_unavailable_and_serves_again_when_it_is_back(
    call: str, dynamodb_table: DynamoDBTable, dynamodb_network: ChaosProxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "messaging")
    store = DynamoDBStore(**dynamodb_table.options, timeout=0.3)
    states = ConnectionStates(**dynamodb_table.options, timeout=0.3)
    dynamodb_network.blackhole = True
    async with asyncio.timeout(PATIENCE):
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="DynamoDB"):
                await CALLS[call](store, states, visitor("v1", "c1"))
    dynamodb_network.blackhole = False
    work = partial(CALLS[call], store, states, visitor("v1", "c1"))
    await eventually(lambda: succeeds(work), "DynamoDB answers", PATIENCE)
    purpose = "states" if call in ("load", "save", "take") else "connections"
    # The log may go on: one of several requests may still be too late, and the next one in time.
    assert caplog.messages[:2] == [f"DynamoDB down for {purpose}", f"DynamoDB up for {purpose}"]
    await store.close()
    await states.close()


async def test_a_connection_that_died_while_the_function_was_frozen_is_noticed_by_nobody(
    dynamodb_table: DynamoDBTable, dynamodb_network: ChaosProxy
) -> None:
    states = ConnectionStates(**dynamodb_table.options, timeout=5)
    await states.save("c1", {"version": 2})
    dynamodb_network.cut_all()
    assert await states.load("c1") == {"version": 2}
    await states.close()


async def test_a_request_that_got_lost_is_made_again(
    dynamodb_table: DynamoDBTable, dynamodb_network: ChaosProxy
) -> None:
    states = ConnectionStates(**dynamodb_table.options, timeout=1)
    await states.save("c1", {"version": 2})
    attempts: list[str] = []

    def heal(event_name: str, **_: Any) -> None:
        attempts.append(event_name)
        dynamodb_network.blackhole = len(attempts) < 2

    states._table._client.meta.events.register("before-send.dynamodb.GetItem", heal)
    assert await states.load("c1") == {"version": 2}
    assert len(attempts) == 2
    await states.close()


async def test_requests_that_wait_for_a_thread_end_in_time_as_well(
    dynamodb_table: DynamoDBTable, dynamodb_network: ChaosProxy
) -> None:
    store = DynamoDBStore(**dynamodb_table.options, timeout=0.5)
    dynamodb_network.blackhole = True
    async with asyncio.timeout(PATIENCE):
        rows = [visitor(f"v{number}", "c1") for number in range(1_000)]
        ended = await asyncio.gather(*(store.store_connection(row) for row in rows), return_exceptions=True)
    assert {type(error) for error in ended} == {StoreUnavailable}
    await store.close()


async def test_what_serving_needs_is_rehearsed_for_each_purpose_and_leaves_nothing(
    dynamodb_table: DynamoDBTable,
) -> None:
    for make in (DynamoDBStore, DynamoDBLimiter, DynamoDBAddresses):
        backend, lost = make(**dynamodb_table.options, timeout=5), make(table="nowhere", region="eu-central-1")
        await backend.rehearse()
        with pytest.raises(StoreUnavailable, match="ResourceNotFoundException"):
            await lost.rehearse()
        await backend.close()
        await lost.close()
    assert dynamodb_table.items() == []


async def test_a_table_that_is_missing_is_unavailable_and_the_error_says_why(dynamodb_table: DynamoDBTable) -> None:
    store = DynamoDBStore(**dynamodb_table.options | {"table": "nowhere"}, timeout=5)
    with pytest.raises(StoreUnavailable, match="ResourceNotFoundException"):
        await store.count(ADMINS)
    await store.close()


async def test_what_is_kept_is_not_logged_however_much_else_is(
    states: ConnectionStates, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    await states.save("c1", {"name": "a secret name"})
    assert await states.load("c1") == {"name": "a secret name"}
    assert caplog.records  # other records are there, such as those of urllib3
    assert "secret" not in caplog.text
