"""The predecessor's pages: both variants of their frames get exactly the answers that they know, in every mode."""

from collections.abc import Callable

import pytest

from tests.support.connections import COUNT, CURSOR, TEXT, TIME, UUID, UUID7, Connection, Frame, admin, connect, error
from tests.support.deployments import Deployment

NOW = 1_763_805_600_000  # the predecessor's pages send Date.now() along


def top(action: str, **fields: object) -> Frame:
    """Return a frame of the built pages, with its fields at the top level."""
    return {"action": action, **fields, "timestamp": NOW, "type": "user"}


def nested(action: str, **fields: object) -> Frame:
    """Return a frame of the shared adapter on AWS, with its fields under `data`."""
    return {"action": action, "data": {**fields, "timestamp": NOW, "type": "user"}}


Variant = Callable[..., Frame]
VARIANTS = pytest.mark.parametrize("variant", [top, nested])

IDENTIFIED = {
    "type": "identified",
    "connectionType": "user",
    "message": "Connection identified successfully",
    "timestamp": TIME,
}
STATUS = {
    "type": "messageStatus",
    "message": "Message broadcast completed",
    "successCount": COUNT,
    "failureCount": 0,
    "timestamp": TIME,
}


async def answer(socket: Connection, frame: Frame) -> Frame:
    fields = dict(frame)
    return await socket.request(fields.pop("action"), **fields)


@VARIANTS
async def test_identify(variant: Variant, deployment: Deployment) -> None:
    async with connect(deployment.websocket_urls[0]) as page:
        assert await answer(page, variant("identify", deploymentMode="kubernetes")) == IDENTIFIED


async def test_set_connection_type(deployment: Deployment) -> None:
    updated = {
        "type": "connectionTypeUpdated",
        "connectionType": "user",
        "message": "Connection type updated successfully",
        "timestamp": TIME,
    }
    async with connect(deployment.websocket_urls[0]) as page:
        assert await page.request("setConnectionType", data={"connectionType": "user"}) == updated


@VARIANTS
@pytest.mark.parametrize("identified", [True, False])
async def test_a_message_is_stored_and_reaches_the_admins(
    variant: Variant, identified: bool, deployment: Deployment
) -> None:
    async with (
        connect(deployment.websocket_urls[0]) as page,
        admin(deployment.websocket_urls[-1], await deployment.admin_token()) as operator,
    ):
        if identified:
            await answer(page, variant("identify"))
        assert await answer(page, variant("sendMessage", content="speak german")) == STATUS
        message = {
            "type": "message", "messageId": UUID7, "content": "speak german", "timestamp": TIME, "from": "user",
            "connectionId": page.id, "cursor": CURSOR, "conversation": UUID,
        }  # fmt: skip
        frame = await operator.receive()
        assert frame == message
        history = await operator.request("history", id="h", conversation=frame["conversation"])
        del message["connectionId"]  # the journal does not store connections
        assert history["messages"] == [message]


@pytest.mark.parametrize("frame", [{"action": "sendMessage"}, {"action": "sendMessage", "data": {}}])
async def test_no_content_means_the_default_quick_message(frame: Frame, deployment: Deployment) -> None:
    async with (
        connect(deployment.websocket_urls[0]) as page,
        admin(deployment.websocket_urls[-1], await deployment.admin_token()) as operator,
    ):
        assert await answer(page, frame) == STATUS
        received = await operator.receive()
        assert (received["content"], received["quick"]) == ("speak german", "speak-german")


async def test_the_success_count_is_the_number_of_admin_connections(deployment: Deployment) -> None:
    url = deployment.websocket_urls[0]
    await deployment.forgets_the_past()
    async with connect(url) as page:
        before = (await answer(page, top("sendMessage", content="to whom?")))["successCount"]
        async with admin(url, await deployment.admin_token()), admin(url, await deployment.admin_token("reader")):
            status = await answer(page, top("sendMessage", content="and now?"))
            assert status == STATUS | {"successCount": before + 2}


async def test_ping(deployment: Deployment) -> None:
    async with connect(deployment.websocket_urls[0]) as page:
        assert await page.request("ping") == {"type": "pong", "action": "pong", "timestamp": TIME}


async def test_an_error_has_the_text_that_the_pages_read(deployment: Deployment) -> None:
    async with connect(deployment.websocket_urls[0]) as page:
        assert await answer(page, top("sendMessage", content=" ")) == error("empty")
        assert (await page.request("identify", type="king"))["error"] == TEXT


async def test_a_version_1_user_gets_no_frame_of_version_2(deployment: Deployment) -> None:
    """A version 1 page takes every frame that it does not know for the success of a message."""
    url, token = deployment.websocket_urls[0], await deployment.admin_token()
    async with connect(url) as page, connect(url) as same_visitor, admin(url, token) as operator:
        await same_visitor.identify()
        assert await page.request("identify", type="user", token=same_visitor.token) == IDENTIFIED
        await same_visitor.say("from another page")
        received = await operator.receive()
        await operator.say("a reply", to=received["conversation"])
        assert (await same_visitor.receive())["content"] == "a reply"
        await operator.send("read", conversation=received["conversation"], upTo=received["messageId"])
        assert (await same_visitor.receive())["type"] == "read"
        assert await page.request("history", id="h") == error("unknown_action", id="h")
        assert await page.request("ping") == {"type": "pong", "action": "pong", "timestamp": TIME}


@VARIANTS
async def test_a_version_1_admin_gets_visitors_messages_only(variant: Variant, deployment: Deployment) -> None:
    url = deployment.websocket_urls[0]
    async with connect(url) as page, connect(url) as old, admin(url, await deployment.admin_token()) as operator:
        identify = variant("identify", token=await deployment.admin_token("reader"))
        (identify if variant is top else identify["data"])["type"] = "admin"
        assert await answer(old, identify) == IDENTIFIED | {"connectionType": "admin"}
        await answer(page, top("sendMessage", content="first"))
        received = await operator.receive()
        await operator.say("a reply", to=received["conversation"])
        await answer(page, top("sendMessage", content="second"))
        frames = await old.receive_many(2)
        assert [(frame["content"], frame["from"]) for frame in frames] == [("first", "user"), ("second", "user")]
        assert await old.request("ping") == {"type": "pong", "action": "pong", "timestamp": TIME}
