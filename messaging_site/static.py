"""Static files as browsers get them: our scripts minified, all under names that hold their hash and last for ever."""

from collections.abc import Iterator
from typing import Any

from django.core.files.base import ContentFile, File
from django.core.files.storage import Storage
from whitenoise.storage import CompressedManifestStaticFilesStorage

OUR_SCRIPTS = "messaging/"


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    """Also rewrites `import "./x.js"` between ES modules; there is no build step that would."""

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
    """The scripts of `source`, as small as they can be without changing what they export."""

    def __init__(self, source: Storage) -> None:
        self._source = source

    def open(self, path: str) -> "File[bytes]":
        import minify  # only who collects static files needs its 7 MB

        with self._source.open(path) as script:
            return ContentFile(minify.string("text/javascript", script.read().decode()).encode())
