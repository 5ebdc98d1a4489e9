"""The database's server changes under a pod: writers, readers, pages and probes find the right one by themselves."""

import asyncio
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.support.connections import visitor
from tests.support.deployments import Kubernetes, Pod, fetch, probe
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

RECOVERY_SECONDS = 10  # from the moment at which the right server is back under its name
ENDED = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"


@pytest.fixture
def pod(kubernetes: Kubernetes) -> Iterator[Pod]:
    with kubernetes.pod_with_redis() as (pod, _):
        yield pod


@pytest.fixture
def admin(pod: Pod) -> Iterator[psycopg.Connection]:
    """A connection to another database of the pod's server."""
    url = urlsplit(pod.environment["DATABASE_URL"])
    with psycopg.connect(url._replace(path="/postgres").geturl(), autocommit=True) as admin:
        yield admin


def database(pod: Pod) -> str:
    return urlsplit(pod.environment["DATABASE_URL"]).path[1:]


def ready(pod: Pod) -> object:
    return probe(pod, "/ready")[1]["database"]


async def test_connections_to_a_server_that_became_read_only_are_left(pod: Pod, admin: psycopg.Connection) -> None:
    """As after a failover, while the name still leads to the old primary: every connection made then is read-only."""
    name = database(pod)
    async with visitor(pod.websocket_url) as page:
        await page.say("before")
        admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        admin.execute(ENDED, [name])
        await eventually(lambda: asyncio.to_thread(ready, pod), "it is not ready", until="read-only".__eq__)
        refused = await page.request("sendMessage", id="message-2", content="meanwhile")
        assert refused["code"] == "unavailable"

        admin.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        began = time.monotonic()
        await eventually(lambda: asyncio.to_thread(ready, pod), "it is ready again", until="ok".__eq__)
        await page.say("meanwhile", id="message-2")
        await eventually(lambda: asyncio.to_thread(writes_sessions, pod), "pages write again")
        assert time.monotonic() - began < RECOVERY_SECONDS + 5  # and time for the looks themselves


def writes_sessions(pod: Pod) -> bool:
    status, _, _ = fetch(f"{pod.origin}/user/")
    return status == 200


async def test_a_changed_password_is_noticed_although_old_connections_work(pod: Pod, admin: psycopg.Connection) -> None:
    name = database(pod)
    async with visitor(pod.websocket_url) as page:
        await page.say("before")
        assert ready(pod) == "ok"
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')  # old ones go on, as after a changed password
        try:
            await eventually(lambda: asyncio.to_thread(ready, pod), "it is not ready", until="unavailable".__eq__)
            await page.say("over the old connection")
        finally:
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await eventually(lambda: asyncio.to_thread(ready, pod), "it is ready again", until="ok".__eq__)
