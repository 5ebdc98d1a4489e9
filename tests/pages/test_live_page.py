"""The live page of the staff: all of its states, a team's whole work, a flood, the tally and the stage."""

import asyncio
import json
import re
import signal
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from playwright.sync_api import Locator, Page, ViewportSize, WebSocketRoute, expect

from messaging.client.frames import identify, new_id, send_message
from messaging.client.socket import connect
from tests.support.browser import (
    DESKTOP,
    PHONE,
    People,
    inspect,
    log_in,
    open_conversation,
    recorded_tasks,
    sent,
    serving,
    status,
    try_now,
    wait_for_thread,
    wait_until_live,
    write,
)
from tests.support.chaos_proxy import ChaosProxy
from tests.support.deployments import Deployment, LocalServer
from tests.support.services import HOST
from tests.support.waiting import wait_until

Result = TypeVar("Result")
SMALL: ViewportSize = {"width": 320, "height": 568}
LONGEST_TASK_MS = 200
# Records the notifications and sounds of the page instead of showing and playing them.
WATCH_ALERTS = """
window.notified = [];
window.blips = 0;
window.Notification = class { constructor(title, { body }) { notified.push([title, body]); }
    static requestPermission = async () => "granted" };
const start = OscillatorNode.prototype.start;
OscillatorNode.prototype.start = function (...when) { blips++; start.apply(this, when); };
"""
READ_ALL = """
from messaging.models import Conversation, Message
Conversation.objects.update(read_by_staff=Message.objects.latest("seq").seq)
"""
# The address of all conversations until now, as it was known yesterday.
WRITTEN_YESTERDAY = """
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from django.conf import settings
from messaging.models import Conversation
from messaging.transports.client_address import _key_on
day = datetime.now(UTC).date() - timedelta(days=1)
Conversation.objects.update(address=_key_on(day, ip_address("127.0.0.1"), settings.SECRET_KEY))
"""


async def _write(url: str, messages: Sequence[dict[str, str]]) -> str:
    async with connect(url, proxy=None) as socket:
        identified = await socket.ask(identify("user", id=new_id()))
        assert identified["type"] == "identified", identified
        for message in messages:
            answer = await socket.ask(send_message(**message))
            assert answer["type"] == "ack", answer
    conversation: str = identified["conversation"]
    return conversation


