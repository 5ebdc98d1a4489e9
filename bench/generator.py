"""The bench's side of the load generator."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Self

from bench.exchange import Burst, Closed, Grow, Open, Outcome, Reconnect, Return, Setup, encode
from tests.support.paths import ROOT

PATIENCE = 300  # seconds to wait for an answer: enough for 10,000 connections on a slow machine


class GeneratorFailed(Exception):
    """The error of a load generator that could not obey a command, has ended, or did not answer."""


class Generator:
    """bench.load in a process of its own. Entering the context connects all visitors and staff."""

    def __init__(
        self, urls: Sequence[str], visitors: int, admins: int = 0, admin_token: Callable[[], str] = str
    ) -> None:
        self._setup = Setup(list(urls), visitors, admins, admin_token() if admins else "")

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "bench.load"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self._ask(json.dumps(asdict(self._setup)))
        except GeneratorFailed:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()

    def grow(self, visitors: int) -> None:
        self._ask(encode(Grow(visitors)))

    def run(self, trial: Open | Closed | Burst) -> Outcome:
        return Outcome(**self._ask(encode(trial)))

    def reconnect(self) -> Return:
        return Return(**self._ask(encode(Reconnect())))

    def _ask(self, question: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        alarm = threading.Timer(PATIENCE, self._process.kill)
        alarm.start()
        try:
            self._process.stdin.write(question + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            alarm.cancel()
        if not answer:
            raise GeneratorFailed(f"the load generator ended, or did not answer within {PATIENCE} s")
        answered: dict[str, Any] = json.loads(answer)
        if "failed" in answered:
            raise GeneratorFailed(answered["failed"])
        return answered
