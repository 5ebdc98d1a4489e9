"""Pages in Chromium as people use them, served by the server that `make run` starts."""

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    BrowserType,
    Dialog,
    Locator,
    Page,
    ViewportSize,
    expect,
    sync_playwright,
)

from tests.support.deployments import PASSWORD, Deployment, LocalServer, manage, prepare_database
from tests.support.metrics import scrape
from tests.support.paths import ROOT
from tests.support.services import running, started
from tests.support.waiting import wait_until

AXE = ROOT / "node_modules/axe-core/axe.min.js"
# Just after a change of colours, a page may still be in the transition between them.
TRANSITIONS_END = """() => Promise.allSettled(document.getAnimations()
    .filter(animation => animation instanceof CSSTransition).map(({ finished }) => finished))"""
COLOUR_RULES = ["color-contrast", "link-in-text-block"]
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CHROMIUMS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
SCREENSHOTS = os.environ.get("SCREENSHOTS")  # a directory: `make screenshots`
NARROW: ViewportSize = {"width": 320, "height": 500}  # 200 % zoom of a small phone, or 400 % of a desktop
PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
BUTTON = "Please speak German"  # the quick message that a new installation has
ABSENT = "No one is here right now – your message is saved"  # the visitor's page shows this when it is live
PATIENCE_MS = 30_000  # the client's longest delay between two attempts to connect
# Canned replies, and a manager who may send them.
TEAM = """
from django.contrib.auth.models import Permission, User
from messaging.models import QuickMessage
User.objects.get(username="manager").user_permissions.add(Permission.objects.get(codename="add_message"))
QuickMessage.objects.create(key="hello", kind="reply", label="Greeting", content="Hello! What can I do for you?")
QuickMessage.objects.create(key="bye", kind="reply", label="Goodbye", content="Thank you, goodbye.", position=1)
"""
SESSION = "the-session-of-"  # begins the session keys of staff who are signed in
SIGN_IN = f"""
from datetime import timedelta
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.utils import timezone
for user in User.objects.all():
    data = {{
        SESSION_KEY: str(user.pk),
        BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
        HASH_SESSION_KEY: user.get_session_auth_hash(),
    }}
    Session.objects.create(
        session_key={SESSION!r} + user.username,
        session_data=SessionStore().encode(data),
        expire_date=timezone.now() + timedelta(days=1),
    )
"""


def chromium() -> str:
    """Return the path of the installed Chromium. Raise AssertionError if there is none."""
    path = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    assert path, "The tests need Chromium. Install it: `apt-get install chromium` or `brew install chromium`."
    return path


@pytest.fixture(scope="session")
def launched() -> Iterator[tuple[Browser, asyncio.AbstractEventLoop]]:
    """Yield the worker's browser and Playwright's event loop.

    Playwright marks its loop as running on this thread as long as Playwright runs, even when the loop is idle, so no
    other loop could run here. The mark is therefore set only while `browser` is in use. Python has no public function
    for that.
    """
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE_MS)
        browser = launch(playwright.chromium)
        loop = asyncio.get_running_loop()
        asyncio._set_running_loop(None)
        yield browser, loop
        asyncio._set_running_loop(loop)
        browser.close()


@pytest.fixture
def browser(launched: tuple[Browser, asyncio.AbstractEventLoop]) -> Iterator[Browser]:
    browser, loop = launched
    asyncio._set_running_loop(loop)
    yield browser
    asyncio._set_running_loop(None)


def launch(kind: BrowserType, **options: Any) -> Browser:
    return kind.launch(executable_path=chromium(), args=ARGUMENTS, **options)


