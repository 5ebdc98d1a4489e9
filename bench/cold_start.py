"""`make aws-cold-start`: the time that a new process of the Lambda function takes, by its parts.

The process imports the unpacked package of `make aws-package`, as Lambda does, with only the modules of Lambda's own
Python beside it; then it serves a page, or the first events of a WebSocket. PostgreSQL, the table and the gateway are
processes of this machine. Every run is a new process; the fastest counts, because other load can only add time.
"""

import contextlib
import json
import math
import os
import subprocess
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from aws.packaging import NOBODY, PACKAGES
from aws.rehearsal import HTTP, websocket
from tests.support.aws_deployment import PROGRAMS, STAGE, PostgresWithTLS
from tests.support.deployments import FOR_TESTS, manage
from tests.support.ministack import Ministack
from tests.support.paths import ROOT
from tests.support.services import HOST, started

RUNS = 7
HELLO = websocket("MESSAGE", '{"action":"identify","v":2,"type":"user","id":"hello"}')
PAGE = "first page"
EVENTS = {
    PAGE: HTTP,
    "$connect": websocket("CONNECT"),
    "identify": HELLO,
    "identify, once more": HELLO,  # its time without the work of the first frame
}
FRAMES = list(EVENTS)[1:]
# The parts of an import's time, by root package. A module's own time, without the modules it imports, counts once.
PARTS = {
    "boto3 and its clients": ("boto3", "botocore"),
    "Django": ("django",),
    "psycopg": ("psycopg", "psycopg_binary"),
    "Zappa and Werkzeug": ("zappa", "werkzeug", "handler"),
    "this product": ("messaging", "messaging_site"),
}
REST = "Python's own modules and the rest"

CHILD = """
import json, sys, time
package, rehearsal, events = sys.argv[1:]
sys.path.insert(0, package)
sys.path.append(rehearsal)
times = [time.perf_counter()]
import handler
times.append(time.perf_counter())
from rehearsal import Context
for event in json.loads(events):
    status = handler.lambda_handler(event, Context())["statusCode"]
    times.append(time.perf_counter())
    assert status == 200, status
print(json.dumps([after - before for before, after in zip(times, times[1:])]))
"""


class Gateway(BaseHTTPRequestHandler):
    """A server that accepts the frames posted to connections and records their types."""

    posts: ClassVar[list[str]] = []
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["type"])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def surroundings() -> Iterator[dict[str, str]]:
    """Start the services behind the function. Yield the environment with their addresses."""
    ministack, postgres = Ministack(), PostgresWithTLS()
    with started(ministack, postgres), ThreadingHTTPServer((HOST, 0), Gateway) as gateway:
        threading.Thread(target=gateway.serve_forever, daemon=True).start()
        environment = NOBODY | FOR_TESTS | dict(ministack.environment_for_clients)
        environment |= {
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "DATABASE_URL": postgres.create_database("cold_start"),
            "CONNECTIONS_TABLE_NAME": "connections",
            "WEBSOCKET_API_ENDPOINT": f"http://{HOST}:{gateway.server_port}/ws",
        }
        manage(environment, "messaging_migrate")
        yield environment
        gateway.shutdown()


def child(function: Path, environment: Mapping[str, str], events: Sequence[str], *options: str) -> tuple[str, str]:
    """Return the output and the error output of a new process that imports the function and serves `events`.

    `events`: keys of EVENTS. `options`: of Python.
    """
    arguments = [str(function), str(ROOT / "aws"), json.dumps([EVENTS[name] for name in events])]
    command = [str(PROGRAMS / "python"), *options, "-c", CHILD, *arguments]
    done = subprocess.run(command, env=environment, cwd=function, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def fastest(functions: Sequence[Path], environment: Mapping[str, str], runs: int = RUNS) -> list[dict[str, float]]:
    """Return, for each of `functions`, the fewest milliseconds of its import and of each of EVENTS."""
    found: list[dict[str, float]] = [{} for _ in functions]
    for events in [[PAGE], FRAMES] * runs:
        for function, times in zip(functions, found, strict=True):
            output, _ = child(function, environment, events)
            for name, seconds in zip(["import", *events], json.loads(output.splitlines()[-1]), strict=True):
                times[name] = min(times.get(name, math.inf), seconds * 1000)
    assert Gateway.posts.count("identified") == 2 * runs * len(functions), Gateway.posts
    return found


def to_first_frame(times: Mapping[str, float]) -> float:
    """Return the milliseconds from the import to the first frame, from one of the results of `fastest`."""
    return sum(times[name] for name in ("import", *FRAMES[:2]))


def spent(function: Path, environment: Mapping[str, str]) -> dict[str, float]:
    """Return the milliseconds of importing the modules of each of PARTS, and of the REST."""
    total = dict.fromkeys([*PARTS, REST], 0.0)
    for line in child(function, environment, [], "-X", "importtime")[1].splitlines():
        if line.startswith("import time:") and line[12:].split("|")[0].strip().isdigit():
            own, _, module = line[12:].split("|")
            root = module.strip().partition(".")[0]
            total[next((name for name, roots in PARTS.items() if root in roots), REST)] += int(own) / 1000
    return total


def unpacked(archive: Path, directory: Path) -> Path:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(directory)
    return directory


def main() -> None:
    """Print the figures for docs/aws.md."""
    (archive,) = PACKAGES.glob(f"{STAGE}-*.zip")
    with tempfile.TemporaryDirectory() as directory, surroundings() as environment:
        function, bare = (unpacked(archive, Path(directory) / name) for name in ("function", "bare"))
        for cached in bare.rglob("__pycache__/*.pyc"):
            cached.unlink()
        found = fastest([function, bare], environment)
        parts = spent(function, environment)
    for times in found:
        times["from the import to the first frame"] = to_first_frame(times)
    print(f"{archive.stat().st_size / 2**20:.1f} MiB; milliseconds with and without the package's bytecode")
    for name in found[0]:
        print(f"  {name:34} {found[0][name]:6.0f} {found[1][name]:6.0f}")
    print("Import time, by package")
    for name, milliseconds in parts.items():
        print(f"  {name:34} {milliseconds:6.0f}")


if __name__ == "__main__":
    main()
