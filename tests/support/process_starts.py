"""Starts of pods and functions, many in a second: each is a fork of a process with the libraries loaded.

`python -m tests.support.process_starts` reads a JSON list of [kind, environment] and prints the result of each start.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from tests.support.paths import ROOT

Kind = Literal["pod", "function"]

SECONDS = 60  # a process that still runs after them has started


class Start(NamedTuple):
    """The exit code of a process (-SIGALRM if it did not end by itself), and its output."""

    code: int
    output: str


def started(cases: Sequence[tuple[Kind, Mapping[str, str]]]) -> list[Start]:
    """Return the result of each start. A process gets its own environment and no other variables."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    command = [sys.executable, "-m", "tests.support.process_starts"]
    done = subprocess.run(command, cwd=ROOT, env=kept, input=json.dumps(cases), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [Start(*result) for result in json.loads(done.stdout)]


def _in_a_fork(kind: Kind, environment: Mapping[str, str]) -> Start:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.environ.clear()
        os.environ.update(environment)
        signal.alarm(SECONDS)
        _end(kind)
    os.close(writing)
    with os.fdopen(reading) as output:
        text = output.read()
    return Start(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text)


def _end(kind: Kind) -> None:
    """Run the program as Python would, and end this process."""
    code = 0
    try:
        if kind == "pod":
            from messaging_site.server.server import main

            main()
        else:  # what Zappa does
            for module in ("messaging_site.wsgi", "messaging.transports.apigateway.handler"):
                importlib.import_module(module)
    except SystemExit as end:
        print(end.code, file=sys.stderr)
        code = 1
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    for library in ("django.db.models", "django.forms", "dj_database_url", "psycopg", "messaging_site.server.server"):
        importlib.import_module(library)
    print(json.dumps([_in_a_fork(kind, environment) for kind, environment in json.load(sys.stdin)]))
