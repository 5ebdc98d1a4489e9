"""`make bench-database`: response times of the product's own code with a million messages in PostgreSQL.

It fills a new database (tests/support/archive.py), then times every hot path (tests/support/hot_paths.py), an export,
pruning beside traffic, and a process that catches up under heavy writing. Query plans go to var/database-plans.txt.
"""

import argparse
import asyncio
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import django
import psycopg

from bench.contenders import DurablePostgres
from tests.support.archive import MILLION, fill
from tests.support.deployments import LocalServer, prepare_database
from tests.support.paths import ROOT
from tests.support.services import started

PLANS = ROOT / "var" / "database-plans.txt"
WARM = 5  # calls of each path before those that are timed
ACKS = 200  # messages written a second while their acks are timed
SECONDS = 10  # duration of that if no other process runs beside it
PRUNED = 100_000
WINDOW = 12  # seconds of writing before the catching up is timed
RATES = (1_000, 5_000)

PRUNE = "from messaging.journal.retention import prune; from datetime import datetime; " + (
    "print(sum(n for _, n in prune(datetime.fromisoformat('{before}'))))"
)
OLDEST = "SELECT created_at FROM messaging_message ORDER BY created_at OFFSET %s LIMIT 1"
SIZES = """
SELECT pg_table_size(c) / n, pg_indexes_size(c) / n, n FROM (
    SELECT '{table}'::regclass AS c, (SELECT count(*) FROM {table}) AS n
) AS each
"""
WRITE = """
INSERT INTO messaging_message (id, conversation_id, principal, client_id, sender, author, quick, content)
SELECT gen_random_uuid(), %s, 'visitor:bench', gen_random_uuid(), 'user', '', '', 'Wo ist der Ausgang?'
FROM generate_series(1, %s)
"""


def quantiles(seconds: list[float]) -> str:
    ordered = sorted(1000 * each for each in seconds)
    p50, p95, p99 = (ordered[min(int(len(ordered) * part), len(ordered) - 1)] for part in (0.5, 0.95, 0.99))
    return f"{p50:.1f} | {p95:.1f} | {p99:.1f} | {ordered[-1]:.1f}"


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def paths(samples: int) -> None:
    from tests.support.hot_paths import Recorder, everybody, explained

    recorder = Recorder()
    PLANS.parent.mkdir(exist_ok=True)
    print("\n| path | p50 ms | p95 | p99 | max | p95 in the database |\n|---|---|---|---|---|---|")
    with everybody() as people, PLANS.open("w") as plans:
        for name in people.paths:
            for _ in range(WARM):
                people.run(name)
            took, database = [], []
            for _ in range(samples):
                before = recorder.seconds
                took.append(timed(partial(people.run, name)))
                database.append(recorder.seconds - before)
            print(f"| {name} | {quantiles(took)} | {quantiles(database).split(' | ')[1]} |", flush=True)
            with recorder.recorded() as statements:
                people.run(name)
            for sql, params in statements:
                lines = [line[:400] for line in explained((sql, params), "ANALYZE, BUFFERS")]
                plans.write("\n".join([f"# {name}", sql[:2000], *lines, "", ""]))


