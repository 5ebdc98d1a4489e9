"""The end of staff connections when their right ends, also if that happens on another pod."""

import asyncio
from collections.abc import Callable

import pytest

from tests.support.connections import admin, error
from tests.support.deployments import PASSWORD, Deployment

CHANGES = {
    "deactivated": "user.is_active = False",
    "password changed": "user.set_password('another')",
    "no longer staff": "user.is_staff = False",
}


SECONDS = 5.0  # within which a connection ends with its login session

EXPIRED = "Session.objects.filter(pk={key!r}).update(expire_date=timezone.now())"
DELETED = "Session.objects.filter(pk={key!r}).delete()"


async def ends(
    deployment: Deployment, username: str, change: Callable[[], object], *, at_next_frame: bool = False
) -> None:
    """Assert that `change` (blocking) closes the connections of `username` on both pods, and no other connection.

    `at_next_frame`: a gateway closes them only when they send something.
    """
    here, there = deployment.websocket_urls
    tokens = [await deployment.admin_token(username) for _ in range(2)]
    async with (
        admin(here, tokens[0]) as first,
        admin(there, tokens[1]) as second,
        admin(here, await deployment.admin_token("operator")) as other,
    ):
        await asyncio.to_thread(change)
        if at_next_frame and deployment.gateway:
            await first.send("ping")
            await second.send("ping")
        async with asyncio.timeout(SECONDS):
            assert [await page.until_closed() for page in (first, second)] == [([error("unauthorized")], 4401)] * 2
        assert await other.until_pong() == []


async def test_logging_out_closes_that_persons_connections(shared_deployment: Deployment) -> None:
    session = shared_deployment.session("leaver")
    shared_deployment.run(hire("leaver"))
    await ends(shared_deployment, "leaver", lambda: session.request("/admin/logout/", {}))


async def test_a_login_of_somebody_else_in_that_browser_closes_the_connections_of_the_first(
    shared_deployment: Deployment,
) -> None:
    browser = shared_deployment.session("first")
    shared_deployment.run(hire("first"))
    form = {"username": "colleague", "password": PASSWORD, "next": "/admin/"}
    await ends(shared_deployment, "first", lambda: browser.request("/admin/login/", form))


@pytest.mark.parametrize("end", [EXPIRED, DELETED], ids=["expired", "deleted"])
async def test_a_session_that_ends_without_a_request_closes_its_connections(
    shared_deployment: Deployment, end: str
) -> None:
    username = f"sleeper-{'expired' if end == EXPIRED else 'deleted'}"
    shared_deployment.run(hire(username))
    await shared_deployment.admin_token(username)
    imports = "from django.contrib.sessions.models import Session; from django.utils import timezone"
    key = shared_deployment.session(username).cookies["sessionid"]
    code = f"{imports}; {end.format(key=key)}"
    await ends(shared_deployment, username, lambda: shared_deployment.run(code), at_next_frame=True)


@pytest.mark.parametrize("change", CHANGES)
async def test_losing_the_account_closes_that_persons_connections(
    kubernetes_deployment: Deployment, change: str
) -> None:
    username = change.replace(" ", "-")
    kubernetes_deployment.run(hire(username))
    code = f"from django.contrib.auth.models import User; user = User.objects.get(username={username!r})"
    code = f"{code}; {CHANGES[change]}; user.save()"
    await ends(kubernetes_deployment, username, lambda: kubernetes_deployment.run(code))


def hire(username: str) -> str:
    user = f"User.objects.create_superuser({username!r}, password={PASSWORD!r})"
    return f"from django.contrib.auth.models import User; {user}"
