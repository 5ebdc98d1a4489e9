"""The visitor's page through a day: floods, idle hours, the back button, a slow network, other tabs, no mouse."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import (
    ABSENT,
    BUTTON,
    PHONE,
    People,
    inspect,
    launch,
    people_at,
    recorded_tasks,
    sent,
    shown,
    status,
    texts,
    try_now,
    wait_for_thread,
    wait_until_both_show,
    wait_until_live,
    write,
)
from tests.support.chaos_proxy import ChaosProxy
from tests.support.deployments import Deployment, LocalServer
from tests.support.services import HOST
from tests.support.staff import staff
from tests.support.waiting import wait_until

FLOOD = 1_000
LONGEST_TASK_MS = 200


def test_a_flood_leaves_the_page_responsive(people: People, own_deployment: Deployment, origin: str) -> None:
    page = people.visitor(origin, viewport=PHONE)
    write(page, "hello")
    wait_for_thread(page, *sent("hello"))
    contents = [f"answer {number}" for number in range(FLOOD)]
    with staff(own_deployment) as colleague, recorded_tasks(page) as tasks:
        colleague.reply(*contents)
        wait_until(lambda: texts(page)[-FLOOD:] == contents, "all have arrived", within=60)
    assert 0 < max(tasks) <= LONGEST_TASK_MS


def test_half_an_hour_of_silence_changes_nothing(people: People, origin: str) -> None:
    page = people.profile().new_page()
    page.clock.install()
    page.add_init_script("""
        window.sockets = window.pings = window.asked = window.answered = 0;
        window.WebSocket = class extends WebSocket {
            constructor(url) {
                super(url);
                sockets++;
                this.addEventListener("message", ({ data }) => (answered += "id" in JSON.parse(data)));
            }
            send(data) {
                asked++;
                pings += data.includes('"ping"');
                super.send(data);
            }
        };
    """)
    page.goto(f"{origin}/user/")
    wait_until_live(page)
    before = page.locator("body").aria_snapshot()
    for _ in range(30 * 60 // 5):  # each step is shorter than a page's patience; an answer takes real time
        page.clock.run_for(5_000)
        wait_until(lambda: page.evaluate("asked === answered"), "what was asked is answered")
    assert page.evaluate("sockets") == 1
    assert page.evaluate("pings") >= 30 * 60 // 25 - 1
    assert page.evaluate("asked - pings") == 2  # `identify` and `history`
    assert page.locator("body").aria_snapshot() == before
    write(page, "still here")
    page.clock.run_for(1_000)
    wait_for_thread(page, *sent("still here"))


@pytest.fixture
def people_with_a_past(browser: Browser) -> Iterator[People]:
    """Yield people whose browser keeps a page that they leave, as browsers do; Playwright disables that by default."""
    keeping = launch(browser.browser_type, ignore_default_args=["--disable-back-forward-cache"])
    with people_at(keeping) as people:
        yield people
    keeping.close()


def test_who_comes_back_by_the_back_button_finds_the_page_as_it_was_and_live(
    people_with_a_past: People, own_deployment: Deployment, origin: str
) -> None:
    page = people_with_a_past.profile().new_page()
    page.add_init_script("""
        window.events = [];
        addEventListener("pageshow", ({ persisted }) => events.push(persisted ? "restored" : "loaded"));
        window.WebSocket = class extends WebSocket {
            close() {
                events.push("closed"); // an open one would keep many a browser from keeping the page
                super.close();
            }
        };
    """)
    page.goto(f"{origin}/user/")
    write(page, "hello")
    wait_for_thread(page, *sent("hello"))
    page.get_by_role("textbox").fill("half a thought")
    page.goto(f"{origin}/admin/")
    with staff(own_deployment) as colleague:
        colleague.reply("while you were away")
    page.go_back(wait_until="commit")  # the page is restored, not loaded
    wait_for_thread(page, *sent("hello", "while you were away"))
    wait_until_live(page)
    assert page.evaluate("events") == ["loaded", "closed", "restored"]
    expect(page.get_by_role("textbox")).to_have_value("half a thought")
    page.get_by_role("button", name="Send").click()
    wait_for_thread(page, *sent("hello", "while you were away", "half a thought"))


def test_on_a_slow_network_it_talks_of_the_connection_no_longer_than_there_is_none(
    people: People, own_deployment: Deployment[LocalServer]
) -> None:
    with ChaosProxy([(HOST, own_deployment.servers[0].port)]) as proxy:
        proxy.latency = 0.4
        page = people.profile(viewport=PHONE).new_page()
        network = page.context.new_cdp_session(page)
        network.send("Network.enable")
        throughput = {"downloadThroughput": 50_000, "uploadThroughput": 50_000}
        network.send("Network.emulateNetworkConditions", {"offline": False, "latency": 0, **throughput})
        page.add_init_script("""
            window.events = [];
            window.WebSocket = class extends WebSocket {
                constructor(url) {
                    super(url);
                    this.addEventListener("message", ({ data }) => events.push(JSON.parse(data).type));
                }
            };
            addEventListener("DOMContentLoaded", () => new MutationObserver(() =>
                events.push(document.getElementById("status-text").textContent)
            ).observe(document.getElementById("status-text"), { childList: true }));
        """)
        page.goto(f"http://{HOST}:{proxy.port}/user/")
        wait_until_live(page)
        assert page.evaluate("events") == ["Connecting …", "connection", "identified", "history", ABSENT]
        page.get_by_role("textbox").fill("hello")
        at_once = page.get_by_role("button", name="Send").evaluate("""(button) => {
            button.click();
            return [...document.querySelectorAll("#messages > li")].map((item) => item.dataset.state);
        }""")
        assert at_once == ["waiting"]
        wait_for_thread(page, *sent("hello"))
        assert page.evaluate("events.slice(5)") == ["ack"]


def test_everything_can_be_done_with_the_keyboard(people: People, origin: str) -> None:
    page = people.visitor(origin)
    press(page, "Messages", BUTTON)
    page.keyboard.press("Enter")
    wait_for_thread(page, *sent("speak german"))
    expect(page.get_by_role("button", name=BUTTON)).to_be_focused()
    press(page, "Your message")
    page.keyboard.type("And slowly")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("please")
    page.keyboard.press("Enter")
    wait_for_thread(page, *sent("speak german", "And slowly\nplease"))
    expect(page.get_by_role("textbox")).to_be_focused()
    press(page, "Send", "Delete my messages")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Keep them")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Delete my messages")).to_be_focused()
    press(page, "Deutsch")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Schreib uns")


def press(page: Page, *names: str) -> None:
    """Press Tab for each of `names`; assert that the element with that name gets the focus and shows it."""
    for name in names:
        page.keyboard.press("Tab")
        focused = page.locator(":focus-visible")
        expect(focused).to_have_accessible_name(name)
        expect(focused).to_have_css("outline-style", "solid")


def test_what_a_visitor_deletes_is_gone_in_every_tab_and_on_the_server(
    people: People, own_deployment: Deployment, origin: str
) -> None:
    profile = people.profile(viewport=PHONE)
    tabs = [profile.new_page(), profile.new_page()]
    for tab in tabs:
        tab.goto(f"{origin}/user/")
        wait_until_live(tab)
    write(tabs[0], "a secret")
    wait_until_both_show(tabs[0], tabs[1], ["a secret"])
    tabs[0].get_by_role("textbox").fill("half a secret")
    tabs[0].get_by_role("button", name="Delete my messages").click()
    inspect(tabs[0], "delete")
    tabs[0].get_by_role("button", name="Delete", exact=True).click()
    for tab in tabs:
        wait_for_thread(tab)
        wait_until_live(tab)
    expect(tabs[0].get_by_role("textbox")).to_have_value("")
    assert own_deployment.run("from messaging.models import *; print(Message.objects.count())").split()[-1] == "0"
    for number, tab in enumerate(tabs):
        write(tab, f"anew from tab {number}")
    wait_until_both_show(tabs[0], tabs[1], ["anew from tab 0", "anew from tab 1"])


def test_who_has_no_connection_is_told_that_nothing_was_deleted(
    people: People, own_deployment: Deployment[LocalServer], origin: str
) -> None:
    page = people.visitor(origin)
    write(page, "a secret")
    wait_for_thread(page, *sent("a secret"))
    own_deployment.servers[0].kill()
    expect(status(page)).to_have_text("Reconnecting")
    page.get_by_role("button", name="Delete my messages").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("Not deleted: there is no connection. Please try again.")
    assert shown(page) == sent("a secret")


def test_the_page_speaks_german(people: People, own_deployment: Deployment[LocalServer], origin: str) -> None:
    page = people.profile(locale="de-DE", viewport=PHONE).new_page()
    page.goto(f"{origin}/user/")
    expect(status(page)).to_have_text("Gerade ist niemand da – deine Nachricht wird gespeichert")
    expect(page.get_by_role("button", name="Bitte sprich Deutsch")).to_be_visible()
    write(page, "hallo")
    expect(page.get_by_role("log").get_by_role("listitem")).to_contain_text("Gesendet")
    inspect(page, "german")
    own_deployment.servers[0].kill()
    expect(status(page)).to_have_text("Neuer Verbindungsversuch")
    inspect(page, "german-reconnecting")
    expect(page.get_by_role("button", name="Jetzt versuchen")).to_be_visible()
    own_deployment.servers[0].start()
    try_now(page)
    wait_until_live(page)
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Write to us")
    wait_for_thread(page, *sent("hallo"))


@pytest.mark.parametrize("size", [(320, 256), (320, 568), (390, 844), (640, 400), (1280, 800)], ids=str)
def test_nothing_is_cut_off_or_too_small_to_hit(people: People, origin: str, size: tuple[int, int]) -> None:
    page = people.visitor(origin, viewport={"width": size[0], "height": size[1]})
    write(page, "A-word-that-does-not-fit-" * 10)
    write(page, "\x01")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small = page.evaluate("""() => [...document.querySelectorAll("button, textarea")]
        .filter((element) => element.offsetParent)
        .filter((element) => element.offsetHeight < 44 || element.offsetWidth < 44)
        .map((element) => element.outerHTML)""")
    assert small == []


def test_who_wants_less_motion_gets_none(people: People, origin: str) -> None:
    page = people.visitor(origin, reduced_motion="reduce")
    page.get_by_role("button", name=BUTTON).click()
    assert page.evaluate("document.getAnimations().length") == 0
