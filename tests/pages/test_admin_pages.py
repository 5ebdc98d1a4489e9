"""This project's pages of the Django admin, in Chromium: axe finds no violation, and the CSP refuses nothing."""

import pytest
from playwright.sync_api import ViewportSize, expect

from tests.support.browser import DESKTOP, PHONE, People, violations, write
from tests.support.deployments import Deployment

BLOCKED = """
from messaging.models import *
from django.utils import timezone
for _ in range(50):
    Block.objects.create(conversation=Conversation.objects.create(last_message_at=timezone.now()))
"""


MORE = "from messaging.models import *; AddressBlock.objects.create(address='0123456789abcdef'), Pause.objects.create()"


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_no_violation(people: People, own_deployment: Deployment, size: ViewportSize) -> None:
    origin = own_deployment.servers[0].origin
    visitor, admin = people.visitor(origin), people.staff(origin, viewport=size)
    write(visitor, "hello")
    link = admin.get_by_role("navigation", name="Conversations").get_by_role("link")
    conversation = str(link.get_attribute("href")).removeprefix("#")
    found = {}
    own_deployment.run(MORE)
    for name in ("conversation", "message", "quickmessage", "block", "addressblock", "pause"):
        admin.goto(f"{origin}/admin/messaging/{name}/")
        found[name] = violations(admin)
    for name in ("conversation", "message", "quickmessage", "addressblock", "pause"):
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
    admin.goto(f"{origin}/admin/messaging/block/add/")
    found["add a block"] = violations(admin)
    admin.get_by_role("button", name="Save", exact=True).click()  # the form is empty
    expect(admin.locator(".errornote")).to_be_visible()
    found["refused block"] = violations(admin)
    admin.get_by_label("Conversation:").fill(conversation)
    admin.get_by_role("button", name="Save and continue editing").click()
    expect(admin.locator(".messagelist .success")).to_be_visible()
    found["one block"] = violations(admin)
    admin.get_by_role("link", name="Delete").click()
    expect(admin.get_by_role("button", name="Yes, I’m sure")).to_be_visible()
    found["delete a block"] = violations(admin)
    admin.goto(f"{origin}/admin/messaging/quickmessage/add/")
    found["add a quick message"] = violations(admin)
    admin.goto(f"{origin}/admin/messaging/conversation/{conversation}/history/")
    found["history"] = violations(admin)
    people.errors.clear()  # axe itself adds style elements, to read the admin's imported style sheets
    assert {name: texts for name, texts in found.items() if texts} == {}


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_conversations_fit_a_laptop(people: People, own_deployment: Deployment, language: str) -> None:
    origin = own_deployment.servers[0].origin
    own_deployment.run(BLOCKED)
    admin = people.staff(origin)
    admin.set_extra_http_headers({"Accept-Language": language})
    admin.goto(f"{origin}/admin/messaging/conversation/")
    expect(admin.locator("html")).to_have_attribute("lang", language)
    names = admin.locator("#result_list tbody th")
    expect(names).to_have_count(25)
    assert (
        names.evaluate_all("""(names) => names.filter((name) => {
        const text = document.createRange();
        text.selectNodeContents(name);
        return new Set([...text.getClientRects()].map(({ top }) => top)).size > 1;
    }).length""")
        == 0
    )
    assert admin.locator("#changelist .results").evaluate("list => list.scrollWidth - list.clientWidth") <= 0


def test_the_policy_refuses_nothing(people: People, own_deployment: Deployment) -> None:
    origin = own_deployment.servers[0].origin
    visitor, admin = people.visitor(origin), people.staff(origin)
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
