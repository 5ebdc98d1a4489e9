"""A hall: visitors and staff who all come from one address, under the product's default limits."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from websockets.exceptions import WebSocketException

from tests.support.aws_deployment import AwsDeployment
from tests.support.connections import QUICK, Connection, connect, new_id
from tests.support.deployments import FOR_TESTS, Deployment, Kubernetes, ProductionPod
from tests.support.known_faults import known_fault
from tests.support.redis_services import Redis

VISITORS = 60


@pytest.fixture(params=["kubernetes", "aws"])
def production(request: pytest.FixtureRequest) -> Iterator[Deployment]:
    with {"kubernetes": pods, "aws": function}[request.param](request) as deployment:
        yield deployment


@contextlib.contextmanager
def pods(request: pytest.FixtureRequest) -> Iterator[Deployment]:
    kubernetes: Kubernetes = request.getfixturevalue("kubernetes")
    redis: Redis = request.getfixturevalue("redis_server")
    with kubernetes.deployed(redis.url, make=ProductionPod) as deployment:
        yield deployment


@contextlib.contextmanager
def function(request: pytest.FixtureRequest) -> Iterator[Deployment]:
    deployment: AwsDeployment = request.getfixturevalue("aws_deployment")
    environment = deployment.environment
    deployment.set_environment({name: environment[name] for name in environment.keys() - FOR_TESTS.keys()})
    deployment.invoke({"manage": "check"})  # a process with the new environment has started
    try:
        yield deployment
    finally:
        deployment.configure(**FOR_TESTS)


class Hall:
    """People who stay connected until all of them have their answers."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> "Hall":
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    async def visitor_taps(self, number: int) -> str:
        """Return `ack`, or the error code or exception with which the visitor was refused."""
        try:
            page = await self._enters(number)
            await page.identify()
            (quick,) = QUICK
            answer = await page.request("sendMessage", id=new_id(), content=quick["content"], quick=quick["key"])
            return str(answer.get("code", answer["type"]))
        except (AssertionError, WebSocketException) as refusal:
            return repr(refusal)

    async def staff_see(self, username: str) -> str:
        """Return `identified`, or the exception with which the staff member was refused."""
        try:
            page = await self._enters(0)
            token = await self._deployment.admin_token(username)
            return str((await page.identify("admin", token=token))["type"])
        except (AssertionError, WebSocketException) as refusal:
            return repr(refusal)

    async def _enters(self, number: int) -> Connection:
        urls = self._deployment.websocket_urls
        return await self._stack.enter_async_context(connect(urls[number % len(urls)]))


@known_fault("B1")
async def test_nobody_in_a_hall_is_refused(production: Deployment) -> None:
    async with Hall(production) as hall:
        visitors = await asyncio.gather(*map(hall.visitor_taps, range(VISITORS)))
        staff = [await hall.staff_see(name) for name in ("operator", "colleague")]
    assert (visitors, staff) == (["ack"] * VISITORS, ["identified"] * 2)
