"""API Gateway ends every WebSocket: after ten silent minutes, and after two hours. Pages come back and lose nothing.

The pages are those of the function on ministack. serverless-offline holds their WebSockets: its limits are much
shorter, and the same package, table and database are behind it.
"""

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator

import psycopg
import pytest
from playwright.sync_api import Page, expect

from tests.support.aws_deployment import STAGE, AwsDeployment
from tests.support.aws_offline import ServerlessOffline
from tests.support.browser import (
    People,
    come_back,
    open_conversation,
    sent,
    shown,
    status,
    wait_for_thread,
    wait_until_both_show,
    write,
)
from tests.support.chaos_proxy import ChaosProxy
from tests.support.ministack import Ministack
from tests.support.paths import ROOT
from tests.support.services import HOST, started
from tests.support.waiting import wait_until

IDLE_SECONDS = 8
LIFE_SECONDS = 12
LIVES = 3  # of each page's WebSocket that end while people write
UNSENT = 3  # messages that a person leaves waiting before writing on
PATIENCE_SECONDS = 60

pytestmark = pytest.mark.timeouts
Open = Callable[..., contextlib.AbstractContextManager[tuple[ServerlessOffline, ChaosProxy]]]


@pytest.fixture
def gateway(aws_deployment: AwsDeployment, ministack: Ministack) -> Iterator[Open]:
    """Opens a gateway with the limits and variables that a test names, and a network in front of it."""

    @contextlib.contextmanager
    def gateway(idle: int, life: int, **environment: str) -> Iterator[tuple[ServerlessOffline, ChaosProxy]]:
        (package,) = (ROOT / "var/aws").glob(f"{STAGE}-*.zip")
        variables = aws_deployment.environment | environment
        offline = ServerlessOffline(ministack, package, variables, idle=idle, life=life)
        with started(offline), ChaosProxy([(HOST, offline.port)]) as network:
            aws_deployment.configure(WEBSOCKET_PUBLIC_URL=network.websocket_url)
            yield offline, network

    url = aws_deployment.websocket_urls[0]
    aws_deployment.run("from messaging.models import Conversation; Conversation.objects.all().delete()")
    yield gateway
    aws_deployment.configure(WEBSOCKET_PUBLIC_URL=url)


def stored(deployment: AwsDeployment) -> list[str]:
    """The content of every message, in the log's order."""
    with psycopg.connect(deployment.database) as connection:
        rows = connection.execute("SELECT content FROM messaging_message ORDER BY seq").fetchall()
    return [content for (content,) in rows]


def waiting(page: Page) -> int:
    return sum(state == "waiting" for _, state in shown(page))


def wait_for(page: Page, text: str | re.Pattern[str]) -> None:
    expect(status(page)).to_have_text(text, timeout=PATIENCE_SECONDS * 1000)


@pytest.mark.timeout(300)
def test_what_is_written_after_the_idle_limit_has_cut_the_pages_off_arrives_once(
    gateway: Open, people: People, aws_deployment: AwsDeployment
) -> None:
    origin = aws_deployment.servers[0].origin
    with gateway(idle=IDLE_SECONDS, life=3600) as (offline, network):
        visitor, admin = people.visitor(origin), people.admin(origin)
        write(visitor, "before")
        open_conversation(admin)
        wait_for_thread(admin, *sent("before"))

        network.refusing = True  # what they have stays, and nothing is said on it
        wait_for(visitor, "Reconnecting")
        wait_for(admin, re.compile("Not live since .*"))
        assert offline.cuts("idle") >= 2
        for page, name in ((visitor, "question"), (admin, "answer")):
            for number in range(3):
                write(page, f"{name} {number}")
            meanwhile = [(f"{name} {number}", "waiting") for number in range(3)]
            wait_for_thread(page, ("before", "sent"), *meanwhile)

        network.refusing = False
        come_back(visitor, admin)
        questions, answers = ([f"{name} {number}" for number in range(3)] for name in ("question", "answer"))
        wait_until_both_show(visitor, admin, ["before", *questions, *answers])
        check(visitor, admin, aws_deployment, questions=["before", *questions], answers=answers)


@pytest.mark.timeout(300)
def test_people_write_on_while_the_gateway_ends_one_connection_after_the_other(
    gateway: Open, people: People, aws_deployment: AwsDeployment
) -> None:
    origin = aws_deployment.servers[0].origin
    with gateway(idle=IDLE_SECONDS, life=LIFE_SECONDS, HEARTBEAT_MS="1000") as (offline, _):
        visitor, admin = people.visitor(origin), people.admin(origin)
        # Nobody writes for a whole life: heartbeats keep the idle limit away.
        wait_until(lambda: offline.cuts("life") >= 2, "silent pages reach the end of a life", PATIENCE_SECONDS)
        write(visitor, "question 0")
        open_conversation(admin)
        questions, answers = ["question 0"], []
        ends = offline.cuts("life") + 2 * LIVES
        for number in itertools.count():
            questions.append(f"question {number + 1}")
            answers.append(f"answer {number}")
            for page, text in ((visitor, questions[-1]), (admin, answers[-1])):
                # A page keeps 50 messages and refuses the next one: a busy machine would be that far behind.
                wait_until(lambda: waiting(page) < UNSENT, "the page sends what was written", PATIENCE_SECONDS)
                write(page, text)
            visitor.wait_for_timeout(500)  # a person's pace
            if offline.cuts("life") >= ends:
                break
        with contextlib.suppress(AssertionError):  # then the comparison says what is wrong
            wait_until_both_show(visitor, admin, questions + answers)
        check(visitor, admin, aws_deployment, questions=questions, answers=answers)


def check(visitor: Page, admin: Page, deployment: AwsDeployment, *, questions: list[str], answers: list[str]) -> None:
    """Both pages show what is stored as sent, in its order, which is that of writing for each side."""
    written = stored(deployment)
    assert shown(visitor) == shown(admin) == sent(*written)
    assert [text for text in written if not text.startswith("answer")] == questions
    assert [text for text in written if text.startswith("answer")] == answers
