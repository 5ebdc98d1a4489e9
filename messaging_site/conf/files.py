"""The files of a single machine that hold what people wrote, or the key that signs their sessions."""

import contextlib
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

OTHERS = stat.S_IRWXG | stat.S_IRWXO
SQLITE = ("", "-wal", "-shm")  # SQLite gives the other two the rights of the first when it makes them


def of_database(database: Mapping[str, Any]) -> list[Path]:
    """Return the files of a SQLite database, the database itself first; none if it is in memory or is no SQLite."""
    name = str(database.get("NAME", ""))
    if "sqlite3" not in database.get("ENGINE", "") or not name or name == ":memory:" or name.startswith("file:"):
        return []
    return [Path(f"{name}{end}") for end in SQLITE]


def make_private(path: Path) -> bool:
    """Create an empty file that only its owner may read and write. Return False if it exists, or can't be created."""
    try:
        path.touch(mode=stat.S_IRUSR | stat.S_IWUSR, exist_ok=False)
    except OSError:  # whoever opens it gets the same error, and can say what it was needed for
        return False
    return True


def keep_private(paths: Iterable[Path]) -> None:
    """Take all rights on these files from other accounts than their owner's. Skip those that belong to another account.

    A check reports the latter (messaging/checks.py).
    """
    for path in paths:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            path.chmod(path.stat().st_mode & ~OTHERS)
