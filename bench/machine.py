"""What the machine does: who runs on which core, how busy cores are, what processes cost. Linux says; others do not."""

import os
import re
import resource
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

SERVER_CPU = 0  # the core that a server has to itself
CORES = os.cpu_count() or 1
# As `taskset` is Linux's, another system gets no cores apart: its figures vary more.
PINNED = shutil.which("taskset") is not None and CORES > 1
PROC = Path("/proc")


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
        self._before = self._read()

    def busy(self) -> tuple[float, float]:
        """Shares of one; 0 where nobody knows."""
        spent = [
            [now - before for now, before in zip(core, earlier, strict=True)]
            for core, earlier in zip(self._read(), self._before, strict=True)
        ]
        shares = [1 - (core[3] + core[4]) / max(sum(core), 1) for core in spent]  # all but idle and waiting for disks
        if len(shares) < 2:
            return 0.0, 0.0
        others = shares[:SERVER_CPU] + shares[SERVER_CPU + 1 :]
        return round(shares[SERVER_CPU], 2), round(sum(others) / len(others), 2)

    @staticmethod
    def _read() -> list[list[int]]:
        if not (stat := PROC / "stat").exists():
            return []
        lines = re.findall(r"^cpu\d+ (.+)$", stat.read_text(), re.MULTILINE)
        return [[int(number) for number in line.split()[:8]] for line in lines]


def cpu_seconds(pids: Iterable[int]) -> float:
    """What these processes have used so far, with those of their children that have ended."""
    ticks = 0
    for pid in pids:
        if (stat := PROC / str(pid) / "stat").exists():
            # The name in brackets may hold anything; user, system, and the same of ended children follow.
            ticks += sum(int(number) for number in stat.read_text().rpartition(")")[2].split()[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """`pid` and its children: PostgreSQL has a process for each connection."""
    children = PROC / str(pid) / "task" / str(pid) / "children"
    return [pid, *map(int, children.read_text().split())] if children.exists() else [pid]


def resident_bytes(pids: Iterable[int]) -> int:
    """The memory that these processes have, as `kubectl top` and the kernel's limits nearly count it."""
    pages = 0
    for pid in pids:
        if (statm := PROC / str(pid) / "statm").exists():
            pages += int(statm.read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
