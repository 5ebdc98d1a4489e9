"""Redis refuses what servers need, or stops being the primary: every report says so and why, and it heals by itself."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from messaging.backends.redis.store import RedisStore
from tests.support.chaos_proxy import ChaosProxy
from tests.support.connections import admin, visitor
from tests.support.deployments import Deployment, Kubernetes, Pod, ended, probe
from tests.support.paths import ROOT
from tests.support.redis_services import Redis
from tests.support.services import HOST, started
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

RECOVERY_SECONDS = 10
LIMITS = {"RATE_LIMIT_VISITOR": "10000/0.001", "SOCKETS_PER_ADDRESS": "1000"}
BACKENDS = ("connection_store", "limits", "addresses", "channel_layer")

Change = Callable[[Any], object]  # of the server, by a client of it


def access(*rules: str) -> Change:
    """Return a change of the rights of the account that servers use."""
    return lambda client: client.execute_command("ACL", "SETUSER", "default", *rules)


# name: (the fault, its end, the backends that fail, what the reports say of it)
FAULTS: dict[str, tuple[Change, Change, tuple[str, ...], str]] = {
    "memory is full": (
        lambda client: client.config_set("maxmemory", "1"),
        lambda client: client.config_set("maxmemory", "0"),
        ("connection_store", "limits", "addresses"),
        "OutOfMemoryError: command not allowed when used memory > 'maxmemory'",
    ),
    "it is a replica": (
        lambda client: client.replicaof(HOST, "1"),
        lambda client: client.replicaof("NO", "ONE"),
        ("connection_store", "limits", "addresses"),
        "ReadOnlyError: You can't write against a read only replica",
    ),
    "no right to a command": (
        access("-set"),
        access("+set"),
        ("connection_store", "limits"),
        "",  # each backend names another command
    ),
    "no right to any script": (
        access("-eval"),
        access("+eval"),
        ("connection_store", "limits", "addresses"),
        "NoPermissionError: this user has no permissions to run the 'eval' command",
    ),
    "no right to the keys": (
        access("resetkeys", "~other:*"),
        access("allkeys"),
        ("connection_store", "limits", "addresses"),
        "NoPermissionError: this user has no permissions to access one of the keys",
    ),
    "no right to the channels": (
        access("resetchannels"),
        access("allchannels"),
        ("channel_layer",),
        "NoPermissionError: this user has no permissions to access one of the channels",
    ),
}


def says(pod: Pod) -> object:
    return probe(pod, "/ready")[1]["redis"]


async def until_ready_says(state: str, *pods: Pod) -> None:
    async def all_say() -> bool:
        found = await asyncio.gather(*(asyncio.to_thread(says, pod) for pod in pods))
        return set(found) == {state}

    await eventually(all_say, f"Redis is {state}")


def checked(pod: Pod) -> dict[str, dict[str, str]]:
    """Return what `messaging_check --online` prints of each backend."""
    done = ended([sys.executable, "manage.py", "messaging_check", "--online"], pod.environment)
    (report,) = (line for line in done.stdout.splitlines() if line.startswith('{"status"'))  # the others are the log
    online: dict[str, dict[str, str]] = json.loads(report)["online"]
    return online


@pytest.fixture(scope="module")
def pod(kubernetes: Kubernetes) -> Iterator[tuple[Pod, Redis]]:
    redis = Redis()
    with started(redis), kubernetes.deployed(redis.url, LIMITS, pods=1) as deployment:
        yield deployment.servers[0], redis


@pytest.mark.parametrize("name", FAULTS)
async def test_it_is_reported_with_its_reason_and_heals_when_it_is_cured(name: str, pod: tuple[Pod, Redis]) -> None:
    server, redis = pod
    begin, end, failing, why = FAULTS[name]
    await until_ready_says("ok", server)
    before = len(server.log)
    with redis.client() as client:
        begin(client)
        try:
            await until_ready_says("degraded", server)
            online = await asyncio.to_thread(checked, server)
            async with visitor(server.websocket_url) as page:
                await page.say("late, but not lost")
        finally:
            end(client)
        cured = time.monotonic()
    await until_ready_says("ok", server)
    assert time.monotonic() - cured < RECOVERY_SECONDS
    assert {backend for backend in BACKENDS if online[backend]["state"] == "degraded"} == set(failing)
    assert all(why in online[backend]["why"] for backend in failing)
    lines = [json.loads(line) for line in server.log[before:].splitlines()]
    downs = [line for line in lines if " down" in line["message"]]
    assert len(downs) == len(failing)  # one line for each purpose, however long it lasts
    assert all(why in line["error"] for line in downs)


async def test_flushed_scripts_are_no_fault(pod: tuple[Pod, Redis]) -> None:
    server, redis = pod
    await until_ready_says("ok", server)
    before = len(server.log)
    with redis.client() as client:
        client.script_flush()
    assert says(server) == "ok"
    assert " down" not in server.log[before:]


@pytest.fixture
def demotable(kubernetes: Kubernetes) -> Iterator[tuple[Deployment[Pod], ChaosProxy, Redis, Redis]]:
    """Yield two pods, the name by which they know Redis, the primary that it leads to, and the next primary."""
    old, new = Redis(), Redis()
    with (
        started(old, new),
        ChaosProxy([(HOST, old.port)]) as name,
        kubernetes.deployed(f"redis://{HOST}:{name.port}/0", LIMITS) as deployment,
    ):
        yield deployment, name, old, new


async def test_a_primary_that_was_demoted_in_place_is_left_for_the_next_one(
    demotable: tuple[Deployment[Pod], ChaosProxy, Redis, Redis],
) -> None:
    deployment, name, old, new = demotable
    here, there = deployment.websocket_urls
    await until_ready_says("ok", *deployment.servers)
    with old.client() as left, new.client() as taken:
        async with visitor(here) as ada, admin(there, await deployment.admin_token()) as operator:
            left.replicaof(HOST, str(new.port))  # it keeps all its connections
            name.backends = [(HOST, new.port)]
            began = time.monotonic()

            def listeners() -> list[int]:
                return [len(client.client_list(_type="pubsub")) for client in (left, taken)]

            await eventually(listeners, "both pods listen to the next primary alone", until=[0, 2].__eq__)
            await until_ready_says("ok", *deployment.servers)
            assert time.monotonic() - began < RECOVERY_SECONDS
            await ada.say("hello")
            assert (await operator.receive())["content"] == "hello"
        normal = [one for one in left.client_list(_type="normal") if int(one["id"]) != left.client_id()]
        assert normal == []


async def test_a_server_that_knows_no_hello_serves_all_that_is_needed(kubernetes: Kubernetes) -> None:
    """As Redis before version 6, and many proxies."""
    redis = Redis("--rename-command", "HELLO", "")
    with started(redis), kubernetes.deployed(redis.url, LIMITS, pods=1) as deployment:
        (server,) = deployment.servers
        await until_ready_says("ok", server)
        online = await asyncio.to_thread(checked, server)
        assert {backend: online[backend]["state"] for backend in BACKENDS} == dict.fromkeys(BACKENDS, "ok")


@pytest.mark.parametrize(
    ("version", "said"),
    [("4.0.14", "Redis 4.0.14 is too old: it must be 5.0 or newer"), ("5.0.0", ""), ("7.2.4", "")],
)
async def test_the_version_of_the_server_is_checked(version: str, said: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while number := await reader.readline():  # of the words of a command; each follows its length
            for _ in range(2 * int(number[1:])):
                await reader.readline()
            body = f"redis_version:{version}"
            writer.write(f"${len(body)}\r\n{body}\r\n".encode())
        writer.close()

    async with await asyncio.start_server(answer, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = RedisStore(url=f"redis://{HOST}:{port}/0")
        assert await store.outdated() == said
        await store.close()


async def test_a_site_with_a_prefix_needs_no_more_rights_than_the_document_says(kubernetes: Kubernetes) -> None:
    redis, page = Redis(), (ROOT / "docs" / "operations.md").read_text()
    rights = page.partition("ACL SETUSER ")[2].partition("```")[0].split()
    with started(redis), redis.client() as client:
        client.execute_command("ACL SETUSER", *rights)
        url = redis.url.replace("//", "//chat:password@")
        with kubernetes.deployed(url, LIMITS, REDIS_KEY_PREFIX="chat:") as deployment:
            here, there = deployment.websocket_urls
            await until_ready_says("ok", *deployment.servers)
            async with visitor(here) as ada, admin(there, await deployment.admin_token()) as operator:
                await ada.say("hello")
                assert (await operator.receive())["content"] == "hello"
                names = [*client.scan_iter(), *client.pubsub_channels()]
            assert len(names) > 5
            assert [name for name in names if not name.startswith("chat:")] == []
            online = await asyncio.to_thread(checked, deployment.servers[0])
            assert {backend: online[backend]["state"] for backend in BACKENDS} == dict.fromkeys(BACKENDS, "ok")
            assert " down" not in deployment.log
