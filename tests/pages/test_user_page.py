"""The visitor's page: all of its states, and the texts and messages that it keeps through all of them."""

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, WebSocketRoute, expect

from tests.support.browser import (
    ABSENT,
    BUTTON,
    NARROW,
    PHONE,
    People,
    inspect,
    sent,
    serving,
    shown,
    status,
    try_now,
    wait_for_thread,
    wait_until_live,
    write,
)
from tests.support.chaos_proxy import ChaosProxy
from tests.support.deployments import Deployment, LocalServer
from tests.support.services import HOST
from tests.support.staff import staff
from tests.support.waiting import wait_until

BLOCK = "from messaging.models import *; Block.objects.create(conversation=Conversation.objects.get())"
UNBLOCK = "from messaging.models import *; Block.objects.all().delete()"
BLOCKED = "You can’t send messages here at the moment"


def bubble(page: Page, content: str) -> Any:
    return page.get_by_role("log").get_by_role("listitem").filter(has_text=content)


def unanswered(page: Page) -> None:
    """Let the next connections of `page` open but never answer."""
    page.route_web_socket("**/ws*", lambda _: None)


def test_while_it_connects_it_says_so_and_takes_messages(people: People, origin: str) -> None:
    page = people.profile().new_page()
    unanswered(page)
    page.goto(f"{origin}/user/")
    page.get_by_role("button", name=BUTTON).click()
    expect(status(page)).to_have_text("Connecting …")
    expect(page.locator("#waiting")).to_have_text("1 waiting")
    wait_for_thread(page, ("speak german", "waiting"))
    expect(bubble(page, "speak german")).to_contain_text("Waiting")
    inspect(page, "connecting")


def test_what_is_written_before_the_script_is_there_stays_in_the_field(people: People, origin: str) -> None:
    page = people.profile().new_page()
    held: list[Route] = []
    page.route("**/user.js", lambda route: held.append(route))
    page.goto(f"{origin}/user/", wait_until="commit")
    page.locator("#text").fill("quick fingers")
    wait_until(lambda: page.evaluate("true") and bool(held), "the script is asked for")
    held[0].continue_()
    wait_until_live(page)
    expect(page.locator("#text[aria-invalid]")).to_have_value("quick fingers")
    page.get_by_role("button", name="Send").click()
    wait_for_thread(page, *sent("quick fingers"))


def test_a_connection_that_takes_no_time_is_not_talked_about(people: People, origin: str) -> None:
    page = people.profile().new_page()
    page.clock.install()
    page.clock.pause_at(datetime.now() + timedelta(hours=1))  # no time passes while it connects
    frames: list[str | bytes] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)))
    page.add_init_script("""
        window.said = [];
        addEventListener("DOMContentLoaded", () => new MutationObserver(() =>
            said.push(document.getElementById("status-text").textContent)
        ).observe(document.getElementById("status-text"), {childList: true, characterData: true, subtree: true}));
    """)
    page.goto(f"{origin}/user/")
    wait_until(lambda: page.evaluate("true") and any("history" in str(frame) for frame in frames), "it is connected")

    def talks() -> bool:
        page.clock.run_for(1)
        return bool(page.evaluate("said.length > 0"))

    wait_until(talks, "it says something")
    assert page.evaluate("said") == [ABSENT]


def test_it_says_whether_somebody_is_there_and_what_they_have_seen(
    people: People, own_deployment: Deployment, origin: str
) -> None:
    page = people.visitor(origin, viewport=PHONE)
    expect(status(page)).to_have_text(ABSENT)
    inspect(page, "empty", NARROW)
    page.get_by_role("button", name=BUTTON).click()
    expect(bubble(page, "speak german")).to_contain_text("Sent")
    inspect(page, "nobody-there")
    with staff(own_deployment) as colleague:
        expect(status(page)).to_have_text("Someone is here")
        colleague.reply("Gern! Ab jetzt auf Deutsch.")
        colleague.has_read()
        expect(bubble(page, "speak german")).to_contain_text("Seen")
        expect(bubble(page, "Gern!")).not_to_contain_text("Sent")
        inspect(page, "conversation", NARROW)
    expect(status(page)).to_have_text(ABSENT)


