"""A hall: visitors and staff who all come from one address, under the product's default limits."""

import asyncio
import contextlib
from collections.abc import Iterator
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed, WebSocketException

from messaging.client.frames import identify
from messaging.client.socket import connect as open_socket
from tests.support.aws_deployment import AwsDeployment
from tests.support.connections import QUICK, Connection, Frame, connect, new_id
from tests.support.deployments import Deployment, Kubernetes, ProductionPod
from tests.support.redis_services import Redis

VISITORS = 60
FEW = 12
THOUSAND = 1_000


@pytest.fixture
def limits() -> dict[str, str]:
    return {}


@pytest.fixture(params=["kubernetes", "aws"])
def production(request: pytest.FixtureRequest, limits: dict[str, str]) -> Iterator[Deployment]:
    with {"kubernetes": pods, "aws": function}[request.param](request, limits) as deployment:
        yield deployment


@contextlib.contextmanager
def pods(request: pytest.FixtureRequest, limits: dict[str, str]) -> Iterator[Deployment]:
    kubernetes: Kubernetes = request.getfixturevalue("kubernetes")
    redis: Redis = request.getfixturevalue("redis_server")
    own = {"REDIS_KEY_PREFIX": f"{uuid4().hex}:"}  # what other tests have spent of the address' budget
    with kubernetes.deployed(redis.url, own | limits, make=ProductionPod) as deployment:
        yield deployment


@contextlib.contextmanager
def function(request: pytest.FixtureRequest, limits: dict[str, str]) -> Iterator[Deployment]:
    deployment: AwsDeployment = request.getfixturevalue("aws_deployment")
    with deployment.with_limits(**limits):
        yield deployment


class Hall:
    """People who stay connected until all of them have their answers."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._stack = contextlib.AsyncExitStack()
        self.tokens: dict[int, str] = {}  # of the visitors, by their number

    async def __aenter__(self) -> "Hall":
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.all_leave()

    async def all_leave(self) -> None:
        await self._stack.aclose()

    async def visitor_taps(self, number: int) -> str:
        """Return `ack`, or the error code or exception with which the visitor was refused."""
        try:
            page = await self._enters(number)
            await page.identify(token=self.tokens.get(number))
            self.tokens[number] = page.token
            (quick,) = QUICK
            answer = await page.request("sendMessage", id=new_id(), content=quick["content"], quick=quick["key"])
            return str(answer.get("code", answer["type"]))
        except (AssertionError, WebSocketException) as refusal:
            return repr(refusal)

    async def staff_see(self, username: str) -> str:
        """Return `identified`, or the exception with which the staff member was refused."""
        try:
            token, with_pass = await self._deployment.admin_credentials(username)
            page = await self._enters(0, with_pass)
            return str((await page.identify("admin", token=token))["type"])
        except (AssertionError, WebSocketException) as refusal:
            return repr(refusal)

    async def is_told(self) -> Frame:
        """Return the first frame that a visitor gets who sends `identify`, without its times."""
        async with open_socket(self._deployment.websocket_urls[0], proxy=None) as socket:
            with contextlib.suppress(ConnectionClosed):  # a server refuses at once, a gateway with the first frame
                await socket.send(identify("user", id="i"))
            answer = await socket.receive()
        return {name: answer.get(name) for name in ("type", "code", "scope")}

    async def _enters(self, number: int, with_pass: str = "") -> Connection:
        urls = self._deployment.websocket_urls
        opening = connect(urls[number % len(urls)], with_pass=with_pass)
        return await self._stack.enter_async_context(opening)


async def test_nobody_in_a_hall_is_refused(production: Deployment) -> None:
    async with Hall(production) as hall:
        visitors = await asyncio.gather(*map(hall.visitor_taps, range(VISITORS)))
        staff = [await hall.staff_see(name) for name in ("operator", "colleague")]
    assert (visitors, staff) == (["ack"] * VISITORS, ["identified"] * 2)


@pytest.mark.parametrize(
    ("limits", "scope"),
    [
        ({"SOCKETS_PER_ADDRESS": str(FEW)}, "connections"),
        # Enough for the few who are here, and no more comes back during the test.
        ({"RATE_LIMIT_ADDRESS": "700/1000"}, "address"),
    ],
    ids=["connections", "address"],
)
async def test_staff_are_served_beside_visitors_whom_a_limit_refuses(
    production: Deployment, limits: dict[str, str], scope: str
) -> None:
    async with Hall(production) as hall:
        await asyncio.gather(*map(hall.visitor_taps, range(FEW)))
        told: Frame = {}
        while told.get("type") != "error":
            told = await hall.is_told()
        assert told == {"type": "error", "code": "rate_limited", "scope": scope}
        assert [await hall.staff_see(name) for name in ("operator", "colleague")] == ["identified"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("production", ["kubernetes"], indirect=True)
async def test_a_thousand_people_connect_and_tap_come_back_at_once_and_tap_again(production: Deployment) -> None:
    async with Hall(production) as hall:
        for _ in range(2):
            assert await asyncio.gather(*map(hall.visitor_taps, range(THOUSAND))) == ["ack"] * THOUSAND
            await hall.all_leave()
