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


async def ends(deployment: Deployment, username: str, change: Callable[[], object]) -> None:
    """Assert that `change` (blocking) closes the connections of `username` on both pods, and no other connection."""
    here, there = deployment.websocket_urls
    tokens = [await deployment.admin_token(username) for _ in range(2)]
    async with (
        admin(here, tokens[0]) as first,
        admin(there, tokens[1]) as second,
        admin(here, await deployment.admin_token("operator")) as other,
    ):
        await asyncio.to_thread(change)
        assert [await page.until_closed() for page in (first, second)] == [([error("unauthorized")], 4401)] * 2
        assert await other.until_pong() == []


async def test_logging_out_closes_that_persons_connections(shared_deployment: Deployment) -> None:
    session = shared_deployment.session("leaver")
    shared_deployment.run(hire("leaver"))
    await ends(shared_deployment, "leaver", lambda: session.request("/admin/logout/", {}))


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
