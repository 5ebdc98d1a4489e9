"""A DynamoDB table as this product uses one: bounded in time and in threads, one error for all that can go wrong."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from messaging.backends.availability import Availability

logger = logging.getLogger(__name__)

T = TypeVar("T")

PARTITION, SORT, EXPIRY = "group", "connection_id", "expires_at"  # the keys, and what the time to live is read from
THREADS = 16
ATTEMPTS = 3  # of one request: throttled, or on a connection that died while the function was frozen
PATIENCE = 4  # time-outs that one request may take with all its attempts, and with the wait for a thread

Item = dict[str, dict[str, str]]  # each value with its type, as DynamoDB has them: {"version": {"N": "2"}}


class ConditionFailed(Exception):
    """The item is not as the request asked for. `item`: as it is, empty where there is none."""

    def __init__(self, item: Item) -> None:
        super().__init__()
        self.item = item


class Table:
    """The credentials, and an endpoint other than the region's (AWS_ENDPOINT_URL), are found as boto3 finds them.

    `timeout`: seconds for a connection, and for an answer. `purpose`: for the log.
    Nothing is kept that a freeze of the process makes wrong.
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
        """The answer to one of boto3's operations on the table.

        Raises ConditionFailed where it had a condition, and StoreUnavailable: unknown whether it was done.
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
        """The pages of what `partition` holds and has not expired, in the order of the sort key.

        `arguments`: further ones of boto3's query. Raises StoreUnavailable.
        """
        arguments |= {
            "ConsistentRead": True,  # what a process has written is what the next one reads
            "KeyConditionExpression": "#partition = :partition",
            "FilterExpression": "#expiry > :now",  # DynamoDB removes what has expired, up to two days later
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
        """Give back what this holds open; requests that are under way end by themselves."""
        self._threads.shutdown(wait=False)
        self._client.close()


async def together(requests: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of requests that travel at the same time, all of them ended. Raises what the first failure raised."""
    results = await asyncio.gather(*requests, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def key(partition: str, sort: str) -> Item:
    """The primary key of an item."""
    return {PARTITION: {"S": partition}, SORT: {"S": sort}}


def expiry(ttl: float) -> Item:
    """The attribute of what may be forgotten in `ttl` seconds: whole seconds since 1970, by this machine's clock."""
    return {EXPIRY: {"N": str(math.ceil(time.time() + ttl))}}


def expired(item: Item) -> bool:
    """Whether it only waits for DynamoDB to remove it."""
    return int(item[EXPIRY]["N"]) <= time.time()
