"""A wrapper for any ASGI application that measures how long HTTP requests take."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from messaging.runtime import runtime

Application = Callable[[Any, Any, Any], Awaitable[None]]


def measured(application: Application) -> Application:
    """Return `application` with each answer measured, from the request to the last byte."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        began = time.monotonic()
        status = 500  # if the application raises before it answers

        async def note_status(event: Any) -> None:
            nonlocal status
            status = event.get("status", status)
            await send(event)

        try:
            await application(scope, receive, note_status)
        finally:
            runtime.meter.responded(status, time.monotonic() - began)

    return serve
