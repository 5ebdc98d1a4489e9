"""The live page on an inbox of five days: its list, search, filters and counts, and where threads open."""

import re

import pytest
from playwright.sync_api import Locator, Page, ViewportSize, expect

from tests.support import inbox
from tests.support.browser import DESKTOP, PHONE, People, violations, wait_until_drawn, wait_until_live, write
from tests.support.deployments import Deployment
from tests.support.known_faults import known_fault
from tests.support.waiting import wait_until

SOON_MS = 2_000  # for content that a live page shows without a request


def rows(page: Page) -> Locator:
    return page.get_by_role("navigation", name="Conversations").get_by_role("listitem")


def messages(page: Page) -> Locator:
    return page.get_by_role("log").get_by_role("listitem")


def choose(page: Page, name: str) -> None:
    page.get_by_role("radio", name=re.compile(rf"^{name}\b")).check()  # a number may follow the name


def opened(page: Page, origin: str, thread: inbox.Thread) -> Locator:
    """Open `thread` and return its newest message."""
    page.goto(f"{origin}/admin/live/#{thread.id}")
    wait_until_live(page)
    newest = messages(page).filter(has_text=thread.texts[-1]).last
    expect(newest).to_be_attached()
    wait_until_drawn(page)
    return newest


@pytest.mark.parametrize(
    ("name", "thread"),
    [
        pytest.param("Unread", inbox.FORGOTTEN, id="unread"),
        pytest.param("Unclaimed", inbox.FORGOTTEN, id="unclaimed"),
        pytest.param("Mine", inbox.FORGOTTEN_OF_MINE, id="mine"),
    ],
)
@known_fault("E1")
def test_who_waits_is_listed_however_much_others_have_written(
    people: People, inbox_deployment: Deployment, name: str, thread: inbox.Thread
) -> None:
    page = people.staff(inbox_deployment.servers[0].origin)
    choose(page, name)
    expect(rows(page).filter(has_text=thread.texts[-1])).to_be_visible(timeout=SOON_MS)


@known_fault("E1")
def test_the_title_counts_everybody_who_waits(people: People, inbox_deployment: Deployment) -> None:
    page = people.staff(inbox_deployment.servers[0].origin)
    expect(page).to_have_title(re.compile(rf"^\({len(inbox.unread())}\) Live"), timeout=SOON_MS)


@known_fault("E1")
def test_the_filter_counts_everybody_who_waits(people: People, inbox_deployment: Deployment) -> None:
    page = people.staff(inbox_deployment.servers[0].origin)
    unread = page.get_by_role("radio", name=f"Unread ({len(inbox.unread())})", exact=True)
    expect(unread).to_be_visible(timeout=SOON_MS)


@known_fault("E1")
def test_the_search_finds_what_is_not_among_the_newest_messages(people: People, inbox_deployment: Deployment) -> None:
    page = people.staff(inbox_deployment.servers[0].origin)
    page.get_by_role("searchbox").fill("dringend")
    expect(rows(page).filter(has_text=inbox.FORGOTTEN.texts[-1])).to_be_visible(timeout=SOON_MS)


def test_every_conversation_can_be_reached(people: People, inbox_deployment: Deployment) -> None:
    page = people.staff(inbox_deployment.servers[0].origin)
    older = page.get_by_role("button", name="Older conversations")
    while older.is_visible():
        oldest = page.locator("#conversations").evaluate("list => list.lastElementChild.dataset.key")
        older.click()
        wait_until(
            lambda: older.is_hidden() or rows(page).last.get_attribute("data-key") != oldest, "older ones are listed"
        )
    newest_first = [str(thread.id) for thread in sorted(inbox.threads(), key=lambda thread: thread.ended)]
    assert rows(page).evaluate_all("rows => rows.map(row => row.dataset.key)") == newest_first


def test_the_search_finds_words_of_every_script(people: People, inbox_deployment: Deployment) -> None:
    page = people.staff(inbox_deployment.servers[0].origin)
    for query in ("übersee", "مرحبا", "הכרטיסים", "रविवार", "เสาร์", "営業時間", "🏳️‍🌈", "tiếng", "когда"):
        page.get_by_role("searchbox").fill(query)
        (text,) = (text for text in inbox.TEXTS if query in text.lower())
        expect(rows(page).filter(has_text=text).first).to_be_visible()
        expect(rows(page).filter(has_not_text=re.compile(f"{re.escape(text)}|Done"))).to_have_count(0)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_no_violation(people: People, inbox_deployment: Deployment, size: ViewportSize) -> None:
    origin = inbox_deployment.servers[0].origin
    page = people.staff(origin, viewport=size)
    assert violations(page) == []
    opened(page, origin, inbox.LONG_TEXTS)
    assert violations(page) == []
    for number in range(len(inbox.TEXTS)):
        opened(page, origin, next(thread for thread in inbox.threads() if thread.texts[0] == inbox.TEXTS[number]))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(page) == []