class People:
    """The pages of people, each person in a browser profile of their own.

    A script error, or anything that the content security policy refuses, fails the test.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._stack = contextlib.ExitStack()
        self.errors: list[str] = []

    def profile(self, **options: Any) -> BrowserContext:
        context = self._browser.new_context(**{"viewport": DESKTOP} | options)
        self._stack.callback(context.close)
        context.set_default_timeout(PATIENCE_MS)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))
        context.on("console", lambda message: self._note(message.text))
        context.on("dialog", self._dismiss)
        context.expose_function("noteViolation", lambda directive: self.errors.append(directive))
        context.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => noteViolation(e.violatedDirective))"
        )
        return context

    def visitor(self, origin: str, **options: Any) -> Page:
        page = self.profile(**options).new_page()
        page.goto(f"{origin}/user/")
        wait_until_live(page)
        return page

    def signed_in(self, origin: str, username: str = "operator", **options: Any) -> BrowserContext:
        """Return a profile in which `username` is signed in, by a session of a `prepared_database`."""
        context = self.profile(**options)
        context.add_cookies([{"name": "sessionid", "value": SESSION + username, "url": origin}])
        return context

    def staff(self, origin: str, username: str = "operator", **options: Any) -> Page:
        """Return the live page of `username`, who is already signed in."""
        page = self.signed_in(origin, username, **options).new_page()
        page.goto(f"{origin}/admin/live/")
        expect(status(page)).to_have_text("Live")
        return page

    def admin(self, origin: str, username: str = "operator", **options: Any) -> Page:
        """Return the live page of `username`, after they have signed in and followed the link."""
        page = self.profile(**options).new_page()
        page.goto(f"{origin}/admin/")
        log_in(page, username)
        page.get_by_role("link", name="Live conversations").click()
        expect(status(page)).to_have_text("Live")
        return page

    def _note(self, console: str) -> None:
        if "Security Policy" in console or "Trusted" in console:
            self.errors.append(console)

    def _dismiss(self, dialog: Dialog) -> None:
        self.errors.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def people(browser: Browser) -> Iterator[People]:
    with people_at(browser) as people:
        yield people


@contextlib.contextmanager
def people_at(browser: Browser) -> Iterator[People]:
    people = People(browser)
    yield people
    people.close()
    assert people.errors == []


class RestoredServer:
    """A server that one test after another uses, each with a database in its prepared state.

    The server's state in memory ends with its connections, except for the numbers of messages: they continue, as they
    do after messages are deleted.
    """

    def __init__(self, prepared: Path) -> None:
        self._prepared = prepared
        self._server = LocalServer()
        self._database = self._server.directory / "db.sqlite3"
        shutil.copy(prepared, self._database)

    def restored(self) -> Deployment[LocalServer]:
        """Return the server without connections and with a restored database. Start it if the last test stopped it."""
        if self._server in running and not self._server.is_ready():
            self._server.kill()
        if self._server not in running:
            self._server.start()
        wait_until(self._is_left, "the pages of the last test are gone")
        self._restore()
        return Deployment([self._server], self._server.environment["DATABASE_URL"])

    def stop(self) -> None:
        self._server.stop()

    def _is_left(self) -> bool:
        samples = scrape(self._server)
        return sum(value for (name, _), value in samples.items() if name == "messaging_websocket_connections") == 0

    def _restore(self) -> None:
        with contextlib.closing(sqlite3.connect(self._database, timeout=30)) as database:
            database.execute("ATTACH ? AS prepared", [str(self._prepared)])
            tables = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
            with database:
                for (table,) in tables.fetchall():
                    database.execute(f'DELETE FROM main."{table}"')  # noqa: S608  the product's own table names
                    database.execute(f'INSERT INTO main."{table}" SELECT * FROM prepared."{table}"')  # noqa: S608


@pytest.fixture(scope="session")
def prepared_database() -> Iterator[Path]:
    """Yield the path of a database with a team that is signed in, and with canned replies."""
    template = LocalServer()
    prepare_database(template.environment)
    manage(template.environment, "shell", "-c", SIGN_IN + TEAM)
    yield template.directory / "db.sqlite3"
    template.stop()


@pytest.fixture(scope="session")
def prepared_inbox(prepared_database: Path) -> Iterator[Path]:
    """Yield the path of the same database with the conversations of five days (tests/support/inbox.py)."""
    template = LocalServer()
    shutil.copy(prepared_database, template.directory)
    manage(template.environment, "shell", "-c", "from tests.support import inbox; inbox.fill()")
    yield template.directory / "db.sqlite3"
    template.stop()


@pytest.fixture(scope="session")
def site_of_pages(prepared_database: Path) -> Iterator[RestoredServer]:
    site = RestoredServer(prepared_database)
    yield site
    site.stop()


@pytest.fixture(scope="session")
def site_with_inbox(prepared_inbox: Path) -> Iterator[RestoredServer]:
    site = RestoredServer(prepared_inbox)
    yield site
    site.stop()


@pytest.fixture
def inbox_deployment(site_with_inbox: RestoredServer) -> Deployment[LocalServer]:
    """Return a server that no other test uses meanwhile, with the conversations of five days."""
    return site_with_inbox.restored()


@pytest.fixture
def own_deployment(site_of_pages: RestoredServer) -> Deployment[LocalServer]:
    """Return a server that no other test uses meanwhile, without conversations.

    A process caches quick messages for seconds, so a test that changes them uses `serving`.
    """
    return site_of_pages.restored()


@pytest.fixture
def origin(own_deployment: Deployment) -> str:
    return own_deployment.servers[0].origin


@contextlib.contextmanager
def serving(prepared_database: Path, **environment: str) -> Iterator[Deployment[LocalServer]]:
    """Run a new server with the settings in `environment` and a copy of `prepared_database`."""
    server = LocalServer(**environment)
    shutil.copy(prepared_database, server.directory)
    with started(server):
        yield Deployment([server], server.environment["DATABASE_URL"])


def log_in(page: Page, username: str) -> None:
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def status(page: Page) -> Locator:
    return page.get_by_role("status")


def wait_until_live(page: Page) -> None:
    expect(page.locator("#status[data-phase=live]")).to_be_visible()


def wait_until_drawn(page: Page) -> None:
    """Return once the page's present state is drawn: until then, its elements count as being where they were."""
    page.evaluate("() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")


