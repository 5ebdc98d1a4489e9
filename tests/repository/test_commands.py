"""Commands named in a document, message, comment or workflow: each exists and has the options given there.

The tests search the backticks and blocks of documents, and all files that run or name commands.
"""

import fnmatch
import importlib.util
import re
import shlex
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from django.core.management import BaseCommand, get_commands, load_command_class

from tests.support.paths import ROOT

PROGRAMS = [
    ROOT / "Makefile",
    ROOT / "Dockerfile",
    ROOT / "compose.yaml",
    ROOT / ".ci" / "run",
    *ROOT.glob("*/targets.mk"),
    *(ROOT / "scripts").iterdir(),
    *(file for file in (ROOT / "compose").rglob("*") if file.is_file()),
    *(ROOT / ".github").rglob("*.yml"),
    *(ROOT / "k8s").rglob("*.yaml"),
]
PYTHON = [
    ROOT / "manage.py",
    *(
        file
        for part in ("messaging", "messaging_site", "aws", "bench", "tests")
        for file in (ROOT / part).rglob("*.py")
    ),
]
PAGES = [page for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if page.name != "CHANGELOG.md"]
MAKEFILES = [ROOT / "Makefile", *ROOT.glob("*/targets.mk")]

BEGINS = r"(?:^ *|&& |; |run: |@)"  # the text before a command, apart from its environment
MAKE = re.compile(
    rf"{BEGINS}make((?: +(?:\.?[a-z0-9](?:[\w./-]*\w)?(?![\w*./…-])|[A-Z]+=(?:'[^']*'|\S*)))+)", re.MULTILINE
)
MANAGE = re.compile(r"(?<!-q )\bmanage(?:\.py| production) \"?([a-z]+(?:_[a-z]+)*(?: [^`|>#\n\"';)&}]*)?)")
MODULE = re.compile(r"\bpython3?(?:\.\d+)? (?:-\w+ )*-m ([a-z][\w.]*)")
SCRIPT = re.compile(r"(?<![\w./-])((?:\.ci|scripts|compose|\.venv/bin|\.github/workflows)/[\w.-]*\w)(?![\w\\])")
STAND_INS = {"ID": "01976f3e-6c1e-7cc2-b0c5-6d2f8a293f2a"}  # for the placeholders that a reader replaces


@cache
def text(file: Path) -> str:
    """Return the text of `file`, followed by its contents in backticks, each command on a line of its own."""
    whole = file.read_text()
    return re.sub(r"\\\n\s*", "", "\n".join([whole, *in_backticks(whole)]))


@cache
def code(file: Path) -> str:
    """Return `text(file)` without prose, in which "make" is a common verb."""
    if file in PROGRAMS:
        return text(file)
    whole = file.read_text()
    return "\n".join([*(in_blocks(whole) if file in PAGES else ()), *in_backticks(whole)])


def in_blocks(text: str) -> list[str]:
    return re.findall(r"^ *```\w*\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)


def in_backticks(text: str) -> list[str]:
    """Return the contents of single backticks, also those that continue on the next line of a paragraph or comment."""
    found = re.findall(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)", text)
    return [re.sub(r"\n\s*(?:# )?", " ", code) for code in found]


def named(pattern: re.Pattern[str], files: Sequence[Path] = (*PROGRAMS, *PAGES, *PYTHON)) -> dict[str, set[str]]:
    """Return the matches of `pattern`, each with the files that contain it."""
    found: dict[str, set[str]] = {}
    for file in files:
        for match in pattern.findall(code(file) if pattern is MAKE else text(file)):
            found.setdefault(match.strip(), set()).add(str(file.relative_to(ROOT)))
    return found


@pytest.mark.parametrize(("pattern", "least"), [(MAKE, 50), (MANAGE, 25), (MODULE, 8), (SCRIPT, 8)])
def test_the_commands_are_found(pattern: re.Pattern[str], least: int) -> None:
    """If a pattern matched nothing any more, the tests of all matches would pass."""
    assert len(named(pattern)) >= least


@cache
def targets() -> set[str]:
    """Return the targets that make knows, files included, from make's own output."""
    database = subprocess.run(
        ["make", "--print-data-base", "--no-builtin-rules", "--question", ":"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    rules = re.sub(r"^# Not a target:\n.*\n", "", database, flags=re.MULTILINE)
    return set(re.findall(r"^([\w./%-]+):(?!=)", rules, re.MULTILINE))


def asked_of_make(commands: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the targets in `commands`: `make image kind-up ENV=staging` asks for two."""
    asked: dict[str, set[str]] = {}
    for command, where in commands.items():
        for target in shlex.split(command):
            if "=" not in target:
                asked.setdefault(target, set()).update(where)
    return asked


def test_make_has_every_target_that_is_asked_for() -> None:
    rules = [target.replace("%", "*") for target in targets()]
    assert {
        target: where
        for target, where in asked_of_make(named(MAKE)).items()
        if not any(fnmatch.fnmatchcase(target, rule) for rule in rules)
    } == {}


def test_every_target_that_make_help_lists_is_documented() -> None:
    listed = {name for file in MAKEFILES for name in re.findall(r"^([a-z0-9-]+):.*##", file.read_text(), re.MULTILINE)}
    in_tables = {name for page in PAGES for name in re.findall(r"`([a-z0-9-]+)`", page.read_text())}
    assert listed - asked_of_make(named(MAKE, PAGES)).keys() - in_tables == set()


def test_every_command_of_ours_is_documented() -> None:
    ours = {name for name, app in get_commands().items() if app == "messaging"}
    ours.remove("runserver")  # an extension of Django's own command
    pages = [page for page in PAGES if page.name != "tutorial.md"]  # its reader writes a new command
    run = {command.split()[0] for command in named(MANAGE, pages)}
    assert ours - run - {name for page in pages for name in re.findall(r"`(messaging_\w+)", page.read_text())} == set()


COMMANDS = {command: where for command, where in named(MANAGE).items() if where != {"docs/tutorial.md"}}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_django_is_there_and_has_the_options_that_are_told(command: str) -> None:
    name, *arguments = shlex.split(command)
    parser = load_command(name).create_parser("manage.py", name)
    if arguments:  # prose may name a command without arguments
        parser.parse_args([STAND_INS.get(argument, argument) for argument in arguments])  # raises CommandError


def load_command(name: str) -> BaseCommand:
    app = get_commands()[name]
    return load_command_class(app, name) if isinstance(app, str) else app


def test_every_module_that_is_run_is_there_and_can_be() -> None:
    assert {module: where for module, where in named(MODULE).items() if not can_be_run(module)} == {}


def can_be_run(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{module}.__main__")
    if spec is None or spec.origin is None:
        return False
    file = Path(spec.origin)
    return file.name == "__main__.py" or 'if __name__ == "__main__":' in file.read_text().replace("'", '"')


def test_every_script_that_is_run_is_there() -> None:
    assert {script: where for script, where in named(SCRIPT).items() if not (ROOT / script).exists()} == {}
