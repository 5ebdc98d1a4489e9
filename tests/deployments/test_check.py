"""`messaging_check` and `messaging_health`: their reports on backends that work and on backends that fail."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command

from tests.support.aws_deployment import AwsDeployment
from tests.support.configurations import AWS, DJANGO, PRODUCTION
from tests.support.deployments import SECRET_KEY, Deployment, Kubernetes, Pod
from tests.support.paths import ROOT
from tests.support.redis_services import Redis
from tests.support.services import HOST, Postgres, free_port

OK = {"database": "ok", "connection_store": "ok", "limits": "ok", "addresses": "ok", "channel_layer": "ok"}


def manage(environment: Mapping[str, str], *arguments: str) -> tuple[int, str, str]:
    """Run `manage.py`; return its exit code, its output and its error output."""
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=dict(environment), capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def checked(environment: Mapping[str, str], *options: str) -> tuple[int, dict[str, Any]]:
    code, output, _ = manage(environment, "messaging_check", *options)
    return code, json.loads(output)


def states(report: Mapping[str, Any]) -> dict[str, str]:
    return {backend: part["state"] for backend, part in report["online"].items()}


@pytest.fixture(scope="module")
def pod(kubernetes: Kubernetes) -> Iterator[tuple[Pod, Redis]]:
    with kubernetes.pod_with_redis() as both:
        yield both


def test_every_backend_is_tried_and_timed(local_deployment: Deployment) -> None:
    code, report = checked(local_deployment.servers[0].environment, "--online")
    assert (code, report["status"], states(report)) == (0, "ok", OK)
    assert all(0 <= part["ms"] < 5_000 for part in report["online"].values())


def test_in_pods_as_well_and_nothing_stays_behind(pod: tuple[Pod, Redis]) -> None:
    server, redis = pod
    code, report = checked(server.environment, "--online")
    assert (code, report["status"], states(report)) == (0, "ok", OK)
    with psycopg.connect(server.environment["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM messaging_conversation").fetchone() == (0,)
    with redis.client() as client:
        assert list(client.scan_iter()) == []


def test_in_a_function_the_table_and_the_management_api_are_tried(aws_deployment: AwsDeployment) -> None:
    said = aws_deployment.manage("messaging_check --online")
    found = re.search(r'"online": (\{.*\})\}', said)
    assert found, said
    assert states({"online": json.loads(found[1])}) == {
        "database": "ok",
        "connection_store": "ok",
        "limits": "ok",
        "addresses": "ok",
        "management_api": "ok",
    }
    assert '{"status": "ready", "database": "ok", "connections": "ok"}' in aws_deployment.manage("messaging_health")


def test_without_redis_messages_are_late_and_none_is_lost(pod: tuple[Pod, Redis]) -> None:
    server, redis = pod
    redis.kill()
    try:
        code, report = checked(server.environment, "--online")
        health = manage(server.environment, "messaging_health", "--here")
    finally:
        redis.start()
    assert (code, report["status"]) == (0, "degraded")
    assert states(report) == dict.fromkeys(OK, "degraded") | {"database": "ok"}
    for backend in OK.keys() - {"database"}:
        # On a busy machine, the limits and the addresses give up before they have tried thrice.
        expected = "ConnectionError: Error 111 connecting to |TimeoutError: no answer within 0.2 s"
        assert re.match(expected, report["online"][backend]["why"])
    assert health[:2] == (0, '{"status": "ready", "database": "ok", "redis": "degraded"}\n')


def test_a_wrong_password_is_told_and_not_repeated(pod: tuple[Pod, Redis]) -> None:
    environment = pod[0].environment | {"REDIS_PASSWORD": "canary"}
    with pod[1].client() as client:  # its connection stays authenticated
        client.config_set("requirepass", "right")
        code, output, error = manage(environment, "messaging_check", "--online")
        client.config_set("requirepass", "")
    assert (code, states(json.loads(output))["connection_store"]) == (0, "degraded")
    assert "canary" not in output + error
    assert "password" in output


@pytest.mark.parametrize(
    ("database", "why"),
    [
        (f"postgres://messaging:canary@{HOST}:{free_port()}/name", "OperationalError: "),
        ("unmigrated", "not migrated: run `python manage.py messaging_migrate`"),
        ("read-only", "ReadOnlySqlTransaction|cannot execute INSERT in a read-only transaction"),
    ],
    ids=["unreachable", "unmigrated", "read-only"],
)
def test_without_a_database_nobody_is_served(
    database: str, why: str, pod: tuple[Pod, Redis], postgres: Postgres, kubernetes: Kubernetes
) -> None:
    if database == "unmigrated":
        database = postgres.create_database("unmigrated")
    if database == "read-only":  # as a standby is
        database = f"{postgres.create_database('standby', 'prepared')}?options=-c%20default_transaction_read_only%3Don"
    environment = pod[0].environment | {"DATABASE_URL": database}
    code, output, error = manage(environment, "messaging_check", "--online")
    part = json.loads(output)["online"]["database"]
    assert (code, part["state"], error) == (1, "failed", "CommandError: failed: database\n")
    assert re.search(why, part["why"]), part
    assert "canary" not in output


def test_what_an_error_of_a_check_says_is_in_the_answer() -> None:
    code, report = checked(PRODUCTION | {"SECRET_KEY": "short", "TRUSTED_PROXY_COUNT": "0"})
    assert (code, report["status"]) == (1, "failed")
    assert [id_of(line) for line in report["checks"]] == ["messaging.E008", "messaging.W003"]


def id_of(check: str) -> str:
    """Return the id that ends the text of a check. Raise AssertionError if there is none."""
    found = re.search(r"\((messaging\.\w+)\)$", check)
    assert found, check
    return found[1]


def test_it_shows_every_variable_and_no_secret() -> None:
    more = {"REDIS_URL": "redis://user:canary@host/0", "DATABASE_URL": "postgres://user:canary@host/name"}
    secrets = more | {"SECRET_KEY": f"canary {SECRET_KEY}", "REDIS_PASSWORD": "canary"}
    old_keys = {"SECRET_KEY_FALLBACKS": f"{'canary' * 10}0123456789,{'canary' * 11}0123456789"}
    pods = {name: value for name, value in PRODUCTION.items() if name != "DEPLOYMENT_MODE"}
    function = {name: value for name, value in AWS.items() if name != "DEPLOYMENT_MODE"}
    shown: dict[str, object] = {}
    for environment in (
        pods | secrets | old_keys | {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
        function | old_keys | {"AWS_LAMBDA_FUNCTION_NAME": "f"},
    ):
        code, report = checked(environment)
        assert code == 0
        shown |= report["configuration"]
        assert "canary" not in json.dumps(report)
    table = (ROOT / "docs" / "configuration.md").read_text()
    assert set(shown) == set(re.findall(r"^\| `([A-Z_]+)`", table, re.MULTILINE)) - DJANGO
    assert (shown["REDIS_URL"], shown["SECRET_KEY"]) == ("redis://user:***@host/0", "***")
    assert shown["SECRET_KEY_FALLBACKS"] == "***"


def test_health_is_what_the_server_says(pod: tuple[Pod, Redis], postgres: Postgres) -> None:
    server, _ = pod
    ready = '{"status": "ready", "database": "ok", "redis": "ok", "draining": false}\n'
    assert manage(server.environment, "messaging_health") == (0, ready, "")
    name = server.environment["DATABASE_URL"].rpartition("/")[2]
    postgres.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608
    try:
        url = f"http://{HOST}:{server.health_port}"
        answers = [manage(server.environment, "messaging_health", *option) for option in (("--url", url), ("--here",))]
    finally:
        postgres.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    for code, output, error in answers:
        assert (code, error) == (1, "CommandError: not ready\n")
        assert json.loads(output)["database"] == "unavailable"


def test_health_says_that_nobody_answers(pod: tuple[Pod, Redis]) -> None:
    nowhere, other = f"http://{HOST}:{free_port()}", pod[0].origin
    for url, said in (
        (nowhere, f"no server answers on {nowhere}: .*Connection refused"),
        (other, f"{other}/ready does not belong to this product: its answer is not JSON"),
        ("ftp://host", "'ftp://host' must be a URL such as http://127.0.0.1:8081"),
    ):
        with pytest.raises(CommandError, match=said):
            call_command("messaging_health", url=url)
