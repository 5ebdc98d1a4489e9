"""README's instructions for your own servers: they lead from settings to two processes that serve people."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from messaging.operations.smoke import trip
from tests.support.deployments import PASSWORD, SECRET_KEY, output, says_ready
from tests.support.paths import ROOT
from tests.support.redis_services import Redis
from tests.support.services import HOST, Postgres, Service, free_port, started

pytestmark = pytest.mark.slow

# README's block with the two servers, without the installation before it, which is done here already.
[COMMANDS] = re.findall(
    r"^```\npython3 -m venv .*?\n\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
)
UNTIL_THEY_END = "trap 'trap \"\" TERM; kill 0' TERM\n{}\n{}wait || wait\n"  # passes a signal on to both


class Servers(Service):
    """The servers in the last lines of README's block, with values of the test; `prepare` runs the lines before."""

    name = "what README says"
    working_directory = ROOT

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__()
        self.ports = [free_port() for _ in range(4)]
        ports = zip(("=8080", "=8081", "=8090", "=8091"), self.ports, strict=True)
        commands = COMMANDS
        for value, own in [*values.items(), *((value, f"={port}") for value, port in ports)]:
            assert value in COMMANDS
            commands = commands.replace(value, own)
        self._settings, self._preparations, self._servers = commands.split("\n\n")
        self.environment |= {
            "DJANGO_SUPERUSER_USERNAME": "ada",
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
            "DJANGO_SUPERUSER_EMAIL": "ada@example.org",
            "HOST": HOST,
            "HTTPS_ONLY": "false",  # no proxy that ends TLS is in front
            "SHUTDOWN_TIMEOUT": "1",
            "VAR_DIR": str(self.directory),
        }

    def prepare(self) -> None:
        output(["sh", "-e", "-c", f"{self._settings}\n{self._preparations}"], self.environment)

    def command(self) -> Sequence[str]:
        return ["sh", "-e", "-c", UNTIL_THEY_END.format(self._settings, self._servers)]

    def is_ready(self) -> bool:
        return all(says_ready(port) for port in self.ports[1::2])


@pytest.fixture
def servers(postgres: Postgres, redis_server: Redis, tmp_path: Path) -> Iterator[Servers]:
    secret_key = tmp_path / "secret-key"
    secret_key.write_text(SECRET_KEY)
    servers = Servers(
        {
            "/path/to/secret-key": str(secret_key),
            "chat.example.org": HOST,
            "postgres://user:password@localhost:5432/messaging": postgres.create_database("readme"),
            "redis://localhost:6379/0": redis_server.url,
            "createsuperuser": "createsuperuser --noinput",
        }
    )
    servers.prepare()
    with started(servers):
        yield servers


async def test_two_servers_of_ones_own_serve_a_visitor_and_the_staff(servers: Servers) -> None:
    for port in servers.ports[::2]:
        trip_there = trip(f"http://{HOST}:{port}", "ada", PASSWORD, patience=20)  # raises if a step fails
        assert len([step async for step in trip_there]) == 5
