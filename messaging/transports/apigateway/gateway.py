"""The management API of an API Gateway, which posts frames to WebSockets that the gateway holds, and closes them."""

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

CONCURRENCY = 32  # concurrent posts of one fan-out
THREADS = CONCURRENCY + 1  # one stays free for the sender's own answers, even if all other posts hang
CONNECT_SECONDS = 2.0
ATTEMPTS = 3
GONE = frozenset({400, 410})  # 400: not the id of a connection
PASSING = frozenset({429, 500, 502, 503, 504})

POSTED = "posted"
NOBODY = "gone"
LEFT = "left"  # not tried or not finished, because the time was over

SecondsLeft = Callable[[], float]


class Gateway:
    """The management API's client, one per process.

    The outcome of each request is POSTED, NOBODY, LEFT, or the name of the error with which it ended. A request that
    gets no answer is not tried again: it has cost one time-out, and may have arrived.

    `endpoint`: `https://{api}.execute-api.{region}.amazonaws.com/{stage}`. `read_seconds`: the time-out.
    `backoff_seconds`: the longest wait before the second attempt; it doubles with each further attempt.
    """

    def __init__(self, endpoint: str, region: str, *, read_seconds: float = 5.0, backoff_seconds: float = 0.1) -> None:
        self._backoff_seconds = backoff_seconds
        self._client = boto3.client(
            "apigatewaymanagementapi",
            endpoint_url=endpoint,
            region_name=region,
            config=Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=read_seconds,
                max_pool_connections=THREADS,
                retries={"mode": "standard", "total_max_attempts": 1},
            ),
        )
        self._threads = ThreadPoolExecutor(THREADS, "management")

    async def post(self, connection: str, text: str, seconds_left: SecondsLeft) -> str:
        data = text.encode()
        return await self._request(
            lambda: self._client.post_to_connection(ConnectionId=connection, Data=data), seconds_left
        )

    async def close_connection(self, connection: str, seconds_left: SecondsLeft) -> str:
        return await self._request(lambda: self._client.delete_connection(ConnectionId=connection), seconds_left)

    async def close(self) -> None:
        """Close the client's connections and threads."""
        self._threads.shutdown(wait=False)
        self._client.close()

    async def _request(self, request: Callable[[], Any], seconds_left: SecondsLeft) -> str:
        outcome = LEFT
        for attempt in range(ATTEMPTS):
            if attempt:
                wait = random.uniform(0, self._backoff_seconds * 2 ** (attempt - 1))  # noqa: S311  not a secret
                await asyncio.sleep(min(wait, max(seconds_left(), 0)))
            if seconds_left() <= 0:
                return LEFT
            outcome, again = await self._attempt(request, seconds_left())
            if not again:
                break
        return outcome

    async def _attempt(self, request: Callable[[], Any], seconds: float) -> tuple[str, bool]:
        """Return the outcome of one attempt, and whether another one may succeed."""
        try:
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().run_in_executor(self._threads, request)
        except TimeoutError:
            return LEFT, False
        except ClientError as error:
            # By status, not by the error's class: some emulations do not send the body that determines the class.
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status in GONE:
                return NOBODY, False
            return error.response["Error"]["Code"], status in PASSING
        except BotoCoreError as error:
            return type(error).__name__, not isinstance(error, ConnectTimeoutError | ReadTimeoutError)
        return POSTED, False
