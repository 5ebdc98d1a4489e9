"""A package with its modules compiled: Lambda's disk is read-only, so every new process would compile them anew."""

import importlib.util
import py_compile
import tempfile
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the oldest time that a ZIP knows: the same content makes the same bytes


def add_bytecode(archive: Path, result: Path, modules: Collection[str]) -> None:
    """Writes to `result` what is in `archive`, and the bytecode of those of its files that `modules` names."""
    with zipfile.ZipFile(archive) as read, zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as write:
        content = {name: read.read(name) for name in read.namelist() if not name.endswith("/")}
        compiled = dict(_compiled({name: content[name] for name in modules}))
        for name, data in sorted((content | compiled).items()):
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix
            entry.external_attr = 0o755 << 16
            write.writestr(entry, data)


def _compiled(sources: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory) / "source.py", Path(directory) / "target.pyc"
        for name, data in sources.items():
            source.write_bytes(data)
            # Not compared with the source's time, which unpacking sets anew.
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(
                str(source), str(target), dfile=f"/var/task/{name}", invalidation_mode=mode, doraise=True
            )
            yield importlib.util.cache_from_source(name), target.read_bytes()
