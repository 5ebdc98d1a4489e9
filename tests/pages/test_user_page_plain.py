"""The visitor's page without scripts: its forms do the script's work through the same service, in every mode."""

import contextlib
import re
import sqlite3
from html import unescape
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, ProxyHandler, Request, build_opener

import pytest
from playwright.sync_api import ViewportSize, expect

from tests.support import connections as wire
from tests.support.browser import BUTTON, DESKTOP, PHONE, People, inspect, sent, serving, wait_for_thread
from tests.support.deployments import Deployment
from tests.support.waiting import wait_until


class Form:
    """A visitor's browser that runs no scripts."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self.cookies = CookieJar()
        self._opener: OpenerDirector = build_opener(ProxyHandler({}), HTTPCookieProcessor(self.cookies))
        self.page = self._open("/user/")[1]

    def _open(self, path: str, form: dict[str, str] | None = None) -> tuple[int, str]:
        data = urlencode(form).encode() if form is not None else None
        request = Request(self._origin + path, data, {"Origin": self._origin})  # noqa: S310  always http
        try:
            with self._opener.open(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as answer:
            return answer.code, answer.read().decode()

    def submit(self, path: str = "/user/send/", **fields: str) -> int:
        """Press the button of the last page, and again while the server is too busy; return the last status."""
        while (status := self.press(path, **fields)) == 503:
            pass  # it has taken 2 s to say so
        return status

    def press(self, path: str = "/user/send/", **fields: str) -> int:
        """Submit the form on the current page; return the status of the next page, which becomes the current one."""
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', self.page))
        status, self.page = self._open(path, hidden | fields)
        return status

    def reload(self) -> None:
        self.page = self._open("/user/")[1]

    @property
    def messages(self) -> list[tuple[str, bool]]:
        """The contents of the messages on the page, and for each whether it is this visitor's own."""
        found = re.findall(r'data-own="(\w+)">\s*<p class="message-content" dir="auto">(.*?)</p>', self.page, re.DOTALL)
        return [(unescape(content), own == "true") for own, content in found]

    @property
    def notice(self) -> str:
        return unescape(re.findall(r'role="alert">(.*?)</strong>', self.page)[0])


@pytest.fixture
def form(deployment: Deployment) -> Form:
    return Form(deployment.servers[0].origin)


async def test_a_form_writes_to_the_staff_and_shows_what_they_answer(deployment: Deployment, form: Form) -> None:
    token = await deployment.admin_token("colleague")
    async with wire.admin(deployment.websocket_urls[-1], token) as colleague:
        assert form.submit(content="Grüß <b>Gott</b>\r\n& so on") == 200
        message = await colleague.receive()
        assert (message["content"], message["from"]) == ("Grüß <b>Gott</b>\n& so on", "user")
        await colleague.say("Servus", to=message["conversation"])
    assert form.submit(quick="speak-german") == 200
    assert form.messages == [("Grüß <b>Gott</b>\n& so on", True), ("Servus", False), ("speak german", True)]


async def test_what_is_sent_twice_is_stored_once(form: Form) -> None:
    page = form.page
    for content in ("once", "once", "another"):
        form.page = page  # as after a second tap, or the back button
        form.submit(content=content)
    assert form.messages == [("once", True), ("another", True)]


def test_what_was_stored_too_late_is_not_stored_again(prepared_database: Path) -> None:
    """A message that waits for the database for longer than an answer may take is stored when the database goes on."""
    with serving(prepared_database) as deployment:
        form = Form(deployment.servers[0].origin)
        file = deployment.servers[0].directory / prepared_database.name
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            assert form.press(content="hello") == 503
            database.execute("ROLLBACK")
            count = "SELECT COUNT(*) FROM messaging_message"
            wait_until(lambda: database.execute(count).fetchone() == (1,), "it is stored all the same")
            assert form.submit(content="hello") == 200
            assert database.execute(count).fetchone() == (1,)
    assert form.messages == [("hello", True)]


async def test_what_is_refused_is_explained_and_stays_in_the_field(form: Form) -> None:
    assert form.submit(content="  ") == 400
    assert form.notice == "Not sent: the message is empty"
    assert form.submit(content="x" * 2001) == 400
    assert form.notice == "Not sent: the message is too long"
    assert "x" * 2001 in form.page
    assert form.submit(quick="there-is-no-such") == 400
    assert form.messages == []


async def test_a_foreign_page_can_write_in_nobodys_name(form: Form) -> None:
    assert form.submit(csrfmiddlewaretoken="forged", content="hello") == 403
    assert form.submit("/user/forget/", csrfmiddlewaretoken="forged") == 403


async def test_a_forged_cookie_is_nobody(form: Form) -> None:
    form.submit(content="mine")
    cookie = next(cookie for cookie in form.cookies if cookie.name == "messaging-visitor")
    assert (cookie.path, cookie.get_nonstandard_attr("SameSite")) == ("/user/", "Lax")
    cookie.value = f"{cookie.value}x"
    form.submit(content="another's")
    assert form.messages == [("another's", True)]


