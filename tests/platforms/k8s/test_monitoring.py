"""k8s/components/monitoring: every alert fires and is silent when it should, and all metrics that it reads exist."""

import json
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from messaging.observability import metrics
from tests.support.deployments import output
from tests.support.kustomize import manifests, with_component
from tests.support.paths import ROOT
from tests.support.services import program

COMPONENT = ROOT / "k8s" / "components" / "monitoring"
RUNBOOKS = ROOT / "docs" / "runbooks"
# Metrics of other programs, which have to run: kube-state-metrics, the blackbox exporter, prometheus-client itself.
FOREIGN = re.compile(r"kube_|probe_|process_")
# Those of django-prometheus, as documented: tests/deployments/test_metrics.py compares them with a running server.
LIBRARY = re.findall(r"^\| `(django_\w+)` \|", (ROOT / "docs" / "observability.md").read_text(), re.MULTILINE)

POD = {"namespace": "here", "pod": "a"}
HERE = {"namespace": "here"}


@dataclass(frozen=True)
class Case:
    """The trial of an alert. `fires`, `silent`: series and values in promtool's notation. `labels`: the alert's own."""

    fires: dict[str, str]
    silent: dict[str, str]
    labels: dict[str, str]
    after: str = "10m"
    every: str = "15s"


def series(name: str, **labels: str) -> str:
    given = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{given}}}"


def acks(of_a_thousand: float) -> dict[str, str]:
    """Return the series of a thousand messages a minute for five hours, `of_a_thousand` of which were late."""
    bucket, count = "messaging_message_ack_seconds_bucket", "messaging_message_ack_seconds_count"
    return {
        series(bucket, le="0.5", **POD): f"0+{1000 - of_a_thousand}x300",
        series(count, **POD): "0+1000x300",
        series("messaging_errors_total", code="unavailable", **POD): "0x300",
    }


def refused() -> dict[str, str]:
    return acks(0) | {series("messaging_errors_total", code="unavailable", **POD): "0+30x300"}


def gauge(name: str, value: float, **labels: str) -> dict[str, str]:
    return {series(name, **POD, **labels): f"{value}x300"}


def grows(name: str, by: float, **labels: str) -> dict[str, str]:
    """Return a series that grows by `by` every 15 seconds for an hour."""
    return {series(name, **POD, **labels): f"0+{by}x240"}


def delivered(in_time: float) -> dict[str, str]:
    bucket = "messaging_message_delivery_seconds_bucket"
    return grows(bucket, in_time, le="5") | grows(bucket, 100, le="10") | grows(bucket, 100, le="+Inf")


def replicas(number: int) -> dict[str, str]:
    labels = {"horizontalpodautoscaler": "websocket-service-hpa", **HERE}
    return {
        series("kube_horizontalpodautoscaler_status_current_replicas", **labels): f"{number}x240",
        series("kube_horizontalpodautoscaler_spec_max_replicas", **labels): "10x240",
    }


DATABASE_LIMIT = gauge("messaging_database_connections_limit", 97)
ADDRESS_MOST = "messaging_websocket_address_connections_max"
FIRST_LIMIT = gauge("messaging_websocket_connections_limit", 1000)
CONNECTS = series("messaging_websocket_connects_total", result="accepted", **POD)
RESTARTS = series("kube_pod_container_status_restarts_total", container="messaging", **POD)
CERTIFICATE = {"instance": "https://chat.example.org", "job": "probe/messaging"}

