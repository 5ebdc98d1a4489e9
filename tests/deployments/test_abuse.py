"""Blocks of visitors and addresses, which erasing does not lift, and the pause of new conversations, in every mode."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from functools import partial
from http.cookiejar import CookieJar
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

import pytest

from tests.support.connections import TIME, UUID, Connection, Frame, admin, connect, error, new_id, visitor
from tests.support.deployments import Deployment
from tests.support.waiting import eventually

FREE = "from messaging.models import *; [model.objects.all().delete() for model in (AddressBlock, Block, Pause)]"
# What a visitor who wrote days ago at this address left behind, when the key was another one.
BLOCKED_BEFORE = """
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from django.conf import settings
from messaging.models import AddressBlock
from messaging.transports.client_address import _key_on
day = datetime.now(UTC).date() + timedelta(days={day})
AddressBlock.objects.create(address=_key_on(day, ip_address("127.0.0.1"), settings.SECRET_KEY))
"""
END_SOON = """
from datetime import timedelta
from django.utils import timezone
from messaging.models import Pause
Pause.objects.update(until=timezone.now() + timedelta(seconds=1))
"""
PAUSED = {"since": TIME, "until": TIME, "by": "manager"}


@pytest.fixture(autouse=True)
async def free_again(deployment: Deployment) -> AsyncIterator[None]:
    """Leave nothing behind that would keep the visitors of other tests from writing."""
    yield
    await asyncio.to_thread(deployment.run, FREE)

    async def is_free() -> str:
        async with visitor(deployment.websocket_urls[-1]) as anybody:
            return anybody.writing

    await eventually(is_free, "visitors may write", until=lambda writing: writing == "open")


async def attempt(socket: Connection, **fields: object) -> Frame:
    return await socket.request("sendMessage", **{"content": "hello", "id": new_id()} | fields)


async def told(socket: Connection, writing: str) -> None:
    """Return when `socket` knows whether it may write; behind a gateway, a ping may tell it."""
    await eventually(socket.until_pong, f"the visitor is told {writing!r}", until=lambda _: socket.writing == writing)


async def refused(socket: Connection) -> None:
    """Return when a message of `socket` is refused because of a block, which other processes know a little later."""
    await eventually(partial(attempt, socket), "a message is refused", until=lambda told: told.get("code") == "blocked")


async def change(socket: Connection, op: str, conversation: str) -> Frame:
    return await answer(socket, "conversation", id="the-change", op=op, conversation=conversation)


async def switch(socket: Connection, op: str) -> Frame:
    return await answer(socket, "pause", id="p", op=op)


async def answer(socket: Connection, action: str, **fields: str) -> Frame:
    """Send a request. Return the answer; skip what the connection is told meanwhile."""
    frame = await socket.request(action, **fields)
    while frame.get("id") != fields["id"]:
        frame = await socket.receive()
    return frame


def done(id: str, *, duplicate: bool = False) -> Frame:
    return {"type": "ack", "id": id, "timestamp": TIME, "duplicate": duplicate}


async def test_a_blocked_address_is_blocked_for_all_its_visitors_and_free_for_its_staff(deployment: Deployment) -> None:
    here, there = deployment.websocket_urls[0], deployment.websocket_urls[-1]
    manager_token = await deployment.admin_token("manager")
    async with (
        visitor(here) as ada,
        visitor(there) as bob,
        visitor(there) as carol,  # who has written nothing
        admin(there, manager_token) as manager,
        admin(here, await deployment.admin_token("operator")) as operator,
    ):
        await ada.say("something rude")
        await bob.say("hello")
        shared = await asyncio.to_thread(
            deployment.session("manager").request, f"/admin/live/sharing/?conversation={ada.conversation}"
        )
        assert json.loads(shared)["others"] >= 1
        assert await change(manager, "blockAddress", ada.conversation) == done("the-change")
        for socket in (ada, bob, carol):
            await told(socket, "blocked")
            refused = await eventually(partial(attempt, socket), "it is refused", until=lambda told: "code" in told)
            assert refused == error("blocked", id=refused["id"])
        async with visitor(here) as somebody_new, visitor(there, bob.token) as bob_again:
            await told(somebody_new, "blocked")  # another process may know it two seconds later
            await told(bob_again, "blocked")
        changed = {frame["conversation"]: frame for frame in await operator.until_pong() if "op" in frame}
        for socket in (ada, bob):
            assert changed[socket.conversation]["blockedUntil"] == TIME
        assert (await attempt(operator, to=bob.conversation))["type"] == "ack"
        assert await change(manager, "unblock", ada.conversation) == done("the-change")
        for socket in (ada, bob, carol):
            await told(socket, "open")
        assert [(await attempt(socket))["type"] for socket in (ada, bob, carol)] == ["ack"] * 3


@pytest.mark.parametrize("day", [-3, 1])
async def test_a_block_counts_although_the_address_pseudonym_is_another_one_today(
    deployment: Deployment, day: int
) -> None:
    async with visitor(deployment.websocket_urls[0]) as ada:
        await asyncio.to_thread(deployment.run, BLOCKED_BEFORE.format(day=day))
        await told(ada, "blocked")
        await refused(ada)


@pytest.mark.parametrize("model", ["block", "addressblock"])
async def test_blocks_that_are_deleted_together_in_the_admin_end_on_all_pages(
    deployment: Deployment, model: str
) -> None:
    here, there = deployment.websocket_urls[0], deployment.websocket_urls[-1]
    await deployment.admin_token("operator")  # logs in
    browser = deployment.session("operator")
    async with (
        visitor(here) as ada,
        visitor(there) as bob,
        admin(there, await deployment.admin_token("manager")) as manager,
        admin(here, await deployment.admin_token("reader")) as reader,
    ):
        for socket in (ada, bob):
            await socket.say("something rude")
            if model == "block":
                assert await change(manager, "block", socket.conversation) == done("the-change")
        if model == "addressblock":
            assert await change(manager, "blockAddress", ada.conversation) == done("the-change")
            await asyncio.to_thread(deployment.run, BLOCKED_BEFORE.format(day=-3))
            await asyncio.to_thread(deployment.run, "from messaging.models import *; Block.objects.all().delete()")
        for socket in (ada, bob):
            await told(socket, "blocked")
        await reader.until_pong()
        path = f"/admin/messaging/{model}/"
        page = (await asyncio.to_thread(browser.request, path)).decode()
        form = {
            "action": "delete_selected",
            "_selected_action": re.findall(r'name="_selected_action" value="([^"]+)"', page),
            "post": "yes",
        }
        assert len(form["_selected_action"]) == 2
        page = (await asyncio.to_thread(browser.request, path, form)).decode()
        assert re.search(r'<li class="success">Successfully deleted 2 ', page)
        for socket in (ada, bob):
            await told(socket, "open")
        frames = [frame for frame in await reader.until_pong() if frame.get("op") == "unblock"]
        assert {frame["conversation"] for frame in frames} >= {ada.conversation, bob.conversation}
        assert not any("blockedUntil" in frame for frame in frames)


async def test_who_has_not_written_lately_has_no_address_to_block(deployment: Deployment) -> None:
    async with (
        visitor(deployment.websocket_urls[0]) as ada,
        admin(deployment.websocket_urls[-1], await deployment.admin_token("manager")) as manager,
    ):
        await ada.say("hello")
        forget = (
            f"from messaging.models import *; Conversation.objects.filter(pk='{ada.conversation}').update(address='')"
        )
        await asyncio.to_thread(deployment.run, forget)
        assert await change(manager, "blockAddress", ada.conversation) == error("not_found", id="the-change")


async def test_a_blocked_visitor_may_erase_and_stays_blocked_until_staff_say(deployment: Deployment) -> None:
    here, there = deployment.websocket_urls[0], deployment.websocket_urls[-1]
    async with visitor(here) as ada, admin(there, await deployment.admin_token("manager")) as manager:
        await ada.say("something rude")
        old = ada.token
        assert await change(manager, "block", ada.conversation) == done("the-change")
        await told(ada, "blocked")
        assert await ada.request("forget", id="f") == done("f")
        identified = await ada.receive()
        assert (identified["conversation"], identified["writing"]) == (UUID, "blocked")
        assert (await ada.request("history", id="h"))["messages"] == []
        await refused(ada)
        heir = identified["conversation"]
        for token in (identified["token"], old):
            async with visitor(there, token) as again:
                assert again.conversation == heir
                await told(again, "blocked")
        assert await change(manager, "unblock", heir) == done("the-change")
        await told(ada, "open")
        assert (await attempt(ada))["type"] == "ack"
        async with visitor(there, old) as again:
            assert again.conversation == heir
            await told(again, "open")


async def test_a_pause_keeps_new_conversations_waiting_and_old_ones_go_on(deployment: Deployment) -> None:
    here, there = deployment.websocket_urls[0], deployment.websocket_urls[-1]
    async with (
        visitor(here) as ada,
        visitor(there) as bob,
        admin(there, await deployment.admin_token("manager")) as manager,
        admin(here, await deployment.admin_token("reader")) as reader,
    ):
        await ada.say("hello")
        assert await switch(manager, "pause") == done("p")
        await eventually(reader.until_pong, "staff are told", until=lambda _: reader.pause == PAUSED)
        await told(bob, "paused")
        id = new_id()
        refused = await attempt(bob, id=id)
        assert refused == error("paused", id=id, retryAfterMs=refused["retryAfterMs"])
        assert 1_000 <= refused["retryAfterMs"] <= 60_000
        await ada.say("I have one")
        assert ada.writing == "open"
        async with (
            visitor(there) as carol,
            visitor(here, ada.token) as ada_again,
            admin(there, await deployment.admin_token("operator")) as operator,
        ):
            await told(carol, "paused")
            await told(ada_again, "open")
            await eventually(operator.until_pong, "staff are told later", until=lambda _: operator.pause == PAUSED)
        assert await switch(manager, "pause") == done("p", duplicate=True)
        assert await switch(manager, "resume") == done("p")
        await told(bob, "open")
        await eventually(reader.until_pong, "staff are told of the end", until=lambda _: reader.pause is None)
        assert (await attempt(bob, id=id))["type"] == "ack"


async def test_a_pause_ends_by_itself_and_everybody_is_told(deployment: Deployment) -> None:
    async with (
        visitor(deployment.websocket_urls[0]) as bob,
        admin(deployment.websocket_urls[-1], await deployment.admin_token("manager")) as manager,
    ):
        assert await switch(manager, "pause") == done("p")
        await told(bob, "paused")
        await asyncio.to_thread(deployment.run, END_SOON)
        await told(bob, "open")
        await eventually(manager.until_pong, "staff are told", until=lambda _: manager.pause is None)
        await bob.say("hello")


async def test_only_who_may_block_may_pause(deployment: Deployment) -> None:
    for op in ("pause", "resume"):
        async with admin(deployment.websocket_urls[0], await deployment.admin_token("colleague")) as colleague:
            assert await switch(colleague, op) == error("forbidden", id="p")
        async with visitor(deployment.websocket_urls[0]) as ada:
            assert await switch(ada, op) == error("forbidden", id="p")


async def test_version_1_is_refused_during_a_pause_and_closed_by_a_block(deployment: Deployment) -> None:
    url = deployment.websocket_urls[0]
    async with connect(url) as old, admin(url, await deployment.admin_token("manager")) as manager:
        assert await switch(manager, "pause") == done("p")
        assert (await old.request("sendMessage", content="hello"))["code"] == "paused"
        assert await switch(manager, "resume") == done("p")
        await asyncio.to_thread(deployment.run, BLOCKED_BEFORE.format(day=0))

        async def refused() -> Frame:
            return await old.request("sendMessage", content="hello")

        await eventually(refused, "version 1 is refused", until=lambda told: told.get("code") == "blocked")
        frames, code = await old.until_closed()
        assert (frames, code) == ([], code if deployment.gateway else 4403)


class Form:
    """A visitor's browser without a script."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))

    def open(self, path: str = "/user/", **form: str) -> tuple[int, str]:
        """Return the status and the notice of the page: the answer to a POST if there is a `form`."""
        data = urlencode(form | {"id": new_id()}).encode() if form else None
        request = Request(self._origin + path, data, {"Origin": self._origin})  # noqa: S310  always http
        try:
            with self._opener.open(request, timeout=30) as answer:
                status, page = answer.status, answer.read().decode()
        except HTTPError as refused:
            status, page = refused.code, refused.read().decode()
        (notice,) = re.findall(r'role="alert">(.*?)</strong>', page)
        token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        self.token = token[0]
        return status, notice


