"""Pages in browsers without storage, cookies or WebSockets, and on machines with a wrong clock."""

import re
from datetime import datetime, timedelta

from playwright.sync_api import Page, expect

from tests.support.browser import People, come_back, sent, shown, status, wait_for_thread, wait_until_live, write
from tests.support.known_faults import known_fault

SOON_MS = 2_000
NO_COOKIES = 'Object.defineProperty(Document.prototype, "cookie", { get: () => "", set() {} })'
FULL_STORAGE = """Storage.prototype.setItem = () => {
    throw new DOMException("full", "QuotaExceededError");
}"""
NO_STORAGE = """Object.defineProperty(window, "localStorage", { get() {
    throw new DOMException("forbidden", "SecurityError");
} })"""
# As behind a proxy that answers the handshake with an error.
NO_WEBSOCKETS = """window.WebSocket = class extends EventTarget {
    constructor() {
        super();
        setTimeout(() => this.onclose?.({ code: 1006 }));
    }
    send() {}
    close() {}
}"""


def restricted(people: People, origin: str, script: str) -> Page:
    """Return the visitor's page in a browser from which `script` has removed a feature."""
    page = people.profile().new_page()
    page.add_init_script(script)
    page.goto(f"{origin}/user/")
    return page


def test_without_storage_messages_are_sent(people: People, origin: str) -> None:
    page = restricted(people, origin, NO_STORAGE)
    wait_until_live(page)
    write(page, "hello")
    wait_for_thread(page, *sent("hello"))


def test_without_cookies_messages_are_sent(people: People, origin: str) -> None:
    page = restricted(people, origin, NO_COOKIES)
    wait_until_live(page)
    write(page, "hello")
    wait_for_thread(page, *sent("hello"))


@known_fault("F5")
def test_who_forbids_cookies_is_told_what_that_means(people: People, origin: str) -> None:
    page = restricted(people, origin, NO_COOKIES)
    wait_until_live(page)
    expect(page.get_by_text(re.compile("cookies", re.IGNORECASE))).to_be_visible(timeout=SOON_MS)


@known_fault("F1")
def test_a_message_that_no_storage_had_room_for_waits_on(people: People, origin: str) -> None:
    page = people.profile().new_page()
    page.add_init_script(FULL_STORAGE)
    page.route_web_socket("**/ws*", lambda _: None)  # opens, and never answers
    page.goto(f"{origin}/user/")
    write(page, "important")
    wait_for_thread(page, ("important", "waiting"))
    come_back(page)
    assert shown(page) == [("important", "waiting")]


@known_fault("F6")
def test_without_websockets_messages_are_sent(people: People, origin: str) -> None:
    page = restricted(people, origin, NO_WEBSOCKETS)
    write(page, "hello")
    expect(page.locator("#messages > li[data-state=sent]")).to_be_visible(timeout=SOON_MS)


@known_fault("E8")
def test_a_fast_clock_makes_no_message_old(people: People, origin: str) -> None:
    visitor = people.visitor(origin)
    context = people.signed_in(origin)
    context.clock.install(time=datetime.now() + timedelta(days=2))
    page = context.new_page()
    page.goto(f"{origin}/admin/live/")
    expect(status(page)).to_have_text("Live")
    write(visitor, "hello")
    row = page.get_by_role("navigation", name="Conversations").get_by_role("listitem")
    expect(row).to_contain_text("hello")
    expect(row.get_by_role("time")).to_have_text("now", timeout=SOON_MS)
