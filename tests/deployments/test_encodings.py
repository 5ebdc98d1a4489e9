"""Databases that cannot store every text: the commands refuse them, and a message that does not fit is not sent."""

import json
import sys
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.support.connections import error, visitor
from tests.support.deployments import Kubernetes, Pod, ended, prepare_database
from tests.support.services import Postgres, started

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "manage.py", "messaging_migrate"]
ENCODINGS = ("SQL_ASCII", "LATIN1")  # SQL_ASCII is what `initdb` makes where LANG is C


@pytest.fixture(params=ENCODINGS, scope="module")
def encoding(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def pod(encoding: str, kubernetes: Kubernetes, postgres: Postgres) -> Iterator[Pod]:
    """Yield a pod whose database has the product's tables, by a migration that did not look at the encoding."""
    with kubernetes.pod_with_redis() as (template, _):
        database = postgres.create_database(f"{encoding.lower()}-{uuid4().hex}", "template0", encoding)
        environment = template.environment | {"DATABASE_URL": database}
        prepare_database(environment)
        own = {name: environment[name] for name in ("DATABASE_URL", "REDIS_URL", "STATIC_ROOT")}
        pod = Pod(**own)
        with started(pod):
            yield pod


def test_the_commands_refuse_the_database_in_one_line(encoding: str, pod: Pod) -> None:
    why = f"its encoding is {encoding}"
    migrated = ended(COMMAND, pod.environment).stdout
    assert migrated.startswith(f"CommandError: database: {why}")
    assert "ENCODING 'UTF8'" in migrated
    checked = ended([*COMMAND[:2], "messaging_check", "--online"], pod.environment).stdout
    report = json.loads(checked.partition("\nCommandError")[0])
    assert report["online"]["database"]["state"] == "failed"
    assert report["online"]["database"]["why"].startswith(why)


async def test_a_message_that_can_not_be_stored_is_refused_for_good_and_the_others_are_stored(pod: Pod) -> None:
    async with visitor(pod.websocket_url) as page:
        await page.say("before")
        refused = await page.request("sendMessage", id="message-2", content="\N{GRINNING FACE} secret")
        assert refused == error("not_storable", id="message-2")
        await page.say("after")
    assert "secret" not in pod.log
