"""The demonstration: invented visitors on a deployment that works, on one that stops meanwhile, and refused targets."""

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping

import psycopg
import pytest

from tests.support.deployments import PASSWORD, Deployment, Kubernetes, LocalServer, Server, prepare_database
from tests.support.paths import ROOT
from tests.support.services import HOST, INHERITED, started
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

KEPT = "SELECT (SELECT count(*) FROM messaging_conversation), (SELECT count(*) FROM messaging_message)"
ANSWERED = "SELECT count(*) FROM messaging_message WHERE sender = 'admin'"


@pytest.fixture
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Demo"]:
    demo = Demo(
        {"VAR_DIR": str(tmp_path_factory.mktemp("var")), "SMOKE_USERNAME": "colleague", "SMOKE_PASSWORD": PASSWORD}
    )
    yield demo
    demo.kill()


class Demo:
    """The program, run with settings of its own, as on an operator's machine."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {key: os.environ[key] for key in INHERITED if key in os.environ} | dict(environment)
        self._process: subprocess.Popen[str] | None = None

    def start(self, url: str, *options: str) -> None:
        command = [sys.executable, "-m", "bench.demo", url, *options]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_hear_ctrl_c,
        )

    def end(self, number: signal.Signals | None = None) -> tuple[int, str]:
        """Send signal `number`, if any; return the exit code and the last line of output."""
        assert self._process is not None
        if number is not None:
            self._process.send_signal(number)
        code, lines = self.ended()
        return code, lines[-1]

    def ended(self) -> tuple[int, list[str]]:
        """Return the exit code and the lines of output, when the program has ended."""
        assert self._process is not None
        output, _ = self._process.communicate(timeout=60)
        return self._process.returncode, output.splitlines()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def _hear_ctrl_c() -> None:
    """Stop ignoring SIGINT, as background processes of a shell without job control and their children do."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def counts(line: str) -> dict[str, int]:
    return {name: int(number) for name, number in re.findall(r"([a-z][a-z ]*): (\d+)", line)}


def found_in(server: Server, query: str) -> tuple[int, ...]:
    with contextlib.closing(sqlite3.connect(server.environment["DATABASE_URL"].removeprefix("sqlite:///"))) as database:
        row: tuple[int, ...] = database.execute(query).fetchone()
    return row


@pytest.fixture
def server(local_deployment: Deployment[LocalServer]) -> Server:
    return local_deployment.servers[0]


def test_visitors_write_staff_answer_and_ctrl_c_ends_it(server: Server, demo: Demo) -> None:
    conversations, messages = found_in(server, KEPT)
    answered = found_in(server, ANSWERED)
    demo.start(server.origin, "--rate", "20", "--visitors", "3", "--answer")

    def all_have_written_and_one_is_answered() -> bool:
        return found_in(server, ANSWERED) > answered and found_in(server, KEPT)[0] == conversations + 3

    wait_until(all_have_written_and_one_is_answered, "all have written, and somebody has answered", within=60)
    code, line = demo.end(signal.SIGINT)
    found = counts(line)
    assert code == 0
    assert found["messages written"] == found["acknowledged"] > found["of these by staff"] > 0
    assert found_in(server, KEPT) == (conversations + 3, messages + found["messages written"])


def test_a_hall_comes_while_staff_sign_in_and_the_outcome_is_printed(server: Server, demo: Demo) -> None:
    before = found_in(server, KEPT)
    demo.start(server.origin, "--visitors", "12", "--hall", "1", "--staff", "2", "--forget")
    code, lines = demo.ended()
    assert code == 0, lines
    assert lines[1:3] == [
        "acknowledged: 12 of 12 visitors, each a tap on the first quick message",
        "signed in: 2 of 2 staff",
    ]
    assert [line.partition(":")[0] for line in lines[3:]] == [
        "page complete", "connected", "tap acknowledged", "staff's login",
    ]  # fmt: skip
    assert found_in(server, KEPT) == before


def test_a_hall_that_is_not_served_is_told_with_its_reasons(demo: Demo) -> None:
    server = LocalServer(MAX_CONNECTIONS="4")
    prepare_database(server.environment)
    with started(server):
        demo.start(server.origin, "--visitors", "9", "--hall", "1")
        code, lines = demo.ended()
    assert (code, lines[1:3]) == (
        1, ["acknowledged: 4 of 9 visitors, each a tap on the first quick message", "failed: 5 with unavailable"],
    )  # fmt: skip


def test_what_they_wrote_is_erased_if_that_is_wanted(server: Server, demo: Demo) -> None:
    before = found_in(server, KEPT)
    demo.start(server.origin, "--rate", "20", "--visitors", "2", "--seconds", "1", "--forget")
    code, line = demo.end()
    assert (code, counts(line)["conversations erased"]) == (0, 2)
    assert found_in(server, KEPT) == before


def test_a_server_that_stops_meanwhile_costs_no_message(demo: Demo) -> None:
    server = LocalServer()
    prepare_database(server.environment)
    with started(server):
        demo.start(server.origin, "--rate", "20", "--visitors", "3")
        wait_until(lambda: found_in(server, KEPT)[1] > 5, "they write", within=60)
        server.kill()
        before = found_in(server, KEPT)[1]
        server.start()
        wait_until(lambda: found_in(server, KEPT)[1] > before + 5, "they write again", within=60)
        code, line = demo.end(signal.SIGINT)
        found = counts(line)
        assert code == 0
        assert found["reconnected"] >= 3
        assert found_in(server, KEPT)[1] == found["messages written"] == found["acknowledged"]


def test_visitors_whom_a_busy_database_keeps_out_at_first_come_back(kubernetes: Kubernetes, demo: Demo) -> None:
    with kubernetes.pod_with_redis() as (pod, _), psycopg.connect(pod.environment["DATABASE_URL"]) as database:
        database.execute("LOCK TABLE messaging_conversation, messaging_message IN ACCESS EXCLUSIVE MODE")
        demo.start(pod.origin, "--rate", "20", "--visitors", "3")
        wait_until(lambda: pod.log.count('"store unavailable"') >= 3, "all are refused", within=60)
        database.rollback()

        def all_have_written() -> bool:
            database.rollback()
            return database.execute("SELECT count(*) FROM messaging_conversation").fetchone() == (3,)

        wait_until(all_have_written, "all have written", within=60)
        code, line = demo.end(signal.SIGINT)
        found = counts(line)
        assert code == 0
        assert found["asked to wait"] >= 3
        assert found["messages written"] == found["acknowledged"]


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("https://chat.example.org", (), "chat.example.org is not this machine: .* Nothing was written."),
        ("chat.example.org", (), "'chat.example.org' must be a URL"),
        ("http://localhost", ("--rate", "0"), "argument --rate: '0' must be a number greater than 0"),
        (
            "http://localhost",
            ("--visitors", "many"),
            "argument --visitors: 'many' must be a whole number from 1 to 1000",
        ),
        (f"http://{HOST}:1", ("--seconds", "1"), "Connection refused"),  # an unused port
    ],
)
def test_it_says_why_it_does_not_begin(url: str, options: tuple[str, ...], said: str, demo: Demo) -> None:
    demo.start(url, *options)
    code, line = demo.end()
    assert code != 0
    assert re.search(said, line)


def test_it_says_that_nothing_was_acknowledged(server: Server, demo: Demo) -> None:
    demo.start(server.origin, "--rate", "0.000001", "--seconds", "0.5")
    said = "no message was acknowledged: run `messaging_smoke` to find out why"
    assert demo.end() == (1, said)
