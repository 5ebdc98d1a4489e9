"""The connections that the network policies allow, computed and compared with a table."""

import pytest

from tests.support.kustomize import ENVIRONMENTS, Network, Party, manifests, with_component

SERVERS = ("websocket-service", "user-frontend", "admin-frontend")
JOBS = ("messaging-migrate", "messaging-prune")
PORTS = (53, 80, 443, 5432, 6379, 8080, 8081, 26379)

# Parties outside an environment's namespace, or not in this repository.
OUTSIDE = {
    "dns": Party("kube-system", {"k8s-app": "kube-dns"}),
    "kube-system": Party("kube-system", {"app": "something else"}),
    "haproxy": Party("haproxy-controller"),
    "gateway": Party("gateway"),
    "prometheus": Party("monitoring", {"app.kubernetes.io/name": "prometheus"}),
    "redis namespace": Party("redis"),
    "stranger": Party("default", {"app.kubernetes.io/component": "server", "app.kubernetes.io/name": "redis"}),
    "database subnet": Party(ip="10.20.0.5"),
    "metadata service": Party(ip="169.254.169.254"),
    "internet": Party(ip="203.0.113.1"),
}
EDGE = {("haproxy", server, 8080) for server in SERVERS}
NAMES = {(pod, "dns", 53) for pod in (*SERVERS, *JOBS)}
INSIDE = {
    *((server, "redis", 6379) for server in SERVERS),
    *((pod, "postgres", 5432) for pod in (*SERVERS, *JOBS)),
}
ELSEWHERE = {
    *((server, "redis namespace", port) for server in SERVERS for port in (6379, 26379)),
    *((pod, "database subnet", 5432) for pod in (*SERVERS, *JOBS)),
}
ALLOWED = {
    "development": EDGE | NAMES | INSIDE,
    "staging": EDGE | NAMES | INSIDE,
    "production": EDGE | NAMES | ELSEWHERE,
}


def parties(environment: str) -> dict[str, Party]:
    pods = manifests(environment).pods
    return {name: Party(f"messaging-{environment}", pod["metadata"]["labels"]) for name, pod in pods.items()} | OUTSIDE


def allowed(network: Network, everybody: dict[str, Party]) -> set[tuple[str, str, int]]:
    """Return each allowed (source, target, port), except between two parties outside the namespace."""
    return {
        (source, target, port)
        for source in everybody
        for target in everybody
        for port in PORTS
        if not {source, target} <= OUTSIDE.keys() and network.allows(everybody[source], everybody[target], port)
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_exactly_what_is_needed_is_allowed(environment: str) -> None:
    network = Network(manifests(environment))
    assert allowed(network, parties(environment)) == ALLOWED[environment]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_each_pod_is_limited_in_both_directions(environment: str) -> None:
    network = Network(manifests(environment))
    everybody = parties(environment)
    for name in manifests(environment).pods:
        assert network.selecting(everybody[name], "Ingress"), name
        assert network.selecting(everybody[name], "Egress"), name
    unknown = Party(f"messaging-{environment}", {"app": "new"})
    assert network.selecting(unknown, "Ingress")
    assert network.selecting(unknown, "Egress")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_rule_is_for_everybody_or_every_port(environment: str) -> None:
    specs = [policy["spec"] for policy in manifests(environment).all("NetworkPolicy")]
    rules = [rule for spec in specs for rule in (*spec.get("ingress", ()), *spec.get("egress", ()))]
    assert rules
    for rule in rules:
        assert rule["ports"]
        peers = [*rule.get("from", ()), *rule.get("to", ())]
        assert peers
        for peer in peers:
            assert peer.get("ipBlock", {}).get("cidr") not in ("0.0.0.0/0", "::/0")
            assert peer
            assert all(selector for selector in peer.values())


def test_with_the_gateway_in_front_its_namespace_is_let_in_instead() -> None:
    network = Network(with_component("gateway-api"))
    edge = {("gateway", server, 8080) for server in SERVERS}
    assert allowed(network, parties("production")) == edge | NAMES | ELSEWHERE


def test_with_monitoring_prometheus_reaches_the_metrics() -> None:
    network = Network(with_component("monitoring"))
    scraping = {("prometheus", server, 8081) for server in SERVERS}
    assert allowed(network, parties("production")) == EDGE | NAMES | ELSEWHERE | scraping
