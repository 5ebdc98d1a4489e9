"""docs/tutorial.md, followed from its first command to its last in a checkout of its own."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.deployments import says_ready
from tests.support.paths import ROOT
from tests.support.services import HOST, Service, started

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "tutorial.md").read_text()
# Each block, preceded by the name of the file that it is written to, if any.
BLOCKS = re.findall(r"(?:`([^`\n]+)`:\n)?^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
NOT_IN_A_CHECKOUT = shutil.ignore_patterns(
    ".git", ".venv*", "node_modules", "var", ".*_cache", "__pycache__", ".coverage*"
)


class MakeRun(Service):
    """The tutorial's first command, on a port of its own."""

    name = "make run"

    def __init__(self, checkout: Path) -> None:
        super().__init__()
        self.working_directory = checkout

    def command(self) -> Sequence[str]:
        return ["make", "run", f"ADDRESS={HOST}:{self.port}"]

    def is_ready(self) -> bool:
        return says_ready(self.port)

    def typed(self, command: str) -> str:
        """Return the output of `command` in another terminal. Raise AssertionError with that output if it fails."""
        [password] = re.findall(r"with the password  (\S+)", self.log)
        command = command.replace("localhost:8000", f"{HOST}:{self.port}").replace("…", password)
        result = subprocess.run(
            ["sh", "-e", "-c", command],
            cwd=self.working_directory,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, f"{command} failed:\n{result.stdout}{result.stderr}"
        return result.stdout


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[MakeRun]:
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, ignore=NOT_IN_A_CHECKOUT)
    (checkout / ".venv").symlink_to(ROOT / ".venv")  # `make run` would create it, with the same packages
    server = MakeRun(checkout)
    with started(server):
        yield server


@pytest.mark.timeout(300)  # a dozen programs, one after another
def test_every_step_does_what_the_tutorial_says(make_run: MakeRun) -> None:
    first, *steps = BLOCKS
    assert first == ("", "shell", "make run\n")
    printed = [done for step in steps if (done := do(make_run, *step)) is not None]
    smoke, messages, _button, ack, waiting, _installed, tested = printed
    assert [line for line in smoke.splitlines() if not line.startswith("ok: ")] == []
    assert [line.split()[0] for line in messages.splitlines()[-2:]] == ["user", "admin"]  # after Django's own lines
    assert re.fullmatch(r"<- connection \n<- identified \n<- ack [0-9a-f-]{36}\n", ack)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d  [A-Z][a-z]+ [A-Z][a-z]+ [0-9a-f]{4}\n", waiting)
    assert re.search(r"test_waiting\.py \.\s", tested)


def do(make_run: MakeRun, name: str, language: str, text: str) -> str | None:
    """Do one block of the page; return the output if it is a command."""
    if language == "shell":
        return make_run.typed(text)
    file = Path(make_run.working_directory) / name
    if language == "markdown":
        with pytest.raises(AssertionError, match=re.escape("assert {'messaging_waiting'} == set()")):
            make_run.typed(BLOCKS[-1][2])  # fails before, as the page says
        text = f"{file.read_text()}\n{text}"
    else:
        text = text.replace("localhost:8000", f"{HOST}:{make_run.port}")
    file.write_text(text)
    return None
