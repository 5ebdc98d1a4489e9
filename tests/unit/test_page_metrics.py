"""The measurement of views costs a request no change of its thread."""

import asyncio
from typing import Any

import pytest
from asgiref.sync import SyncToAsync
from django.core.handlers.asgi import ASGIHandler

MEASURED = "messaging_site.page_metrics.measured"


@pytest.fixture
def changes_of_thread(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls that leave the event loop for a thread."""
    found: list[Any] = []
    call = SyncToAsync.__call__

    async def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        found.append(self.func)
        return await call(self, *args, **kwargs)

    monkeypatch.setattr(SyncToAsync, "__call__", counted)
    return found


async def status(application: Any, path: str) -> int:
    """Return the status of the answer to a GET."""
    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers}
    events: list[Any] = []
    received: asyncio.Queue[Any] = asyncio.Queue()
    received.put_nowait({"type": "http.request", "body": b""})

    async def send(event: Any) -> None:
        events.append(event)

    await application(scope, received.get, send)
    answered: int = events[0]["status"]
    return answered


async def test_a_request_changes_its_thread_less_often_than_without(
    settings: Any, changes_of_thread: list[Any]
) -> None:
    changes = []
    for middlewares in (settings.MIDDLEWARE, [name for name in settings.MIDDLEWARE if name != MEASURED]):
        settings.MIDDLEWARE = middlewares
        application = ASGIHandler()
        changes_of_thread.clear()
        assert await status(application, "/nothing") == 404
        changes.append(len(changes_of_thread))
    measured, unmeasured = changes
    assert measured < unmeasured - 8
