"""The deployed stack: its rights, its behaviour without them, and the work of its operators."""

import asyncio
from collections.abc import Callable, Iterator

import psycopg
import pytest
from websockets.exceptions import InvalidStatus

from messaging.client.frames import identify
from messaging.client.socket import connect as open_socket
from tests.support.aws_deployment import AwsDeployment
from tests.support.aws_template import Template, statement, without
from tests.support.connections import WELCOME, admin, connect, message, visitor
from tests.support.deployments import SAY_OLD_AND_NEW
from tests.support.waiting import eventually, wait_until

GATEWAY_WELCOME = WELCOME | {"heartbeatMs": 240_000}


async def test_the_welcome_comes_with_the_first_answer(aws_deployment: AwsDeployment) -> None:
    async with open_socket(aws_deployment.websocket_urls[0], proxy=None) as socket:
        await socket.send(identify("user"))
        frames = [await socket.receive() for _ in range(2)]
    assert frames[0] == GATEWAY_WELCOME
    assert frames[1]["type"] == "identified"


async def test_every_process_may_serve_the_next_frame(aws_deployment: AwsDeployment) -> None:
    url = aws_deployment.websocket_urls[0]
    async with visitor(url) as ada, admin(url, await aws_deployment.admin_token()) as operator:
        await ada.say("before")
        await operator.receive()
        aws_deployment.configure()  # end the processes that have served them so far
        await ada.say("after")
        assert await operator.receive() == message("after", ada.conversation, connectionId=ada.id)
        await operator.say("answer", to=ada.conversation)
        assert (await ada.receive())["content"] == "answer"


async def test_a_staff_session_needs_no_process_either(aws_deployment: AwsDeployment) -> None:
    await aws_deployment.admin_token("reader")
    aws_deployment.configure()
    assert await aws_deployment.admin_token("reader")


async def test_a_database_that_restarts_between_two_frames_is_noticed_by_nobody(aws_deployment: AwsDeployment) -> None:
    url = aws_deployment.websocket_urls[0]
    async with visitor(url) as ada, admin(url, await aws_deployment.admin_token()) as operator:
        await ada.say("before")
        await operator.receive()
        aws_deployment.postgres.kill()
        aws_deployment.postgres.start()
        await ada.say("after")
        assert await operator.receive() == message("after", ada.conversation, connectionId=ada.id)
    assert await aws_deployment.admin_token()  # page requests do not notice it either


async def test_a_process_has_three_database_connections_and_keeps_them(aws_deployment: AwsDeployment) -> None:
    url, used = aws_deployment.websocket_urls[0], aws_deployment.database_connections
    aws_deployment.configure()  # start new processes
    async with visitor(url) as ada, visitor(url) as kim, visitor(url) as sam:
        people = (ada, kim, sam)

        async def everything() -> None:
            """Write to the journal, read it and request a page, each as many times at once as there are processes."""
            await asyncio.gather(*(page.say("hello") for page in people))
            await asyncio.gather(*(page.request("history", id="history") for page in people))
            await asyncio.gather(*(aws_deployment.admin_token() for _ in people))

        async with asyncio.timeout(100):  # if one process serves two of them, another one serves none
            while set(map(len, used().values())) != {3}:  # one for pages, one to read the journal, one to write it
                await everything()
        before = used()
        for _ in range(3):
            await everything()
        after = used()
        assert max(map(len, after.values())) == 3
        assert after == after | before


async def test_a_connection_that_is_cut_is_forgotten(aws_deployment: AwsDeployment) -> None:
    url = aws_deployment.websocket_urls[0]
    async with admin(url, await aws_deployment.admin_token()) as operator:
        assert operator.id in aws_deployment.rows("admins")
        operator.cut()
        await eventually(lambda: operator.id not in aws_deployment.rows("admins"), "its row is gone")


async def test_a_row_without_a_connection_goes_with_the_first_message_and_delays_nobody(
    aws_deployment: AwsDeployment,
) -> None:
    url = aws_deployment.websocket_urls[0]
    async with visitor(url) as ada, admin(url, await aws_deployment.admin_token()) as operator:
        row = aws_deployment.rows("admins")[operator.id]
        aws_deployment.add_row(row | {"connection_id": {"S": "ghost"}})
        await ada.say("to whom?")
        assert await operator.receive() == message("to whom?", ada.conversation, connectionId=ada.id)
        await eventually(lambda: "ghost" not in aws_deployment.rows("admins"), "its row is gone")


@pytest.fixture
def deploy(aws_deployment: AwsDeployment) -> Iterator[Callable[[Callable[[Template], None]], None]]:
    """Yield a function that deploys the template with a change; deploy the original template after the test."""
    yield aws_deployment.change_template
    aws_deployment.change_template(lambda template: None)


def elsewhere(sid: str, resource: str) -> Callable[[Template], None]:
    def change(template: Template) -> None:
        statement(template, sid)["Resource"] = resource

    return change


