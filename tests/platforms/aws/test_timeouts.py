"""The time limits of API Gateway, ten silent minutes and two hours, after which pages come back and lose nothing.

The tests decide when these times are over, because no clock runs on the emulated gateway.
"""

import contextlib
import itertools
import re
from collections.abc import Iterator

import psycopg
import pytest
from playwright.sync_api import Page, expect

from tests.support.aws_deployment import AwsDeployment, ProxyToGateway
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
from tests.support.ministack import LIMITS, Ministack
from tests.support.waiting import wait_until

HEARTBEATS = 3  # which keep the idle limit away
LIVES = 3  # connections of each page that end while people write
UNSENT = 3  # messages that a person leaves waiting before writing on
PATIENCE_SECONDS = 60


@contextlib.contextmanager
def network(deployment: AwsDeployment, **environment: str) -> Iterator[ChaosProxy]:
    """Yield the network between pages and the gateway, for a function with these variables and an empty journal."""
    deployment.forget_conversations()
    with (
        ProxyToGateway(deployment.websocket_urls[0]) as network,
        deployment.configured(WEBSOCKET_PUBLIC_URL=network.websocket_url, **environment),
    ):
        yield network


def stored(deployment: AwsDeployment) -> list[str]:
    """Return the content of every message, in the journal's order."""
    with psycopg.connect(deployment.database) as connection:
        rows = connection.execute("SELECT content FROM messaging_message ORDER BY seq").fetchall()
    return [content for (content,) in rows]


def waiting(page: Page) -> int:
    return sum(state == "waiting" for _, state in shown(page))


def wait_for(page: Page, text: str | re.Pattern[str]) -> None:
    expect(status(page)).to_have_text(text, timeout=PATIENCE_SECONDS * 1000)


@pytest.mark.timeout(300)
def test_what_is_written_after_the_idle_limit_has_cut_the_pages_off_arrives_once(
    people: People, aws_deployment: AwsDeployment, ministack: Ministack
) -> None:
    origin = aws_deployment.servers[0].origin
    ended = ministack.ended_by("idle")
    with network(aws_deployment) as to_gateway:
        visitor, admin = people.visitor(origin), people.admin(origin)
        write(visitor, "before")
        open_conversation(admin)
        wait_for_thread(admin, *sent("before"))

        to_gateway.refusing = True  # open connections stay, but carry nothing
        while ministack.ended_by("idle") < ended + 2:
            ministack.reach_limit("idle")
        wait_for(visitor, "Reconnecting")
        wait_for(admin, re.compile("Not live since .*"))
        for page, name in ((visitor, "question"), (admin, "answer")):
            for number in range(3):
                write(page, f"{name} {number}")
            meanwhile = [(f"{name} {number}", "waiting") for number in range(3)]
            wait_for_thread(page, ("before", "sent"), *meanwhile)

        to_gateway.refusing = False
        come_back(visitor, admin)
        questions, answers = ([f"{name} {number}" for number in range(3)] for name in ("question", "answer"))
        wait_until_both_show(visitor, admin, ["before", *questions, *answers])
        check(visitor, admin, aws_deployment, questions=["before", *questions], answers=answers)


@pytest.mark.timeout(300)
def test_people_write_on_while_the_gateway_ends_one_connection_after_the_other(
    people: People, aws_deployment: AwsDeployment, ministack: Ministack
) -> None:
    origin = aws_deployment.servers[0].origin
    ended = {limit: ministack.ended_by(limit) for limit in LIMITS}
    with network(aws_deployment, HEARTBEAT_MS="1000"):
        visitor, admin = people.visitor(origin), people.admin(origin)
        for _ in range(HEARTBEATS):  # without messages, heartbeats keep the idle limit away
            ministack.reach_limit("idle")
            ministack.wait_until_used(2)
        assert ministack.ended_by("idle") == ended["idle"]
        write(visitor, "question 0")
        open_conversation(admin)
        questions, answers = ["question 0"], []
        for number in itertools.count():
            questions.append(f"question {number + 1}")
            answers.append(f"answer {number}")
            for page, text in ((visitor, questions[-1]), (admin, answers[-1])):
                # A page keeps 50 waiting messages and refuses the next: on a busy machine it would be that far behind.
                wait_until(lambda: waiting(page) < UNSENT, "the page sends what was written", PATIENCE_SECONDS)
                write(page, text)
            ministack.reach_limit("life")
            if ministack.ended_by("life") >= ended["life"] + 2 * LIVES:
                break
        with contextlib.suppress(AssertionError):  # if so, `check` below reports the difference
            wait_until_both_show(visitor, admin, questions + answers)
        check(visitor, admin, aws_deployment, questions=questions, answers=answers)


def check(visitor: Page, admin: Page, deployment: AwsDeployment, *, questions: list[str], answers: list[str]) -> None:
    """Assert that both pages show the stored messages in order, and that each side's are in the order of writing."""
    written = stored(deployment)
    assert shown(visitor) == shown(admin) == sent(*written)
    assert [text for text in written if not text.startswith("answer")] == questions
    assert [text for text in written if text.startswith("answer")] == answers
