"""The budgets of the login page, over all servers: no flood of tries costs their CPU, or locks out staff."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from email.message import Message
from functools import partial
from urllib.error import HTTPError
from uuid import uuid4

import pytest

from tests.support.deployments import PASSWORD, STAFF, Deployment, Kubernetes, StaffSession
from tests.support.redis_services import Redis

LOGIN = "/admin/login/"
ENGLISH = r"Too many attempts to sign in at the moment. Please try again in (\d+) seconds."
GERMAN = "Im Moment gibt es zu viele Anmeldeversuche."


Site = Callable[..., AbstractContextManager[Deployment]]


@pytest.fixture
def site(kubernetes: Kubernetes, redis_server: Redis) -> Site:
    """Return a function that starts two servers with limits of their own. Nobody has tried to sign in yet."""
    return partial(kubernetes.deployed, redis_server.url, REDIS_KEY_PREFIX=f"{uuid4().hex}:")


@pytest.fixture
def hall(site: Site) -> Iterator[Deployment]:
    """Yield the servers of a hall, which is one address. After its five staff have signed in, two tries are left."""
    with site(RATE_LIMIT_LOGIN_ADDRESS=f"{len(STAFF) + 2}/1000", RATE_LIMIT_LOGIN="100/1000") as deployment:
        yield deployment


def sign_in(browser: StaffSession, username: str, password: str = PASSWORD) -> tuple[int, Message, str]:
    """Return the status, the headers and the page that answer a try to sign in."""
    try:
        page = browser.request(LOGIN, {"username": username, "password": password, "next": "/admin/"}).decode()
    except HTTPError as refused:
        return refused.code, refused.headers, refused.read().decode()
    return 200, Message(), page


def browsers(deployment: Deployment, count: int) -> list[StaffSession]:
    """Return new browsers, which reach the servers in turns."""
    servers = deployment.servers
    found = [StaffSession([servers[number % len(servers)]], "nobody") for number in range(count)]
    for browser in found:
        browser.request(LOGIN)  # sets the CSRF cookie
    return found


def test_a_flood_of_invented_names_is_refused_before_a_hash_and_staff_who_were_there_before_sign_in(
    hall: Deployment,
) -> None:
    staff = {name: StaffSession(hall.servers, name) for name in STAFF}
    for name, browser in staff.items():
        browser.request(LOGIN)
        sign_in(browser, name)
        assert "sessionid" in browser.cookies
    at_work = staff.pop("operator")
    for browser in staff.values():
        browser.request("/admin/logout/", {})
        assert "sessionid" not in browser.cookies
    flood = browsers(hall, 10)
    answers = [sign_in(browser, f"invented-{number}", "a guess") for number, browser in enumerate(flood)]
    assert [status for status, _, _ in answers] == [200] * 2 + [429] * 8
    for _, headers, page in answers[2:]:
        (seconds,) = re.findall(ENGLISH, page)
        assert headers["Retry-After"] == seconds
        assert 0 < int(seconds) <= 1000
    assert hall.log.count('"message": "login failed"') == 2  # no other password was hashed
    (new,) = browsers(hall, 1)
    assert sign_in(new, "colleague")[0] == 429  # which tells nobody whether the name exists
    assert sign_in(staff["colleague"], "reader")[0] == 429  # the browser of somebody else
    for name, browser in staff.items():
        sign_in(browser, name)
        assert "sessionid" in browser.cookies, name
    assert b"Live" in at_work.request("/admin/live/")


def test_all_addresses_together_have_a_budget(site: Site) -> None:
    with site(RATE_LIMIT_LOGIN_ADDRESS="off", RATE_LIMIT_LOGIN="3/1000") as deployment:
        tries = [sign_in(browser, "nobody", "a guess")[0] for browser in browsers(deployment, 5)]
        assert tries == [200, 200, 200, 429, 429]


def test_the_lock_of_a_name_keeps_its_owner_out_of_new_browsers_alone(hall: Deployment) -> None:
    owner, *guessers = browsers(hall, 7)
    sign_in(owner, "reader")
    owner.request("/admin/logout/", {})
    assert [sign_in(guesser, "reader", "a guess")[0] for guesser in guessers[:5]] == [200] * 4 + [429]
    assert sign_in(guessers[5], "reader")[0] == 429
    sign_in(owner, "reader")
    assert "sessionid" in owner.cookies
    owner.request("/admin/logout/", {})
    assert [sign_in(owner, "reader", "a guess")[0] for _ in range(6)] == [200] * 5 + [429]


def test_a_german_reads_it_in_german(site: Site) -> None:
    with site(RATE_LIMIT_LOGIN="1/1000") as deployment:
        (browser,) = browsers(deployment, 1)
        browser.request("/admin/language/", {"language": "de"})
        assert [sign_in(browser, "nobody", "a guess")[0] for _ in range(2)] == [200, 429]
        assert GERMAN in sign_in(browser, "nobody", "a guess")[2]