@pytest.mark.parametrize("refusals", [0, 2])
def test_staff_learn_what_the_visitor_has_seen(
    people: People, own_deployment: Deployment, origin: str, refusals: int
) -> None:
    """A limit may have refused to take that the visitor has seen it."""

    def refuse(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def forward(text: str | bytes) -> None:
            frame = json.loads(text)
            if frame["action"] == "read" and len(refused) < refusals:
                refused.append(frame["id"])
                error = {"type": "error", "code": "rate_limited", "id": frame["id"], "retryAfterMs": 100}
                socket.send(json.dumps(error))
            else:
                server.send(text)

        socket.on_message(forward)

    refused: list[str] = []
    page = people.profile().new_page()
    page.route_web_socket("**/ws*", refuse)
    page.goto(f"{origin}/user/")
    write(page, "hello")
    wait_for_thread(page, *sent("hello"))
    with staff(own_deployment) as colleague:
        colleague.reply("Gern!")
        wait_for_thread(page, *sent("hello", "Gern!"))

        def read() -> str | None:
            shown(page)  # Playwright forwards frames of the page only during a call
            cursor: str | None = colleague.ask("history", limit=1)["conversations"][0].get("readByVisitor")
            return cursor

        wait_until(lambda: read() == colleague.newest()["cursor"], "the answer is read")
    assert len(refused) == refusals


def test_while_the_server_is_away_it_counts_down_and_keeps_what_is_written(
    people: People, own_deployment: Deployment[LocalServer], origin: str
) -> None:
    page = people.visitor(origin)
    own_deployment.servers[0].kill()
    expect(status(page)).to_have_text("Reconnecting")
    write(page, "first")
    write(page, "second")
    wait_for_thread(page, ("first", "waiting"), ("second", "waiting"))
    expect(page.locator("#waiting")).to_have_text("2 waiting")
    expect(page.locator("#countdown")).to_have_text(re.compile(r"in \d+ s"))
    expect(page.get_by_role("button", name="Try now")).to_be_visible()
    inspect(page, "reconnecting", NARROW)

    own_deployment.servers[0].start()
    try_now(page)
    wait_for_thread(page, *sent("first", "second"))
    expect(status(page)).to_have_text(ABSENT)
    expect(page.locator("#waiting")).to_be_hidden()


def test_without_a_network_it_says_so_and_goes_on_when_it_is_back(
    people: People, own_deployment: Deployment[LocalServer], origin: str
) -> None:
    page = people.visitor(origin)
    own_deployment.servers[0].kill()
    page.context.set_offline(True)
    expect(status(page)).to_have_text("You are offline – messages are sent when you are back online")
    write(page, "from the tunnel")
    expect(page.locator("#countdown")).to_be_hidden()
    wait_for_thread(page, ("from the tunnel", "waiting"))
    inspect(page, "offline")
    own_deployment.servers[0].start()
    page.context.set_offline(False)
    wait_for_thread(page, *sent("from the tunnel"))


def test_a_network_that_goes_silent_is_not_taken_for_somebody_who_is_there(
    people: People, own_deployment: Deployment[LocalServer]
) -> None:
    """The browser reports that it is offline, but leaves the WebSocket open."""
    with ChaosProxy([(HOST, own_deployment.servers[0].port)]) as proxy:
        page = people.visitor(f"http://{HOST}:{proxy.port}")
        with staff(own_deployment):
            expect(status(page)).to_have_text("Someone is here")
            proxy.silence_all()
            page.context.set_offline(True)
            expect(status(page)).to_have_text("You are offline – messages are sent when you are back online")
            write(page, "from the tunnel")
            wait_for_thread(page, ("from the tunnel", "waiting"))
            page.context.set_offline(False)
            wait_for_thread(page, *sent("from the tunnel"))


def test_a_server_that_drains_is_left_without_a_word_unless_it_takes_long(
    people: People, own_deployment: Deployment[LocalServer], origin: str
) -> None:
    page = people.profile().new_page()
    routes: list[WebSocketRoute] = []

    def connect(route: WebSocketRoute) -> None:
        if not routes:
            route.connect_to_server()
        routes.append(route)  # the next server does not answer

    page.route_web_socket("**/ws*", connect)
    page.goto(f"{origin}/user/")
    expect(status(page)).to_have_text(ABSENT)
    own_deployment.servers[0].end(own_deployment.servers[0].stop_signal)
    expect(status(page)).to_have_text("Switching server …")
    write(page, "meanwhile")
    inspect(page, "switching")


def test_who_is_too_fast_sees_when_it_goes_on_and_loses_nothing(people: People, prepared_database: Path) -> None:
    """The server makes the page wait for a minute, which passes after the test has inspected the page."""

    def told_to_wait(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def forward(text: str | bytes) -> None:
            frame = json.loads(text)
            if frame.get("code") == "rate_limited":
                frame["retryAfterMs"] = 60_000
            socket.send(json.dumps(frame))

        server.on_message(forward)

    with serving(prepared_database, RATE_LIMIT_VISITOR="2/3") as deployment:
        page = people.profile().new_page()
        page.clock.install()
        page.route_web_socket("**/ws*", told_to_wait)
        page.goto(f"{deployment.servers[0].origin}/user/")
        wait_until_live(page)
        contents = ("one", "two", "three", "four")
        for content in contents:
            write(page, content)
        expect(bubble(page, "three")).to_contain_text(re.compile(r"Slow down – next try in \d+ s"))
        inspect(page, "rate-limited")

        def goes_on() -> bool:
            if page.get_by_text("Slow down").count():
                page.clock.fast_forward(61_000)
            return shown(page) == sent(*contents)

        wait_until(goes_on, "all are sent", within=60)


def test_who_is_blocked_can_read_and_not_write(people: People, own_deployment: Deployment, origin: str) -> None:
    page = people.visitor(origin)
    write(page, "something rude")
    wait_for_thread(page, *sent("something rude"))
    field = page.get_by_role("textbox")
    field.fill("half a sentence")
    own_deployment.run(BLOCK)
    expect(status(page)).to_have_text(BLOCKED)  # nothing was written since
    expect(field).to_be_disabled()
    expect(page.get_by_role("button", name=BUTTON)).to_be_disabled()
    expect(bubble(page, "something rude")).to_be_visible()
    inspect(page, "blocked")
    page.reload()
    expect(status(page)).to_have_text(BLOCKED)
    expect(field).to_be_disabled()
    own_deployment.run(UNBLOCK)
    expect(status(page)).to_have_text(ABSENT)
    expect(field).to_be_enabled()
    expect(field).to_have_value("half a sentence")


def test_what_was_sent_as_the_block_began_is_kept_and_can_be_sent_after_it(
    people: People, own_deployment: Deployment[LocalServer], origin: str
) -> None:
    page = people.visitor(origin)
    write(page, "something rude")
    wait_for_thread(page, *sent("something rude"))
    own_deployment.servers[0].kill()  # offline alone leaves the WebSocket open
    page.context.set_offline(True)
    write(page, "and another")
    wait_for_thread(page, *sent("something rude"), ("and another", "waiting"))
    own_deployment.run(BLOCK)
    own_deployment.servers[0].start()
    page.context.set_offline(False)
    failed = page.locator("#messages > li[data-state=failed]")
    expect(failed).to_contain_text("Not sent: you can’t send messages here at the moment")
    expect(status(page)).to_have_text(BLOCKED)
    own_deployment.run(UNBLOCK)
    expect(status(page)).to_have_text(ABSENT)
    failed.get_by_role("button", name="Retry").click()
    wait_for_thread(page, *sent("something rude", "and another"))


def test_who_is_blocked_can_erase_and_stays_blocked(people: People, own_deployment: Deployment, origin: str) -> None:
    page = people.visitor(origin)
    write(page, "something rude")
    wait_for_thread(page, *sent("something rude"))
    own_deployment.run(BLOCK)
    expect(status(page)).to_have_text(BLOCKED)
    page.get_by_role("button", name="Delete my messages").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("#said")).to_have_text("Your messages have been deleted")
    wait_for_thread(page)
    expect(status(page)).to_have_text(BLOCKED)
    page.reload()
    expect(status(page)).to_have_text(BLOCKED)
    inspect(page, "blocked-erased")


def test_during_a_pause_a_new_visitor_is_told_and_the_message_goes_out_at_its_end(
    people: People, own_deployment: Deployment, origin: str
) -> None:
    known, page = people.visitor(origin), people.visitor(origin)
    write(known, "hello")
    wait_for_thread(known, *sent("hello"))
    own_deployment.run("from messaging.models import *; Pause.objects.create()")
    paused = "No new conversations right now – what you send waits here"
    expect(status(page)).to_have_text(paused)
    write(page, "is anybody there?")
    wait_for_thread(page, ("is anybody there?", "waiting"))
    expect(page.locator("#waiting")).to_have_text("1 waiting")
    inspect(page, "paused")
    late = people.profile().new_page()
    late.goto(f"{origin}/user/")
    expect(status(late)).to_have_text(paused)
    write(known, "I have one")
    wait_for_thread(known, *sent("hello", "I have one"))
    expect(status(known)).to_have_text(ABSENT)
    own_deployment.run("from messaging.models import *; Pause.objects.all().delete()")
    wait_for_thread(page, *sent("is anybody there?"))
    expect(status(page)).to_have_text(ABSENT)
    expect(page.locator("#waiting")).to_have_text("")


def test_a_page_that_the_server_does_not_understand_asks_to_be_reloaded(people: People, origin: str) -> None:
    page = people.profile().new_page()
    page.route_web_socket("**/ws*", lambda route: route.close(code=4400))
    page.goto(f"{origin}/user/")
    expect(status(page)).to_have_text("Please reload the page")
    inspect(page, "refused")


def test_a_refused_message_can_be_copied_retried_and_discarded(people: People, origin: str) -> None:
    page = people.visitor(origin, permissions=["clipboard-read", "clipboard-write"])
    write(page, "\x01")  # nothing is left without control characters
    write(page, "a good one")
    refused = page.get_by_role("log").get_by_role("listitem").filter(has_text="Not sent")
    expect(refused).to_contain_text("Not sent: the message is empty")
    wait_until(lambda: ("a good one", "sent") in shown(page), "the next one goes")
    inspect(page, "not-sent", NARROW)
    refused.get_by_role("button", name="Copy").click()
    wait_until(lambda: page.evaluate("navigator.clipboard.readText()") == "\x01", "it is copied")
    refused.get_by_role("button", name="Retry").click()
    expect(refused).to_contain_text("Not sent: the message is empty")
    refused.get_by_role("button", name="Discard").click()
    wait_for_thread(page, *sent("a good one"))


def test_a_button_answers_at_once_and_takes_no_second_tap_for_two_seconds(people: People, origin: str) -> None:
    page = people.profile().new_page()
    page.clock.install()
    page.goto(f"{origin}/user/")
    wait_until_live(page)
    button = page.get_by_role("button", name=BUTTON)
    disabled = button.evaluate("button => { button.click(); button.click(); return button.ariaDisabled; }")
    assert ([text for text, _ in shown(page)], disabled) == (["speak german"], "true")
    inspect(page, "cool-down")
    page.clock.run_for(2_000)
    button.evaluate("button => button.click()")
    page.clock.run_for(1_000)
    wait_for_thread(page, *sent("speak german", "speak german"))


def test_a_long_text_is_counted(people: People, origin: str) -> None:
    page = people.visitor(origin)
    page.get_by_role("textbox").fill("x" * 1599)
    expect(page.locator("#counter")).to_have_text("")
    page.get_by_role("textbox").fill("x" * 1600)
    expect(page.locator("#counter")).to_have_text("1600 of 2000 characters")
    write(page, "x" * 2001)
    expect(page.locator("#counter")).to_have_text("2001 of 2000 characters")
    inspect(page, "too-long")


def test_a_full_outbox_says_so_and_keeps_the_text(
    people: People, own_deployment: Deployment[LocalServer], origin: str
) -> None:
    page = people.visitor(origin)
    own_deployment.servers[0].kill()
    for number in range(50):
        write(page, f"message {number}")
    write(page, "one too many")
    expect(page.get_by_role("alert")).to_have_text("Too many messages are waiting already. Please send this one later.")
    expect(page.get_by_role("textbox")).to_have_value("one too many")
    inspect(page, "full")
    own_deployment.servers[0].start()
    try_now(page)
    wait_for_thread(page, *sent(*(f"message {number}" for number in range(50))))


def test_a_reload_in_the_middle_of_sending_sends_once(people: People, origin: str) -> None:
    page = people.visitor(origin)
    for number in range(10):
        write(page, f"message {number}")
        page.reload(wait_until="commit")
    wait_for_thread(page, *sent(*(f"message {number}" for number in range(10))))
