"""Changes made in the Django admin or by a command, which reach open pages at once in every mode."""

import asyncio
from typing import Any

from tests.support.connections import TIME, Connection, Frame, admin, new_id, visitor
from tests.support.deployments import Deployment, manage

CONVERSATIONS = "/admin/messaging/conversation/"


def told(conversation: str, op: str, **fields: Any) -> Frame:
    return {
        "type": "conversation",
        "conversation": conversation,
        "op": op,
        "status": "open",
        "timestamp": TIME,
    } | fields


async def act(deployment: Deployment, action: str, page: Connection, **fields: str) -> None:
    """Apply an action of the Django admin to the conversation of `page`, as an operator."""
    form = {"action": action, "_selected_action": page.conversation} | fields
    await asyncio.to_thread(deployment.session("operator").request, CONVERSATIONS, form)


async def test_pages_hear_of_what_an_operator_does(deployment: Deployment) -> None:
    await deployment.admin_token("operator")  # logs in
    token = await deployment.admin_token("colleague")
    async with visitor(deployment.websocket_urls[0]) as page, admin(deployment.websocket_urls[-1], token) as live:
        await page.say("hello")
        assert (await live.receive())["content"] == "hello"
        await act(deployment, "close", page)
        assert await live.receive() == told(page.conversation, "close", status="closed", by="operator")
        await act(deployment, "reopen", page)
        assert await live.receive() == told(page.conversation, "reopen", by="operator")
        await act(deployment, "block", page)
        assert await live.receive() == told(page.conversation, "block", by="operator", blockedUntil=TIME)
        form = {"post": "yes"}
        address = f"/admin/messaging/block/{page.conversation}/delete/"
        await asyncio.to_thread(deployment.session("operator").request, address, form)
        assert await live.receive() == told(page.conversation, "unblock", by="operator")


async def test_an_erased_conversation_leaves_every_page(deployment: Deployment) -> None:
    await deployment.admin_token("operator")  # logs in
    token = await deployment.admin_token("colleague")
    async with visitor(deployment.websocket_urls[0]) as page, admin(deployment.websocket_urls[-1], token) as live:
        await page.say("hello")
        assert (await live.receive())["content"] == "hello"
        await act(deployment, "erase", page, post="yes")
        erased = told(page.conversation, "forget", status="erased")
        assert await live.receive() == erased
        assert (await page.until_closed())[0] == [erased]
        history = await live.request("history", id=new_id(), conversation=page.conversation)
        assert history["messages"] == []
        assert [state["status"] for state in history["conversations"]] == ["erased"]


async def test_a_command_in_a_process_of_its_own_is_heard(kubernetes_deployment: Deployment) -> None:
    here, there = kubernetes_deployment.websocket_urls
    token = await kubernetes_deployment.admin_token("colleague")
    async with visitor(here) as page, admin(there, token) as live:
        await page.say("hello")
        assert (await live.receive())["content"] == "hello"
        environment = kubernetes_deployment.servers[0].environment
        await asyncio.to_thread(manage, environment, "messaging_erase", page.conversation, "--no-input")
        erased = told(page.conversation, "forget", status="erased")
        assert await live.receive() == erased
        assert (await page.until_closed())[0] == [erased]