@pytest.mark.parametrize("text", [text for text in inbox.TEXTS if re.search("[\u0590-\u06ff]", text)])
def test_what_is_written_from_right_to_left_is_shown_so(
    people: People, inbox_deployment: Deployment, text: str
) -> None:
    origin = inbox_deployment.servers[0].origin
    page = people.staff(origin)
    opened(page, origin, next(thread for thread in inbox.threads() if thread.texts == [text]))
    expect(messages(page).locator("[data-part=content]")).to_have_css("direction", "rtl")
    expect(rows(page).filter(has_text=text).locator("[data-part=last]").first).to_have_css("direction", "rtl")


def test_a_long_thread_opens_at_its_end_and_can_be_read_to_its_beginning(
    people: People, inbox_deployment: Deployment
) -> None:
    origin = inbox_deployment.servers[0].origin
    page = people.staff(origin)
    expect(opened(page, origin, inbox.LONG_THREAD)).to_be_in_viewport()
    older = page.get_by_role("button", name="Earlier messages")
    older.click()
    expect(messages(page)).to_have_count(len(inbox.LONG_THREAD.texts))
    expect(older).to_be_hidden()
    assert messages(page).locator("[data-part=content]").all_text_contents() == inbox.LONG_THREAD.texts


@pytest.mark.parametrize(
    ("size", "thread"),
    [
        pytest.param(DESKTOP, inbox.LONG_TEXTS, id="desktop"),
        pytest.param(PHONE, inbox.SHORT_QUESTIONS, id="phone"),
    ],
)
@known_fault("E3")
def test_a_thread_opens_at_its_end(
    people: People, inbox_deployment: Deployment, size: ViewportSize, thread: inbox.Thread
) -> None:
    origin = inbox_deployment.servers[0].origin
    newest = opened(people.staff(origin, viewport=size), origin, thread)
    expect(newest).to_be_in_viewport(ratio=1, timeout=SOON_MS)


@known_fault("E3")
def test_what_counts_as_read_was_on_the_screen(people: People, inbox_deployment: Deployment) -> None:
    origin = inbox_deployment.servers[0].origin
    page = people.staff(origin, viewport=PHONE)
    newest = opened(page, origin, inbox.SHORT_QUESTIONS)
    row = page.locator(f'#conversations [data-key="{inbox.SHORT_QUESTIONS.id}"]')
    expect(row).not_to_have_class(re.compile("is-unread"))
    expect(newest).to_be_in_viewport(ratio=1, timeout=SOON_MS)


@known_fault("E9")
def test_what_a_visitor_erases_is_read_out_no_more(people: People, inbox_deployment: Deployment) -> None:
    origin = inbox_deployment.servers[0].origin
    page, visitor = people.staff(origin), people.visitor(origin)
    write(visitor, "my secret")
    expect(page.locator("#said")).to_contain_text("my secret")
    visitor.get_by_role("button", name="Delete my messages").click()
    visitor.get_by_role("button", name="Delete", exact=True).click()
    expect(rows(page).filter(has_text="my secret")).to_have_count(0)
    expect(page.locator("#said")).not_to_contain_text("my secret", timeout=SOON_MS)


@known_fault("E11")
def test_a_thread_can_be_read_at_four_times_the_size(people: People, inbox_deployment: Deployment) -> None:
    origin = inbox_deployment.servers[0].origin
    page = people.staff(origin, viewport={"width": DESKTOP["width"] // 4, "height": DESKTOP["height"] // 4})
    opened(page, origin, inbox.LONG_THREAD)
    box = page.get_by_role("log").bounding_box()
    assert box is not None
    assert box["height"] >= 44  # about two lines


@known_fault("E11")
def test_every_message_names_its_author_to_a_screen_reader(people: People, inbox_deployment: Deployment) -> None:
    origin = inbox_deployment.servers[0].origin
    page = people.staff(origin)
    opened(page, origin, inbox.FORGOTTEN)
    name = page.locator("#thread-name").text_content()
    assert name
    expect(messages(page)).to_contain_text(name, timeout=SOON_MS)


@pytest.mark.parametrize("size", [(1024, 768), (1920, 1080), (3840, 2160)], ids=str)
@known_fault("E14")
def test_the_stage_fits_the_projector_with_eight_quick_messages(
    people: People, inbox_deployment: Deployment, size: tuple[int, int]
) -> None:
    origin = inbox_deployment.servers[0].origin
    context = people.signed_in(origin, viewport={"width": size[0], "height": size[1]})
    page = context.new_page()
    page.goto(f"{origin}/admin/live/?view=stage")
    wait_until_live(page)
    expect(page.locator("#tally-rows tr")).to_have_count(len(inbox.QUICK_MESSAGES))
    wait_until_drawn(page)
    expect(page.get_by_role("status")).to_be_in_viewport(ratio=1, timeout=SOON_MS)