async def test_a_page_without_a_script_says_it_and_keeps_what_was_written(deployment: Deployment) -> None:
    new, old = Form(deployment.servers[0].origin), Form(deployment.servers[0].origin)

    async def page(form: Form, path: str = "/user/", **fields: str) -> tuple[int, str]:
        if fields:
            fields |= {"csrfmiddlewaretoken": form.token}
        return await asyncio.to_thread(form.open, path, **fields)

    async def says(form: Form, notice: str) -> None:
        """Return when the page says `notice`: a process of pages may not know it for some seconds."""
        await eventually(partial(page, form), notice, until=lambda found: found == (200, notice))

    assert await page(new) == await page(old) == (200, "")
    assert await page(old, "/user/send/", content="hello") == (200, "")
    async with admin(deployment.websocket_urls[0], await deployment.admin_token("manager")) as manager:
        assert await switch(manager, "pause") == done("p")
        await says(new, "No new conversations are taken at the moment. Please try again later.")
        assert await page(new, "/user/send/", content="hello") == (
            503, "No new conversations are taken at the moment. Nothing was sent; please try again later.",
        )  # fmt: skip
        assert await page(old, "/user/send/", content="I have one") == (200, "")
        assert await switch(manager, "resume") == done("p")
        assert await page(new, "/user/send/", content="hello") == (200, "")
        await asyncio.to_thread(deployment.run, BLOCKED_BEFORE.format(day=0))
        await says(new, "You can’t send messages here at the moment")
        assert (await page(new, "/user/forget/", really="yes"))[0] == 200
        await says(new, "You can’t send messages here at the moment")
