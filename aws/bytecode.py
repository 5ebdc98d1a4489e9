"""Adding bytecode to a package: Lambda's disk is read-only, so every new process would compile all modules again."""

import importlib.util
import py_compile
import tempfile
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the oldest time in a ZIP; it is fixed so that equal content makes equal bytes


def add_bytecode(archive: Path, result: Path, modules: Collection[str]) -> None:
    """Write to `result` the files of `archive` and the bytecode of its files that are named in `modules`."""
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
            # Valid without a check of the source's modification time, which unpacking changes.
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(
                str(source), str(target), dfile=f"/var/task/{name}", invalidation_mode=mode, doraise=True
            )
            yield importlib.util.cache_from_source(name), target.read_bytes()