CASES = {
    "MessagesFailFast": Case(acks(20), acks(14), HERE, every="1m", after="20m"),
    "MessagesFail": Case(refused(), acks(5), HERE, every="1m", after="1h"),
    "MessagesFailSlowly": Case(acks(4), acks(2), HERE, every="1m", after="3h"),
    "MessagesFailForDays": Case(acks(2), acks(0.5), HERE, every="1m", after="4h"),
    "DatabaseDown": Case(gauge("messaging_database_up", 0), gauge("messaging_database_up", 1), POD),
    "RedisDegraded": Case(
        gauge("messaging_layer_up", 1) | gauge("messaging_store_up", 0, store="connections"),
        gauge("messaging_layer_up", 1) | gauge("messaging_store_up", 1, store="connections"),
        POD,
    ),
    "EventLoopLag": Case(
        gauge("messaging_event_loop_lag_seconds", 0.3), gauge("messaging_event_loop_lag_seconds", 0.2), POD
    ),
    "CommitsQueue": Case(
        gauge("messaging_log_waiting_messages", 600), gauge("messaging_log_waiting_messages", 400), POD
    ),
    "ConnectionsNearLimit": Case(
        FIRST_LIMIT | gauge("messaging_websocket_connections", 900, role="user"),
        FIRST_LIMIT | gauge("messaging_websocket_connections", 800, role="user"),
        POD,
    ),
    "LimitsRefuse": Case(
        grows("messaging_limit_refusals_total", 6, limit="address"),
        grows("messaging_limit_refusals_total", 4, limit="address")
        | grows("messaging_limit_refusals_total", 100, limit="visitor"),
        {"limit": "address", **HERE},
    ),
    "OneAddress": Case(
        gauge("messaging_websocket_connections", 300, role="user") | gauge(ADDRESS_MOST, 280),
        gauge("messaging_websocket_connections", 300, role="user") | gauge(ADDRESS_MOST, 260),
        POD,
        after="65m",
    ),
    "DatabaseConnectionsNearLimit": Case(
        DATABASE_LIMIT | gauge("messaging_database_connections", 78),
        DATABASE_LIMIT | gauge("messaging_database_connections", 77),
        HERE,
    ),
    "AutoscalerMaxedOut": Case(
        replicas(10), replicas(9), {"horizontalpodautoscaler": "websocket-service-hpa", **HERE}, after="20m"
    ),
    # An hour with one connect per second, then 20 per second, or 4 per second to be silent.
    "ReconnectStorm": Case({CONNECTS: "0+15x240 3900+300x40"}, {CONNECTS: "0+15x240 3660+60x40"}, HERE, after="65m"),
    "ReadersDropped": Case(
        grows("messaging_outbound_drops_total", 1, reason="outbox"),
        grows("messaging_outbound_drops_total", 0.1, reason="outbox"),
        {"reason": "outbox", **HERE},
        after="30m",
    ),
    "HistoryGaps": Case(
        grows("messaging_resume_total", 1, result="gap"),
        grows("messaging_resume_total", 1, result="ok") | grows("messaging_resume_total", 0.05, result="gap"),
        HERE,
        after="30m",
    ),
    "DeliveryLate": Case(delivered(in_time=98), delivered(in_time=99.5), HERE, after="20m"),
    "PodsCrash": Case({RESTARTS: "0x20 3x40"}, {RESTARTS: "0x20 1x40"}, {"container": "messaging", **POD}),
    "CertificateExpires": Case(
        {series("probe_ssl_earliest_cert_expiry", **CERTIFICATE): "1000000x500"},
        {series("probe_ssl_earliest_cert_expiry", **CERTIFICATE): "2000000x500"},
        CERTIFICATE,
        after="90m",
    ),
    "MetricsMissing": Case({}, gauge("messaging_build_info", 1, version="1.2.3"), {}),
}
ALWAYS = Case({}, {}, {})


@cache
def groups() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((COMPONENT / "rules.yaml").read_text())["spec"]["groups"]
    return found


def rules(kind: str) -> dict[str, dict[str, Any]]:
    """Return the rules of one kind, `alert` or `record`, by name."""
    return {rule[kind]: rule for group in groups() for rule in group["rules"] if kind in rule}


def fired(alert: str, case: Case) -> dict[str, Any]:
    """Return the alert as it fires, in promtool's format."""
    rule = rules("alert")[alert]
    annotations = {
        name: re.sub(r"{{ \$labels\.(\w+) }}", lambda label: case.labels[label[1]], text)
        for name, text in rule["annotations"].items()
    }
    return {"exp_labels": case.labels | rule["labels"], "exp_annotations": annotations}


def trial(alert: str, case: Case, given: dict[str, str], expected: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "interval": case.every,
        "input_series": [{"series": name, "values": values} for name, values in given.items()],
        "alert_rule_test": [{"eval_time": case.after, "alertname": alert, "exp_alerts": expected}],
    }


def promtool(*arguments: str) -> None:
    output([program("promtool"), *arguments], os.environ)


@pytest.fixture
def rule_file(tmp_path: Path) -> Path:
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": groups()}))
    return file


