"""A database that hangs for one visitor but delays no other visitor on the same server."""

import asyncio

import psycopg
import pytest

from tests.support.connections import Connection, ack, error, new_id, visitor
from tests.support.deployments import Deployment, waiting_for_locks

PINGS = 100
ATTEMPTS = 10  # on a busy machine the server may stop waiting before a ping is answered, which proves nothing


async def test_pings_are_answered_while_the_database_keeps_others_waiting(kubernetes_deployment: Deployment) -> None:
    url = kubernetes_deployment.websocket_urls[0]
    async with visitor(url) as writing, visitor(url) as reading, visitor(url) as pinging:
        for _ in range(ATTEMPTS):
            if await pings_come_first(kubernetes_deployment, writing, reading, pinging):
                return
    pytest.fail("No ping was answered while others waited for the database.")


async def pings_come_first(
    deployment: Deployment, writing: Connection, reading: Connection, pinging: Connection
) -> bool:
    """Send pings until PINGS are answered or another connection has its answer; return whether any ping came first."""
    id, answered = new_id(), 0
    with psycopg.connect(deployment.database) as holder:
        holder.execute("LOCK TABLE messaging_message IN ACCESS EXCLUSIVE MODE")
        await writing.send("sendMessage", content="waits for the lock", id=id)
        await reading.send("history", id="h")
        waiting = [asyncio.create_task(socket.receive()) for socket in (writing, reading)]
        while answered < PINGS and not any(answer.done() for answer in waiting):
            assert await pinging.until_pong() == []
            # There may be more than two, because the pod's own reads of the journal may wait as well.
            if waiting_for_locks(deployment) >= 2 and not any(answer.done() for answer in waiting):
                answered += 1
        # Leaving the block ends the transaction, and with it the lock.
    written, read = await asyncio.gather(*waiting)
    assert written in (ack(id), error("unavailable", id=id, retryAfterMs=1000))
    assert read["type"] == "history" or read == error("unavailable", id="h", retryAfterMs=1000)
    return answered > 0