async def test_who_is_forgotten_is_somebody_new(deployment: Deployment, form: Form) -> None:
    form.submit(content="a secret")
    (old,) = [cookie.value for cookie in form.cookies if cookie.name == "messaging-visitor"]
    assert form.submit("/user/forget/") == 200
    assert form.messages == []
    (cookie,) = [cookie for cookie in form.cookies if cookie.name == "messaging-visitor"]
    assert cookie.value != old
    cookie.value = old  # as another browser of this visitor still has it
    form.submit(content="after that")
    assert form.messages == [("after that", True)]


def test_a_form_waits_its_turn_as_everybody_does(prepared_database: Path) -> None:
    with serving(prepared_database, RATE_LIMIT_VISITOR="2/60") as deployment:
        form = Form(deployment.servers[0].origin)
        assert [form.submit(content=content) for content in ("one", "two", "three")] == [200, 200, 429]
        assert re.fullmatch(r"Slow down – next try in \d\d s", form.notice)
        assert form.messages == [("one", True), ("two", True)]


def test_a_history_that_is_refused_does_not_look_like_an_empty_one(prepared_database: Path) -> None:
    with serving(prepared_database, RATE_LIMIT_ADDRESS="100/60") as deployment:
        form = Form(deployment.servers[0].origin)
        form.submit(content="hello")
        for _ in range(100):  # each page reads the history, until the address has nothing left to spend
            assert re.search(r'id="empty"[^>]*hidden>', form.page)
            if not form.messages:
                break
            form.reload()
        assert "Your messages can’t be shown right now. Please reload this page." in form.page


def test_a_blocked_visitor_is_refused_by_the_form(prepared_database: Path) -> None:
    with serving(prepared_database) as deployment:
        form = Form(deployment.servers[0].origin)
        form.submit(content="something rude")
        deployment.run(
            "from messaging.models import *; Block.objects.create(conversation=Conversation.objects.get())\n"
        )
        deployment.servers[0].kill()
        deployment.servers[0].start()  # so the block takes effect at once, not within seconds
        assert form.submit(content="again") == 403
        assert form.notice == "Not sent: you can’t send messages here at the moment"
        assert form.messages == [("something rude", True)]


def test_a_browser_without_scripts_writes_and_reads_and_one_with_them_goes_on(people: People, origin: str) -> None:
    context = people.profile(java_script_enabled=False, viewport=PHONE)
    page = context.new_page()
    page.goto(f"{origin}/user/")
    expect(page.locator("#status")).to_be_hidden()
    page.get_by_role("button", name=BUTTON).click()
    expect(page.locator(".message")).to_have_count(1)
    page.get_by_role("textbox").fill("without a script")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".message")).to_have_count(2)
    expect(page.locator(".message").last).to_contain_text("without a script")
    page.get_by_role("button", name="Deutsch").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Schreib uns")
    page.get_by_role("button", name="English").click()

    scripted = people.profile()
    scripted.add_cookies(
        [{"name": cookie["name"], "value": cookie["value"], "url": origin} for cookie in context.cookies()]
    )
    live = scripted.new_page()
    live.goto(f"{origin}/user/")
    wait_for_thread(live, *sent("speak german", "without a script"))

    page.get_by_role("button", name="Delete my messages").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator(".message")).to_have_count(0)
    wait_for_thread(live)


# Keeps the page as a browser without scripts shows it, with <noscript> and its rules, when scripts may run for axe.
STILL_PLAIN = """() => {
    for (const element of document.querySelectorAll("noscript")) {
        const shown = document.createElement("div");
        shown.append(...element.childNodes);
        element.replaceWith(shown);
    }
    const open = ({ cssRules }) => {
        for (const { media, styleSheet } of cssRules) {
            if (styleSheet) open(styleSheet); // an imported one
            else if (media?.mediaText === "(scripting: none)") media.mediaText = "all";
        }
    };
    [...document.styleSheets].forEach(open);
}"""


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_nothing_on_a_page_whose_scripts_do_not_run(people: People, origin: str, size: ViewportSize) -> None:
    page = people.profile(viewport=size).new_page()
    browser = page.context.new_cdp_session(page)

    def let_scripts_run(run: bool) -> None:
        browser.send("Emulation.setScriptExecutionDisabled", {"value": not run})

    def inspect_plain(state: str) -> None:
        page.wait_for_load_state()  # otherwise a script that loads later would run
        plain = page.locator("body").inner_text().split()
        let_scripts_run(True)  # axe is a script
        page.evaluate(STILL_PLAIN)
        wait_until(lambda: page.locator("body").inner_text().split() == plain, f"{state} shows what it did")
        inspect(page, state)
        let_scripts_run(False)
        page.goto(f"{origin}/user/")

    let_scripts_run(False)
    page.goto(f"{origin}/user/")
    inspect_plain("plain-empty")
    page.get_by_role("button", name=BUTTON).click()
    expect(page.locator(".message")).to_be_visible()
    inspect_plain("plain")
    page.get_by_role("textbox").fill("x" * 2001)
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_have_text("Not sent: the message is too long")
    inspect_plain("plain-refused")
    page.get_by_role("button", name="Delete my messages").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    inspect_plain("plain-delete")
