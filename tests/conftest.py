"""Fixtures of all tests: the real services, and the product deployed on them.

PostgreSQL starts before Django's settings load, so that tests of the ORM run on it. That is why pyproject.toml does
not name the settings: pytest-django would load them before it loads this file.
"""

import contextlib
import os
import signal
from collections.abc import Generator, Iterator
from uuid import uuid4

import hypothesis
import pytest
from django.conf import settings

from tests.support import containers
from tests.support.aws_deployment import AwsDeployment, PostgresWithTLS, deployed
from tests.support.browser import browser, launched, people  # noqa: F401  fixtures
from tests.support.chaos_proxy import ChaosProxy
from tests.support.cluster import Cluster, cluster
from tests.support.deployments import SECRET_KEY, Deployment, Kubernetes, LocalServer, Pod, local
from tests.support.dynamodb_table import DynamoDBTable
from tests.support.ministack import Ministack
from tests.support.moving_site import site  # noqa: F401  a fixture
from tests.support.pgbouncer import PgBouncer
from tests.support.redis_services import Redis, RedisCluster, RedisSentinel, Valkey
from tests.support.services import HOST, MissingProgram, Postgres, Service, program, running, started, stopped
from tests.support.workers import once_a_run

UNIT_DATABASE = "unit"
# In production a site has 100 connections of PostgreSQL to itself. A worker's server has the databases of several sites
# at a time: of the deployments that it keeps, and of the test. Tests about a crowd start their own server.
SEVERAL_SITES = 400
LOG_LINES = 60  # of each service, in the report of a failed test
# A test gets the mark if it asks for one of these fixtures or has one of these parameters.
MARKS = {
    "browser": {"browser"},
    "aws": {"ministack", "aws", "dynamodb"},
    "image": {"image", "containers"},
    "slow": {"pooled"},
}
# One of each serves a whole run, so all of its tests go to one worker.
SHARED_DEPLOYMENTS = ("containers", "aws", "pooled", "kubernetes", "local")
# These take a minute or longer, the longest first.
LONG_GROUPS = (
    "containers",
    "aws",
    "pages.test_live_page",
    "faults of servers",
    "compose.test_compose",
    "image.test_rollout",
    "deployments.test_hostile",
    "deployments.test_chaos",
    "faults of services",
    "pages.test_browser",
    "pages.test_user_page_life",
    "pages.test_inbox_live",
    "pages.test_user_page",
    "deployments.test_faults",
    "deployments.test_logs",
    "deployments.test_server",
    "pooled",
    "kubernetes",
    "local",
    "deployments.test_metrics",
    "aws.test_apigateway",
    "pages.test_admin_pages",
)

# The duration of an example depends on the load of the machine.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

already_logged = pytest.StashKey[dict[Service, int]]()
services = pytest.StashKey[contextlib.ExitStack]()
postgres_key = pytest.StashKey[Postgres]()


def pytest_configure(config: pytest.Config) -> None:
    if config.option.help or config.option.version or distributes(config):
        return
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under `nohup` it is ignored, and servers would inherit that
    try:
        for name in ("postgres", "initdb", "pgbouncer", "redis-server", "nginx"):
            program(name)
    except MissingProgram as missing:
        raise pytest.UsageError(str(missing)) from None
    postgres = config.stash[postgres_key] = Postgres(f"max_connections={SEVERAL_SITES}")
    stack = config.stash[services] = contextlib.ExitStack()
    stack.enter_context(started(postgres))
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "messaging_site.settings",
        "DEPLOYMENT_MODE": "local",
        "DATABASE_URL": postgres.create_database(UNIT_DATABASE),
        "SECRET_KEY": SECRET_KEY,
    }
    # This loads the settings; pytest-django sets up Django later, if the settings are configured.
    settings.DATABASES["default"]["ENGINE"] = "tests.support.postgresql"


def pytest_unconfigure(config: pytest.Config) -> None:
    if services in config.stash:
        config.stash[services].close()


def distributes(config: pytest.Config) -> bool:
    """Return whether this process only hands out tests to workers, each of which has services of its own."""
    return bool(config.getoption("tx", None)) and not hasattr(config, "workerinput")


