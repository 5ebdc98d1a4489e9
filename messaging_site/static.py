"""Static files for browsers: our scripts minified, all under names that contain their hash, so they never change.

Files are small, so each is sent whole: Django would cut it into parts of 4 KiB, and keep them until Python's cyclic
garbage collector runs.
"""

from collections.abc import Iterator
from typing import Any

from django.core.files.base import ContentFile, File
from django.core.files.storage import Storage
from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile
from whitenoise.storage import CompressedManifestStaticFilesStorage

OUR_SCRIPTS = "messaging/"


class StaticFilesMiddleware(WhiteNoiseMiddleware):
    """A middleware that answers requests for static files."""

    @staticmethod
    def serve(static_file: StaticFile, request: HttpRequest) -> HttpResponse:
        found = static_file.get_response(request.method, request.META)
        content = b""
        if found.file is not None:
            with found.file:
                content = found.file.read()
        response = HttpResponse(content, status=int(found.status))
        del response["Content-Type"]
        for name, value in found.headers:
            response[name] = value
        return response


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
