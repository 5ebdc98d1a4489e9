"""The Django admin's pages that are ours to answer for, in Chromium: nothing for axe, nothing refused by the policy."""

import pytest
from playwright.sync_api import expect

from messaging.tests.browser import DESKTOP, PHONE, People, violations, write
from messaging.tests.deployments import Deployment


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_no_violation(people: People, own_deployment: Deployment, scheme: str, size: dict[str, int]) -> None:
    origin = own_deployment.servers[0].origin
    visitor, admin = people.visitor(origin), people.admin(origin, color_scheme=scheme, viewport=size)
    write(visitor, "hello")
    expect(admin.get_by_role("navigation", name="Conversations").get_by_role("link")).to_be_visible()
    found = {}
    for name in ("conversation", "message", "quickmessage", "block"):
        admin.goto(f"{origin}/admin/messaging/{name}/")
        found[name] = violations(admin)
    for name in ("conversation", "message", "quickmessage"):
        admin.goto(f"{origin}/admin/messaging/{name}/")
        admin.locator("#result_list tbody th a").first.click()
        admin.wait_for_url("**/change/*")
        found[f"one {name}"] = violations(admin)
    admin.goto(f"{origin}/admin/messaging/conversation/")
    admin.get_by_label("Select this object for an action").check()
    admin.get_by_label("Action:").select_option("erase")
    admin.get_by_role("button", name="Go").click()
    expect(admin.get_by_role("button", name="Yes, erase")).to_be_visible()
    found["erase"] = violations(admin)
    people.errors.clear()  # axe itself makes style elements to read the admin's imported style sheets
    assert {name: texts for name, texts in found.items() if texts} == {}


def test_the_policy_refuses_nothing(people: People, own_deployment: Deployment) -> None:
    origin = own_deployment.servers[0].origin
    visitor, admin = people.visitor(origin), people.admin(origin)
    write(visitor, "hello")
    expect(admin.get_by_role("navigation", name="Conversations").get_by_role("link")).to_be_visible()
    for name in ("conversation", "message", "quickmessage"):
        admin.goto(f"{origin}/admin/messaging/{name}/")
        admin.locator("#result_list tbody th a").first.click()
        admin.wait_for_url("**/change/*")
    admin.goto(f"{origin}/admin/messaging/block/add/")
    admin.goto(f"{origin}/admin/messaging/quickmessage/add/")
    admin.get_by_label("Label:", exact=True).press_sequentially("Slower please")
    expect(admin.get_by_label("Key:")).to_have_value("slower-please")
    assert people.errors == []
