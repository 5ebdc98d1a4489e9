"""The number of connections to PostgreSQL that a server holds, however many requests it serves."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError

import psutil
import psycopg
import pytest

from tests.support.deployments import Deployment, Kubernetes, Pod, fetch, opener
from tests.support.redis_services import Redis
from tests.support.services import Postgres, started

pytestmark = pytest.mark.slow

VIEWS = 1_000
LOOK = 100  # page views between two looks at the connections
CROWD = 130
MOST = 6  # connections of a process, as docs/migration.md says


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    postgres = Postgres()  # its own server, so that no other test finds it full
    with started(postgres):
        yield postgres


@pytest.fixture(scope="module")
def deployment(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment[Pod]]:
    redis = Redis()
    directory: Path = tmp_path_factory.mktemp("site")
    with started(redis), Kubernetes(postgres, directory).deployed(redis.url) as deployment:
        yield deployment


def connections(pod: Pod, postgres: Postgres) -> int:
    ends = psutil.Process(pod.pid).net_connections("tcp")
    return sum(bool(end.raddr) and end.raddr.port == postgres.port for end in ends)


def test_a_server_holds_few_connections_however_many_pages_it_serves(
    deployment: Deployment[Pod], postgres: Postgres
) -> None:
    for view in range(1, VIEWS + 1):
        pod = deployment.servers[view % 2]
        assert fetch(f"{pod.origin}/user/")[0] == 200
        if view % LOOK == 0:
            assert max(connections(pod, postgres) for pod in deployment.servers) <= MOST


def test_a_crowd_that_comes_at_once_is_served_over_as_few(deployment: Deployment[Pod], postgres: Postgres) -> None:
    def view(number: int) -> int:
        try:
            with opener().open(f"{deployment.servers[number % 2].origin}/user/", timeout=60) as answer:
                return int(answer.status)
        except HTTPError as answer:
            return answer.code

    with psycopg.connect(deployment.database) as watcher, ThreadPoolExecutor(CROWD) as crowd:
        answers = [crowd.submit(view, number) for number in range(CROWD)]
        seen = 0
        while not all(answer.done() for answer in answers):
            row = watcher.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()").fetchone()
            assert row is not None
            seen = max(seen, row[0] - 1)
        statuses = Counter(answer.result() for answer in answers)
    assert set(statuses) <= {200, 503}
    assert statuses[200] > CROWD / 2
    assert 0 < seen <= 2 * MOST
