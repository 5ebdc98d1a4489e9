"""No client becomes staff or reads another conversation without the right to do so; the same in every mode."""

from collections.abc import Awaitable, Callable
from urllib.error import HTTPError

import pytest
from websockets.exceptions import InvalidStatus

from messaging import tokens
from tests.support.connections import admin, connect, error, message, new_id, visitor
from tests.support.deployments import Deployment
from tests.support.forged_tokens import FORGERIES, forged_admin, forged_visitor

Token = Callable[[Deployment], Awaitable[str | None]]


async def none(deployment: Deployment) -> None:
    return None


async def garbage(deployment: Deployment) -> str:
    return "MQ:1tLbbA:no-signature"


async def of_a_visitor(deployment: Deployment) -> str:
    async with visitor(deployment.websocket_urls[0]) as socket:
        return socket.token


async def of_a_session_that_is_gone(deployment: Deployment) -> str:
    return tokens.mint_admin("0" * 32)


def forged(forgery: str) -> Token:
    """Return a function that forges an operator's token."""

    async def token(deployment: Deployment) -> str:
        session = tokens.read_admin(await deployment.admin_token())
        assert session is not None
        return forged_admin(forgery, session)

    token.__name__ = forgery
    return token


@pytest.mark.parametrize("claim", [none, garbage, of_a_visitor, of_a_session_that_is_gone, *map(forged, FORGERIES)])
@pytest.mark.parametrize("version", [1, 2])
async def test_a_stranger_who_claims_to_be_an_admin_gets_nothing(
    claim: Token, version: int, deployment: Deployment
) -> None:
    url = deployment.websocket_urls[0]
    token = await claim(deployment)
    async with visitor(url) as ada, admin(url, await deployment.admin_token()) as operator, connect(url) as stranger:
        await stranger.send("identify", v=version, type="admin", **({"token": token} if token else {}))
        await ada.say("not for strangers")
        assert await operator.receive() == message("not for strangers", ada.conversation, connectionId=ada.id)
        assert await stranger.until_closed() == ([error("unauthorized")], 4401)


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_token_does_not_make_another_visitor(forgery: str, deployment: Deployment) -> None:
    url = deployment.websocket_urls[0]
    async with visitor(url) as ada:
        await ada.say("not for strangers")
        async with visitor(url, forged_visitor(forgery, ada.conversation)) as thief:
            assert thief.conversation != ada.conversation
            assert (await thief.request("history", id="h"))["messages"] == []


async def test_version_1s_other_identify_needs_the_token_too(deployment: Deployment) -> None:
    async with connect(deployment.websocket_urls[0]) as stranger:
        await stranger.send("setConnectionType", data={"connectionType": "admin"})
        assert await stranger.until_closed() == ([error("unauthorized")], 4401)


async def test_an_admins_token_gives_a_visitor_no_right_of_an_admin(deployment: Deployment) -> None:
    url = deployment.websocket_urls[0]
    async with visitor(url) as ada, visitor(url, await deployment.admin_token()) as stranger:
        await ada.say("before")
        await stranger.say("a visitor's message", to=ada.conversation)
        await ada.say("after")
        (own,) = (await stranger.request("history", id="h"))["messages"]  # and no other frame arrived before
        assert (own["content"], own["from"]) == ("a visitor's message", "user")
        assert await ada.until_pong() == []
        await stranger.send("history", id="h", conversation=ada.conversation)
        assert await stranger.until_closed() == ([error("forbidden", id="h")], 4403)


async def test_staff_without_the_right_get_no_token(deployment: Deployment) -> None:
    with pytest.raises(HTTPError) as refused:
        await deployment.admin_token("clerk")
    with refused.value as answer:
        assert (answer.code, answer.headers.get_content_type()) == (403, "application/json")


@pytest.mark.parametrize("change", ["is_active = False", "is_staff = False", "set_password('another one')"])
async def test_rights_are_read_when_the_token_is_used(change: str, deployment: Deployment) -> None:
    minted = deployment.run(  # a new account, because other tests go on using the existing ones
        "from django.contrib.auth.models import User; from django.test import Client\n"
        "from messaging.journal import logins; from messaging.tokens import mint_admin\n"
        f"user = User.objects.create_superuser('leaver-{new_id()}', password='one')\n"
        "browser = Client(); browser.force_login(user, 'django.contrib.auth.backends.ModelBackend')\n"
        "token = mint_admin(logins.recorded(browser.session.session_key))\n"
        f"user.{change}; user.save(); print(token)"
    )
    async with connect(deployment.websocket_urls[0]) as leaver:
        await leaver.send("identify", v=2, type="admin", token=minted.split()[-1])
        assert await leaver.until_closed() == ([error("unauthorized")], 4401)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://example.org", 403),
        ("http://127.0.0.1:1", 403),
        ("http://127.0.0.1.example.org", 403),
        ("file://127.0.0.1", 400),  # daphne's WebSocket library itself refuses origins that are no sites
        ("null", 400),
    ],
)
async def test_a_page_of_another_site_is_refused(origin: str, status: int, deployment: Deployment) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(deployment.websocket_urls[0], origin=origin):
            pass
    assert refused.value.response.status_code == (403 if deployment.gateway else status)


async def test_a_page_of_this_site_is_let_in(deployment: Deployment) -> None:
    server = deployment.servers[0]
    async with connect(server.websocket_url, origin=server.origin) as socket:
        assert await socket.until_pong() == []


async def test_a_visitor_cannot_read_another_conversation(deployment: Deployment) -> None:
    url = deployment.websocket_urls[0]
    async with visitor(url) as ada, visitor(url) as eve:
        await ada.say("for staff only")
        await eve.send("history", id="h", conversation=ada.conversation)
        assert await eve.until_closed() == ([error("forbidden", id="h")], 4403)


async def test_a_visitor_cannot_write_into_another_conversation(deployment: Deployment) -> None:
    url = deployment.websocket_urls[0]
    async with visitor(url) as ada, visitor(url) as eve:
        await ada.say("mine")
        await eve.say("also mine", to=ada.conversation)
        assert await ada.until_pong() == []
        for socket, contents in ((ada, ["mine"]), (eve, ["also mine"])):
            page = await socket.request("history", id="h")
            assert [frame["content"] for frame in page["messages"]] == contents


async def test_a_stranger_to_the_protocol_is_shown_no_history(deployment: Deployment) -> None:
    async with connect(deployment.websocket_urls[0]) as stranger:
        assert await stranger.request("history", id="h") == error("unknown_action", id="h")
