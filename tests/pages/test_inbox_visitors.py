"""The page of visitors who have talked with the staff for days, with eight quick messages below the thread."""

import pytest
from playwright.sync_api import Locator, Page, ViewportSize, expect

from messaging import tokens
from messaging.pages.visitor import COOKIE
from tests.support import inbox
from tests.support.browser import DESKTOP, PHONE, People, violations, wait_until_drawn, wait_until_live
from tests.support.deployments import Deployment
from tests.support.known_faults import known_fault

SOON_MS = 2_000  # for content that a live page shows without a request
LANDSCAPE = {"width": PHONE["height"], "height": PHONE["width"]}
TOUCH = {"viewport": PHONE, "has_touch": True, "is_mobile": True}


def visitor_of(people: People, origin: str, thread: inbox.Thread, **options: object) -> Page:
    """Return the page of the visitor of `thread`."""
    context = people.profile(**options)
    token = tokens.mint_visitor(str(thread.id))
    context.add_cookies([{"name": COOKIE, "value": token, "url": f"{origin}/user/"}])
    page = context.new_page()
    page.goto(f"{origin}/user/")
    wait_until_live(page)
    expect(messages(page).filter(has_text=thread.texts[-1]).last).to_be_attached()
    wait_until_drawn(page)
    return page


def messages(page: Page) -> Locator:
    return page.get_by_role("log").get_by_role("listitem")


def height(page: Page, selector: str) -> float:
    box = page.locator(selector).bounding_box()
    assert box is not None
    return box["height"]


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_no_violation(people: People, inbox_deployment: Deployment, size: ViewportSize) -> None:
    page = visitor_of(people, inbox_deployment.servers[0].origin, inbox.LONG_ANSWERS, viewport=size)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_long_thread_opens_at_its_end_and_can_be_read_to_its_beginning(
    people: People, inbox_deployment: Deployment
) -> None:
    page = visitor_of(people, inbox_deployment.servers[0].origin, inbox.LONG_THREAD, viewport=DESKTOP)
    expect(messages(page).last).to_be_in_viewport()
    older = page.get_by_role("button", name="Earlier messages")
    older.click()
    expect(messages(page)).to_have_count(len(inbox.LONG_THREAD.texts))
    expect(older).to_be_hidden()
    assert messages(page).locator("[data-part=content]").all_text_contents() == inbox.LONG_THREAD.texts


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@known_fault("E3")
def test_a_thread_of_long_messages_opens_at_its_end(
    people: People, inbox_deployment: Deployment, size: ViewportSize
) -> None:
    page = visitor_of(people, inbox_deployment.servers[0].origin, inbox.LONG_ANSWERS, viewport=size)
    expect(messages(page).last).to_be_in_viewport(ratio=1, timeout=SOON_MS)


@known_fault("F7")
def test_eight_quick_messages_leave_room_for_the_thread_on_a_phone(
    people: People, inbox_deployment: Deployment
) -> None:
    page = visitor_of(people, inbox_deployment.servers[0].origin, inbox.LONG_THREAD, **TOUCH)
    assert height(page, "#log") >= PHONE["height"] / 4


@known_fault("F7")
def test_a_phone_on_its_side_shows_the_field(people: People, inbox_deployment: Deployment) -> None:
    origin = inbox_deployment.servers[0].origin
    page = visitor_of(people, origin, inbox.LONG_THREAD, **TOUCH | {"viewport": LANDSCAPE})
    expect(page.get_by_role("textbox")).to_be_in_viewport(ratio=1, timeout=SOON_MS)


@known_fault("F7")
def test_the_field_grows_with_what_is_written(people: People, inbox_deployment: Deployment) -> None:
    page = visitor_of(people, inbox_deployment.servers[0].origin, inbox.FORGOTTEN, **TOUCH)
    empty = height(page, "#text")
    page.get_by_role("textbox").fill("line\n" * 5)
    assert height(page, "#text") > empty


@known_fault("F7")
def test_enter_begins_a_new_line_on_a_phone(people: People, inbox_deployment: Deployment) -> None:
    page = visitor_of(people, inbox_deployment.servers[0].origin, inbox.FORGOTTEN, **TOUCH)
    page.get_by_role("textbox").tap()
    page.keyboard.type("one\ntwo")
    expect(page.get_by_role("textbox")).to_have_value("one\ntwo", timeout=SOON_MS)


@known_fault("F8")
def test_an_address_is_a_link(people: People, inbox_deployment: Deployment) -> None:
    thread = next(thread for thread in inbox.threads() if inbox.LINK in thread.texts[0])
    page = visitor_of(people, inbox_deployment.servers[0].origin, thread)
    expect(page.get_by_role("link", name=inbox.LINK).first).to_be_visible(timeout=SOON_MS)
