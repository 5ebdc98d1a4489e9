"""Frames of one WebSocket that different processes serve at the same time, as behind API Gateway."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg

from tests.support.aws_deployment import AwsDeployment
from tests.support.connections import Connection, connect, new_id, visitor
from tests.support.known_faults import known_fault
from tests.support.waiting import eventually

BLOCKED = """
SELECT client_port FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND backend_type = 'client backend' AND datname = current_database()
"""


@contextlib.asynccontextmanager
async def held_up(deployment: AwsDeployment, page: Connection, action: str, **fields: Any) -> AsyncIterator[None]:
    """Send a frame, and suspend the process that serves it in the middle of a query until the body has ended."""

    def blocked() -> list[int]:
        with psycopg.connect(deployment.database) as session:
            return [port for (port,) in session.execute(BLOCKED)]

    with psycopg.connect(deployment.database) as session:
        session.execute("LOCK TABLE messaging_message, messaging_erasedconversation")
        await page.send(action, **fields)
        await eventually(lambda: blocked() != [], f"{action} is being served", within=60)
        process = deployment.process_at(*blocked())
        process.suspend()
    try:
        yield
    finally:
        process.resume()


async def test_a_frame_that_takes_its_time_delays_no_other(aws_deployment: AwsDeployment) -> None:
    async with visitor(aws_deployment.websocket_urls[0]) as page:
        async with held_up(aws_deployment, page, "history", id="slow"):
            assert await page.until_pong() == []
        assert (await page.receive())["id"] == "slow"


@known_fault("H6")
async def test_a_message_right_behind_identify_is_stored_once_in_its_visitors_conversation(
    aws_deployment: AwsDeployment,
) -> None:
    url, id = aws_deployment.websocket_urls[0], new_id()
    async with visitor(url) as page:
        token, conversation = page.token, page.conversation
    async with connect(url) as page, held_up(aws_deployment, page, "identify", type="user", v=2, token=token):
        await page.send("sendMessage", id=id, content="hello")
        with contextlib.suppress(TimeoutError):  # no answer comes if the message has to wait for `identify`
            await page.receive()
    async with visitor(url, token) as page:  # as a page does that has received no ack
        await page.say("hello", id=id)
    with psycopg.connect(aws_deployment.database) as session:
        rows = session.execute("SELECT conversation_id::text FROM messaging_message WHERE client_id = %s", [id])
        assert [found for (found,) in rows] == [conversation]
