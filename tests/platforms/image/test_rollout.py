"""A rollout to a version with another schema and other scripts, and its undo, while people write and arrive."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.support import containers
from tests.support.browser import ARGUMENTS, CHROMIUMS, PATIENCE_MS, People
from tests.support.chaos_proxy import ChaosProxy
from tests.support.cluster import Cluster, cluster
from tests.support.containers import IMAGE
from tests.support.deployments import Pod, fetch, probe
from tests.support.paths import ROOT
from tests.support.schema_changes import EXPANDING
from tests.support.services import HOST, Postgres, started
from tests.support.traffic import CALM_SECONDS, Crowd, traffic
from tests.support.waiting import eventually

NEXT = "localhost/user-admin-messaging:next"
NEWCOMERS = 5
VISIT_SECONDS = 0.5  # between two visits; more visits would use up PostgreSQL's connections, with or without a rollout
# Additions that no minifier removes.
ADDITIONS = {".js": "globalThis.next = true;", ".css": ".next { color: red; }", ".svg": "<!-- next -->"}

pytestmark = [pytest.mark.usefixtures("image"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def next_version(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the image of a version that expands the schema, and whose static files all have other names."""
    checkout = tmp_path_factory.mktemp("checkout") / "next"
    left_out = shutil.ignore_patterns(".git", ".venv*", "node_modules", "tests", "var", ".*_cache", "__pycache__")
    shutil.copytree(ROOT, checkout, ignore=left_out)
    migrations = checkout / "messaging/migrations"
    last = max(path.stem for path in migrations.glob("[0-9]*.py"))
    (migrations / "9999_expanding.py").write_text(EXPANDING.format(last=last))
    for path in (checkout / "static/messaging").iterdir():
        path.write_text(f"{path.read_text()}\n{ADDITIONS[path.suffix]}\n")
    containers.build(NEXT, checkout)
    return NEXT


@pytest.fixture
def site() -> Iterator[Cluster]:
    """Yield an environment with its own PostgreSQL, since two versions of every pod take many of its connections."""
    postgres = Postgres()
    with started(postgres), cluster(postgres, "rollout") as site:
        yield site


async def test_a_rollout_and_its_undo_go_unnoticed(site: Cluster, next_version: str) -> None:
    with ChaosProxy([(HOST, site.ingress.port)]) as network:
        crowd = Crowd(site, network)
        async with traffic(crowd, site.database), visits(site):
            rollout = asyncio.create_task(asyncio.to_thread(site.replace, next_version))
            await eventually(lambda: waiting(site, next_version) == 3, "new pods wait for their schema", CALM_SECONDS)
            await crowd.goes_on()
            await asyncio.to_thread(site.migrate, next_version)
            await rollout
            await both_versions_serve(site, crowd)
            await asyncio.to_thread(site.replace, next_version)
            await crowd.goes_on()
            assert {pod.image for pods in site.pods.values() for pod in pods} == {next_version}
            for _ in range(2):  # back, on the schema of the next version
                await asyncio.to_thread(site.replace, IMAGE)
                await crowd.goes_on()
        crowd.check_errors()
    assert "Traceback" not in site.log


async def both_versions_serve(site: Cluster, crowd: Crowd) -> None:
    assert [{pod.image for pod in pods} for pods in site.pods.values()] == [{IMAGE, NEXT}] * len(site.pods)
    await crowd.goes_on()
    await asyncio.to_thread(newcomers, site.ingress.origin)


def newcomers(origin: str) -> None:
    """Load the page, scripts and styles in new browsers, from either version; assert that there are no errors."""
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE_MS)
        path = next(filter(None, map(shutil.which, CHROMIUMS)))
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        people = People(browser)
        for _ in range(NEWCOMERS):
            people.visitor(origin)
        people.close()
        browser.close()
    assert people.errors == []


@contextlib.asynccontextmanager
async def visits(site: Cluster) -> AsyncIterator[None]:
    """Load the visitors' page repeatedly while the body runs, and assert that it is served each time."""
    over = asyncio.Event()

    async def visit() -> None:
        while not over.is_set():
            status, _, _ = await asyncio.to_thread(fetch, f"{site.ingress.origin}/user/")
            assert status == 200
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), VISIT_SECONDS)

    visiting = asyncio.create_task(visit())
    try:
        yield
    finally:
        over.set()
        await visiting


def waiting(site: Cluster, image: str) -> int:
    """Return how many pods of `image` are alive and wait for the migrations of their version."""
    return sum(is_waiting(pod) for pod in site.containers if pod.image == image)


def is_waiting(pod: Pod) -> bool:
    with contextlib.suppress(OSError):
        status, parts = probe(pod, "/ready")
        return (status, parts["database"]) == (503, "not migrated")
    return False