@contextmanager
def writing(database: str, rate: int) -> Iterator[None]:
    """Write `rate` messages a second, in fifty transactions a second, from another thread."""
    stopped = threading.Event()

    def write() -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            (thread,) = connection.execute("SELECT id FROM messaging_conversation LIMIT 1").fetchone() or ()
            due = time.monotonic()
            while not stopped.is_set():
                connection.execute(WRITE, [thread, rate // 50])
                due += 0.02
                time.sleep(max(0.0, due - time.monotonic()))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stopped.set()
        writer.join()


def catching_up(database: str) -> None:
    """Print the cost of reading the numbers of new messages every two seconds, as the hub does."""
    from messaging.journal import reader
    from messaging.service.contracts import Cursor

    print("\n| messages/s | numbers read | median ms |\n|---|---|---|")
    for rate in RATES:
        with writing(database, rate):
            time.sleep(WINDOW)
            floor: Cursor | None = None
            rows: list[tuple[int, float]] = []
            for _ in range(6):
                began = time.perf_counter()
                numbers, floor = reader.positions(floor)
                rows.append((len(numbers), time.perf_counter() - began))
                time.sleep(2)
        told, took = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"| {rate:,} | {told:,.0f} | {took * 1000:.0f} |", flush=True)


async def acked(beside: asyncio.subprocess.Process | None = None) -> list[float]:
    """Write ACKS messages a second, for SECONDS or until the process `beside` ends. Return each ack's seconds."""
    from messaging.journal.journal import Journal
    from messaging.service.contracts import NewMessage

    log, took, visitors = Journal(), [], [str(uuid4()) for _ in range(500)]

    async def write(visitor: str) -> None:
        began = time.perf_counter()
        await log.append(NewMessage(visitor, f"visitor:{visitor}", uuid4().hex, "user", "Wo ist der Ausgang?"))
        took.append(time.perf_counter() - began)

    tasks: list[asyncio.Task[None]] = []
    began = time.monotonic()
    while beside.returncode is None if beside else time.monotonic() - began < SECONDS:
        tasks.append(asyncio.create_task(write(visitors[len(tasks) % len(visitors)])))
        await asyncio.sleep(max(0.0, began + len(tasks) / ACKS - time.monotonic()))
    await asyncio.gather(*tasks)
    await log.close()
    return took


async def pruning(database: str) -> None:
    with psycopg.connect(database) as connection:
        (before,) = connection.execute(OLDEST, [PRUNED]).fetchone() or ()
    print(f"\n| acks at {ACKS}/s | p50 ms | p95 | p99 | max |\n|---|---|---|---|---|")
    print(f"| alone | {quantiles(await acked())} |")
    command = [sys.executable, "manage.py", "shell", "-c", PRUNE.format(before=before.isoformat())]
    began = time.monotonic()
    prune = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    print(f"| beside messaging_prune | {quantiles(await acked(prune))} |")
    assert prune.stdout is not None
    rows = (await prune.stdout.read()).decode().split()[-1]
    print(f"\nPruned {rows} rows in {time.monotonic() - began:.0f} s.")


def exporting(*arguments: str) -> tuple[float, int]:
    """Run messaging_export. Return its seconds and its peak memory in MiB."""
    began = time.monotonic()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, str(ROOT / "manage.py"), "messaging_export", *arguments],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(pid, 0)
    assert status == 0
    return time.monotonic() - began, usage.ru_maxrss // 1024


def sizes(database: str) -> None:
    print("\n| table | rows | bytes per row | index bytes per row |\n|---|---|---|---|")
    with psycopg.connect(database) as connection:
        for table in ("messaging_message", "messaging_conversation"):
            heap, indexes, rows = connection.execute(SIZES.format(table=table)).fetchone() or ()
            print(f"| {table} | {rows:,} | {heap} | {indexes} |")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.database", description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=200, help="calls of each path (default: 200)")
    samples = parser.parse_args().samples
    postgres = DurablePostgres()
    with started(postgres):
        database = postgres.create_database("archive")
        site = LocalServer(DATABASE_URL=database, ALLOWED_HOSTS="testserver", MESSAGING_LOG_LEVEL="ERROR")
        site.environment["VAR_DIR"] = str(site.directory)
        prepare_database(site.environment)
        print(
            f"Filled in {timed(lambda: fill(database, MILLION)):.0f} s; load of this machine: {os.getloadavg()[0]:.1f}"
        )
        os.environ |= {**site.environment, "DJANGO_SETTINGS_MODULE": "messaging_site.settings"}
        django.setup()
        sizes(database)
        paths(samples)
        for name, arguments in {"nothing": ["--until", "2000-01-01"], "everything": []}.items():
            seconds, memory = exporting(*arguments)
            print(f"\nExported {name}: {seconds:.0f} s, {memory} MiB at most.")
        asyncio.run(pruning(database))
        catching_up(database)
        print(f"\nLoad at the end: {os.getloadavg()[0]:.1f}; query plans: {PLANS.relative_to(Path.cwd())}")
        site.stop()


if __name__ == "__main__":
    main()
