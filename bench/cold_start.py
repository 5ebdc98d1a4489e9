"""`.venv-aws/bin/python -m bench.cold_start`: how long a new process of the Lambda function takes, and for what.

It imports the package that `make aws-package` makes, unpacked, as Lambda does, and beside it only what Lambda's own
Python brings. Every run is a new process; the median counts.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from aws.packaging import NOBODY, package

RUNS = 7
STAGE = "production"
# Cumulative time of these imports says what a start is spent on. Each is named without those above it.
PARTS = {
    "boto3 and its clients": ("boto3", "botocore"),
    "Django": ("django",),
    "psycopg": ("psycopg", "psycopg_binary"),
    "Zappa and Werkzeug": ("zappa", "werkzeug", "handler"),
    "this product": ("messaging", "messaging_site"),
}

CHILD = """
import json, sys, time
sys.path.insert(0, {package!r})
sys.path.append({rehearsal!r})
begin = time.perf_counter()
import handler
imported = time.perf_counter()
from rehearsal import HTTP, Context
handler.lambda_handler(HTTP, Context())
page = time.perf_counter()
print(json.dumps([imported - begin, page - imported]))
"""


def main() -> None:
    """Prints a table for docs/aws.md."""
    archive = package(STAGE)
    with tempfile.TemporaryDirectory() as directory:
        function = Path(directory) / "function"
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(function)
        runs = [run(function) for _ in range(RUNS)]
        parts = spent(function)
        for cached in function.rglob("__pycache__/*.pyc"):
            cached.unlink()
        bare = [run(function) for _ in range(RUNS)]
    print(f"package                        {archive.stat().st_size / 2**20:6.1f} MiB")
    for name, times in (("", runs), (" without its bytecode", bare)):
        imported, page = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"import{name:24} {imported * 1000:6.0f} ms\nfirst page{name:20} {page * 1000:6.0f} ms")
    for name, milliseconds in parts.items():
        print(f"  {name:28} {milliseconds:6.0f} ms")


def run(function: Path) -> tuple[float, float]:
    """Seconds for the import, and for the first page after it, in a new process."""
    return tuple(json.loads(child(function).stdout.splitlines()[-1]))


def spent(function: Path) -> dict[str, float]:
    """Milliseconds that importing the modules of each of PARTS took by themselves."""
    total = dict.fromkeys([*PARTS, "Python's own modules and the rest"], 0.0)
    for line in child(function, "-X", "importtime").stderr.splitlines():
        if line.startswith("import time:") and line[12:].split("|")[0].strip().isdigit():
            own, _, module = line[12:].split("|")
            root = module.strip().partition(".")[0]
            part = next((name for name, roots in PARTS.items() if root in roots), "Python's own modules and the rest")
            total[part] += int(own) / 1000
    return total


def child(function: Path, *options: str) -> subprocess.CompletedProcess[str]:
    code = CHILD.format(package=str(function), rehearsal=str(Path(__file__).parents[1] / "aws"))
    environment = NOBODY | {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, env=environment, cwd=function, capture_output=True, text=True, check=True)


if __name__ == "__main__":
    main()