@pytest.hookimpl(tryfirst=True)  # before `-m` selects by the marks that are set here
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with what it needs, and keep tests that share a costly fixture on one worker.

    Groups that take long come first, so that no worker is left alone with one at the end.
    """
    for item in items:
        assert isinstance(item, pytest.Function)
        fixtures = set(item.fixturenames)
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        names = {value for value in parameters if isinstance(value, str)}
        for mark, causes in MARKS.items():
            if (fixtures | names) & causes:
                item.add_marker(mark)
        if not item.get_closest_marker("xdist_group"):
            shared = [name for name in SHARED_DEPLOYMENTS if name in names or f"{name}_deployment" in fixtures]
            item.add_marker(pytest.mark.xdist_group(*shared[:1] or [f"{item.path.parent.name}.{item.path.stem}"]))
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    mark = item.get_closest_marker("xdist_group")
    assert mark is not None
    (group,) = mark.args
    return LONG_GROUPS.index(group) if group in LONG_GROUPS else len(LONG_GROUPS)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Raise UsageError if tests are not kept together: each worker would silently start its own shared services."""
    grouped = all("@" in item.nodeid for item in session.items)
    if hasattr(session.config, "workerinput") and session.config.getvalue("loadgroup") and not grouped:
        raise pytest.UsageError("pytest-xdist does not see the groups of this pytest: use the pinned versions of both")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    stopped.clear()
    item.stash[already_logged] = {service: len(service.log) for service in running}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the log lines that services wrote during a failed test to its report."""
    report = yield
    if report.failed:
        for service, log in [*((service, service.log) for service in running), *stopped]:
            new = log[item.stash[already_logged].get(service, 0) :].splitlines()[-LOG_LINES:]
            if new:
                report.sections.append((f"log of {service.name} on port {service.port}", "\n".join(new)))
    return report


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Postgres:
    return pytestconfig.stash[postgres_key]


@pytest.fixture(scope="module")
def redis_server() -> Iterator[Redis]:
    """Yield a Redis per module: processes of another one would receive its hints and count its connections."""
    redis = Redis()
    with started(redis):
        yield redis


@pytest.fixture(scope="module")
def valkey_server() -> Iterator[Valkey]:
    try:
        program(Valkey.program)
    except MissingProgram as missing:
        pytest.skip(f"on Redis alone: {missing}")
    valkey = Valkey()
    with started(valkey):
        yield valkey


@pytest.fixture(scope="session")
def redis_sentinel() -> Iterator[RedisSentinel]:
    redis = RedisSentinel()
    with redis.started():
        yield redis


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    redis = RedisCluster()
    with redis.started():
        yield redis


@pytest.fixture(scope="session")
def ministack() -> Iterator[Ministack]:
    ministack = Ministack()
    with started(ministack):
        yield ministack


@pytest.fixture
def dynamodb_table(ministack: Ministack, monkeypatch: pytest.MonkeyPatch) -> DynamoDBTable:
    """Return a table of the test's own, and set the environment that leads boto3 to it."""
    for name, value in ministack.environment_for_clients.items():
        monkeypatch.setenv(name, value)
    table = DynamoDBTable(f"connections-{uuid4().hex}", ministack)
    table.create()
    return table


@pytest.fixture
def dynamodb_network(dynamodb_table: DynamoDBTable, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChaosProxy]:
    """Yield the network between that table and the clients that are created from now on."""
    with ChaosProxy([(HOST, dynamodb_table.ministack.port)]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{HOST}:{proxy.port}")
        yield proxy


@pytest.fixture(scope="session")
def kubernetes(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Kubernetes:
    return Kubernetes(postgres, tmp_path_factory.mktemp("static"))


@pytest.fixture(scope="session")
def local_deployment() -> Iterator[Deployment[LocalServer]]:
    with local() as deployment:
        yield deployment


@pytest.fixture(scope="session")
def kubernetes_deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment[Pod]]:
    """Yield pods with a PostgreSQL and a Redis of their own, both with default settings."""
    postgres, redis = Postgres(), Redis()
    static = tmp_path_factory.mktemp("static")
    with started(postgres, redis), Kubernetes(postgres, static).deployed(redis.url) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def pooler(postgres: Postgres) -> Iterator[PgBouncer]:
    pooler = PgBouncer(postgres)
    with started(pooler):
        yield pooler


@pytest.fixture(scope="session")
def pooled_deployment(kubernetes: Kubernetes, pooler: PgBouncer) -> Iterator[Deployment]:
    """Yield pods that reach their database through the pooler, without a session of their own."""
    redis = Redis()
    with started(redis), kubernetes.deployed(redis.url, pooler=pooler) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def aws_deployment(ministack: Ministack) -> Iterator[AwsDeployment]:
    postgres = PostgresWithTLS()
    with started(postgres), deployed(ministack, postgres) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of this checkout's image, which one worker builds while the others wait."""
    with once_a_run(tmp_path_factory, "image") as is_first:
        if is_first:
            containers.build()
    return containers.IMAGE


@pytest.fixture(scope="session")
def containers_deployment(postgres: Postgres, image: str) -> Iterator[Cluster]:
    with cluster(postgres, "cluster") as deployment:
        yield deployment


@pytest.fixture(scope="session", params=["local", "kubernetes", "pooled", "aws", "containers"])
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """Return a deployment of each mode, for tests of behaviour that all modes share."""
    found: Deployment = request.getfixturevalue(f"{request.param}_deployment")
    return found


@pytest.fixture(scope="session", params=["kubernetes", "pooled", "aws", "containers"])
def shared_deployment(request: pytest.FixtureRequest) -> Deployment:
    """Return a deployment in which several processes share the work: two servers, or a function."""
    found: Deployment = request.getfixturevalue(f"{request.param}_deployment")
    return found
