"""Who runs on which core, how busy cores are, what processes cost."""

import contextlib
import os
import resource
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

import psutil

SERVER_CPU = 0  # the core that a server has to itself
CORES = os.cpu_count() or 1
# As `taskset` is Linux's, another system gets no cores apart: its figures vary more.
PINNED = shutil.which("taskset") is not None and CORES > 1


def keep_off_the_servers_core() -> None:
    """This process, and what it starts without `pinned`, leave SERVER_CPU to the server; all may open many sockets."""
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
    """How busy the server's core and the others are from now on."""

    def __init__(self) -> None:
        self._before = psutil.cpu_times(percpu=True)

    def busy(self) -> tuple[float, float]:
        """Shares of one; 0 for the others of a single core."""
        shares = [_busy(before, now) for before, now in zip(self._before, psutil.cpu_times(percpu=True), strict=True)]
        own = shares.pop(SERVER_CPU)
        return round(own, 2), round(sum(shares) / max(len(shares), 1), 2)


def _busy(before: Any, now: Any) -> float:
    spent = {name: getattr(now, name) - getattr(before, name) for name in now._fields if not name.startswith("guest")}
    idle = spent["idle"] + spent.get("iowait", 0.0)  # waiting for disks
    total = sum(spent.values())
    return 1 - idle / total if total else 0.0


def cpu_seconds(pids: Iterable[int]) -> float:
    """What these processes have used so far, with those of their children that have ended."""
    seconds = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile: its parent has its times
            times = psutil.Process(pid).cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def family(pid: int) -> list[int]:
    """`pid` and its children: PostgreSQL has a process for each connection."""
    return [pid, *(child.pid for child in psutil.Process(pid).children())]


def resident_bytes(pids: Iterable[int]) -> int:
    """The memory that these processes have, as `kubectl top` and the kernel's limits nearly count it."""
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)
