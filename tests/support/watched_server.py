"""The server of pods with a look into its event loop: `python -m tests.support.watched_server`.

A turn is the time for which the loop keeps all other connections waiting. It is measured in CPU time of the loop's
thread, which does not pass while other processes have the processor. SIGUSR1 makes the server write the turns since the
last signal, in seconds, to the file that TURNS names. SIGUSR2 makes it write the number of tasks of each coroutine to
the file that TASKS names. MESSAGE_SECONDS sets the time for one message of a socket.
"""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from messaging_site.server import server  # before Twisted's reactor, which it selects

# isort: split
from twisted.internet import reactor

from messaging_site.server import flow

TICK_SECONDS = 0.001  # shorter turns are measured together


class Turns:
    """The turns of the running event loop."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._loop = asyncio.get_event_loop()
        self._seconds: list[float] = []
        self._began = time.thread_time()
        self._tick()
        signal.signal(signal.SIGUSR1, self._write)

    def _tick(self) -> None:
        now = time.thread_time()
        self._seconds.append(now - self._began)
        self._began = now
        self._loop.call_later(TICK_SECONDS, self._tick)

    def _write(self, *_: object) -> None:
        seconds, self._seconds = self._seconds, []
        _replace(self._file, seconds)


def watch_tasks(file: Path) -> None:
    def write(*_: object) -> None:
        names = Counter(getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks(loop))
        _replace(file, dict(names))

    loop = asyncio.get_event_loop()
    signal.signal(signal.SIGUSR2, write)


def _replace(file: Path, content: object) -> None:
    whole = file.with_suffix(".new")
    whole.write_text(json.dumps(content))
    whole.rename(file)


WATCHES: dict[str, Callable[[Path], object]] = {"TURNS": Turns, "TASKS": watch_tasks}


def watch() -> None:
    for name in WATCHES.keys() & os.environ.keys():
        asyncio.get_event_loop().call_soon(WATCHES[name], Path(os.environ[name]))


if __name__ == "__main__":
    reactor.callWhenRunning(watch)
    flow.MESSAGE_SECONDS = int(os.environ.get("MESSAGE_SECONDS", flow.MESSAGE_SECONDS))
    server.main()
