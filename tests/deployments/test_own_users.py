"""A site with a user model of its own: UUIDs as keys, e-mail addresses to log in with, and names only for some."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.connections import TIME, Connection, Frame, admin, connect, error, message, visitor
from tests.support.deployments import PASSWORD, Deployment, LocalServer, Pod, Server, manage
from tests.support.redis_services import Redis
from tests.support.services import Postgres, started
from tests.support.smoke import Smoke

SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.support.own_user_settings"}
pytestmark = pytest.mark.slow

ADA, EVE = "ada@example.org", "eve@example.org"
HIRE = f"""
import json
from django.contrib.auth import get_user_model
hire = get_user_model().members.create_superuser
members = [hire({ADA!r}, {PASSWORD!r}, nickname="Ada"), hire({EVE!r}, {PASSWORD!r}, nickname={EVE!r})]
print(json.dumps({{member.email: str(member.pk) for member in members}}))
"""
CONVERSATIONS, MESSAGES = "/admin/messaging/conversation/", "/admin/messaging/message/"
MAY = {"reply": True, "manage": True, "block": True, "unblock": True}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def site(
    request: pytest.FixtureRequest, postgres: Postgres, redis_server: Redis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment[Server]]:
    """Yield a site on a laptop, or one of two pods. Nobody has an account yet."""
    if request.param == "sqlite":
        servers: list[Server] = [LocalServer(**SETTINGS)]
    else:
        own = SETTINGS | {
            "DATABASE_URL": postgres.create_database("own_users"),
            "REDIS_URL": redis_server.url,
            "STATIC_ROOT": str(tmp_path_factory.mktemp("static")),
        }
        servers = [Pod(**own), Pod(**own)]
        manage(servers[0].environment, "collectstatic", "--noinput", "--verbosity=0")
    manage(servers[0].environment, "messaging_migrate")
    with started(*servers):
        yield Deployment(servers, servers[0].environment["DATABASE_URL"])


@pytest.fixture(scope="module")
def ids(site: Deployment[Server]) -> dict[str, str]:
    """Return the keys of two operators, by their e-mail address: of Ada, and of Eve, who has no other name."""
    found: dict[str, str] = json.loads(site.run(HIRE).splitlines()[-1])
    return found


async def change(page: Connection, conversation: str, op: str) -> Frame:
    return await page.request("conversation", id="c", conversation=conversation, op=op)


def told(conversation: str, op: str, by: str, status: str = "open", **fields: object) -> Frame:
    return {
        "type": "conversation", "conversation": conversation, "status": status, "op": op, "timestamp": TIME, "by": by,
    } | fields  # fmt: skip


def audited(site: Deployment[Server], event: str) -> set[str]:
    """Return the keys of the accounts for which the audit log has `event`."""
    lines = [line for line in site.log.splitlines() if "messaging.audit" in line and event in line]
    return {found[1] for line in lines if (found := re.search(r"staff\W+([0-9a-f-]{36})\b", line))}


async def test_visitors_read_no_address_and_staff_are_told_apart(site: Deployment[Server], ids: dict[str, str]) -> None:
    here, there = site.websocket_urls[0], site.websocket_urls[-1]
    async with visitor(here) as page, connect(here) as ada, connect(there) as eve:
        me = [
            (await socket.identify("admin", token=await site.admin_token(email)))["me"]
            for socket, email in ((ada, ADA), (eve, EVE))
        ]
        assert me == [
            {"id": ids[ADA], "name": "Ada", "author": "Ada"} | MAY,
            {"id": ids[EVE], "name": EVE, "author": ""} | MAY,
        ]
        thread = page.conversation
        await page.say("hello")
        assert [await socket.receive() for socket in (ada, eve)] == [message("hello", thread, connectionId=page.id)] * 2

        for author, colleague, name in ((ada, eve, {"author": "Ada"}), (eve, ada, {})):
            await author.say("hallo", to=thread)
            answer = message("hallo", thread, connectionId=author.id, **{"from": "admin"}, **name)
            assert [await socket.receive() for socket in (page, colleague)] == [answer] * 2
        history = (await page.request("history", id="h"))["messages"]
        assert [frame.get("author") for frame in history] == [None, "Ada", None]

        assert (await change(ada, thread, "claim"))["type"] == "ack"
        claim = told(thread, "claim", "Ada", claimedBy={"id": ids[ADA], "name": "Ada"})
        assert [await socket.receive() for socket in (ada, eve)] == [claim] * 2
        assert await change(eve, thread, "close") == error("already_claimed", id="c", by="Ada")
        assert (await change(ada, thread, "release"))["type"] == "ack"
        assert [await socket.receive() for socket in (ada, eve)] == [told(thread, "release", "Ada")] * 2
        assert (await change(eve, thread, "claim"))["type"] == "ack"
        claim = told(thread, "claim", EVE, claimedBy={"id": ids[EVE], "name": EVE})
        assert [await socket.receive() for socket in (ada, eve)] == [claim] * 2
        (state,) = (await eve.request("history", id="h", conversation=thread, limit=1))["conversations"]
        assert state["claimedBy"] == {"id": ids[EVE], "name": EVE}


async def test_the_admins_pages_actions_and_the_audit_log_work(site: Deployment[Server], ids: dict[str, str]) -> None:
    async with (
        visitor(site.websocket_urls[0]) as page,
        admin(site.websocket_urls[-1], await site.admin_token(EVE)) as eve,
    ):
        thread = page.conversation
        await page.say("find me")
        assert await eve.receive() == message("find me", thread, connectionId=page.id)
        assert (await change(eve, thread, "claim"))["type"] == "ack"
        assert (await eve.receive())["op"] == "claim"

        def act(path: str, action: str) -> str:
            return browser.request(path, {"action": action, "_selected_action": thread}).decode()

        await site.admin_token(ADA)  # logs in
        browser = site.session(ADA)
        assert f'"staff": "{ids[ADA]}"' in browser.request("/admin/live/").decode()
        for path in ("", "?status=open", "?status=unread", f"?q={thread}", f"{thread}/change/", f"{thread}/history/"):
            assert EVE in browser.request(CONVERSATIONS + path).decode(), path  # who has claimed it
        for path in ("", "?q=find", f"?conversation__id__exact={thread}"):
            assert "find me" in browser.request(MESSAGES + path).decode()
        assert f"{EVE.capitalize()} has claimed" in act(CONVERSATIONS, "close")  # Django's template has `capfirst`
        assert (await change(eve, thread, "release"))["type"] == "ack"
        assert (await eve.receive())["op"] == "release"
        assert "1 conversation closed." in act(CONVERSATIONS, "close")
        assert await eve.receive() == told(thread, "close", "Ada", status="closed")
        assert "find me" in act(CONVERSATIONS, "export_csv")
        for event in ("staff logged in", "messages exported", "conversation changed"):
            assert ids[ADA] in audited(site, event), event
        assert ids[EVE] in audited(site, "conversation changed")
        assert not re.search(f"{ADA}|{EVE}", site.log)

        site.session(EVE).request("/admin/logout/", {})
        assert await eve.until_closed() == ([error("unauthorized")], 4401)


def test_the_first_operator_logs_in_with_an_address(tmp_path: Path) -> None:
    server = LocalServer(**SETTINGS)
    manage(server.environment, "messaging_migrate")
    said = manage(server.environment, "messaging_operator")
    found = re.search(r"Log in at /admin/ as  operator@localhost  with the password  (\S+)", said)
    assert found, said
    assert manage(server.environment, "messaging_operator") == ""
    smoke = Smoke(tmp_path)
    with started(server):
        account = {"SMOKE_USERNAME": "operator@localhost", "SMOKE_PASSWORD": found[1]}
        assert smoke(server.origin, **account) == 0, smoke.output