@pytest.mark.parametrize(
    "change",
    [
        without("WebSockets"),
        elsewhere("WebSockets", "arn:aws:execute-api:eu-central-1:000000000000:another/ws/POST/@connections/*"),
    ],
    ids=["removed", "pointed elsewhere"],
)
async def test_without_the_right_to_post_nothing_arrives_and_a_check_says_so(
    change: Callable[[Template], None], deploy: Callable[..., None], aws_deployment: AwsDeployment
) -> None:
    url = aws_deployment.websocket_urls[0]
    async with visitor(url) as ada:
        deploy(change)
        begin = len(aws_deployment.log)
        await ada.send("sendMessage", id="message-1", content="nobody hears this")
        await eventually(lambda: "posts failed" in aws_deployment.log[begin:], "the frame is served", within=60)
        with pytest.raises(TimeoutError):
            await ada.receive(within=0.5)
        assert "nobody hears this" not in aws_deployment.log
    answer = aws_deployment.invoke({"manage": "messaging_check --online"})
    assert answer["errorMessage"] == "failed: management_api"
    assert '"connection_store": {"state": "ok"' in aws_deployment.log[begin:]


@pytest.mark.parametrize(
    "change",
    [without("Connections"), elsewhere("Connections", "arn:aws:dynamodb:eu-central-1:000000000000:table/another")],
    ids=["removed", "pointed elsewhere"],
)
async def test_without_the_right_to_the_table_nobody_is_let_in(
    change: Callable[[Template], None], deploy: Callable[..., None], aws_deployment: AwsDeployment
) -> None:
    deploy(change)
    begin = len(aws_deployment.log)
    with pytest.raises(InvalidStatus, match="HTTP 403"):
        async with connect(aws_deployment.websocket_urls[0]):
            pass
    assert "connection refused" in aws_deployment.log[begin:]


async def test_management_commands_run_in_the_function(aws_deployment: AwsDeployment) -> None:
    assert "no issues" in aws_deployment.manage("check")
    assert "up to date" in aws_deployment.manage("messaging_migrate --check")
    begin = len(aws_deployment.log)
    async with visitor(aws_deployment.websocket_urls[0]) as ada:
        await ada.say("a word that no log may have")
        refused = aws_deployment.invoke({"manage": f"messaging_export --conversation {ada.conversation}"})
        assert "This would leave the messages in the function's log" in refused["errorMessage"]
        refused = aws_deployment.invoke({"manage": f"messaging_erase {ada.conversation}"})
        assert (
            refused["errorMessage"]
            == "Nothing was erased: without a terminal there is no confirmation, so use --no-input."
        )
        assert "erased: 1" in aws_deployment.manage(f"messaging_erase {ada.conversation} --no-input")
        assert (await ada.until_closed())[1] == 4001
    assert "a word that no log may have" not in aws_deployment.log[begin:]


def test_a_function_with_a_wrong_setting_answers_with_what_is_allowed(aws_deployment: AwsDeployment) -> None:
    right = aws_deployment.environment
    try:
        aws_deployment.set_environment(right | {"MESSAGING_LOG_LEVEL": "loud"})
        answer = aws_deployment.invoke({"manage": "check"})
    finally:
        aws_deployment.set_environment(right)
    assert answer["errorMessage"].endswith(": MESSAGING_LOG_LEVEL='loud' must be one of DEBUG, INFO, WARNING, ERROR")
    assert aws_deployment.invoke({"manage": "check"}) == {}


def test_what_is_old_is_gone_after_a_night(aws_deployment: AwsDeployment) -> None:
    def kept() -> list[str]:
        with psycopg.connect(aws_deployment.database) as session:
            rows = session.execute("SELECT content FROM messaging_message WHERE content IN ('old', 'new') ORDER BY seq")
            return [content for (content,) in rows]

    aws_deployment.forget_conversations()
    aws_deployment.run(SAY_OLD_AND_NEW)
    assert kept() == ["old", "new"]
    with aws_deployment.nights_in_a_row():
        wait_until(lambda: kept() == ["new"], "the rule has had the function delete the old message", within=60)


def test_a_second_deployment_of_the_same_changes_nothing(aws_deployment: AwsDeployment) -> None:
    before = aws_deployment.outputs
    printed = aws_deployment.deploy()
    assert f"SiteUrl = {before['SiteUrl']}" in printed
    assert aws_deployment.outputs == before


def test_static_files_may_be_kept_for_ever(aws_deployment: AwsDeployment) -> None:
    page = aws_deployment.session("operator").request("/user/").decode()
    path = page.split('<script type="module" src="')[1].split('"')[0]
    assert "max-age=315360000" in aws_deployment.headers(path)["Cache-Control"]


def test_the_page_is_told_the_gateways_address_and_heartbeat(aws_deployment: AwsDeployment) -> None:
    page = aws_deployment.session("operator").request("/user/").decode()
    assert f'"webSocketUrl": "{aws_deployment.websocket_urls[0]}"' in page
    assert '"heartbeatMs": 240000' in page
