"""The database's server or password changes under a pod: writers, readers, pages and probes notice it by themselves."""

import asyncio
import signal
import time
from collections.abc import Iterator, Sequence

import psycopg
import pytest

from tests.support.chaos_proxy import ChaosProxy
from tests.support.connections import visitor
from tests.support.deployments import Deployment, Kubernetes, Pod, fetch, probe
from tests.support.redis_services import Redis
from tests.support.services import HOST, Postgres, program, started
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

RECOVERY_SECONDS = 10  # from the moment at which the name leads to the right server
NOTICE_SECONDS = 15  # until `/ready` tells that no new connection can be opened
CONTENTS = "SELECT content FROM messaging_message ORDER BY seq"


class Standby(Postgres):
    """A streaming replica of `primary`, until it is promoted."""

    def __init__(self, primary: Postgres) -> None:
        super().__init__()
        self._primary = primary

    def data_command(self) -> Sequence[str]:
        source = f"--dbname=host={HOST} port={self._primary.port} user=messaging"
        options = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        return [program("pg_basebackup"), source, "--pgdata", str(self.data), *options]


@pytest.fixture(scope="module")
def primary() -> Iterator[Postgres]:
    primary = Postgres()
    with started(primary):
        yield primary


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    redis = Redis()
    with started(redis):
        yield redis


@pytest.fixture(scope="module")
def kubernetes(primary: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Kubernetes:
    return Kubernetes(primary, tmp_path_factory.mktemp("static"))


def ready(pod: Pod) -> object:
    return probe(pod, "/ready")[1]["database"]


async def becomes(pod: Pod, state: str, within: float) -> None:
    await eventually(lambda: asyncio.to_thread(ready, pod), f"it is {state}", within, until=state.__eq__)


def contents(database: str) -> list[str]:
    with psycopg.connect(database) as connection:
        return [content for (content,) in connection.execute(CONTENTS)]


async def test_a_changed_password_is_noticed_although_old_connections_work(
    kubernetes: Kubernetes, primary: Postgres, redis: Redis
) -> None:
    primary.execute("CREATE ROLE rotated LOGIN SUPERUSER PASSWORD 'old'")
    rules = primary.data / "pg_hba.conf"
    rules.write_text(f"host all rotated {HOST}/32 scram-sha-256\n{rules.read_text()}")
    primary.execute("SELECT pg_reload_conf()")

    def make(**environment: str) -> Pod:
        reached = environment["DATABASE_URL"].replace("messaging@", "rotated:old@")
        return Pod(**environment | {"DATABASE_URL": reached})

    with kubernetes.deployed(redis.url, pods=1, make=make) as deployment:
        (pod,) = deployment.servers
        async with visitor(pod.websocket_url) as page:
            await page.say("before")
            assert ready(pod) == "ok"
            primary.execute("ALTER ROLE rotated PASSWORD 'new'")
            await becomes(pod, "unavailable", NOTICE_SECONDS)
            await page.say("over the old connection")
            primary.execute("ALTER ROLE rotated PASSWORD 'old'")
            await becomes(pod, "ok", NOTICE_SECONDS)


async def test_servers_follow_the_name_to_a_promoted_standby_past_the_old_read_only_primary(
    kubernetes: Kubernetes, primary: Postgres, redis: Redis
) -> None:
    standby = Standby(primary)
    with ChaosProxy([(HOST, primary.port)]) as name, started(standby):

        def make(**environment: str) -> Pod:
            reached = environment["DATABASE_URL"].replace(f":{primary.port}/", f":{name.port}/")
            return Pod(**environment | {"DATABASE_URL": reached})

        with kubernetes.deployed(redis.url, make=make) as deployment:
            await fail_over(deployment, name, primary, standby)


async def fail_over(deployment: Deployment[Pod], name: ChaosProxy, primary: Postgres, standby: Standby) -> None:
    here, there = deployment.servers
    new = deployment.database.replace(f":{primary.port}/", f":{standby.port}/")
    async with visitor(here.websocket_url) as writer, visitor(there.websocket_url) as reader:
        await writer.say("before")
        await eventually(lambda: contents(new), "the standby has it", until=["before"].__eq__)

        primary.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        primary.end(signal.SIGQUIT)  # without a checkpoint, as in a crash
        primary.start()
        standby.execute("SELECT pg_promote()")
        await eventually(lambda: asyncio.gather(*(becomes(pod, "read-only", 20) for pod in deployment.servers)), "told")
        refused = await writer.request("sendMessage", id="message-2", content="after")
        assert refused["code"] == "unavailable"

        name.backends = [(HOST, standby.port)]
        began = time.monotonic()
        await asyncio.gather(*(becomes(pod, "ok", RECOVERY_SECONDS) for pod in deployment.servers))
        await writer.say("after", id="message-2")
        await reader.say("and on the other server")
        for pod in deployment.servers:
            assert await asyncio.to_thread(fetch, f"{pod.origin}/user/")
            await asyncio.to_thread(deployment.session("operator").token)
        history = await eventually(lambda: writer.request("history", id="h"), "readers follow", until=is_whole)
        assert time.monotonic() - began < RECOVERY_SECONDS
    assert [message["content"] for message in history["messages"]] == ["before", "after"]
    assert contents(new) == ["before", "after", "and on the other server"]


def is_whole(answer: dict[str, list[object]]) -> bool:
    return len(answer.get("messages", ())) == 2  # `unavailable` may be the answer until then
