"""A backup that is restored under running servers and open pages, by the commands of docs/operations.md."""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tests.support.deployments import Deployment, Kubernetes, Pod, output
from tests.support.redis_services import Redis
from tests.support.services import program, started
from tests.support.traffic import Witness
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 30
STORED = "SELECT content FROM messaging_message ORDER BY seq"
LOST, NEW = 3, 8  # messages after the backup, and after the restore: more, so that numbers are used again


@pytest.fixture
def redis() -> Iterator[Redis]:
    redis = Redis()
    with started(redis):
        yield redis


@pytest.fixture
def deployment(kubernetes: Kubernetes, redis: Redis) -> Iterator[Deployment[Pod]]:
    with kubernetes.deployed(redis.url) as deployment:
        yield deployment


@pytest.fixture
async def people(deployment: Deployment[Pod]) -> AsyncIterator[tuple[Witness, Witness, Witness]]:
    """Yield a visitor on each server, and a staff member on the second one. None of them sends pings."""
    here, there = deployment.websocket_urls
    join = partial(Witness, proxy=None, heartbeat=600.0, first_delay=0.02, longest_delay=0.5)
    async with join(here) as ada, join(there) as bob, join(there, mint=deployment.admin_credentials) as operator:
        await eventually(lambda: ada.ready and bob.ready and operator.ready, "all are connected")
        yield ada, bob, operator


def back_up(database: str, file: Path) -> None:
    output([program("pg_dump"), "--format=custom", f"--file={file}", database], {})


def restore(database: str, file: Path) -> None:
    """Restore `file` into a new database, and give it the name of `database`, whose clients are sent away."""
    server, _, name = database.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as operator:
        operator.execute(f'CREATE DATABASE "{name}-restored" TEMPLATE template0')
        output([program("pg_restore"), "--no-owner", f"--dbname={database}-restored", str(file)], {})
        operator.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        operator.execute(f'ALTER DATABASE "{name}" RENAME TO "{name}-replaced"')
        operator.execute(f'ALTER DATABASE "{name}-restored" RENAME TO "{name}"')


def stored(database: str) -> list[str]:
    with psycopg.connect(database) as connection:
        return [content for (content,) in connection.execute(STORED)]


async def test_pages_show_what_the_backup_has_and_every_new_message_once(
    deployment: Deployment[Pod], people: tuple[Witness, Witness, Witness], redis: Redis, tmp_path: Path
) -> None:
    ada, bob, operator = people
    file = tmp_path / "backup"

    async def shows(contents: list[str]) -> None:
        await eventually(lambda: operator.contents, "staff see all", PATIENCE_SECONDS, until=contents.__eq__)

    await ada.say("kept 1")
    await ada.settled()
    await bob.say("kept 2")
    await shows(["kept 1", "kept 2"])
    back_up(deployment.database, file)
    for number in range(LOST):
        await ada.say(f"lost {number}")
    await shows(["kept 1", "kept 2", *(f"lost {number}" for number in range(LOST))])

    restore(deployment.database, file)
    await eventually(lambda: ada.resets and operator.resets, "who saw what is lost begins anew", PATIENCE_SECONDS)
    await shows(["kept 1", "kept 2"])

    redis.kill()  # hints are lost
    for number in range(NEW):
        await ada.say(f"new {number}")
    await bob.say("new, too")
    await ada.settled()
    await bob.settled()
    expected = stored(deployment.database)
    assert sorted(expected) == sorted(["kept 1", "kept 2", *(f"new {number}" for number in range(NEW)), "new, too"])
    await shows(expected)
    assert ada.contents == ["kept 1", *(f"new {number}" for number in range(NEW))]
    assert bob.contents == ["kept 2", "new, too"]
    assert [person.resets for person in people] == [1, 0, 1]
