"""Page requests wait for their turn, or are told that the process is busy."""

import asyncio
from typing import Any

import pytest

from messaging_site import page_requests
from messaging_site.page_requests import Turns, bounded
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


def scope(
    path: str, method: str = "GET", language: str = "en", address: str = "192.0.2.1", cookie: str = "a=b"
) -> dict[str, Any]:
    headers = [(b"host", b"localhost"), (b"accept-language", language.encode()), (b"cookie", cookie.encode())]
    client = (address, 50_000)
    return {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers, "client": client}


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


async def served_in_turn(pages: Pages, requests: list[dict[str, Any]]) -> list[str]:
    """Return the paths in the order in which one turn serves them. All wait while a first request is at work."""
    application = bounded(pages, 1)
    waiting = [asyncio.create_task(answer(application, request)) for request in [scope("/first"), *requests]]
    served: list[str] = []
    for _ in waiting:
        await eventually(lambda: pages.at_work != [], "the next is at work")
        served += (at_work := list(pages.at_work))
        pages.go_on[at_work[0]].set()
        await eventually(lambda: pages.at_work, "its turn is over", until=at_work.__ne__)
    assert [status for status, _, _ in await asyncio.gather(*waiting)] == [200] * len(waiting)
    return served[1:]


async def test_a_flood_from_one_address_delays_no_other_address() -> None:
    flood = [scope(f"/flood/{number}") for number in range(4)]
    hall = [scope(f"/hall/{number}", address="192.0.2.2") for number in range(2)]
    late = [scope("/late", address="2001:db8::1")]
    assert await served_in_turn(Pages(), [*flood, *hall, *late]) == [
        "/flood/0", "/hall/0", "/late", "/flood/1", "/hall/1", "/flood/2", "/flood/3",
    ]  # fmt: skip


async def test_staff_do_not_wait_behind_the_visitors_at_their_address() -> None:
    visitors = [scope(f"/user/{number}") for number in range(3)]
    cookies = ["a=b; sessionid=forged", "a=b; messaging-known=forged"]
    staff = [scope(f"/admin/{number}", cookie=cookie) for number, cookie in enumerate(cookies)]
    assert await served_in_turn(Pages(), [*visitors, *staff]) == [
        "/user/0", "/admin/0", "/user/1", "/admin/1", "/user/2",
    ]  # fmt: skip


async def test_if_too_many_wait_the_address_with_the_most_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_requests, "WAITING", 3)
    pages = Pages()
    application = bounded(pages, 1)

    def ask(path: str, address: str = "192.0.2.1") -> "asyncio.Task[tuple[int, dict[bytes, bytes], str]]":
        pages.go_on.setdefault(path, asyncio.Event()).set()
        return asyncio.create_task(answer(application, scope(path, address=address)))

    first = asyncio.create_task(answer(application, scope("/first")))
    await eventually(lambda: pages.at_work == ["/first"], "the first is at work")
    flood = [ask(f"/flood/{number}") for number in range(4)]
    assert (await flood[3])[0] == 503
    hall = [ask("/hall/0", "192.0.2.2")]
    assert (await flood[2])[0] == 503
    hall.append(ask("/hall/1", "192.0.2.2"))  # would make the hall the one with the most
    assert (await hall[1])[0] == 503
    pages.go_on["/first"].set()
    assert [(await task)[0] for task in (first, flood[0], flood[1], hall[0])] == [200] * 4


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
    status, _, body = await answer(bounded(Pages(), 0), scope("/user/send", "POST", "de"))
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


async def test_a_turn_of_one_that_gives_up_as_it_comes_is_not_lost() -> None:
    turns = Turns(1)
    assert await turns.take(scope("/first"))
    waits = asyncio.create_task(turns.take(scope("/gone")))
    await asyncio.sleep(0)
    turns.give_back()
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    assert await turns.take(scope("/next"))
