"""Both pages in Chromium as people see them, against the server that `make run` starts."""

import asyncio
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from messaging.admin.lists import SHOWN
from tests.support.browser import (
    BUTTON,
    DESKTOP,
    PHONE,
    People,
    come_back,
    log_in,
    open_conversation,
    sent,
    serving,
    shown,
    status,
    texts,
    violations,
    wait_for_thread,
    wait_until_both_show,
    write,
)
from tests.support.chaos_proxy import ChaosProxy
from tests.support.deployments import Deployment, LocalServer
from tests.support.script_payloads import PAYLOADS
from tests.support.services import HOST
from tests.support.waiting import wait_until

LATEST = 50  # messages that a conversation's page of the Django admin shows


async def test_the_browser_leaves_the_thread_to_other_event_loops(
    launched: tuple[Browser, asyncio.AbstractEventLoop],
) -> None:
    assert asyncio.get_running_loop() is not launched[1]


def test_a_visitor_and_an_admin_write_to_each_other_and_a_reload_keeps_all(people: People, origin: str) -> None:
    admin, visitor = people.admin(origin), people.visitor(origin, viewport=PHONE)
    visitor.get_by_role("button", name=BUTTON).click()
    write(visitor, "And slowly, please")
    open_conversation(admin)
    wait_for_thread(admin, *sent("speak german", "And slowly, please"))
    write(admin, "Gern!")

    conversation = sent("speak german", "And slowly, please", "Gern!")
    for page in (visitor, admin):
        wait_for_thread(page, *conversation)
        page.reload()
        wait_for_thread(page, *conversation)


def test_a_message_written_while_the_server_is_down_is_delivered_once(
    people: People, own_deployment: Deployment[LocalServer], origin: str
) -> None:
    server = own_deployment.servers[0]
    admin, visitor = people.staff(origin), people.visitor(origin)
    write(visitor, "before")
    open_conversation(admin)
    wait_for_thread(admin, *sent("before"))

    server.kill()
    expect(status(visitor)).to_have_text("Reconnecting")
    expect(status(admin)).to_have_text(re.compile("Not live since .*"))
    write(visitor, "meanwhile")
    write(admin, "my reply")
    wait_for_thread(visitor, ("before", "sent"), ("meanwhile", "waiting"))
    wait_for_thread(admin, ("before", "sent"), ("my reply", "waiting"))

    server.start()
    wait_until_both_show(visitor, admin, ["before", "meanwhile", "my reply"])


def test_a_message_that_waits_survives_a_reload(people: People, origin: str) -> None:
    visitor = people.visitor(origin)
    visitor.route_web_socket("**/ws*", lambda _: None)  # opens, and never answers
    visitor.reload()
    write(visitor, "patience")
    wait_for_thread(visitor, ("patience", "waiting"))
    reloaded = visitor.context.new_page()
    reloaded.goto(f"{origin}/user/")
    wait_for_thread(reloaded, *sent("patience"))
    wait_for_thread(visitor, *sent("patience"))  # the other tab has sent it


def test_a_draft_survives_a_reload(people: People, origin: str) -> None:
    visitor, admin = people.visitor(origin), people.staff(origin)
    visitor.get_by_role("button", name=BUTTON).click()
    open_conversation(admin)
    for page in (visitor, admin):
        page.get_by_role("textbox").fill("not finis")
        page.reload()
        expect(page.get_by_role("textbox")).to_have_value("not finis")


def test_tabs_that_open_at_once_are_one_visitor_and_show_the_same(people: People, origin: str) -> None:
    profile = people.profile()
    tabs = [profile.new_page() for _ in range(4)]
    for tab in tabs:
        tab.goto(f"{origin}/user/", wait_until="commit")
    contents = [f"from tab {number}" for number in range(len(tabs))]
    for tab, content in zip(tabs, contents, strict=True):
        write(tab, content)
    for tab in tabs[1:]:
        wait_until_both_show(tabs[0], tab, contents)


def test_a_message_that_the_server_refuses_can_be_discarded(people: People, origin: str) -> None:
    visitor = people.visitor(origin)
    write(visitor, "\x01")  # nothing is left without control characters
    item = visitor.get_by_role("log").get_by_role("listitem")
    expect(item).to_contain_text("Not sent: the message is empty")
    item.get_by_role("button", name="Discard").click()
    wait_for_thread(visitor)


def test_a_text_that_is_too_long_stays_in_the_field(people: People, origin: str) -> None:
    visitor = people.visitor(origin)
    write(visitor, "x" * 2001)
    expect(visitor.get_by_text("2001 of 2000 characters")).to_be_visible()
    expect(visitor.get_by_role("textbox")).to_have_value("x" * 2001)
    assert shown(visitor) == []


