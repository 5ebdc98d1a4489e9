"""People at their browsers: pages in Chromium, against the server that `make run` starts."""

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
# A page whose colours have just changed may be on its way from one to the other.
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
ABSENT = "Nobody is watching right now – your message is kept"  # how the visitor's page says that it is live
PATIENCE_MS = 30_000  # the longest delay between two tries of the client
# Canned replies, and a manager who may send them.
TEAM = """
from django.contrib.auth.models import Permission, User
from messaging.models import QuickMessage
User.objects.get(username="manager").user_permissions.add(Permission.objects.get(codename="add_message"))
QuickMessage.objects.create(key="hello", kind="reply", label="Greeting", content="Hello! What can I do for you?")
QuickMessage.objects.create(key="bye", kind="reply", label="Goodbye", content="Thank you, goodbye.", position=1)
"""
SESSION = "the-session-of-"  # begins the keys of the sessions in which staff have signed in
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
    """The path of the installed Chromium."""
    path = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    assert path, "The tests need Chromium. Install it: `apt-get install chromium` or `brew install chromium`."
    return path


@pytest.fixture(scope="session")
def launched() -> Iterator[tuple[Browser, asyncio.AbstractEventLoop]]:
    """The worker's browser, and the event loop by which Playwright reaches it.

    Playwright's loop counts as running on this thread for as long as Playwright does, also while nothing of it runs:
    no other loop could run here. So it counts only while `browser` is in use. Python has no public function for that.
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
    """Opens pages, each person in a browser profile of their own.

    Every script error and everything that the content security policy refuses fails the test.
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
        """The profile of `username`, who signed in before: the session is in a `prepared_database`."""
        context = self.profile(**options)
        context.add_cookies([{"name": "sessionid", "value": SESSION + username, "url": origin}])
        return context

    def staff(self, origin: str, username: str = "operator", **options: Any) -> Page:
        """The live page of `username`, who signed in before."""
        page = self.signed_in(origin, username, **options).new_page()
        page.goto(f"{origin}/admin/live/")
        expect(status(page)).to_have_text("Live")
        return page

    def admin(self, origin: str, username: str = "operator", **options: Any) -> Page:
        """The live page of `username`, who signs in and follows the link."""
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
    """A server that tests use one after another, each on a database that is as it was prepared.

    What the server keeps in memory ends with its connections, but the numbers of messages: they go on, as they do
    where messages are deleted.
    """

    def __init__(self, prepared: Path) -> None:
        self._prepared = prepared
        self._server = LocalServer()
        self._database = self._server.directory / "db.sqlite3"
        shutil.copy(prepared, self._database)

    def restored(self) -> Deployment[LocalServer]:
        """The server, which nobody is connected to. It is started where the last test has left it stopped."""
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
                    database.execute(f'DELETE FROM main."{table}"')  # noqa: S608  a name of the product's own
                    database.execute(f'INSERT INTO main."{table}" SELECT * FROM prepared."{table}"')  # noqa: S608


@pytest.fixture(scope="session")
def prepared_database() -> Iterator[Path]:
    """A database file with a team that has signed in, and has canned replies."""
    template = LocalServer()
    prepare_database(template.environment)
    manage(template.environment, "shell", "-c", SIGN_IN + TEAM)
    yield template.directory / "db.sqlite3"
    template.stop()


@pytest.fixture(scope="session")
def prepared_inbox(prepared_database: Path) -> Iterator[Path]:
    """The same with the conversations of five days (tests/support/inbox.py)."""
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
    """A server that nobody else uses during the test, with the conversations of five days."""
    return site_with_inbox.restored()


@pytest.fixture
def own_deployment(site_of_pages: RestoredServer) -> Deployment[LocalServer]:
    """A server that nobody else uses during the test, and whose list of conversations is empty.

    A process remembers quick messages for seconds: a test that changes them uses `serving`.
    """
    return site_of_pages.restored()


@pytest.fixture
def origin(own_deployment: Deployment) -> str:
    return own_deployment.servers[0].origin


@contextlib.contextmanager
def serving(prepared_database: Path, **environment: str) -> Iterator[Deployment[LocalServer]]:
    """A server of its own, with settings of its own."""
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
    """Return once what the page shows now is on the screen: until then it counts as where it was."""
    page.evaluate("() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")


def try_now(page: Page) -> None:
    """The person asks for a try now; the button is gone already where the page was faster."""
    page.locator("#try-now").evaluate("button => button.click()")


def write(page: Page, text: str) -> None:
    page.locator("#text[aria-invalid]").fill(text)  # which the script has set: from then on it is at it
    page.get_by_role("button", name="Send").click()


def shown(page: Page) -> list[tuple[str, str]]:
    """The thread as a person reads it: what was written, and its state."""
    found = page.evaluate(
        """() => [...document.querySelectorAll("#messages > li")].map((item) => [
            item.querySelector("[data-part=content]").textContent, item.dataset.state])""",
    )
    return [(content, state) for content, state in found]


def texts(page: Page) -> list[str]:
    return [text for text, _ in shown(page)]


def wait_for_thread(page: Page, *thread: tuple[str, str]) -> None:
    """Until the page shows exactly this."""
    wait_until(lambda: shown(page) == list(thread), f"the thread {thread}", within=40)


def wait_until_both_show(one: Page, other: Page, contents: list[str]) -> None:
    """Until both pages show these messages as sent, each once, in whatever order, but in the same."""

    def settled() -> bool:
        return shown(one) == shown(other) and sorted(shown(one)) == sorted(sent(*contents))

    wait_until(settled, f"both pages show {contents}", within=60)


def come_back(*pages: Page) -> None:
    """Tell the pages that the network is back, as a device does: they try at once instead of waiting longer."""
    for page in pages:
        page.evaluate("dispatchEvent(new Event('online'))")


def sent(*contents: str) -> list[tuple[str, str]]:
    return [(content, "sent") for content in contents]


def open_conversation(page: Page) -> None:
    """Open the only conversation."""
    page.get_by_role("navigation", name="Conversations").get_by_role("link").click()


def violations(page: Page) -> list[str]:
    """Return what axe finds in light and in dark; rules that are not about colours are checked once."""
    page.wait_for_load_state()
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    schemes: dict[Literal["light", "dark"], dict[str, list[str]]] = {"light": {}, "dark": {"runOnly": COLOUR_RULES}}
    found: list[str] = []
    for scheme, rules in schemes.items():
        page.emulate_media(color_scheme=scheme)
        page.evaluate(TRANSITIONS_END)
        options = {"resultTypes": ["violations"]} | rules
        for item in page.evaluate("options => axe.run(options)", options)["violations"]:
            found += (f"{scheme}: {item['id']}: {node['html']}" for node in item["nodes"])
    return found


def inspect(page: Page, state: str, *more: ViewportSize) -> None:
    """The page as it is now has no fault that axe finds, light or dark; `make screenshots` keeps pictures of it.

    `more`: sizes to take pictures at, besides a phone's and a desktop's.
    """
    assert violations(page) == [], state
    picture(page, state, *more)


def picture(page: Page, state: str, *more: ViewportSize) -> None:
    """`make screenshots` keeps pictures of the page as it is now."""
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
    """Milliseconds that each task of pages took meanwhile, once it has ended.

    They are of the time of its thread, to which others who keep the machine busy add nothing.
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
