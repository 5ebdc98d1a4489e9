"""Requests that can't be read: they are refused with 400 before a page, or the database, gets any of their text."""

from collections.abc import Callable, Iterator
from typing import Any

from django.core.exceptions import BadRequest
from django.core.signals import request_started
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.http import parse_header_parameters

UNREADABLE = "application/x-unreadable"  # in the place of a Content-Type with which Django can't make a request


def refuse_unreadable(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Return a middleware that refuses fields in an unknown encoding, and NUL in any text: PostgreSQL can't hold it.

    Place it before all that reads more of a request than its headers.
    """

    def respond(request: HttpRequest) -> HttpResponse:
        try:
            has_nul = any("\0" in text for text in _texts(request))
        except (BadRequest, LookupError, ValueError):  # of an encoding that decodes no text, or not these bytes
            request.POST = QueryDict()  # the page that is shown instead reads it again
            raise BadRequest("The fields are not text in the encoding that Content-Type names.") from None
        if request.content_type == UNREADABLE:
            raise BadRequest("Content-Type is invalid.")
        if has_nul:
            raise BadRequest("The request contains a NUL character.")
        return get_response(request)

    return respond


def _texts(request: HttpRequest) -> Iterator[str]:
    """Yield every text of `request`. Raise LookupError or ValueError if its fields can't be decoded."""
    yield request.path
    yield from (value for value in request.META.values() if isinstance(value, str))  # headers
    yield from (text for cookie in request.COOKIES.items() for text in cookie)
    for fields in (request.GET, request.POST):
        for name, values in fields.lists():
            yield name
            yield from values


@receiver(request_started)
def _replace_unreadable_type(
    environ: dict[str, Any] | None = None, scope: dict[str, Any] | None = None, **_: object
) -> None:
    """Replace a Content-Type that Django can't parse: it would raise before any middleware could refuse the request."""
    if environ is not None and not _can_be_parsed(environ.get("CONTENT_TYPE", "")):
        environ["CONTENT_TYPE"] = UNREADABLE
    if scope is not None:
        scope["headers"] = [
            (
                name,
                UNREADABLE.encode()
                if name == b"content-type" and not _can_be_parsed(value.decode("latin-1"))
                else value,
            )
            for name, value in scope["headers"]
        ]


def _can_be_parsed(content_type: str) -> bool:
    try:
        parse_header_parameters(content_type)
    except ValueError:
        return False
    return "\0" not in content_type
