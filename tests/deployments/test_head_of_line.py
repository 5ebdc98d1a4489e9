"""A database that hangs for one visitor delays nobody else on the same server."""

import asyncio

import psycopg

from tests.support.connections import ack, visitor
from tests.support.deployments import Deployment, waiting_for_locks
from tests.support.waiting import eventually

PINGS = 100


async def test_pings_are_answered_while_the_database_keeps_others_waiting(kubernetes_deployment: Deployment) -> None:
    url = kubernetes_deployment.websocket_urls[0]
    async with visitor(url) as writing, visitor(url) as reading, visitor(url) as pinging:
        with psycopg.connect(kubernetes_deployment.database) as holder:
            holder.execute("LOCK TABLE messaging_message IN ACCESS EXCLUSIVE MODE")
            await writing.send("sendMessage", content="waits for the lock", id="message-1")
            await reading.send("history", id="h")
            waiting = [asyncio.create_task(socket.receive()) for socket in (writing, reading)]
            # Its own looks into the log make a pod wait as well.
            await eventually(lambda: waiting_for_locks(kubernetes_deployment) >= 2, "both wait for the database")

            for number in range(PINGS):
                assert (await pinging.request("ping", id=f"p-{number}"))["id"] == f"p-{number}"
            assert [answer.done() for answer in waiting] == [False, False]
            # Leaving the block ends the transaction, and with it the lock.
        assert await waiting[0] == ack("message-1")
        assert (await waiting[1])["type"] == "history"
