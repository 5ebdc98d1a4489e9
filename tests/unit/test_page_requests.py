"""Page requests wait for their turn, or are told that the process is busy."""

import asyncio
from typing import Any

import pytest

from messaging_site import page_requests
from messaging_site.page_requests import bounded
from tests.support.waiting import eventually


class Pages:
    """An application that holds each request until it is let go."""

    def __init__(self) -> None:
        self.at_work: list[str] = []
        self.go_on: dict[str, asyncio.Event] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.at_work.append(path)
        await self.go_on.setdefault(path, asyncio.Event()).wait()
        self.at_work.remove(path)
        await send({"type": "http.response.start", "status": 200, "headers": []})


def scope(path: str, method: str = "GET", language: str = "en") -> dict[str, Any]:
    headers = [(b"host", b"localhost"), (b"accept-language", language.encode())]
    return {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}


async def answer(application: Any, scope: dict[str, Any]) -> tuple[int, dict[bytes, bytes], str]:
    """Return the status, the headers and the body of the answer."""
    events: list[Any] = []

    async def send(event: Any) -> None:
        events.append(event)

    await application(scope, None, send)
    return events[0]["status"], dict(events[0]["headers"]), b"".join(e.get("body", b"") for e in events).decode()


async def test_no_more_than_allowed_are_at_work_and_the_others_follow_in_order() -> None:
    pages = Pages()
    application = bounded(pages, 2)
    requests = [asyncio.create_task(answer(application, scope(f"/{number}"))) for number in range(5)]
    for number in range(5):
        two = [f"/{at}" for at in range(number, min(number + 2, 5))]
        await eventually(lambda: pages.at_work, "the turn of these two has come", until=two.__eq__)
        pages.go_on[f"/{number}"].set()
    assert [status for status, _, _ in await asyncio.gather(*requests)] == [200] * 5


async def test_one_that_waits_too_long_is_told_so_and_delays_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_requests, "WAIT_SECONDS", 0.05)
    pages = Pages()
    application = bounded(pages, 1)
    first = asyncio.create_task(answer(application, scope("/first")))
    await eventually(lambda: pages.at_work == ["/first"], "the first is at work")
    status, headers, body = await answer(application, scope("/user/"))
    assert (status, headers[b"retry-after"]) == (503, b"5")
    assert "Very busy at the moment" in body
    assert 'http-equiv="refresh" content="5"' in body
    pages.go_on["/first"].set()
    assert (await first)[0] == 200
    pages.go_on["/next"] = asyncio.Event()
    pages.go_on["/next"].set()
    assert (await answer(application, scope("/next")))[0] == 200


async def test_a_form_is_not_sent_again_by_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_requests, "WAITING", 0)
    status, _, body = await answer(bounded(Pages(), 1), scope("/user/send", "POST", "de"))
    assert status == 503
    assert "refresh" not in body
    assert "Es wurde nichts gesendet." in body


async def test_who_gives_up_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_requests, "WAITING", 1)
    pages = Pages()
    application = bounded(pages, 1)
    first = asyncio.create_task(answer(application, scope("/first")))
    await eventually(lambda: pages.at_work == ["/first"], "the first is at work")
    waits = asyncio.create_task(answer(application, scope("/gone")))
    await asyncio.sleep(0)
    assert (await answer(application, scope("/too-many")))[0] == 503
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    last = asyncio.create_task(answer(application, scope("/last")))
    pages.go_on["/first"].set()
    await eventually(lambda: pages.at_work == ["/last"], "the last is at work")
    pages.go_on["/last"].set()
    assert ((await first)[0], (await last)[0]) == (200, 200)
