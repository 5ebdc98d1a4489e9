"""The move of a site from pods to API Gateway and back, under pages that people have open."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import People, status, wait_until_live
from tests.support.moving_site import Site

pytestmark = pytest.mark.timeout(300)


def test_open_pages_move_without_a_reload(site: Site, people: People) -> None:
    with site.trusted_by_aws() as origin:
        page, live = people.visitor(origin), people.admin(origin)
        write(page, live, "on pods")
        site.lead(to_aws=(True, True))
        site.resolvers[0].cut_all()
        wait_until_live(page)
        expect(status(live)).to_have_text("Live")
        write(page, live, "on AWS")
        site.lead(to_aws=(False, False))
        (told,) = re.findall(r"sent elsewhere: (\d+), connected now: 0", site.aws.manage("messaging_drain"))
        assert int(told) >= 2
        wait_until_live(page)
        expect(status(live)).to_have_text("Live")
        write(page, live, "on pods again")


def write(page: Page, live: Page, text: str) -> None:
    page.get_by_role("textbox").fill(text)
    page.keyboard.press("Enter")
    expect(live.get_by_text(text, exact=True).first).to_be_visible()
