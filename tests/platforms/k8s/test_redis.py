"""The Redis of development and staging: its own command line and configuration, run here."""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence

import pytest
import redis

from tests.support.kustomize import SECRETS, manifests
from tests.support.services import HOST, Service, program, started

PASSWORD = SECRETS["redis-password"]


class RenderedRedis(Service):
    """The Redis that the StatefulSet starts, with the paths and the port of a test."""

    name = "the rendered Redis"

    def __init__(self) -> None:
        super().__init__()
        program("redis-server")
        rendered = manifests("staging")
        self.container = rendered.container("redis")
        self.paths = {there: self.directory / there[1:] for there in ("/data", "/etc/redis", "/run/secrets/redis")}
        assert self.paths.keys() < {mount["mountPath"] for mount in self.container["volumeMounts"]}
        for path in self.paths.values():
            path.mkdir(parents=True)
        (self.paths["/run/secrets/redis"] / "redis-password").write_text(PASSWORD)
        (name,) = rendered.one("ConfigMap", "redis-config")["data"]
        text = rendered.one("ConfigMap", "redis-config")["data"][name]
        (self.paths["/etc/redis"] / name).write_text(self.here(text) + f"port {self.port}\nbind {HOST}\n")

    def here(self, text: str) -> str:
        for there, path in self.paths.items():
            text = text.replace(f" {there}", f" {path}")
        return text.replace("redis-cli", f"redis-cli -h {HOST} -p {self.port}")

    def command(self) -> Sequence[str]:
        return [self.here(part) for part in (*self.container["command"], *self.container["args"])]

    def probe(self, name: str) -> int:
        """Run the probe `name` and return its exit code."""
        command = [self.here(part) for part in self.container[f"{name}Probe"]["exec"]["command"]]
        return subprocess.run(command, check=False, capture_output=True).returncode

    def is_ready(self) -> bool:
        return self.probe("readiness") == 0

    @contextlib.contextmanager
    def client(self, password: str | None = PASSWORD) -> Iterator[redis.Redis]:
        with redis.Redis(host=HOST, port=self.port, password=password, decode_responses=True) as client:
            yield client


@pytest.fixture
def server() -> Iterator[RenderedRedis]:
    server = RenderedRedis()
    with started(server):
        yield server


def test_it_asks_for_the_password_of_app_secrets(server: RenderedRedis) -> None:
    with server.client(None) as nobody, pytest.raises(redis.AuthenticationError):
        nobody.ping()
    with server.client("another") as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with server.client() as client:
        assert client.ping()


def test_no_process_shows_the_password(server: RenderedRedis) -> None:
    shown = subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout
    assert f"{HOST}:{server.port}" in shown
    assert PASSWORD not in shown


def test_what_it_holds_survives_its_end(server: RenderedRedis) -> None:
    with server.client() as client:
        client.set("connection", "here")
    server.kill()
    server.start()
    with server.client() as client:
        assert client.get("connection") == "here"


def test_it_refuses_what_does_not_fit_its_limit(server: RenderedRedis) -> None:
    with server.client() as client:
        settings = client.config_get("maxmemory*")
    assert (settings["maxmemory"], settings["maxmemory-policy"]) == (str(192 * 1024**2), "noeviction")
    assert server.container["resources"]["limits"]["memory"] == "256Mi"


def test_its_probes_see_when_it_does_not_answer(server: RenderedRedis) -> None:
    assert {name: server.probe(name) for name in ("startup", "readiness", "liveness")} == {
        "startup": 0,
        "readiness": 0,
        "liveness": 0,
    }
    server.kill()
    assert {server.probe(name) for name in ("startup", "readiness", "liveness")} == {1}