def test_the_rules_are_valid(rule_file: Path) -> None:
    promtool("check", "rules", str(rule_file))


@pytest.mark.slow
def test_every_alert_fires_when_it_should_and_is_silent_otherwise(rule_file: Path) -> None:
    assert {*CASES, "DeadMansSwitch"} == rules("alert").keys()
    trials = [trial("DeadMansSwitch", ALWAYS, {}, [fired("DeadMansSwitch", ALWAYS)])]
    for alert, case in CASES.items():
        trials += [
            trial(alert, case, case.fires, [fired(alert, case)]),
            trial(alert, case, case.silent, []),
        ]
    file = rule_file.with_name("trials.yaml")
    file.write_text(yaml.safe_dump({"rule_files": [rule_file.name], "evaluation_interval": "15s", "tests": trials}))
    promtool("test", "rules", str(file))


def test_every_alert_has_a_runbook_that_names_it_and_every_runbook_an_alert() -> None:
    for alert, rule in rules("alert").items():
        runbook = RUNBOOKS / Path(rule["annotations"]["runbook_url"]).name
        assert f"`{alert}`" in runbook.read_text()
    linked = {Path(rule["annotations"]["runbook_url"]).name for rule in rules("alert").values()}
    assert {file.name for file in RUNBOOKS.iterdir()} == linked


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((COMPONENT / "dashboard.json").read_text())
    return found


def expressions() -> list[str]:
    """Return the expressions with which rules and panels query Prometheus."""
    asked = [rule["expr"] for group in groups() for rule in group["rules"]]
    asked += [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    return asked + [one["query"] for one in dashboard()["templating"]["list"] if one["type"] == "query"]


def test_nobody_asks_for_what_is_not_measured() -> None:
    measured = set(rules("record"))
    for metric in metrics.METRICS:
        histogram = isinstance(metric, metrics.Histogram)
        measured |= {f"{metric.name}{end}" for end in (("_bucket", "_sum", "_count") if histogram else ("",))}
    measured |= {f"{name}{end}" for name in LIBRARY for end in ("", "_bucket", "_sum", "_count")}
    words = re.compile(r"\b(?:messaging|django|kube|probe|process)[_:][\w:]+")
    asked = {word for expression in expressions() for word in words.findall(expression)}
    assert len(asked) > 25
    assert {word for word in asked if not FOREIGN.match(word)} - measured == set()


def test_nobody_scales_by_what_is_not_measured() -> None:
    commands = {file.stem for file in (ROOT / "messaging" / "management" / "commands").glob("*.py")}
    files = [file for file in (ROOT / "k8s").rglob("*.yaml") if file.parent != COMPONENT]
    named = {name for file in files for name in re.findall(r"\bmessaging_\w+", file.read_text())}
    assert named - commands - {metric.name for metric in metrics.METRICS} == set()


def test_labels_that_rules_and_panels_ask_for_have_such_values() -> None:
    values = {
        (metric.name, label): {*given}
        for metric in metrics.METRICS
        for label, given in metric.labels
        if label != "version"
    }
    asked = {
        (name, label, value)
        for expression in expressions()
        for name, selector in re.findall(r"\b(messaging_\w+){([^}]*)}", expression)
        for label, value in re.findall(r'(\w+)="([^"$]+)"', selector)
        if label != "le"
    }
    assert asked
    assert {one for one in asked if one[2] not in values[one[:2]]} == set()


def test_the_component_renders_what_prometheus_and_grafana_take() -> None:
    rendered = with_component("monitoring")
    selector = rendered.one("PodMonitor", "messaging")["spec"]["selector"]["matchLabels"].items()
    pods = {name for name, pod in rendered.pods.items() if selector <= pod["metadata"]["labels"].items()}
    assert pods == {"websocket-service", "user-frontend", "admin-frontend"}
    (config,) = [one for one in rendered.all("ConfigMap") if one["metadata"].get("labels", {}).get("grafana_dashboard")]
    assert json.loads(config["data"]["messaging.json"]) == dashboard()
    assert rendered.one("PrometheusRule", "messaging")["spec"]["groups"] == groups()


@pytest.mark.parametrize("environment", ["development", "staging", "production"])
def test_no_environment_needs_the_operator_by_itself(environment: str) -> None:
    assert manifests(environment).all("PodMonitor", "PrometheusRule") == []
