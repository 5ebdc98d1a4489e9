"""An id for each HTTP request, in its log lines and in its answer."""

import re
from collections.abc import Callable
from uuid import uuid4

from django.http import HttpRequest, HttpResponse

from messaging.observability.context import bind

HEADER = "X-Request-ID"
GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}")  # an id that a proxy in front may have given; any other text is ignored


def identified(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Return a middleware that gives each request an id: the proxy's, else the Lambda invocation's, else a new one."""

    def respond(request: HttpRequest) -> HttpResponse:
        id = request.headers.get(HEADER, "")
        if not GIVEN.fullmatch(id):
            id = getattr(request.META.get("lambda.context"), "aws_request_id", None) or uuid4().hex
        bind(request=id)
        response = get_response(request)
        response[HEADER] = id
        return response

    return respond
