"""People at their browsers: pages in Chromium, against the server that `make run` starts."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

from tests.support.deployments import PASSWORD, Deployment, LocalServer, prepare_database
from tests.support.paths import ROOT
from tests.support.services import started
from tests.support.waiting import wait_until

AXE = ROOT / "node_modules/axe-core/axe.min.js"
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


def chromium() -> str:
    """The path of the installed Chromium."""
    path = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    assert path, "The tests need Chromium. Install it: `apt-get install chromium` or `brew install chromium`."
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE_MS)
        browser = launch(playwright.chromium)
        yield browser
        browser.close()


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

    def admin(self, origin: str, username: str = "operator", **options: Any) -> Page:
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


@pytest.fixture
def origin(own_deployment: Deployment) -> str:
    return own_deployment.servers[0].origin


@pytest.fixture(scope="module")
def prepared_database() -> Iterator[Path]:
    template = LocalServer()
    prepare_database(template.environment)
    yield template.directory / "db.sqlite3"
    template.stop()


@pytest.fixture
def own_deployment(prepared_database: Path) -> Iterator[Deployment[LocalServer]]:
    """A server of this test's own: its list of conversations holds nobody else's."""
    with serving(prepared_database) as deployment:
        yield deployment


@contextlib.contextmanager
def serving(prepared_database: Path, **environment: str) -> Iterator[Deployment[LocalServer]]:
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
    """What a device tells its pages when it finds its network again: they try at once instead of waiting longer."""
    for page in pages:
        page.evaluate("dispatchEvent(new Event('online'))")


def sent(*contents: str) -> list[tuple[str, str]]:
    return [(content, "sent") for content in contents]


def open_conversation(page: Page) -> None:
    """Open the only conversation."""
    page.get_by_role("navigation", name="Conversations").get_by_role("link").click()


def violations(page: Page) -> list[str]:
    page.wait_for_load_state()
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")["violations"]
    return [f"{item['id']}: {node['html']}" for item in found for node in item["nodes"]]


def inspect(page: Page, state: str, *more: ViewportSize) -> None:
    """The page as it is now has no fault that axe finds, light or dark; `make screenshots` keeps pictures of it.

    `more`: sizes to take pictures at, besides a phone's and a desktop's.
    """
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == [], f"{state}, {scheme}"
    picture(page, state, *more)


def picture(page: Page, state: str, *more: ViewportSize) -> None:
    """`make screenshots` keeps pictures of the page as it is now."""
    if not SCREENSHOTS:
        return
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for size in (PHONE, DESKTOP, *more):
            page.set_viewport_size(size)
            page.screenshot(path=Path(SCREENSHOTS) / f"{state}-{size['width']}-{scheme}.png", animations="disabled")
