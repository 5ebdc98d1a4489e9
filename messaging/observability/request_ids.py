"""Every HTTP request has an id: the log says it, and so does the answer."""

import re
from collections.abc import Callable
from uuid import uuid4

from django.http import HttpRequest, HttpResponse

from messaging.observability.context import bind

HEADER = "X-Request-ID"
GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}")  # what a proxy in front may have called it; anything else is not repeated


def identified(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """The id is that of the proxy in front, or of the Lambda invocation, or a new one."""

    def respond(request: HttpRequest) -> HttpResponse:
        id = request.headers.get(HEADER, "")
        if not GIVEN.fullmatch(id):
            id = getattr(request.META.get("lambda.context"), "aws_request_id", None) or uuid4().hex
        bind(request=id)
        response = get_response(request)
        response[HEADER] = id
        return response

    return respond
