"""The cost of the hot paths, which does not grow with the journal: measured by PostgreSQL's plans, not by a clock."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.archive import Size, fill
from tests.support.deployments import PREPARED, Kubernetes, LocalServer, manage
from tests.support.services import Postgres

pytestmark = pytest.mark.slow

SIZE = Size(messages=200_000, conversations=60_000)
LARGE = {"messaging_message", "messaging_conversation"}
# The rows of a large table that one statement may read: those that a list counts or a search looks through, and some
# more that a filter drops. The largest search looks for words in 20,000 messages; the whole table has 200,000.
ROWS_OF_A_STATEMENT = 40_000

Plans = dict[str, list[tuple[str, dict[str, Any]]]]


@pytest.fixture(scope="module")
def plans(postgres: Postgres, kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> Plans:
    """Return, by hot path, each statement that the product sends and the plan by which PostgreSQL executed it."""
    database = postgres.create_database("archive", PREPARED)
    fill(database, SIZE)
    directory = tmp_path_factory.mktemp("archive")
    site = LocalServer(DATABASE_URL=database, ALLOWED_HOSTS="testserver", VAR_DIR=str(directory))
    file = directory / "plans.json"
    manage(site.environment, "shell", "-c", f"from tests.support.hot_paths import write_plans as w; w({str(file)!r})")
    site.stop()
    postgres.execute('DROP DATABASE "archive"')
    found = json.loads(file.read_text())
    return {path: [(sql, plan[0]["Plan"]) for sql, (plan,) in statements] for path, statements in found.items()}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def looked_at(node: dict[str, Any]) -> int:
    """Return the number of rows that a scan of a large table has read, or 0 for any other node."""
    if node.get("Relation Name") not in LARGE:
        return 0
    removed = sum(node.get(f"Rows Removed by {what}", 0) for what in ("Filter", "Index Recheck", "Join Filter"))
    return int((node["Actual Rows"] + removed) * node["Actual Loops"])


def test_no_hot_path_looks_at_a_large_table_as_a_whole(plans: Plans) -> None:
    assert {
        path: [sql for sql, plan in statements if any(map(is_whole, nodes(plan)))]
        for path, statements in plans.items()
        if any(is_whole(node) for _, plan in statements for node in nodes(plan))
    } == {}
    assert any(looked_at(node) for statements in plans.values() for _, plan in statements for node in nodes(plan))


def is_whole(node: dict[str, Any]) -> bool:
    return node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE


def test_no_statement_of_a_hot_path_reads_more_rows_than_a_search_may(plans: Plans) -> None:
    """A plan may use an index and still read all of it, looking for a row that does not exist."""
    rows = {
        (path, sql): sum(map(looked_at, nodes(plan))) for path, statements in plans.items() for sql, plan in statements
    }
    assert {statement: number for statement, number in rows.items() if number > ROWS_OF_A_STATEMENT} == {}


def test_nothing_is_counted_that_grows(plans: Plans) -> None:
    every = {sql for statements in plans.values() for sql, _ in statements}
    counts = {sql for sql in every if "COUNT(*)" in sql and any(f'FROM "{table}"' in sql for table in LARGE)}
    assert counts
    assert [sql for sql in counts if "LIMIT" not in sql] == []


def test_every_path_was_taken(plans: Plans) -> None:
    assert {path for path, statements in plans.items() if not statements} == set()
