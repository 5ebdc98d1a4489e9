"""Static files for browsers: our scripts minified, all under names that contain their hash, so they never change."""

from collections.abc import Iterator
from typing import Any

from django.core.files.base import ContentFile, File
from django.core.files.storage import Storage
from whitenoise.storage import CompressedManifestStaticFilesStorage

OUR_SCRIPTS = "messaging/"


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    """A storage that also rewrites `import "./x.js"` between ES modules; no build step does it."""

    support_js_module_import_aggregation = True

    def post_process(
        self, paths: dict[str, tuple[Storage, str]], dry_run: bool = False, **options: Any
    ) -> Iterator[tuple[str, str | None, bool | Exception]]:
        minified = {
            name: (_Minified(source), path) if name.startswith(OUR_SCRIPTS) and name.endswith(".js") else (source, path)
            for name, (source, path) in paths.items()
        }
        yield from super().post_process(minified, dry_run, **options)


class _Minified:
    """The scripts of `source`, minified without changing their exports."""

    def __init__(self, source: Storage) -> None:
        self._source = source

    def open(self, path: str) -> "File[bytes]":
        import minify  # only collectstatic needs its 7 MB

        with self._source.open(path) as script:
            return ContentFile(minify.string("text/javascript", script.read().decode()).encode())