def try_now(page: Page) -> None:
    """Press the button to try now, by script: it is already hidden if the page was faster."""
    page.locator("#try-now").evaluate("button => button.click()")


def write(page: Page, text: str) -> None:
    page.locator("#text[aria-invalid]").fill(text)  # set by the script, which handles the form from then on
    page.get_by_role("button", name="Send").click()


def shown(page: Page) -> list[tuple[str, str]]:
    """Return the thread as the page shows it: the content and the state of each message."""
    found = page.evaluate(
        """() => [...document.querySelectorAll("#messages > li")].map((item) => [
            item.querySelector("[data-part=content]").textContent, item.dataset.state])""",
    )
    return [(content, state) for content, state in found]


def texts(page: Page) -> list[str]:
    return [text for text, _ in shown(page)]


def wait_for_thread(page: Page, *thread: tuple[str, str]) -> None:
    """Wait until the page shows exactly `thread`."""
    wait_until(lambda: shown(page) == list(thread), f"the thread {thread}", within=40)


def wait_until_both_show(one: Page, other: Page, contents: list[str]) -> None:
    """Wait until both pages show `contents` as sent, each once, in any order that is the same on both."""

    def settled() -> bool:
        return shown(one) == shown(other) and sorted(shown(one)) == sorted(sent(*contents))

    wait_until(settled, f"both pages show {contents}", within=60)


def come_back(*pages: Page) -> None:
    """Notify the pages that the network is back, as a device does: they reconnect at once instead of waiting."""
    for page in pages:
        page.evaluate("dispatchEvent(new Event('online'))")


def sent(*contents: str) -> list[tuple[str, str]]:
    return [(content, "sent") for content in contents]


def open_conversation(page: Page) -> None:
    """Open the only conversation."""
    page.get_by_role("navigation", name="Conversations").get_by_role("link").click()


def violations(page: Page) -> list[str]:
    """Return axe's findings in the light and in the dark scheme; rules that don't concern colours are checked once."""
    page.wait_for_load_state()
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    schemes: dict[Literal["light", "dark"], dict[str, list[str]]] = {"light": {}, "dark": {"runOnly": COLOUR_RULES}}
    found: list[str] = []
    for scheme, rules in schemes.items():
        page.emulate_media(color_scheme=scheme)
        page.evaluate(TRANSITIONS_END)
        # To preload style sheets that are imported, axe would insert them into the page, which its policy forbids.
        options = {"resultTypes": ["violations"], "preload": False} | rules
        for item in page.evaluate("options => axe.run(options)", options)["violations"]:
            found += (f"{scheme}: {item['id']}: {node['html']}" for node in item["nodes"])
    return found


# The buttons of which a part is cut off, or whose edges forced colors would not show.
BROKEN_BUTTONS = """() => {
    const buttons = [...document.querySelectorAll(".main-button, .quiet-button, .quick button")];
    const broken = buttons.filter((button) => {
        const { left, right, width } = button.getBoundingClientRect();
        if (!width) return false;
        const around = (button.closest("dialog") ?? document.body).getBoundingClientRect();
        const { borderTopStyle, borderTopWidth } = getComputedStyle(button);
        return left < around.left || right > around.right || borderTopStyle === "none" || borderTopWidth === "0px";
    });
    return broken.map((button) => button.textContent.trim());
}"""


def inspect(page: Page, state: str, *more: ViewportSize) -> None:
    """Check that axe finds no fault in the page, light or dark, and that all buttons are whole.

    Take pictures if `make screenshots` runs. `more`: sizes to take pictures at, besides a phone's and a desktop's.
    """
    assert violations(page) == [], state
    assert page.evaluate(BROKEN_BUTTONS) == [], state
    picture(page, state, *more)


def picture(page: Page, state: str, *more: ViewportSize) -> None:
    """Take pictures of the page, light and dark, if `make screenshots` runs."""
    if not SCREENSHOTS:
        return
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        for size in (PHONE, DESKTOP, *more):
            page.set_viewport_size(size)
            page.screenshot(path=Path(SCREENSHOTS) / f"{state}-{size['width']}-{scheme}.png", animations="disabled")


@contextlib.contextmanager
def recorded_tasks(page: Page) -> Iterator[list[float]]:
    """Yield a list that gets, after the body, the milliseconds of each task that pages ran meanwhile.

    It is the CPU time of their threads, to which other load on the machine adds nothing.
    """
    browser, milliseconds = page.context.browser, list[float]()
    assert browser
    browser.start_tracing(page=page, categories=["disabled-by-default-devtools.timeline"])
    yield milliseconds
    events = json.loads(browser.stop_tracing())["traceEvents"]
    mains = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    milliseconds += (
        event["tdur"] / 1000
        for event in events
        if event["name"] == "RunTask" and (event["pid"], event["tid"]) in mains and "tdur" in event
    )
