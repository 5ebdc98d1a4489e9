"""The documents: they name what exists and nothing else, their links lead somewhere, and their frames are valid.

Tested elsewhere: commands in test_commands.py, the protocol in test_schemas.py, the settings of Kubernetes in
test_k8s_docs.py. test_tutorial.py follows the tutorial from its first step to its last.
"""

import ast
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import cast

import pytest
from django.apps import apps
from django.conf import settings
from jsonschema import Draft202012Validator

from messaging.backends.base import Rate
from messaging.observability.metrics import METRICS
from messaging.protocol import frames
from messaging.service.throttle import PAGE_CHARACTERS, PAGE_MESSAGES, WEIGHTS, Rates, Request
from tests.support.configurations import DJANGO
from tests.support.paths import ROOT

ACTIONS: dict[Request, str] = {
    frames.Identify: "identify",
    frames.SetConnectionType: "setConnectionType",
    frames.SendMessage: "sendMessage",
    frames.History: "history",
    frames.MarkRead: "read",
    frames.ChangeConversation: "conversation",
    frames.ChangePause: "pause",
    frames.Forget: "forget",
    frames.Ping: "ping",
}
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# The pages that instruct readers; the changelog describes the past.
TOLD = {page: page.read_text() for page in PAGES if page.name != "CHANGELOG.md"}


def variables_read() -> set[str]:
    """Return the names in `env.<function>("NAME", ...)` and `"NAME" in os.environ`."""
    found = set()
    for file in (ROOT / "messaging_site").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="env")), args=[ast.Constant(value=str(name)), *_]):
                    found.add(name)
                case ast.Compare(left=ast.Constant(value=str(name)), comparators=[ast.Attribute(attr="environ")]):
                    found.add(name)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_name_has_two_rows_in_one_table(page: Path) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", page.read_text(), re.MULTILINE):
        names = re.findall(r"^\| `([A-Za-z_]\w+)` \|", table, re.MULTILINE)
        assert {name for name in names if names.count(name) > 1} == set()


def test_every_environment_variable_is_documented_and_no_other() -> None:
    table = (ROOT / "docs" / "configuration.md").read_text()
    assert set(re.findall(r"^\| `([A-Z_]+)`", table, re.MULTILINE)) - DJANGO == variables_read()


def test_every_other_name_of_a_variable_is_documented_in_its_row() -> None:
    table = (ROOT / "docs" / "configuration.md").read_text()
    others = re.findall(r'env\.also\("(\w+)", "(\w+)"\)', (ROOT / "messaging_site" / "settings.py").read_text())
    assert others
    assert [
        pair for pair in others if not re.search(rf"^\| `{pair[0]}` .*`{pair[1]}` is read", table, re.MULTILINE)
    ] == []


def test_limits_have_the_costs_and_the_defaults_that_are_documented() -> None:
    page = (ROOT / "docs" / "limits.md").read_text()
    costs = dict(re.findall(r"^\| `?(\w+)`? \| (\d+) \|$", page, re.MULTILINE))
    assert costs == {ACTIONS.get(request, request): str(cost) for request, cost in WEIGHTS.items()}
    assert f"for each {PAGE_MESSAGES} messages, and for each {PAGE_CHARACTERS:,} characters" in page
    defaults = dict(re.findall(r"^\| `([A-Z_]+)` \| `([^`]+)` \|", page, re.MULTILINE))
    in_use = [
        *rates(settings.MESSAGING_RATES),
        ("login", cast(Rate, settings.LOGIN_RATE)),
        ("login_address", cast(Rate, settings.LOGIN_RATE_ADDRESS)),
    ]
    assert {f"RATE_LIMIT_{name.upper()}": f"{rate.burst}/{rate.seconds:g}" for name, rate in in_use} == {
        name: default for name, default in defaults.items() if name.startswith("RATE_LIMIT_")
    }
    assert defaults["SOCKETS_PER_ADDRESS"] == str(settings.SOCKETS_PER_ADDRESS)
    table = (ROOT / "docs" / "configuration.md").read_text()
    others = dict(re.findall(r"^\| `([A-Z_]+)` \| `([^`]+)` \|", table, re.MULTILINE))
    assert defaults == {name: others[name] for name in defaults}
    assert {name for name in others if name.startswith("RATE_LIMIT_")} <= defaults.keys()


