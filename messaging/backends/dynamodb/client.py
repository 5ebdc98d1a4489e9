"""A client for a DynamoDB table: bounded in time and in threads, with one error for all failures."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from messaging.backends.availability import Availability
from messaging.service.contracts import StoreUnavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")

PARTITION, SORT, EXPIRY = "group", "connection_id", "expires_at"  # the two keys, and the TTL attribute
THREADS = 16
ATTEMPTS = 3  # per request: it may be throttled, or its connection may have died while the function was frozen
PATIENCE = 4  # limit of one request, as a multiple of the time-out; includes all attempts and the wait for a thread

Item = dict[str, dict[str, str]]  # each value with its DynamoDB type: {"version": {"N": "2"}}


class ConditionFailed(Exception):
    """The condition of a request does not hold. `item`: the item as it is; empty if there is none."""

    def __init__(self, item: Item) -> None:
        super().__init__()
        self.item = item


class Table:
    """A client for one table.

    boto3 finds the credentials, and an endpoint other than the region's (AWS_ENDPOINT_URL). `timeout`: seconds for a
    connection, and for an answer. `purpose`: for log messages. The client keeps no state that becomes wrong while the
    process is frozen.
    """

    def __init__(self, name: str, region: str, *, timeout: float, purpose: str) -> None:
        self.name = name
        self._client = boto3.client(
            "dynamodb",
            region_name=region,
            config=Config(
                connect_timeout=timeout,
                read_timeout=timeout,
                max_pool_connections=THREADS,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            ),
        )
        self._threads = ThreadPoolExecutor(THREADS, "dynamodb")
        self._patience = PATIENCE * timeout
        self._availability = Availability("DynamoDB", purpose, logger)

    async def run(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Return the answer to one of boto3's operations on the table.

        Raise ConditionFailed if the operation's condition does not hold. Raise StoreUnavailable if it fails otherwise:
        it is unknown whether it was done.
        """
        request = partial(getattr(self._client, operation), TableName=self.name, **arguments)
        try:
            async with asyncio.timeout(self._patience):
                answer: dict[str, Any] = await asyncio.get_running_loop().run_in_executor(self._threads, request)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise self._availability.failed(error) from error
            self._availability.answered()
            raise ConditionFailed(error.response.get("Item", {})) from None
        except (BotoCoreError, TimeoutError) as error:
            raise self._availability.failed(error) from error
        self._availability.answered()
        return answer

    async def query(self, partition: str, **arguments: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield the pages of the items in `partition` that have not expired, in the order of the sort key.

        `arguments`: further arguments of boto3's query. Raise StoreUnavailable if the table does not answer.
        """
        arguments |= {
            "ConsistentRead": True,  # a process must read what another one has just written
            "KeyConditionExpression": "#partition = :partition",
            "FilterExpression": "#expiry > :now",  # DynamoDB removes expired items up to two days later
            "ExpressionAttributeNames": {"#partition": PARTITION, "#expiry": EXPIRY},
            "ExpressionAttributeValues": {":partition": {"S": partition}, ":now": {"N": repr(time.time())}},
        }
        while True:
            page = await self.run("query", **arguments)
            yield page
            if "LastEvaluatedKey" not in page:
                return
            arguments["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    async def close(self) -> None:
        """Release the threads and connections. Requests that are under way end by themselves."""
        self._threads.shutdown(wait=False)
        self._client.close()


async def together(requests: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Send requests at the same time; return their results when all have ended. Raise the first error among them."""
    results = await asyncio.gather(*requests, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


async def rehearse(table: Table) -> None:
    """Put, change, find and delete an item of nobody. Raise StoreUnavailable if any of it fails."""
    own = key("probe", uuid4().hex)
    await table.run("put_item", Item=own | expiry(60))
    await table.run(
        "update_item",
        Key=own,
        UpdateExpression="SET #expiry = :expiry",
        ExpressionAttributeNames={"#expiry": EXPIRY},
        ExpressionAttributeValues={":expiry": expiry(60)[EXPIRY]},
    )
    found = [item async for page in table.query("probe") for item in page["Items"]]
    await table.run("delete_item", Key=own)
    if not any(own.items() <= item.items() for item in found):
        raise StoreUnavailable("DynamoDB: the stored item was not found")


def key(partition: str, sort: str) -> Item:
    """Return the primary key of an item."""
    return {PARTITION: {"S": partition}, SORT: {"S": sort}}


def expiry(ttl: float) -> Item:
    """Return the attribute that lets an item expire in `ttl` seconds.

    Its value is in whole seconds since 1970, by this machine's clock.
    """
    return {EXPIRY: {"N": str(math.ceil(time.time() + ttl))}}


def expired(item: Item) -> bool:
    """Return whether `item` has expired, and only waits for DynamoDB to remove it."""
    return int(item[EXPIRY]["N"]) <= time.time()