def apart(work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of `work`, run in another thread, since Playwright uses the event loop of this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def visitor_writes(deployment: Deployment, *contents: str, **fields: str) -> str:
    """Write `contents` as a new visitor, disconnect, and return the visitor's id."""
    return apart(_write(deployment.websocket_urls[0], [{"content": content} | fields for content in contents]))


def crowd_writes(deployment: Deployment, count: int, prefix: str = "message", **fields: str) -> None:
    """Write `count` messages, each by another visitor, fifty at a time."""

    async def crowd() -> None:
        room = asyncio.Semaphore(50)

        async def one(number: int) -> None:
            async with room:
                await _write(deployment.websocket_urls[0], [{"content": f"{prefix} {number}"} | fields])

        await asyncio.gather(*map(one, range(count)))

    apart(crowd())


def rows(page: Page) -> Locator:
    return page.get_by_role("navigation", name="Conversations").get_by_role("listitem")


def lines(page: Page) -> list[str]:
    """Return the last message of each conversation in the list."""
    return page.locator("[data-part=last]").all_text_contents()


def wait_for_lines(page: Page, *expected: str) -> None:
    wait_until(lambda: lines(page) == list(expected), f"the list shows {expected}", within=40)


def open_row(page: Page, content: str) -> None:
    rows(page).filter(has_text=content).get_by_role("link").click()


def choose(page: Page, name: str) -> None:
    page.get_by_role("radio", name=re.compile(rf"^{name}\b")).check()  # a number may follow the name


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def focused(page: Page) -> str:
    element: str = page.evaluate("() => document.activeElement.id || document.activeElement.textContent.trim()")
    return element


def look_at(page: Page, state: str) -> None:
    """Check the page with axe and take pictures of it for `make screenshots`; then restore its size."""
    inspect(page, state, SMALL)
    page.set_viewport_size(DESKTOP)


def is_grey(page: Page, selector: str) -> bool:
    style: str = page.locator(selector).evaluate("element => getComputedStyle(element).filter")
    return style == "grayscale(1)"


def altered(page: Page, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Pass frames of the server through `change`, from the next connection on; None drops the frame."""

    def route(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def forward(text: str | bytes) -> None:
            frame = change(json.loads(text))
            if frame is not None:
                socket.send(json.dumps(frame))

        server.on_message(forward)

    page.route_web_socket("**/ws*", route)


# --- States ---------------------------------------------------------------------------------------------------


def test_before_it_is_connected_it_says_so_and_shows_nothing_as_live(people: People, origin: str) -> None:
    page = people.staff(origin)
    page.route_web_socket("**/ws*", lambda _: None)
    page.reload()
    expect(status(page)).to_have_text("Not live yet. Connecting …")
    assert is_grey(page, "#list")
    look_at(page, "live-connecting")


def test_an_empty_desk_says_that_nobody_has_written(people: People, origin: str) -> None:
    page = people.staff(origin)
    expect(page.get_by_text("No conversations yet.")).to_be_visible()
    expect(page.locator("#presence")).to_have_text("1 admin, 0 visitors")
    look_at(page, "live-empty")


def test_a_killed_server_leaves_a_grey_list_and_comes_back(
    people: People, own_deployment: Deployment[LocalServer]
) -> None:
    server = own_deployment.servers[0]
    page = people.staff(server.origin)
    visitor_writes(own_deployment, "hello")
    wait_for_lines(page, "hello")
    server.kill()
    expect(status(page)).to_have_text(re.compile(r"^Not live since .+\. Connecting …$"))
    expect(page.get_by_role("button", name="Try now")).to_be_visible()
    assert is_grey(page, "#list")
    look_at(page, "live-lost")
    server.start()
    try_now(page)
    wait_until_live(page)
    assert not is_grey(page, "#list")


def test_a_machine_without_network_says_so(people: People, own_deployment: Deployment[LocalServer]) -> None:
    server = own_deployment.servers[0]
    page = people.staff(server.origin)
    server.kill()
    page.context.set_offline(True)
    expect(status(page)).to_have_text(re.compile(r"^Not live since .+\. You are offline\.$"))
    look_at(page, "live-offline")
    server.start()
    page.context.set_offline(False)
    wait_until_live(page)


def test_a_server_that_stops_says_so_before_it_is_missed(
    people: People, own_deployment: Deployment[LocalServer]
) -> None:
    server = own_deployment.servers[0]
    page = people.staff(server.origin)
    page.route("**/admin/live/token/", lambda route: None)  # no answer: a refusal would change the status
    server.send_signal(signal.SIGTERM)
    expect(status(page)).to_have_text(re.compile(r"^Not live since .+\. Switching server …$"))
    page.unroute("**/admin/live/token/")
    server.kill()
    server.start()
    wait_until_live(page)


def test_a_silent_link_is_found_dead_and_nothing_looks_live(
    people: People, own_deployment: Deployment[LocalServer]
) -> None:
    """The browser gets no error: packets just stop arriving."""
    with ChaosProxy([(HOST, own_deployment.servers[0].port)]) as proxy:
        page = people.staff(f"http://{HOST}:{proxy.port}")
        visitor_writes(own_deployment, "hello")
        wait_for_lines(page, "hello")
        proxy.silence_all()
        proxy.refusing = True
        page.context.set_offline(True)  # otherwise the page would notice at the next heartbeat
        expect(status(page)).to_have_text(re.compile("^Not live since"))
        assert is_grey(page, "#list")
        page.context.set_offline(False)
        proxy.refusing = False
        proxy.cut_all()  # ends the silent connections
        wait_until_live(page)


def test_a_session_that_ends_keeps_the_draft_and_leads_back_to_the_conversation(
    people: People, own_deployment: Deployment[LocalServer]
) -> None:
    server = own_deployment.servers[0]
    page = people.staff(server.origin)
    visitor_writes(own_deployment, "hello")
    open_conversation(page)
    page.get_by_role("textbox").fill("not finis")
    page.context.clear_cookies(name="sessionid")
    server.kill()
    server.start()
    expect(status(page)).to_have_text(
        re.compile("^Not live since .* You are signed out. What you have written is kept.$")
    )
    look_at(page, "live-signed-out")
    page.get_by_role("link", name="Sign in again").click()
    log_in(page, "operator")
    wait_for_thread(page, *sent("hello"))
    expect(page.get_by_role("textbox")).to_have_value("not finis")


def test_a_page_ends_when_somebody_else_signs_in_in_its_browser(people: People, own_deployment: Deployment) -> None:
    origin = own_deployment.servers[0].origin
    page = people.staff(origin)
    other = page.context.new_page()
    other.goto(f"{origin}/admin/")
    other.get_by_role("button", name="Log out").click()
    other.goto(f"{origin}/admin/live/")
    log_in(other, "colleague")
    wait_until_live(other)
    expect(status(page)).to_have_text(re.compile("You are signed out. What you have written is kept.$"))


def test_a_conversation_that_its_visitor_erases_goes_away_while_it_is_open(
    people: People, own_deployment: Deployment
) -> None:
    page = people.staff(own_deployment.servers[0].origin)
    visitor = people.visitor(own_deployment.servers[0].origin)
    write(visitor, "please forget me")
    open_conversation(page)
    wait_for_thread(page, *sent("please forget me"))
    visitor.get_by_role("button", name="Delete my messages").click()
    visitor.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("This conversation no longer exists")).to_be_visible()
    expect(rows(page)).to_have_count(0)
    wait_for_thread(page)
    look_at(page, "live-gone")


@pytest.mark.parametrize("recovered", [True, False], ids=["goes-on", "begins-anew"])
def test_an_open_conversation_that_is_old_is_there_after_a_reconnect(
    people: People, own_deployment: Deployment[LocalServer], recovered: bool
) -> None:
    """The newest message is erased meanwhile. If `recovered` is False, the server reports a gap, as after a restore."""
    server = own_deployment.servers[0]
    page = people.staff(server.origin)
    conversation = visitor_writes(own_deployment, "an old one")
    page.goto(f"{server.origin}/admin/live/#{conversation}")  # a pointer over the list would keep it still
    crowd_writes(own_deployment, 100)
    newest = visitor_writes(own_deployment, "the newest")
    wait_until(lambda: lines(page)[-1:] == ["an old one"] and len(lines(page)) == 102, "all are there", within=40)

    def answer(frame: dict[str, Any]) -> dict[str, Any]:
        if frame["type"] != "identified":
            return frame
        assert frame["recovered"]  # an erased message is no gap in the history
        return frame | {"recovered": recovered}

    altered(page, answer)
    server.kill()
    expect(status(page)).to_have_text(re.compile("^Not live since"))
    own_deployment.run(f"from messaging.journal import conversations; conversations.erase({newest!r})")
    server.start()
    try_now(page)
    wait_until_live(page)
    expect(rows(page).filter(has_text="the newest")).to_have_count(0)
    wait_for_thread(page, *sent("an old one"))
    expect(page.get_by_text("This conversation no longer exists")).to_be_hidden()


def test_an_error_does_not_make_a_conversation_look_gone(people: People, own_deployment: Deployment) -> None:
    page = people.staff(own_deployment.servers[0].origin)
    visitor_writes(own_deployment, "an old one")
    open_conversation(page)
    crowd_writes(own_deployment, 100)
    errors: list[str] = []

    def answer(frame: dict[str, Any]) -> dict[str, Any]:
        if frame["type"] != "history" or frame["id"].startswith("catch-up") or errors:
            return frame
        errors.append(frame["id"])
        return {"type": "error", "code": "unavailable", "id": frame["id"], "message": "Not now."}

    altered(page, answer)
    page.reload()
    wait_for_thread(page, *sent("an old one"))
    expect(page.get_by_text("This conversation no longer exists")).to_be_hidden()
    assert len(errors) == 1


def test_an_address_of_no_conversation_says_that_there_is_none(people: People, origin: str) -> None:
    page = people.staff(origin)
    page.goto(f"{origin}/admin/live/#nonsense")
    expect(page.get_by_text("This conversation no longer exists")).to_be_visible()


@pytest.mark.parametrize(
    ("code", "words"), [(4403, "This account does not have permission to do that."), (4400, "Please reload the page.")]
)
def test_a_page_that_the_server_turns_away_says_what_to_do(people: People, origin: str, code: int, words: str) -> None:
    page = people.staff(origin)
    page.route_web_socket("**/ws*", lambda route: route.close(code=code))
    page.reload()
    expect(status(page)).to_have_text(f"Not live yet. {words}")
    expect(page.get_by_role("button", name="Try now")).to_be_visible()
    look_at(page, f"live-turned-away-{code}")


# --- The team's desk ------------------------------------------------------------------------------------------


def test_two_admins_see_who_answers_what_is_read_and_what_is_done(people: People, own_deployment: Deployment) -> None:
    origin = own_deployment.servers[0].origin
    ada, bob = people.staff(origin), people.staff(origin, "manager")
    expect(ada.locator("#presence")).to_have_text("2 admins, 0 visitors")
    visitor_writes(own_deployment, "hello")
    for page in (ada, bob):
        expect(page).to_have_title(re.compile(r"^\(1\) Live"))
    open_conversation(ada)
    expect(bob).to_have_title(re.compile("^Live"))  # a colleague has read it
    expect(rows(bob).get_by_text("Unread:")).to_be_hidden()

    open_conversation(bob)
    ada.get_by_role("button", name="Claim").click()
    expect(ada.locator("#facts")).to_have_text("Claimed by you")
    expect(bob.locator("#facts")).to_have_text("Claimed by operator")
    expect(rows(bob)).to_contain_text("Claimed by operator")
    for name in ("Claim", "Release", "Close"):
        expect(bob.get_by_role("button", name=name)).to_have_count(0)
    look_at(bob, "live-claimed-by-another")
    look_at(ada, "live-thread")
    ada.get_by_role("button", name="Release").click()
    expect(bob.get_by_role("button", name="Claim")).to_be_visible()

    bob.get_by_role("button", name="Close").click()
    expect(ada.locator("#facts")).to_have_text("Closed")
    ada.get_by_role("button", name="Reopen").click()
    expect(bob.locator("#facts")).to_have_text("")


def test_who_loses_the_race_for_a_conversation_is_told_who_won(people: People, own_deployment: Deployment) -> None:
    origin = own_deployment.servers[0].origin
    visitor_writes(own_deployment, "hello")
    ada, bob = people.staff(origin), people.staff(origin, "manager")
    altered(bob, lambda frame: None if frame["type"] == "conversation" else frame)  # bob does not see the claim
    bob.reload()
    for page in (ada, bob):
        open_conversation(page)
    ada.get_by_role("button", name="Claim").click()
    expect(ada.locator("#facts")).to_have_text("Claimed by you")
    bob.get_by_role("button", name="Claim").click()
    expect(bob.get_by_role("alert").filter(has_text="operator has already claimed this conversation.")).to_be_visible()
    look_at(bob, "live-lost-race")


def test_blocking_asks_first_and_can_be_undone(people: People, own_deployment: Deployment) -> None:
    page = people.staff(own_deployment.servers[0].origin)
    visitor_writes(own_deployment, "rubbish")
    open_conversation(page)
    page.get_by_role("button", name="Block").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(re.compile("^\\s*Block .+ for 24 hours?"))
    look_at(page, "live-confirm")
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.locator("#facts")).to_have_text("")
    page.get_by_role("button", name="Block").click()
    dialog.get_by_role("button", name="Block", exact=True).click()
    expect(page.locator("#facts")).to_have_text(re.compile("^Blocked until"))
    expect(rows(page).get_by_text("Blocked")).to_be_visible()
    look_at(page, "live-blocked")
    page.get_by_role("button", name="Unblock").click()
    expect(page.locator("#facts")).to_have_text("")


def test_the_address_can_be_blocked_as_well_once_it_is_known_who_shares_it(
    people: People, own_deployment: Deployment
) -> None:
    page = people.staff(own_deployment.servers[0].origin)
    visitor_writes(own_deployment, "hello")
    visitor_writes(own_deployment, "rubbish")
    expect(rows(page)).to_have_count(2)
    rows(page).first.click()
    page.get_by_role("button", name="Block").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("At least 1 other visitor has the same address and would be blocked as well.")
    inspect(page, "live-block-address")
    dialog.get_by_role("button", name="Block with the address").click()
    expect(page.locator("#facts")).to_have_text(re.compile("^Blocked until"))
    expect(rows(page).get_by_text("Blocked")).to_have_count(2)
    page.get_by_role("button", name="Unblock").click()
    expect(page.locator("#facts")).to_have_text("")
    expect(rows(page).get_by_text("Blocked").locator("visible=true")).to_have_count(0)


def test_who_wrote_before_midnight_is_not_said_to_have_another_address(
    people: People, own_deployment: Deployment
) -> None:
    page = people.staff(own_deployment.servers[0].origin)
    visitor_writes(own_deployment, "hello")
    own_deployment.run(WRITTEN_YESTERDAY)
    visitor_writes(own_deployment, "rubbish")
    expect(rows(page)).to_have_count(2)
    rows(page).first.click()
    page.get_by_role("button", name="Block").click()
    expect(page.get_by_role("dialog")).to_contain_text(
        "No other visitor of the same day (UTC) has the same address. "
        "Visitors of other days are not counted, but would be blocked as well."
    )


def test_all_staff_see_a_pause_until_one_of_them_ends_it(people: People, own_deployment: Deployment) -> None:
    page, colleague = (people.staff(own_deployment.servers[0].origin, name) for name in ("manager", "colleague"))
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="Pause new conversations for 1 hour").click()
    for shown in (page, colleague):
        expect(shown.locator("#pause-text")).to_have_text(
            re.compile(r"^manager paused new conversations at .+, until .+\.$")
        )
    inspect(page, "live-paused")
    expect(colleague.get_by_role("button", name="Take new ones again")).to_be_hidden()
    colleague.reload()
    expect(colleague.locator("#pause-text")).to_be_visible()
    page.get_by_role("button", name="Take new ones again").click()
    for shown in (page, colleague):
        expect(shown.locator("#pause")).to_be_hidden()
    expect(colleague.get_by_role("button", name="Pause new conversations for 1 hour")).to_be_hidden()


def test_the_settings_fit_a_phone_in_german(people: People, own_deployment: Deployment) -> None:
    page = people.staff(own_deployment.servers[0].origin, "manager", viewport=PHONE, locale="de-DE")
    page.get_by_role("button", name="Einstellungen").click()
    expect(page.get_by_role("button", name="1 Stunde lang keine neuen Unterhaltungen annehmen")).to_be_visible()
    inspect(page, "live-settings-german")


def test_what_was_tried_without_a_connection_is_not_claimed_to_be_done(
    people: People, own_deployment: Deployment[LocalServer]
) -> None:
    page = people.staff(own_deployment.servers[0].origin)
    visitor_writes(own_deployment, "hello")
    open_conversation(page)
    expect(page.get_by_role("button", name="Claim")).to_be_visible()
    own_deployment.servers[0].kill()
    expect(status(page)).to_have_text(re.compile("^Not live since"))
    page.get_by_role("button", name="Claim").click()
    expect(page.get_by_role("alert").filter(has_text="Not done: there is no connection.")).to_be_visible()
    expect(page.locator("#facts")).to_have_text("")


def test_a_reader_is_offered_nothing_that_the_server_would_refuse(people: People, own_deployment: Deployment) -> None:
    page = people.staff(own_deployment.servers[0].origin, "reader")
    visitor_writes(own_deployment, "hello")
    open_conversation(page)
    wait_for_thread(page, *sent("hello"))
    expect(page.locator("#composer, #replies, #claim, #close, #block").locator("visible=true")).to_have_count(0)
    look_at(page, "live-reader")


def test_a_reply_is_seen_when_the_visitor_has_it_in_view(people: People, own_deployment: Deployment) -> None:
    origin = own_deployment.servers[0].origin
    page, visitor = people.staff(origin), people.visitor(origin)
    write(visitor, "hello")
    open_conversation(page)
    write(page, "Hello to you!")
    expect(page.get_by_role("log")).to_contain_text("Seen")


def test_filters_and_search_show_what_they_say(people: People, own_deployment: Deployment) -> None:
    page = people.staff(own_deployment.servers[0].origin)
    for content in ("about apples", "about pears", "about plums"):
        visitor_writes(own_deployment, content)
    wait_for_lines(page, "about plums", "about pears", "about apples")
    open_row(page, "pears")
    page.get_by_role("button", name="Claim").click()
    expect(page.locator("#facts")).to_have_text("Claimed by you")
    open_row(page, "apples")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#facts")).to_have_text("Closed")
    for name, expected in {
        "Unread": ["about plums"],
        "Mine": ["about pears"],
        "Unclaimed": ["about plums"],
        "Closed": ["about apples"],
        "All": ["about plums", "about pears", "about apples"],
    }.items():
        choose(page, name)
        wait_for_lines(page, *expected)
    page.get_by_role("searchbox").fill("APPLES")
    wait_for_lines(page, "about apples")
    look_at(page, "live-search")
    page.get_by_role("searchbox").fill("bananas")
    expect(page.get_by_text("No conversations match.")).to_be_visible()


def test_how_many_are_unread_is_said_with_a_plus_where_not_all_are_loaded(
    people: People, own_deployment: Deployment
) -> None:
    origin = own_deployment.servers[0].origin
    crowd_writes(own_deployment, 120)
    page = people.staff(origin)
    expect(page).to_have_title(re.compile(r"^\(100\+\) Live"))
    expect(page.get_by_role("radio", name="Unread (100+)")).to_be_visible()
    look_at(page, "live-unread")
    page.get_by_role("button", name="Older conversations").click()
    expect(page).to_have_title(re.compile(r"^\(120\) Live"))
    expect(page.get_by_role("radio", name="Unread (120)")).to_be_visible()
    own_deployment.run(READ_ALL)
    visitor_writes(own_deployment, "news")
    expect(people.staff(origin, "colleague")).to_have_title(re.compile(r"^\(1\) Live"))


def test_staff_choose_their_language_where_they_work(people: People, own_deployment: Deployment) -> None:
    page = people.staff(own_deployment.servers[0].origin)
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="Deutsch").click()
    expect(page).to_have_url(re.compile(r"/admin/live/$"))
    expect(page.locator("html")).to_have_attribute("lang", "de")
    wait_until_live(page)
    page.get_by_role("button", name="Einstellungen").click()
    look_at(page, "live-settings-german")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("button", name="Settings")).to_be_visible()


def test_the_whole_job_is_done_by_keyboard(people: People, own_deployment: Deployment) -> None:
    page = people.staff(own_deployment.servers[0].origin)
    visitor_writes(own_deployment, "first")
    visitor_writes(own_deployment, "second")
    wait_for_lines(page, "second", "first")
    press(page, "j", "j", "k", "j", "Enter")
    wait_for_thread(page, *sent("first"))
    press(page, "c")
    expect(page.locator("#facts")).to_have_text("Claimed by you")
    press(page, "1")
    expect(page.get_by_role("textbox")).to_have_value("Hello! What can I do for you?")
    press(page, "Control+Enter")
    wait_for_thread(page, *sent("first", "Hello! What can I do for you?"))
    press(page, "Escape", "r")
    page.keyboard.type("j k c e b 1 ?")  # in a text field these are no shortcuts
    press(page, "Control+Enter")
    wait_for_thread(page, *sent("first", "Hello! What can I do for you?", "j k c e b 1 ?"))
    press(page, "Escape", "b")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").press("Enter")
    press(page, "e")
    expect(page.locator("#facts")).to_have_text("Closed")
    press(page, "Escape")
    expect(page.get_by_text("Choose a conversation.")).to_be_visible()
    press(page, "/")
    page.keyboard.type("seco")
    wait_for_lines(page, "second")
    press(page, "Escape", "Enter")
    wait_for_thread(page, *sent("second"))


def test_keys_that_are_characters_can_be_switched_off_for_good(people: People, own_deployment: Deployment) -> None:
    page = people.staff(own_deployment.servers[0].origin)
    visitor_writes(own_deployment, "hello")
    open_conversation(page)
    press(page, "?")
    look_at(page, "live-settings")
    page.get_by_role("checkbox", name="Single-character keyboard shortcuts").uncheck()
    page.get_by_role("button", name="Done").click()
    page.reload()
    wait_until_live(page)
    press(page, "/", "r", "?")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert focused(page) not in ("search", "text")


# --- Arrivals -------------------------------------------------------------------------------------------------


def test_arrivals_move_neither_the_focus_nor_what_a_person_looks_at(people: People, own_deployment: Deployment) -> None:
    page = people.staff(own_deployment.servers[0].origin)
    crowd_writes(own_deployment, 30)
    expect(rows(page)).to_have_count(30)
    third = rows(page).nth(2).get_by_role("link")
    third.focus()
    name, place = third.text_content(), third.bounding_box()
    for number in range(3):
        visitor_writes(own_deployment, f"news {number}")
    pill = page.get_by_role("button", name="3 new")
    expect(pill).to_be_visible()
    assert (third.text_content(), third.bounding_box()) == (name, place)
    expect(third).to_be_focused()
    look_at(page, "live-news")
    pill.click()
    wait_until(lambda: lines(page)[:3] == ["news 2", "news 1", "news 0"], "the list is sorted anew")


def test_an_open_conversation_stays_where_it_is_read(people: People, own_deployment: Deployment) -> None:
    origin = own_deployment.servers[0].origin
    page, visitor = people.staff(origin), people.visitor(origin)
    write(visitor, "a long one\n" * 100)
    open_conversation(page)
    log = page.get_by_role("log")
    log.hover()

    def scrolled_up() -> bool:
        page.mouse.wheel(0, -5000)  # the log may not react to the first turn of the wheel
        at: float = log.evaluate("log => log.scrollTop")
        return at == 0

    wait_until(scrolled_up, "it is scrolled up")
    page.get_by_role("textbox").focus()
    write(visitor, "news")
    pill = page.get_by_role("button", name="1 new")
    expect(pill).to_be_visible()
    assert log.evaluate("log => log.scrollTop") == 0
    expect(page.get_by_role("textbox")).to_be_focused()
    pill.click()
    expect(page.get_by_text("news", exact=True).last).to_be_in_viewport()
    expect(pill).to_be_hidden()


def test_a_flood_leaves_the_page_responsive_and_short(people: People, own_deployment: Deployment) -> None:
    page = people.staff(own_deployment.servers[0].origin)
    with recorded_tasks(page) as tasks:
        crowd_writes(own_deployment, 1000)
        wait_until(lambda: page.title().startswith("(1000)"), "all have arrived", within=60)
    assert 0 < max(tasks) < LONGEST_TASK_MS
    expect(rows(page)).to_have_count(500)
    page.get_by_role("button", name="Older conversations").click()
    expect(page.get_by_role("button", name="Newer conversations")).to_be_visible()
    expect(rows(page)).to_have_count(500)


def test_a_flood_is_told_in_summary(people: People, own_deployment: Deployment) -> None:
    page = people.staff(own_deployment.servers[0].origin)
    page.evaluate(
        """() => { window.told = []; new MutationObserver(() => told.push(document.getElementById("said").textContent))
            .observe(document.getElementById("said"), { childList: true }); }"""
    )
    visitor_writes(own_deployment, "hello")
    wait_until(lambda: any(text.endswith(": hello") for text in page.evaluate("told")), "a message is read out")
    crowd_writes(own_deployment, 100)
    news = re.compile(r"^(\d+) new messages from \d+ visitors$")

    def told() -> list[int]:
        return [int(found[1]) for text in page.evaluate("told") if (found := news.match(text))]

    wait_until(lambda: sum(told()) >= 99, "the flood is told", within=40)  # one message may have been read out alone
    assert len(told()) <= 5


def test_sound_and_notifications_come_when_they_were_asked_for(people: People, own_deployment: Deployment) -> None:
    context = people.profile()
    context.add_init_script(WATCH_ALERTS)
    page = context.new_page()
    page.goto(f"{own_deployment.servers[0].origin}/admin/live/")
    log_in(page, "operator")
    wait_until_live(page)
    visitor_writes(own_deployment, "unheard")
    expect(page).to_have_title(re.compile(r"^\(1\)"))
    assert page.evaluate("[blips, notified]") == [0, []]

    page.get_by_role("button", name="Settings").click()
    for name in ("Sound when a visitor writes", "Notifications while this page is in the background"):
        page.get_by_role("checkbox", name=name).check()
    page.get_by_role("button", name="Done").click()
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true })")
    visitor_writes(own_deployment, "secret")
    wait_until(lambda: page.evaluate("notified") == [["1 new message", ""]], "a notification without the text")
    assert page.evaluate("blips") == 2  # the setting itself plays one sound, as a sample

    page.get_by_role("button", name="Settings").click()
    page.get_by_role("checkbox", name="Show message text in notifications").check()
    page.get_by_role("button", name="Done").click()
    visitor_writes(own_deployment, "public")
    wait_until(lambda: str(page.evaluate("notified.at(-1)[1]")).endswith(": public"), "a notification with it")


# --- Tally and stage ------------------------------------------------------------------------------------------


def figures(page: Page) -> list[list[str]]:
    """Return, for each quick message, its label and how often it was sent in one and in ten minutes."""
    found: list[list[str]] = page.locator("#tally-rows tr").evaluate_all(
        """rows => rows.map(row => ["label", "one", "ten"].map(
            part => row.querySelector(`[data-part=${part}]`).textContent))"""
    )
    return found


def wait_for_figures(page: Page, *expected: list[str]) -> None:
    wait_until(lambda: figures(page) == list(expected), f"the tally shows {expected}", within=40)


def test_the_tally_counts_what_was_tapped_before_and_after_it_was_opened(
    people: People, own_deployment: Deployment
) -> None:
    page = people.staff(own_deployment.servers[0].origin)
    crowd_writes(own_deployment, 3, quick="speak-german")
    page.get_by_role("link", name="Tally").click()
    wait_for_figures(page, ["Please speak German", "3", "3"])
    crowd_writes(own_deployment, 120, quick="speak-german")  # more than one page of history
    wait_for_figures(page, ["Please speak German", "123", "123"])
    look_at(page, "live-tally")
    page.reload()
    wait_for_figures(page, ["Please speak German", "123", "123"])


def test_the_stage_says_if_no_phone_can_open_its_address(people: People, own_deployment: Deployment) -> None:
    origin = own_deployment.servers[0].origin  # on 127.0.0.1
    page = people.staff(origin)
    page.get_by_role("link", name="Stage").click()
    wait_until_live(page)
    expect(page.get_by_text(f"{origin}/user/")).to_be_visible()
    expect(page.get_by_text("Phones can’t open this address")).to_be_visible()
    expect(page.get_by_role("img")).to_have_count(0)
    look_at(page, "stage-unreachable")


def test_the_stage_shows_figures_and_the_way_here_and_no_words_of_visitors(
    people: People, prepared_database: Path
) -> None:
    with serving(prepared_database, VISITORS_URL="https://chat.example.org/user/") as deployment:
        _shows_figures_and_the_way_here(people, deployment)


def _shows_figures_and_the_way_here(people: People, own_deployment: Deployment[LocalServer]) -> None:
    page = people.staff(own_deployment.servers[0].origin)
    crowd_writes(own_deployment, 2, quick="speak-german")
    page.get_by_role("link", name="Stage").click()
    wait_until_live(page)
    wait_for_figures(page, ["Please speak German", "2", "2"])
    expect(page.get_by_text("https://chat.example.org/user/")).to_be_visible()
    expect(page.get_by_role("img", name="QR code for the address below")).to_have_js_property("complete", value=True)
    assert page.get_by_role("img").evaluate("image => image.naturalWidth > 0")
    visitor_writes(own_deployment, "not for everybody")
    wait_for_figures(page, ["Please speak German", "2", "2"])
    expect(page.get_by_text("not for everybody")).to_have_count(0)
    look_at(page, "stage")
    page.get_by_role("checkbox", name="Show what visitors write").check()
    expect(page.get_by_text("not for everybody")).to_be_visible()
    look_at(page, "stage-with-text")
    own_deployment.servers[0].kill()
    expect(status(page)).to_have_text(re.compile("^Not live since"))
    assert is_grey(page, ".stage-tally")
    look_at(page, "stage-lost")
