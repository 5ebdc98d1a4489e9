"""`messaging_smoke`: it passes if the deployment works, and otherwise names the part that does not."""

import contextlib
import json
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.deployments import PASSWORD, Deployment, Kubernetes, Pod
from tests.support.kustomize import manifests
from tests.support.nginx import Nginx
from tests.support.redis_services import Redis
from tests.support.services import HOST, Postgres, certify, free_port, started
from tests.support.smoke import Smoke

pytestmark = pytest.mark.slow

ROLES = {"websocket-service": "websocket", "user-frontend-service": "user", "admin-frontend-service": "admin"}


@pytest.fixture
def smoke(tmp_path: Path) -> Smoke:
    return Smoke(tmp_path)


@pytest.fixture(scope="module")
def services(kubernetes: Kubernetes, redis_server: Redis) -> Iterator[dict[str, int]]:
    """Yield the port of one pod of each role, by the name of its Service."""
    with kubernetes.deployed(redis_server.url) as deployment:
        shared = {name: deployment.servers[0].environment[name] for name in ("DATABASE_URL", "STATIC_ROOT")}
        pods = {name: Pod(SERVICE_ROLE=role, REDIS_URL=redis_server.url, **shared) for name, role in ROLES.items()}
        with started(*pods.values()):
            yield {name: pod.port for name, pod in pods.items()}


@pytest.fixture(scope="module")
def paths(services: Mapping[str, int]) -> dict[str, list[int]]:
    """Return the ports of the pods to which each path of the Ingress leads."""
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


def test_it_answers_programs_in_json(smoke: Smoke, local_deployment: Deployment) -> None:
    origin = local_deployment.servers[0].origin
    assert smoke(origin, "--json") == 0, smoke.output
    report = json.loads(smoke.output)
    assert (report["url"], report["status"]) == (origin, "ok")
    assert [(step["state"], step["ms"] >= 0) for step in report["steps"]] == [("ok", True)] * 5
    assert smoke(origin, "--json", SMOKE_USERNAME="clerk") == 1
    answer, error = smoke.output.splitlines()
    report = json.loads(answer)
    assert (report["status"], len(report["steps"])) == ("failed", 1)
    assert error == f"CommandError: {report['error']}"


@pytest.fixture
def pod(kubernetes: Kubernetes) -> Iterator[tuple[Pod, Redis]]:
    with kubernetes.pod_with_redis() as both:
        yield both


def test_without_redis_it_passes_and_says_so(pod: tuple[Pod, Redis], smoke: Smoke) -> None:
    server, redis = pod
    redis.kill()
    assert smoke(server.origin) == 0, smoke.output
    assert "degraded: the connection store (Redis) does not answer: messages may be seconds late" in smoke.output
    assert smoke(server.origin, "--json") == 0
    report = json.loads(smoke.output)
    assert (report["status"], [step["state"] for step in report["steps"]].count("degraded")) == ("degraded", 1)


def test_without_a_database_it_fails(pod: tuple[Pod, Redis], smoke: Smoke, postgres: Postgres) -> None:
    server, _ = pod
    name = server.environment["DATABASE_URL"].rpartition("/")[2]
    postgres.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608
    assert smoke(server.origin) == 1
    assert "answered 500" in smoke.output.splitlines()[-1]


def test_a_certificate_that_nobody_vouches_for_ends_it(smoke: Smoke, tmp_path: Path) -> None:
    certificate = certify(tmp_path)
    server = ThreadingHTTPServer((HOST, 0), BaseHTTPRequestHandler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, certificate.with_name("key"))
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert smoke(f"https://{HOST}:{server.server_port}") == 1
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert re.search(f"^CommandError: https://{HOST}.*self.signed certificate.*SSL_CERT_FILE", smoke.output, re.M)


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
    local_deployment.session("operator").token()  # the earlier login is still valid


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"SMOKE_PASSWORD": "wrong"},
            "colleague could not log in at .*/admin/login/: wrong password, or not a staff account",
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
    assert f"CommandError: '{url}' must be a URL such as https://chat.example.org" in smoke.output


def test_it_leaves_no_login_behind_when_it_fails(smoke: Smoke, local_deployment: Deployment) -> None:
    count = "from django.contrib.sessions.models import Session; print(Session.objects.count())"
    before = local_deployment.run(count).split()[-1]
    assert smoke(local_deployment.servers[0].origin, SMOKE_USERNAME="reader") == 1
    assert local_deployment.run(count).split()[-1] == before
