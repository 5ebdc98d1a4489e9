"""`messaging_smoke`: it goes through where the deployment works, and says what does not where it doesn't."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from messaging.tests.deployments import PASSWORD, ROOT, Deployment, Kubernetes, Pod
from messaging.tests.kustomize import manifests
from messaging.tests.nginx import Nginx
from messaging.tests.redis_services import Redis
from messaging.tests.services import HOST, INHERITED, free_port, started

ROLES = {"websocket-service": "websocket", "user-frontend-service": "user", "admin-frontend-service": "admin"}


class Smoke:
    """Runs the command with settings of its own, as on an operator's machine."""

    def __init__(self, directory: Path) -> None:
        inherited = {key: os.environ[key] for key in INHERITED if key in os.environ}
        account = {"SMOKE_USERNAME": "colleague", "SMOKE_PASSWORD": PASSWORD}
        self.environment = inherited | {"DEPLOYMENT_MODE": "local", "VAR_DIR": str(directory)} | account
        self.output = ""

    def __call__(self, url: str, **environment: str) -> int:
        """The exit code."""
        result = subprocess.run(
            [sys.executable, "manage.py", "messaging_smoke", url],
            cwd=ROOT,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.output = result.stdout
        assert PASSWORD not in self.output
        return result.returncode


@pytest.fixture
def smoke(tmp_path: Path) -> Smoke:
    return Smoke(tmp_path)


@pytest.fixture(scope="module")
def services(kubernetes: Kubernetes, redis_server: Redis) -> Iterator[dict[str, int]]:
    """The port of one pod of each role, by the name of its Service."""
    with kubernetes.deployed(redis_server.url) as deployment:
        shared = {name: deployment.servers[0].environment[name] for name in ("DATABASE_URL", "STATIC_ROOT")}
        pods = {name: Pod(SERVICE_ROLE=role, REDIS_URL=redis_server.url, **shared) for name, role in ROLES.items()}
        with started(*pods.values()):
            yield {name: pod.port for name, pod in pods.items()}


@pytest.fixture(scope="module")
def paths(services: Mapping[str, int]) -> dict[str, list[int]]:
    """Where each path of the Ingress leads."""
    return {path: [services[name]] for path, name in manifests("production").routes.items()}


@contextlib.contextmanager
def ingress(paths: Mapping[str, list[int]]) -> Iterator[str]:
    nginx = Nginx(paths)
    with started(nginx):
        yield nginx.origin


def test_it_makes_the_trip_in_every_mode(smoke: Smoke, deployment: Deployment) -> None:
    origin = deployment.servers[0].origin
    assert smoke(origin) == 0, smoke.output
    assert smoke.output.splitlines() == [
        f"ok: the visitor's page at {origin}/user/",
        f"ok: the live page at {origin}/admin/live/, as colleague",
        f"ok: both WebSockets at {deployment.servers[0].websocket_url}",
        "ok: a message from the visitor to the live page",
        "ok: a message from the live page to the visitor",
    ]


def test_the_three_services_behind_the_ingress_make_one_site(smoke: Smoke, paths: Mapping[str, list[int]]) -> None:
    with ingress(paths) as url:
        assert smoke(url) == 0, smoke.output


def test_the_password_may_come_from_a_file(smoke: Smoke, local_deployment: Deployment, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    del smoke.environment["SMOKE_PASSWORD"]
    assert smoke(local_deployment.servers[0].origin, SMOKE_PASSWORD_FILE=str(tmp_path / "password")) == 0, smoke.output


def test_it_leaves_one_conversation_and_no_login(smoke: Smoke, local_deployment: Deployment) -> None:
    count = (
        "from django.contrib.sessions.models import Session; from messaging.models import Conversation, Message;"
        "print(Session.objects.count(), Conversation.objects.count(), Message.objects.count())"
    )

    def counted() -> list[int]:
        return [int(number) for number in local_deployment.run(count).split()[-3:]]

    local_deployment.session("operator").token()
    sessions, conversations, messages = counted()
    assert smoke(local_deployment.servers[0].origin) == 0, smoke.output
    assert counted() == [sessions, conversations + 1, messages + 2]
    local_deployment.session("operator").token()  # whoever was logged in still is


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"SMOKE_PASSWORD": "wrong"},
            "colleague could not log in at .*/admin/login/: a wrong password, or no staff account",
        ),
        ({"SMOKE_USERNAME": "clerk"}, "/admin/live/ answered 403"),
        ({"SMOKE_USERNAME": "reader"}, "the server answered forbidden"),
        ({"SMOKE_USERNAME": ""}, "SMOKE_USERNAME is not set"),
        ({"SMOKE_PASSWORD": ""}, "SMOKE_PASSWORD is not set"),
    ],
)
def test_it_says_what_is_wrong_with_the_account(
    environment: dict[str, str], said: str, smoke: Smoke, local_deployment: Deployment
) -> None:
    assert smoke(local_deployment.servers[0].origin, **environment) == 1
    assert re.search(f"^CommandError: .*{said}", smoke.output, re.MULTILINE), smoke.output


@pytest.mark.parametrize(
    ("path", "service", "said"),
    [
        ("/", "admin-frontend-service", "/ answered 404"),
        ("/user", "websocket-service", "/user/ answered 404"),
        ("/admin", "user-frontend-service", "/admin/login/ answered 404"),
        ("/ws", "user-frontend-service", "/ws: server rejected WebSocket connection: HTTP 403"),
    ],
)
def test_it_says_which_route_leads_astray(
    path: str, service: str, said: str, smoke: Smoke, services: Mapping[str, int], paths: Mapping[str, list[int]]
) -> None:
    with ingress({**paths, path: [services[service]]}) as url:
        assert smoke(url) == 1
    assert re.search(f"^CommandError: {url}.*{said}|^CommandError: ws:.*{said}", smoke.output, re.MULTILINE), (
        smoke.output
    )


def test_it_misses_static_files(smoke: Smoke, paths: Mapping[str, list[int]]) -> None:
    with ingress({**paths, "/static": [free_port()]}) as url:
        assert smoke(url) == 1
    assert re.search(rf"^CommandError: {url}/static/messaging/", smoke.output, re.MULTILINE), smoke.output


def test_it_says_that_nothing_answers(smoke: Smoke) -> None:
    assert smoke(f"http://{HOST}:{free_port()}") == 1
    assert "Connection refused" in smoke.output


@pytest.mark.parametrize("url", ["chat.example.org", "ftp://chat.example.org", "file:///etc/passwd"])
def test_it_takes_a_site_only(url: str, smoke: Smoke) -> None:
    assert smoke(url) == 1
    assert f"CommandError: '{url}' must be a URL, as in https://chat.example.org" in smoke.output


def test_it_leaves_no_login_behind_when_it_fails(smoke: Smoke, local_deployment: Deployment) -> None:
    count = "from django.contrib.sessions.models import Session; print(Session.objects.count())"
    before = local_deployment.run(count).split()[-1]
    assert smoke(local_deployment.servers[0].origin, SMOKE_USERNAME="reader") == 1
    assert local_deployment.run(count).split()[-1] == before
