"""The rules of the source tree: the direction of imports, the one place that names the mode, no raw HTML."""

import ast
import graphlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# The modules of this project that each package may import. docs/architecture.md has the same table, in words.
LAYERS = {
    "messaging/protocol": {"protocol"},
    "messaging/service/contracts.py": {"protocol"},
    "messaging/backends": {"protocol", "service.contracts", "background", "backends"},
    "messaging/journal": {"protocol", "service.contracts", "models", "journal"},
    "messaging/service": {
        "protocol", "backends.base", "backends.memory", "observability.context", "tokens", "service",
    },
    "messaging/client": {"protocol", "client"},
    "messaging/transports/base.py": {"protocol", "service.actions"},
}  # fmt: skip
TRANSPORT_AND_STORAGE = {"channels", "channels_redis", "daphne", "twisted", "redis", "boto3", "django.db"}
PARTS = {
    "aws", "bench", "compose", "docs", "k8s", "locale", "messaging", "messaging_site", "scripts", "static", "templates",
    "tests",
}  # fmt: skip
ENDINGS = ("py", "js", "css", "html", "yaml", "yml", "json", "md", "mk", "po", "txt")
RAW_HTML = re.compile(
    r"\|\s*safe\b|autoescape off|mark_safe|SafeString|(?:inner|outer)HTML|insertAdjacentHTML|document\.write"
)


def sources(*places: str, endings: tuple[str, ...] = (".py",)) -> Iterator[Path]:
    """Yield the project's own files, without its tests and migrations."""
    for place in places:
        path = ROOT / place
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in endings and not {"tests", "migrations"} & set(file.relative_to(ROOT).parts):
                yield file


def imports(file: Path) -> set[str]:
    """Return the modules that `file` imports at run time, without those under `if TYPE_CHECKING`."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(file.read_text())]
    while waiting:
        match waiting.pop():
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module), names=names):
                found |= {f"{module}.{alias.name}" for alias in names}
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=otherwise):
                waiting += otherwise
            case node:
                waiting += ast.iter_child_nodes(node)
    return found


def within(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("part", LAYERS)
def test_a_part_imports_only_the_parts_below_it(part: str) -> None:
    files = list(sources(part))
    assert files
    own = {(file.name, module) for file in files for module in imports(file) if within(module, {"messaging"})}
    allowed = {f"messaging.{name}" for name in LAYERS[part]}
    assert {(name, module) for name, module in own if not within(module, allowed)} == set()


@pytest.mark.parametrize("part", ["messaging/protocol", "messaging/service/contracts.py"])
def test_the_core_imports_the_standard_library_only(part: str) -> None:
    foreign = {module for file in sources(part) for module in imports(file)}
    assert {m for m in foreign if not within(m, {"messaging.protocol", *sys.stdlib_module_names})} == set()


def test_the_service_knows_no_transport_and_no_storage() -> None:
    found = {module for file in sources("messaging/service") for module in imports(file)}
    assert {module for module in found if within(module, TRANSPORT_AND_STORAGE)} == set()


def test_no_two_modules_import_each_other() -> None:
    """Not even inside functions: a cycle is one module that is spread over several files."""
    files = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in sources("messaging", "messaging_site")
    }
    modules = {name.removesuffix(".__init__"): file for name, file in files.items()}
    graph = {
        name: {found if found in modules else found.rpartition(".")[0] for found in imports(file)} & modules.keys()
        for name, file in modules.items()
    }
    assert len(graph["messaging.runtime"]) > 5
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


def test_the_application_does_not_import_the_site() -> None:
    files = [file for file in sources("messaging") if "commands" not in file.parts]  # commands start programs
    found = {(file.name, module) for file in files for module in imports(file)}
    assert {(name, module) for name, module in found if within(module, {"messaging_site"})} == set()


def test_no_test_imports_another_one() -> None:
    found = {(file.name, module) for file in (ROOT / "tests").rglob("*.py") for module in imports(file)}
    assert {(name, module) for name, module in found if within(module, {"tests"}) and ".test_" in module} == set()


@pytest.mark.parametrize("part", ["bench", "tests/support"])
def test_what_tests_and_the_bench_share_is_in_support(part: str) -> None:
    found = {(file.name, module) for file in (ROOT / part).rglob("*.py") for module in imports(file)}
    assert {(name, module) for name, module in found if within(module, {"tests"})} == {
        (name, module) for name, module in found if within(module, {"tests.support"})
    }


def test_only_the_settings_name_the_mode() -> None:
    files = sources("manage.py", "messaging", "messaging_site", "static", "templates", endings=(".py", ".js", ".html"))
    named = {str(file.relative_to(ROOT)) for file in files if "DEPLOYMENT_MODE" in file.read_text()}
    assert named == {"messaging_site/settings.py"}


def test_every_file_that_a_source_names_is_there() -> None:
    """Quoted paths are not checked, because they may be relative to another directory."""
    parts = sorted({*PARTS, ".github"})
    path = re.compile(rf"(?<![\w/.\"'-])(?:{'|'.join(map(re.escape, parts))})/[\w./-]*\w\.(?:{'|'.join(ENDINGS)})\b")
    files = [file for part in parts for file in (ROOT / part).rglob("*.*") if file.suffix[1:] in ENDINGS]
    assert len(files) > 200
    named = {
        (str(file.relative_to(ROOT)), name)
        for file in files
        if file.suffix != ".md" and "node_modules" not in file.parts
        for name in path.findall(file.read_text())
    }
    installed = "/node_modules/"
    assert {(file, name) for file, name in named if installed not in name and not (ROOT / name).exists()} == set()


def test_nothing_that_a_person_wrote_can_become_markup() -> None:
    files = sources("messaging", "messaging_site", "static", "templates", endings=(".py", ".js", ".html"))
    assert {file: found for file in files if (found := RAW_HTML.findall(file.read_text()))} == {}
