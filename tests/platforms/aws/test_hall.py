"""A hall on AWS: everyone loads the page through the HTTP API, connects and taps, and several processes serve them."""

import asyncio
import contextlib
import re
from collections.abc import Iterator
from urllib.parse import urljoin

import pytest
from websockets.exceptions import WebSocketException

from tests.support.aws_deployment import AwsDeployment
from tests.support.connections import QUICK, admin, connect, new_id
from tests.support.deployments import fetch

VISITORS = 30


@pytest.fixture
def hall(aws_deployment: AwsDeployment) -> Iterator[AwsDeployment]:
    with aws_deployment.with_limits():
        yield aws_deployment


def load_page(origin: str) -> list[int]:
    """Load the visitors' page with the files that it names. Return the statuses that are not 200."""
    status, url, html = fetch(f"{origin}/user/")
    named = re.findall(r'<(?:script|link)[^>]* (?:src|href)="([^"]+)"', html.decode())
    assert status != 200 or len(named) > 1
    return [found for found in (status, *(fetch(urljoin(url, name))[0] for name in named)) if found != 200]


async def arrive(hall: AwsDeployment, everyone_is_in: asyncio.Barrier) -> str:
    """Load the page, connect, and tap. Return `ack`, or what went wrong. Stay until everyone has tapped."""
    outcome = ""
    async with contextlib.AsyncExitStack() as stack:
        try:
            if wrong := await asyncio.to_thread(load_page, hall.servers[0].origin):
                return f"the page was answered with {wrong}"
            page = await stack.enter_async_context(connect(hall.websocket_urls[0]))
            await page.identify()
            assert (await page.request("history", id="first", limit=50))["type"] == "history"
            (quick,) = QUICK
            answer = await page.request("sendMessage", id=new_id(), content=quick["content"], quick=quick["key"])
            outcome = str(answer.get("code", answer["type"]))
        except (AssertionError, OSError, WebSocketException) as refusal:
            outcome = repr(refusal)
        finally:
            await everyone_is_in.wait()
    return outcome


@pytest.mark.slow
async def test_everyone_in_a_hall_gets_the_page_and_taps_served_by_several_processes(
    hall: AwsDeployment,
) -> None:
    hall.forget_conversations()
    url, token = hall.websocket_urls[0], await hall.admin_token()
    async with admin(url, token) as operator:
        everyone_is_in = asyncio.Barrier(VISITORS)
        outcomes = await asyncio.gather(*(arrive(hall, everyone_is_in) for _ in range(VISITORS)))
        assert outcomes == ["ack"] * VISITORS
        taps = [await operator.receive() for _ in range(VISITORS)]
    assert [tap["content"] for tap in taps] == [QUICK[0]["content"]] * VISITORS
    assert len({tap["conversation"] for tap in taps}) == VISITORS
    assert len(hall.database_connections()) >= 2