def test_only_the_site_reads_the_environment() -> None:
    modules = [file for file in (ROOT / "messaging").rglob("*.py") if "tests" not in file.parts]
    assert modules
    assert {file.name for file in modules if re.search(r"\benviron\b|\bgetenv\b", file.read_text())} == set()


def rates(of: Rates) -> list[tuple[str, Rate]]:
    return [(field.name, getattr(of, field.name)) for field in fields(of)]


def anchors(page: Path) -> set[str]:
    """Return the anchors to which links in `page` may lead: its headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_documents_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!\w+:)([^)#]*)(?:#([^)]*))?\)|<img src=\"([^\"]*)()", without_blocks(page.read_text()))
    targets = [(page.parent / (link or image) if link or image else page, anchor) for link, anchor, image, _ in links]
    assert [str(file) for file, _ in targets if not file.exists()] == []
    assert [anchor for file, anchor in targets if anchor and anchor not in anchors(file)] == []


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages - set(re.findall(r"\]\(([\w-]+\.md)\)", index)) == set()


FRAMES = {
    frame: "client" if frame.startswith('{"action"') else "server"
    for text in TOLD.values()
    for frame in re.findall(r'^[→←] ({.*?})$|`({"(?:action|type)":.*?})`', re.sub(r"\n {3}", "", text), re.MULTILINE)
    for frame in filter(None, frame)
}


@pytest.mark.parametrize(("frame", "side"), FRAMES.items())
def test_every_frame_in_the_documents_is_valid_by_its_schema(frame: str, side: str) -> None:
    schema = json.loads((ROOT / "docs" / "protocol" / f"{side}.schema.json").read_text())
    Draft202012Validator(schema).validate(json.loads(frame))


def test_every_test_that_a_document_names_is_there() -> None:
    links = {
        (name.replace(" ", "_"), page.parent / file)
        for page, text in TOLD.items()
        for name, file in re.findall(r"\[([\w ]+)\]\(([\w./]*\btests/[\w/]+/test_\w+\.py)\)", text)
    }
    assert len(links) > 20
    assert {name for name, file in links if f"def test_{name[0].lower()}{name[1:]}(" not in file.read_text()} == set()


def test_what_is_stored_of_people_is_told_of_every_table() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    assert {model.__name__ for model in apps.get_app_config("messaging").get_models()} == set(
        re.findall(r"^\| `([A-Z]\w+)`", page, re.MULTILINE)
    )


def test_every_metric_is_documented_with_its_labels_and_no_other() -> None:
    table = (ROOT / "docs" / "observability.md").read_text()
    documented = {
        (name, tuple(re.findall(r"`(\w+)`", labels)))
        for name, labels in re.findall(r"^\| `((?:messaging|django_migrations)_\w+)` \|([^|]*)\|", table, re.MULTILINE)
    }
    assert documented == {(metric.name, tuple(label for label, _ in metric.labels)) for metric in METRICS}


def test_every_alert_is_documented_with_its_severity_and_its_runbook() -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    rules = (ROOT / "k8s" / "components" / "monitoring" / "rules.yaml").read_text()
    found = re.findall(r"alert: (\w+).*?severity: (\w+).*?/runbooks/([\w-]+\.md)", rules, re.DOTALL)
    assert len(found) == rules.count("alert: ")
    assert re.findall(r"^\| `([A-Z]\w+)` \| (\w+) \|.*\(runbooks/([\w-]+\.md)\) \|$", page, re.MULTILINE) == found


def test_every_event_of_the_audit_log_is_documented() -> None:
    page = " ".join((ROOT / "docs" / "observability.md").read_text().split())
    modules = [file for file in (ROOT / "messaging").rglob("*.py") if "tests" not in file.parts]
    noted = {event for file in modules for event in re.findall(r'\bnote\("([^"]+)"', file.read_text())}
    assert len(noted) > 4
    assert {event for event in noted if f"`{event}`" not in page} == set()


def test_every_check_is_documented_and_no_other() -> None:
    code = (ROOT / "messaging" / "checks.py").read_text()
    table = (ROOT / "docs" / "configuration.md").read_text()
    documented = re.findall(r"^\| `(messaging\.[EW]\d+)`", table, re.MULTILINE)
    assert documented == sorted(re.findall(r'id="(messaging\.\w+)"', code))
