"""The lists of the Django admin on an inbox of five days: their counts, filters and searches."""

import re
from unicodedata import normalize
from urllib.parse import urlencode

import pytest
from playwright.sync_api import ViewportSize, expect

from tests.support import inbox
from tests.support.browser import DESKTOP, PHONE, SESSION, People, violations
from tests.support.deployments import Deployment, fetch
from tests.support.known_faults import known_fault

EVERYBODY = inbox.threads()


def counted(deployment: Deployment, path: str, **query: str) -> int:
    """Return the number of rows that the list at `path` reports."""
    address = f"{deployment.servers[0].origin}/admin/messaging/{path}/?{urlencode(query)}"
    status, _, page = fetch(address, Cookie=f"sessionid={SESSION}operator")
    assert status == 200
    (paginator,) = re.findall(r'<p class="paginator">(.*?)</p>', page.decode(), re.DOTALL)
    (number,) = re.findall(r"(\d+)\s+(?:conversation|message)s?\b", paginator)
    return int(number)


@pytest.mark.parametrize(
    ("query", "threads"),
    [
        pytest.param({}, EVERYBODY, id="all"),
        pytest.param({"status": "unread"}, inbox.unread(), id="unread"),
        pytest.param({"status": "closed"}, [thread for thread in EVERYBODY if thread.closed], id="closed"),
        pytest.param({"status": "open"}, [thread for thread in EVERYBODY if not thread.closed], id="open"),
        pytest.param({"status": "blocked"}, [thread for thread in EVERYBODY if thread.blocked], id="blocked"),
        pytest.param({"q": "dringend"}, [inbox.FORGOTTEN], id="by a word"),
        pytest.param({"q": str(inbox.LONG_THREAD.id)}, [inbox.LONG_THREAD], id="by its id"),
    ],
)
def test_conversations_are_counted_filtered_and_found(
    inbox_deployment: Deployment, query: dict[str, str], threads: list[inbox.Thread]
) -> None:
    assert counted(inbox_deployment, "conversation", **query) == len(threads)


@pytest.mark.parametrize(
    "query", ["Übersee", "الأحد", "אוסף", "रविवार", "เปิดกี่โมง", "営業時間", "🏳️‍🌈", "cửa hàng", "Когда"]
)
def test_messages_of_every_script_are_found(inbox_deployment: Deployment, query: str) -> None:
    said = [text for thread in EVERYBODY for text in thread.texts if query in text]
    assert counted(inbox_deployment, "message", q=query) == len(said) > 0


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(normalize("NFD", "Übersee"), id="decomposed"),
        pytest.param("GRÜß", id="capital umlaut"),
        pytest.param("strasse", id="ss for ß"),
        pytest.param("когда", id="small letter"),
    ],
)
@known_fault("F12")
def test_a_search_finds_words_however_they_are_typed(inbox_deployment: Deployment, query: str) -> None:
    assert counted(inbox_deployment, "message", q=query) > 0


def test_the_account_of_somebody_who_answers_can_be_deleted(inbox_deployment: Deployment) -> None:
    inbox_deployment.run('from django.contrib.auth.models import User; User.objects.get(username="manager").delete()')
    assert counted(inbox_deployment, "conversation") == len(EVERYBODY)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_no_violation(people: People, inbox_deployment: Deployment, size: ViewportSize) -> None:
    origin = inbox_deployment.servers[0].origin
    page = people.signed_in(origin, viewport=size).new_page()
    found = {}
    for path in (
        "conversation/",
        "conversation/?status=unread&p=2",
        "message/?q=営業時間",
        f"conversation/{inbox.LONG_TEXTS.id}/change/",
    ):
        page.goto(f"{origin}/admin/messaging/{path}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        found[path] = violations(page)
    people.errors.clear()  # axe itself adds style elements, to read the admin's imported style sheets
    assert {path: faults for path, faults in found.items() if faults} == {}
