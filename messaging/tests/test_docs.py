"""docs/configuration.md and the code name the same environment variables, and links between documents hold."""

import ast
import re
from pathlib import Path

from messaging.observability.names import METRICS

ROOT = Path(__file__).parents[2]
# Read by Django's own createsuperuser, not by this project.
DJANGO = {"DJANGO_SUPERUSER_USERNAME", "DJANGO_SUPERUSER_PASSWORD", "DJANGO_SUPERUSER_EMAIL"}


def variables_read() -> set[str]:
    """The names in `env.<function>("NAME", ...)` and `"NAME" in os.environ`."""
    found = set()
    for file in (ROOT / "messaging_site").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="env")), args=[ast.Constant(value=str(name)), *_]):
                    found.add(name)
                case ast.Compare(left=ast.Constant(value=str(name)), comparators=[ast.Attribute(attr="environ")]):
                    found.add(name)
    return found


def test_every_environment_variable_is_documented_and_no_other() -> None:
    table = (ROOT / "docs" / "configuration.md").read_text()
    assert set(re.findall(r"^\| `([A-Z_]+)`", table, re.MULTILINE)) - DJANGO == variables_read()


def test_only_the_site_reads_the_environment() -> None:
    modules = [file for file in (ROOT / "messaging").rglob("*.py") if "tests" not in file.parts]
    assert modules
    assert {file.name for file in modules if re.search(r"\benviron\b|\bgetenv\b", file.read_text())} == set()


def test_every_link_between_documents_leads_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = {
        (document.name, link)
        for document in documents
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
        if not (document.parent / link).exists()
    }
    assert broken == set()


def test_every_metric_is_documented_with_its_labels_and_no_other() -> None:
    table = (ROOT / "docs" / "observability.md").read_text()
    documented = {
        (name, tuple(re.findall(r"`(\w+)`", labels)))
        for name, labels in re.findall(r"^\| `(messaging_\w+)` \|([^|]*)\|", table, re.MULTILINE)
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
    documented = re.findall(r"^\| `(messaging\.\w+)`", table, re.MULTILINE)
    assert documented == sorted(re.findall(r'id="(messaging\.\w+)"', code))
