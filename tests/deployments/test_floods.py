"""Floods from one address, on real servers: counts of what is served stay bounded, and a second hall goes on.

The limits are a small part of the product's own, by the same weights: a flood uses them up in seconds.
"""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request
from uuid import uuid4

import psycopg
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus

from messaging.client.frames import Frame, decode, encode, identify, new_id, send_message
from messaging.protocol import frames
from messaging.protocol.codes import RULES, ErrorCode
from messaging.service.throttle import WEIGHTS
from tests.support.aws_deployment import AwsDeployment
from tests.support.connections import ack
from tests.support.deployments import Deployment, Kubernetes, Pod, ProductionPod, opener
from tests.support.metrics import value
from tests.support.redis_services import Redis
from tests.support.waiting import SOON

ADDRESS, ELSEWHERE = "198.51.100.7", "203.0.113.9"  # as the proxy in front reports them
BUDGET, CONVERSATIONS = 3_000, 10
SLOW = 1_000.0  # seconds until one more unit, so that nothing comes back during a test
SOCKETS = 9
REFUSALS = RULES[ErrorCode.RATE_LIMITED].after  # of one connection, until it is closed
LIMITS = {
    "RATE_LIMIT_ADDRESS": f"{BUDGET}/{SLOW:g}",
    "RATE_LIMIT_CONVERSATIONS": f"{CONVERSATIONS}/{SLOW:g}",
    "TRUSTED_PROXY_COUNT": "1",
}
ENTRY = WEIGHTS["handshake"] + WEIGHTS[frames.Identify]

Make = Callable[[], Frame]


@pytest.fixture
def site(kubernetes: Kubernetes, redis_server: Redis) -> Iterator[Deployment[Pod]]:
    own = {"REDIS_KEY_PREFIX": f"{uuid4().hex}:"}
    with kubernetes.deployed(redis_server.url, LIMITS | own, make=ProductionPod) as deployment:
        yield deployment


def opened(site: Deployment[Any], number: int, address: str = ADDRESS) -> websocket:
    url = site.websocket_urls[number % len(site.websocket_urls)]
    header = "X-Client-Address-For-Tests" if site.gateway else "X-Forwarded-For"
    return websocket(url, proxy=None, additional_headers={header: address}, open_timeout=SOON)


async def answers(socket: ClientConnection) -> Counter[str]:
    """Return how many frames of each type, or errors of each scope, come until the connection ends."""
    found: Counter[str] = Counter()
    with contextlib.suppress(ConnectionClosed):
        while True:
            frame = decode(await socket.recv())
            if not frame.get("partial"):
                found[str(frame.get("scope") or frame["type"])] += 1
    return found


async def flood(socket: ClientConnection, make: Make) -> Counter[str]:
    """Send frames as fast as the server takes them, until it ends the connection. Return its answers."""
    reading = asyncio.create_task(answers(socket))
    with contextlib.suppress(ConnectionClosed):
        while not reading.done():
            await socket.send(encode(make()))
            await asyncio.sleep(0)  # it reads as well: a client that does not is closed for another reason
    return await reading


async def second_hall(site: Deployment[Any]) -> list[Frame]:
    """Return the answers to a message of each of a few people at another address."""

    async def taps(number: int) -> Frame:
        async with opened(site, number, ELSEWHERE) as socket:
            for frame in (identify("user", id="i"), send_message("we are here too", id="message-1")):
                await socket.send(encode(frame))
                while (answer := decode(await socket.recv())).get("id") != frame["id"]:
                    pass
            return answer

    return list(await asyncio.gather(*map(taps, range(4))))


def spent(found: Counter[str]) -> int:
    """Return what the served frames of a flood have cost at least."""
    costs = {
        "connection": WEIGHTS["handshake"],
        "identified": WEIGHTS[frames.Identify],
        "ack": WEIGHTS[frames.SendMessage],
        "history": WEIGHTS[frames.History],
        "pong": WEIGHTS[frames.Ping],
    }
    return sum(costs.get(kind, 0) * number for kind, number in found.items())