def test_an_admin_without_the_right_to_reply_has_no_field(people: People, origin: str) -> None:
    visitor, reader = people.visitor(origin), people.staff(origin, "reader")
    visitor.get_by_role("button", name=BUTTON).click()
    open_conversation(reader)
    wait_for_thread(reader, *sent("speak german"))
    expect(reader.get_by_role("textbox")).to_have_count(0)


def test_a_signed_out_admin_is_told_so_and_keeps_the_draft(
    people: People, own_deployment: Deployment[LocalServer], origin: str
) -> None:
    visitor, admin = people.visitor(origin), people.staff(origin)
    visitor.get_by_role("button", name=BUTTON).click()
    open_conversation(admin)
    admin.get_by_role("textbox").fill("not finis")
    admin.context.clear_cookies(name="sessionid")
    own_deployment.servers[0].kill()
    own_deployment.servers[0].start()
    expect(status(admin)).to_have_text(re.compile("Not live since .* You are signed out."))

    admin.get_by_role("link", name="Sign in again").click()
    log_in(admin, "operator")
    open_conversation(admin)
    expect(admin.get_by_role("textbox")).to_have_value("not finis")


def test_a_phone_shows_one_pane_and_goes_back(people: People, origin: str) -> None:
    visitor, admin = people.visitor(origin), people.staff(origin, viewport=PHONE)
    write(visitor, "longer than the screen\n" * 80)
    open_conversation(admin)
    expect(admin.get_by_role("navigation", name="Conversations")).to_be_hidden()
    for part in (status(admin), admin.get_by_role("textbox")):
        expect(part).to_be_in_viewport(ratio=1)  # the conversation scrolls, not the page
    admin.get_by_role("link", name="All conversations").click()
    expect(admin.get_by_role("log")).to_be_hidden()
    expect(admin.get_by_role("navigation", name="Conversations").get_by_role("link")).to_be_focused()


def test_nothing_is_lost_doubled_or_reordered_on_a_bad_network(
    people: People, own_deployment: Deployment[LocalServer]
) -> None:
    """Both sides write while every connection of either page is cut again and again."""
    rounds = 30
    with ChaosProxy([(HOST, own_deployment.servers[0].port)]) as proxy:
        origin = f"http://{HOST}:{proxy.port}"
        admin, visitor = people.staff(origin), people.visitor(origin)
        write(visitor, "hello")
        open_conversation(admin)
        wait_for_thread(admin, *sent("hello"))
        questions = [f"question {number}" for number in range(rounds)]
        answers = [f"answer {number}" for number in range(rounds)]
        proxy.start_cutting(0.4)
        for question, answer in zip(questions, answers, strict=True):
            write(visitor, question)
            write(admin, answer)
            come_back(visitor, admin)

        def bad_enough() -> bool:
            come_back(visitor, admin)
            return proxy.cuts >= 50

        wait_until(bad_enough, "the network was bad enough", within=60)
        proxy.stop_cutting()
        wait_until_both_show(visitor, admin, ["hello", *questions, *answers])
    assert [text for text in texts(visitor) if text.startswith("question")] == questions
    assert [text for text in texts(visitor) if text.startswith("answer")] == answers


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_no_violation(people: People, origin: str, size: ViewportSize) -> None:
    visitor, admin = people.visitor(origin, viewport=size), people.staff(origin, viewport=size)
    assert violations(visitor) == []
    visitor.get_by_role("button", name=BUTTON).click()
    wait_for_thread(visitor, *sent("speak german"))
    expect(admin.get_by_role("navigation", name="Conversations").get_by_role("link")).to_be_visible()
    assert violations(admin) == []
    open_conversation(admin)
    write(admin, "Gern!")
    for page in (visitor, admin):
        wait_for_thread(page, *sent("speak german", "Gern!"))
        assert violations(page) == []


def test_what_people_write_is_text_wherever_it_is_shown(people: People, own_deployment: Deployment) -> None:
    origin = own_deployment.servers[0].origin
    visitor, admin = people.visitor(origin), people.staff(origin)
    for payload in PAYLOADS:
        write(visitor, payload)
        wait_until(lambda: texts(visitor)[-1:] == [payload], "it is shown")
    wait_for_thread(visitor, *sent(*PAYLOADS))
    expect(admin.locator("[data-part=last]")).to_have_js_property("textContent", PAYLOADS[-1])
    open_conversation(admin)
    wait_until(lambda: texts(admin) == PAYLOADS, "the staff read what was written", within=40)
    for page in (visitor, admin):
        assert_only_text(page, "[data-part=content], [data-part=last]")
        page.reload()
        wait_until(lambda: texts(page) == PAYLOADS, "they are read again", within=40)
        assert_only_text(page, "[data-part=content], [data-part=last]")

    addresses: list[str] = []  # of the pages of messages, newest first
    for begin in range(0, len(PAYLOADS), SHOWN):
        admin.goto(f"{origin}/admin/messaging/message/?p={begin // SHOWN + 1}")
        wait_until(
            lambda: contents(admin, "td.field-excerpt") == PAYLOADS[::-1][begin : begin + SHOWN], "a page of messages"
        )
        assert_only_text(admin, "td.field-excerpt")
        addresses += admin.locator("#result_list tbody th a").evaluate_all("links => links.map(link => link.href)")
    for payload, address in ((PAYLOADS[0], addresses[-1]), (PAYLOADS[-1], addresses[0])):
        admin.goto(address)
        assert contents(admin, ".field-content .readonly") == [payload]
        assert_only_text(admin, ".field-content .readonly")
    admin.goto(f"{origin}/admin/messaging/conversation/")
    admin.locator("#result_list tbody th a").click()
    expect(admin.locator("#messages-group tr.form-row .field-content p")).to_have_count(LATEST)
    assert contents(admin, "#messages-group tr.form-row .field-content p") == PAYLOADS[-LATEST:]
    assert_only_text(admin, "#messages-group tr.form-row .field-content p")


