"""The cores that processes run on, the load of cores, and the CPU time and memory of processes."""

import contextlib
import os
import resource
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

import psutil

SERVER_CPU = 0  # the core that a server has to itself
CORES = os.cpu_count() or 1
# Only Linux has `taskset`; elsewhere the server gets no core of its own, and figures vary more.
PINNED = shutil.which("taskset") is not None and CORES > 1


def keep_off_the_servers_core() -> None:
    """Keep this process, and those it starts without `pinned`, off SERVER_CPU. Let all of them open many sockets."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if PINNED:
        os.sched_setaffinity(0, os.sched_getaffinity(0) - {SERVER_CPU})


def pinned(command: Sequence[str]) -> list[str]:
    return _on(str(SERVER_CPU), command)


def on_every_core(command: Sequence[str]) -> list[str]:
    return _on(f"0-{CORES - 1}", command)


def _on(cores: str, command: Sequence[str]) -> list[str]:
    return ["taskset", "--cpu-list", cores, *command] if PINNED else list(command)


class Cores:
    """A meter of the load of the server's core and of the others, from its creation on."""

    def __init__(self) -> None:
        self._before = psutil.cpu_times(percpu=True)

    def busy(self) -> tuple[float, float]:
        """Return the busy shares of the server's core and, on average, of the others (0 if there are none)."""
        shares = [_busy(before, now) for before, now in zip(self._before, psutil.cpu_times(percpu=True), strict=True)]
        own = shares.pop(SERVER_CPU)
        return round(own, 2), round(sum(shares) / max(len(shares), 1), 2)


def _busy(before: Any, now: Any) -> float:
    spent = {name: getattr(now, name) - getattr(before, name) for name in now._fields if not name.startswith("guest")}
    idle = spent["idle"] + spent.get("iowait", 0.0)  # waiting for disks
    total = sum(spent.values())
    return 1 - idle / total if total else 0.0


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU seconds that these processes, and their children that have ended, have used so far."""
    seconds = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile: its parent counts its times
            times = psutil.Process(pid).cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def family(pid: int) -> list[int]:
    """Return `pid` and the IDs of its children: PostgreSQL has a process for each connection."""
    return [pid, *(child.pid for child in psutil.Process(pid).children())]


def resident_bytes(pids: Iterable[int]) -> int:
    """Return the resident bytes of these processes, nearly as `kubectl top` and the kernel's limits count them."""
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)