FLOODS: dict[str, Make] = {
    "ping": lambda: {"action": "ping"},
    "history": lambda: {"action": "history", "id": "h", "limit": 100},
    "identify": lambda: identify("user", id="i"),
    "sendMessage": lambda: {"action": "sendMessage", "id": new_id(), "content": "spam"},
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_nine_sockets_get_what_the_budget_of_their_address_allows_and_a_second_hall_goes_on(
    kind: str, site: Deployment[Pod]
) -> None:
    async def attack(number: int) -> Counter[str]:
        async with opened(site, number) as socket:
            await socket.send(encode(identify("user", id="i")))
            return await flood(socket, FLOODS[kind])

    found: Counter[str] = Counter()
    attacking = asyncio.gather(*map(attack, range(SOCKETS)))
    assert await second_hall(site) == [ack("message-1")] * 4
    for counts in await attacking:
        found += counts
    assert SOCKETS * ENTRY < spent(found) <= BUDGET
    if kind != "sendMessage":  # a visitor may write less than an address
        assert spent(found) > BUDGET / 2
        assert found["address"] + found["connection"] > 0
    assert await second_hall(site) == [ack("message-1")] * 4


async def test_a_function_serves_what_the_budget_of_an_address_allows_and_a_second_hall_goes_on(
    aws_deployment: AwsDeployment,
) -> None:
    """Each of its frames is paid for, so the connection is closed soon after the budget is spent."""

    async def attack(number: int) -> Counter[str]:
        found: Counter[str] = Counter()
        async with opened(aws_deployment, number) as socket:
            with contextlib.suppress(ConnectionClosed):
                await socket.send(encode(identify("user", id="i")))
                while True:
                    frame = decode(await socket.recv())
                    found[str(frame.get("scope") or frame["type"])] += 1
                    if "id" in frame:
                        await socket.send(encode(FLOODS["history"]()))
        return found

    allowed = SOCKETS * ENTRY + 20 * WEIGHTS[frames.History]
    with aws_deployment.with_limits(RATE_LIMIT_ADDRESS=f"{allowed}/{SLOW:g}"):
        attacking = asyncio.gather(*map(attack, range(SOCKETS)))
        assert await second_hall(aws_deployment) == [ack("message-1")] * 4
        found = sum(await attacking, Counter[str]())
        assert await second_hall(aws_deployment) == [ack("message-1")] * 4
    assert SOCKETS * ENTRY < spent(found) <= allowed
    assert found["history"] > 5
    assert found["address"] <= SOCKETS * REFUSALS


async def test_a_flood_of_handshakes_is_refused_when_the_budget_is_spent(site: Deployment[Pod]) -> None:
    found: Counter[str] = Counter()

    async def attack(number: int) -> None:
        try:
            async with opened(site, number) as socket:
                frame = decode(await socket.recv())
                found[str(frame.get("scope") or frame["type"])] += 1
        except InvalidStatus as refused:
            found[str(refused.response.status_code)] += 1

    for first in range(0, 600, 20):
        await asyncio.gather(*map(attack, range(first, first + 20)))
    served = found.pop("connection")
    assert BUDGET / 2 < served * WEIGHTS["handshake"] <= BUDGET
    assert found == {"address": 600 - served}
    counted = sum(value(pod, "messaging_limit_refusals_total", "address") for pod in site.servers)
    assert counted == 600 - served
    assert await second_hall(site) == [ack("message-1")] * 4


def rows(site: Deployment[Pod]) -> int:
    with psycopg.connect(site.database) as session:
        found = session.execute("SELECT count(*) FROM messaging_conversation").fetchone()
    assert found is not None
    return int(found[0])


async def begin_by_socket(site: Deployment[Pod], number: int) -> str:
    async with opened(site, number) as socket:
        await socket.send(encode(identify("user", id="i")))
        await socket.send(encode({"action": "sendMessage", "id": "message-1", "content": "hello"}))
        while (frame := decode(await socket.recv())).get("id") != "message-1":
            pass
        return str(frame.get("scope") or frame["type"])


async def begin_by_form(site: Deployment[Pod], number: int) -> str:
    server = site.servers[number % len(site.servers)]

    def post() -> str:
        browser = opener()
        visit = Request(f"{server.origin}/user/", headers={"X-Forwarded-For": ADDRESS})  # noqa: S310  always http
        with browser.open(visit, timeout=SOON) as answer:
            cookie = answer.headers["Set-Cookie"].partition(";")[0]
        form = {"content": "hello", "id": new_id(), "csrfmiddlewaretoken": cookie.partition("=")[2]}
        headers = {"X-Forwarded-For": ADDRESS, "Cookie": cookie, "Origin": server.origin}
        request = Request(f"{server.origin}/user/send/", urlencode(form).encode(), headers)  # noqa: S310  always http
        try:
            with browser.open(request, timeout=SOON):
                return "ack"
        except HTTPError as refused:
            page = refused.read().decode()
            return "conversations" if "Many people are writing from this network." in page else page

    return await asyncio.to_thread(post)


Begin = Callable[[Deployment[Pod], int], Awaitable[str]]


@pytest.mark.parametrize("begin", [begin_by_socket, begin_by_form], ids=["sockets", "forms"])
async def test_an_address_begins_so_many_conversations_and_no_more(begin: Begin, site: Deployment[Pod]) -> None:
    found = Counter([await begin(site, number) for number in range(CONVERSATIONS + 6)])
    assert found == {"ack": CONVERSATIONS, "conversations": 6}
    assert rows(site) == CONVERSATIONS
    assert await second_hall(site) == [ack("message-1")] * 4
    assert rows(site) == CONVERSATIONS + 4


async def test_a_connection_that_goes_on_is_closed(site: Deployment[Pod]) -> None:
    async with opened(site, 0) as socket:
        numbers = itertools.count()
        found = await flood(socket, lambda: {"action": "ping", "id": f"p{next(numbers)}"})
        assert (socket.close_code, found["address"]) == (4029, 20)