def test_what_people_are_called_is_text_wherever_it_is_shown(people: People, prepared_database: Path) -> None:
    with serving(prepared_database) as deployment:
        show_names(people, deployment)


def show_names(people: People, deployment: Deployment[LocalServer]) -> None:
    origin = deployment.servers[0].origin
    visitor, admin = people.visitor(origin), people.staff(origin)
    write(visitor, "hello")
    wait_for_thread(visitor, *sent("hello"))
    deployment.run(
        "from django.contrib.auth.models import User; from messaging.models import *\n"
        "from tests.support.script_payloads import PAYLOADS\n"
        "conversation = Conversation.objects.get()\n"
        "for number, name in enumerate(PAYLOADS):\n"
        "    Message.objects.create(conversation=conversation, principal='staff:0', client_id=f'message-{number}',\n"
        "        sender='admin', author=name, content='hi')\n"
        "    QuickMessage.objects.create(key=f'payload-{number}', label=name, content='hi', position=number + 1)\n"
        "    User.objects.create(username=f'user-{number}', first_name=name, is_staff=True)\n"
        "User.objects.filter(username='operator').update(first_name=PAYLOADS[0])\n"
    )
    open_conversation(admin)
    for page in (visitor, admin):
        page.reload()
        wait_until(lambda: contents(page, "[data-part=author]")[-100:] == PAYLOADS, "all names", within=40)
        assert_only_text(page, "[data-part=author]")

    def quick_messages() -> list[str]:
        visitor.reload()
        expect(visitor.locator("#quick button").first).to_be_visible()
        return contents(visitor, "#quick button")[1:]

    wait_until(lambda: quick_messages() == PAYLOADS, "the server reads the quick messages anew", within=40)
    assert_only_text(visitor, "#quick button")
    assert contents(admin, "#user-tools strong") == [PAYLOADS[0]]
    write(admin, "my name is worse")
    wait_until(lambda: contents(admin, "[data-part=author]")[-1] == PAYLOADS[0], "the name of who writes")

    for path, cells in (
        ("messaging/message/", "td.field-author"),
        ("messaging/quickmessage/", "th.field-label"),
        ("auth/user/", "td.field-first_name"),
    ):
        admin.goto(f"{origin}/admin/{path}?all=")
        assert set(PAYLOADS) <= set(contents(admin, cells))
        assert_only_text(admin, cells)


def contents(page: Page, selector: str) -> list[str]:
    """Return the exact text of each element that `selector` finds."""
    found: list[str] = page.evaluate(
        "selector => [...document.querySelectorAll(selector)].map(e => e.textContent)", selector
    )
    return found


def assert_only_text(page: Page, selector: str) -> None:
    """Assert that no script ran, and that the elements found by `selector` hold only text and links.

    Their text direction must not reach the text around them.
    """
    assert page.evaluate("() => [window.hacked, document.querySelectorAll('[onload], [onerror]').length]") == [None, 0]
    elements = page.evaluate(
        """selector => [...document.querySelectorAll(selector)].flatMap((element) =>
            [...element.querySelectorAll(":not(a)")].map((inner) => inner.outerHTML))""",
        selector,
    )
    assert elements == []
    reaching = page.evaluate(
        """selector => [...document.querySelectorAll(selector)].filter((element) => {
            const { display, unicodeBidi } = getComputedStyle(element);
            return display === "inline" && unicodeBidi === "normal";
        }).map((element) => element.outerHTML)""",
        selector,
    )
    assert reaching == []


def test_no_page_of_the_admin_needs_what_the_policy_refuses(people: People, origin: str) -> None:
    admin = people.staff(origin)
    for path in (
        "",
        "messaging/conversation/",
        "messaging/message/?q=hello",
        "messaging/quickmessage/",
        "messaging/quickmessage/add/",
        "auth/user/add/",
        "password_change/",
    ):
        answer = admin.goto(f"{origin}/admin/{path}")
        assert answer is not None
        assert answer.ok
