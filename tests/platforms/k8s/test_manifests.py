"""The manifests that k8s/ renders: facts on which others rely, and properties that every pod must have."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from messaging.observability.metrics import CONNECTIONS
from tests.support.deployments import SECRET_KEY, manage
from tests.support.kustomize import ENVIRONMENTS, SECRETS, Manifests, Object, manifests, render, with_component
from tests.support.paths import ROOT

SERVERS = ("websocket-service", "user-frontend", "admin-frontend")
JOBS = ("messaging-migrate", "messaging-prune")
ROLES = {"websocket-service": "websocket", "user-frontend": "user", "admin-frontend": "admin"}
HOSTS = {
    "development": "localhost",
    "staging": "staging.clc.lockhead.cloud",
    "production": "clc.lockhead.cloud",
}
# Path: Service and its port. Every controller uses the longest path that matches.
ROUTES = {
    "/ws": ("websocket-service", 8080),
    "/admin": ("admin-frontend-service", 80),
    "/user": ("user-frontend-service", 80),
    "/": ("user-frontend-service", 80),
}
RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


@pytest.fixture(params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def rendered(environment: str) -> Manifests:
    return manifests(environment)


def ports(service: Object) -> dict[str, int]:
    return {port["name"]: port["port"] for port in service["spec"]["ports"]}


def seconds(source: str, name: str) -> float:
    """Return the value of a constant in one of this project's modules."""
    found = re.search(rf"^{name} = ([\d.]+)", (ROOT / source).read_text(), re.MULTILINE)
    assert found, name
    return float(found[1])


def test_there_are_three_servers_of_one_image(rendered: Manifests) -> None:
    assert {found["metadata"]["name"] for found in rendered.all("Deployment")} == set(SERVERS)
    images = {rendered.container(name)["image"] for name in (*SERVERS, *JOBS)}
    assert len(images) == 1
    for name, role in ROLES.items():
        container = rendered.container(name)
        assert {"name": "SERVICE_ROLE", "value": role} in container["env"]
        assert {"name": "DEPLOYMENT_MODE", "value": "kubernetes"} in container["env"]
        assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"http": 8080, "health": 8081}
        assert "command" not in container  # it runs the image's own command


def test_redis_url_comes_from_app_config(rendered: Manifests) -> None:
    for name in SERVERS:
        (found,) = (one for one in rendered.container(name)["env"] if one["name"] == "REDIS_URL")
        reference = found["valueFrom"]["configMapKeyRef"]
        assert reference["key"] == "redis-url"
        assert rendered.one("ConfigMap", "app-config")["metadata"]["name"] == reference["name"]


def test_every_setting_that_comes_from_a_file_has_its_file(rendered: Manifests, tmp_path: Path) -> None:
    for name in (*SERVERS, *JOBS):
        values = rendered.environment(name, tmp_path)
        files = {key: Path(value).read_text() for key, value in values.items() if key.endswith("_FILE")}
        assert files == {
            "SECRET_KEY_FILE": SECRETS["secret-key"],
            "DATABASE_URL_FILE": SECRETS["database-url"],
            "REDIS_PASSWORD_FILE": SECRETS["redis-password"],
        }


def test_a_component_brings_the_old_key_to_every_server_and_to_nothing_else(tmp_path: Path) -> None:
    rendered = with_component("secret-key-fallbacks")
    for name in SERVERS:
        values = rendered.environment(name, tmp_path)
        assert Path(values["SECRET_KEY_FALLBACKS_FILE"]).read_text() == SECRETS["secret-key-fallbacks"]
    for name in JOBS:
        assert "SECRET_KEY_FALLBACKS_FILE" not in rendered.environment(name, tmp_path)


def test_probes_ask_health_and_ready_on_8081(rendered: Manifests) -> None:
    for name in SERVERS:
        container = rendered.container(name)
        asked = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
        assert asked == {
            "startup": {"path": "/health", "port": "health"},
            "liveness": {"path": "/health", "port": "health"},
            "readiness": {"path": "/ready", "port": "health"},
        }
        startup = container["startupProbe"]
        assert startup["periodSeconds"] * startup["failureThreshold"] == 30
        # If the database falls silent, /ready waits this long before it reports that.
        assert container["readinessProbe"]["timeoutSeconds"] > seconds("messaging/journal/journal.py", "ANSWER_SECONDS")


def test_services_are_inside_the_cluster_only(rendered: Manifests) -> None:
    services = {found["metadata"]["name"]: found for found in rendered.all("Service")}
    assert {found["spec"]["type"] for found in services.values()} == {"ClusterIP"}
    expected = {
        "websocket-service": {"http": 8080, "health": 8081},
        "user-frontend-service": {"http": 80},
        "admin-frontend-service": {"http": 80},
        "redis": {"redis": 6379},
        "postgres": {"postgres": 5432},
    }
    assert {name: ports(found) for name, found in services.items()} == {name: expected[name] for name in services}
    assert {"websocket-service", "user-frontend-service", "admin-frontend-service"} <= services.keys()
    for found in services.values():
        (pod,) = (
            pod["spec"]
            for pod in rendered.pods.values()
            if found["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        )
        named = {port["name"] for port in pod["containers"][0]["ports"]}
        assert {port["targetPort"] for port in found["spec"]["ports"]} <= named


def test_the_ingress_routes_every_path_to_its_service(rendered: Manifests, environment: str) -> None:
    ingress = rendered.one("Ingress", "user-admin-messaging-ingress")["spec"]
    (rule,) = ingress["rules"]
    assert rule["host"] == HOSTS[environment]
    routes = {}
    for path in rule["http"]["paths"]:
        backend = path["backend"]["service"]
        routes[path["path"]] = (
            backend["name"],
            ports(rendered.one("Service", backend["name"]))[backend["port"]["name"]],
        )
        assert path["pathType"] == "Prefix"
    assert routes == ROUTES
    tls = [] if environment == "development" else [{"hosts": [HOSTS[environment]], "secretName": "messaging-tls"}]
    assert ingress.get("tls", []) == tls


def test_the_websocket_can_have_a_host_name_of_its_own() -> None:
    name = "overlays/production"
    overlay = yaml.safe_load((ROOT / f"k8s/{name}/kustomization.yaml").read_text())
    overlay["components"].append("../../components/websocket-domain")
    changes = {"kustomization.yaml": yaml.safe_dump(overlay), "settings.env": "ALLOWED_HOSTS=chat.test,chat-ws.test"}
    rendered = Manifests(render(name, {f"{name}/{file}": text for file, text in changes.items()}))
    ingress = rendered.one("Ingress", "user-admin-messaging-ingress")["spec"]
    pages, websocket = ingress["rules"]
    assert (pages["host"], websocket["host"]) == ("chat.test", "chat-ws.test")
    assert websocket["http"]["paths"] == [path for path in pages["http"]["paths"] if path["path"] == "/ws"]
    assert ingress["tls"] == [{"hosts": ["chat.test", "chat-ws.test"], "secretName": "messaging-tls"}]


def test_the_gateway_has_the_same_routes_as_the_ingress() -> None:
    rendered = with_component("gateway-api")
    route = rendered.one("HTTPRoute", "user-admin-messaging")["spec"]
    assert route["hostnames"] == [HOSTS["production"]]
    routes = {}
    for rule in route["rules"]:
        (backend,) = rule["backendRefs"]
        for match in rule["matches"]:
            assert match["path"]["type"] == "PathPrefix"
            routes[match["path"]["value"]] = (backend["name"], backend["port"])
    assert routes == ROUTES
    assert rendered.one("HTTPRoute", "user-admin-messaging-to-https")["spec"]["hostnames"] == [HOSTS["production"]]
    http = rendered.one("Service", "websocket-service")["spec"]["ports"][0]
    assert (http["port"], http["appProtocol"]) == (8080, "kubernetes.io/ws")


def test_the_controller_keeps_a_socket_open_much_longer_than_it_is_silent(rendered: Manifests) -> None:
    annotations = rendered.one("Ingress", "user-admin-messaging-ingress")["metadata"]["annotations"]
    assert annotations["haproxy.org/backend-config-snippet"] == "timeout tunnel 1h"
    assert 3 * seconds("messaging_site/settings.py", "PING_SECONDS") < 3600
    assert rendered.one("Ingress", "user-admin-messaging-ingress")["spec"]["ingressClassName"] == "haproxy"


def test_resources_are_what_was_measured(rendered: Manifests) -> None:
    large = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}}
    small = {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"cpu": "250m", "memory": "128Mi"}}
    assert {name: rendered.container(name)["resources"] for name in SERVERS} == {
        "websocket-service": large,
        "user-frontend": small,
        "admin-frontend": small,
    }


def test_no_container_is_without_limits(rendered: Manifests) -> None:
    for name, container in rendered.containers:
        for kind in ("requests", "limits"):
            assert container["resources"][kind].keys() == {"cpu", "memory"}, name


def test_two_of_each_server_run_unless_the_autoscaler_says_how_many(rendered: Manifests, environment: str) -> None:
    replicas = {name: rendered.one("Deployment", name)["spec"].get("replicas") for name in SERVERS}
    scaled = None if environment != "development" else 2
    assert replicas == dict.fromkeys(SERVERS, scaled)
    bounds = {
        hpa["spec"]["scaleTargetRef"]["name"]: (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"])
        for hpa in rendered.all("HorizontalPodAutoscaler")
    }
    most = {"websocket-service": (2, 10), "user-frontend": (2, 4), "admin-frontend": (2, 4)}
    assert bounds == ({} if environment == "development" else most)


@pytest.mark.parametrize("name", ["user-frontend", "admin-frontend"])
def test_the_pods_of_pages_are_scaled_by_cpu_and_go_soon_as_they_hold_nobody(name: str) -> None:
    spec = manifests("production").one("HorizontalPodAutoscaler", f"{name}-hpa")["spec"]
    assert spec["metrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
    ]
    up, down = spec["behavior"]["scaleUp"], spec["behavior"]["scaleDown"]
    assert (up["stabilizationWindowSeconds"], up["policies"]) == (
        0,
        [{"type": "Percent", "value": 100, "periodSeconds": 15}],
    )
    assert (down["stabilizationWindowSeconds"], down["policies"]) == (
        300,
        [{"type": "Pods", "value": 1, "periodSeconds": 60}],
    )


def test_postgresql_in_the_cluster_takes_all_pods_of_the_autoscalers_and_those_of_a_rollout() -> None:
    rendered = manifests("staging")
    most = [hpa["spec"]["maxReplicas"] for hpa in rendered.all("HorizontalPodAutoscaler")]
    pods = sum(count + -(-count // 4) for count in most)  # a rollout adds a quarter of each
    (setting,) = (arg for arg in rendered.container("postgres")["args"] if arg.startswith("max_connections="))
    reserved, commands = 3, 4 + 4  # for superusers; messaging_prune and one by hand: docs/operations.md
    assert pods * 6 + commands + reserved <= int(setting.partition("=")[2])


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_the_autoscaler_scales_up_at_once_and_down_slowly(environment: str) -> None:
    hpa = manifests(environment).one("HorizontalPodAutoscaler", "websocket-service-hpa")
    assert hpa["apiVersion"] == "autoscaling/v2"
    spec: dict[str, Any] = hpa["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "websocket-service"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)
    metrics = {metric["resource"]["name"]: metric["resource"]["target"] for metric in spec["metrics"]}
    assert metrics == {
        "cpu": {"type": "Utilization", "averageUtilization": 70},
        "memory": {"type": "Utilization", "averageUtilization": 80},
    }
    up, down = spec["behavior"]["scaleUp"], spec["behavior"]["scaleDown"]
    assert up["stabilizationWindowSeconds"] == 0
    # Within a minute, the policies with a period of 15 s have to scale from 2 pods to 10.
    pods = 2
    for _ in range(0, 60, 15):
        pods = max(
            pods * (100 + policy["value"]) // 100 if policy["type"] == "Percent" else pods + policy["value"]
            for policy in up["policies"]
            if policy["periodSeconds"] == 15
        )
    assert pods >= 10
    assert (down["stabilizationWindowSeconds"], down["policies"]) == (
        900,
        [{"type": "Pods", "value": 1, "periodSeconds": 300}],
    )


def test_the_autoscaler_can_count_connections_as_well() -> None:
    hpa = with_component("autoscaling-connections").one("HorizontalPodAutoscaler", "websocket-service-hpa")["spec"]
    *resources, connections = hpa["metrics"]
    assert (
        resources == manifests("production").one("HorizontalPodAutoscaler", "websocket-service-hpa")["spec"]["metrics"]
    )
    target = {"type": "AverageValue", "averageValue": "1000"}
    assert connections == {
        "type": "Pods",
        "pods": {"metric": {"name": CONNECTIONS.name}, "target": target},
    }


def test_the_adapter_makes_the_metric_that_the_autoscaler_asks_for() -> None:
    values = yaml.safe_load((ROOT / "k8s/components/autoscaling-connections/prometheus-adapter.yaml").read_text())
    (rule,) = values["rules"]["custom"]
    series, _, labels = rule["seriesQuery"].partition("{")
    assert series == rule["name"]["as"] == CONNECTIONS.name
    # Only series with both labels belong to a pod; every role of a pod counts.
    assert labels == 'namespace!="",pod!=""}'
    assert rule["resources"]["overrides"] == {name: {"resource": name} for name in ("namespace", "pod")}
    assert rule["metricsQuery"] == "sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)"


def test_the_time_to_end_fits_the_drain(rendered: Manifests) -> None:
    end = seconds("messaging_site/server/server.py", "END_SECONDS")
    for name in SERVERS:
        shutdown = int(rendered.variables(name)["SHUTDOWN_TIMEOUT"])
        pre_stop = rendered.container(name)["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pre_stop >= 5
        assert rendered.pods[name]["spec"]["terminationGracePeriodSeconds"] > pre_stop + shutdown + 2 * end


def test_a_rollout_takes_no_pod_away_before_its_successor_is_ready(rendered: Manifests) -> None:
    for found in rendered.all("Deployment"):
        assert found["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": "25%"}
        assert found["spec"]["minReadySeconds"] == 5


def test_one_pod_of_a_server_at_most_is_away_for_a_nodes_sake(rendered: Manifests) -> None:
    budgets = {found["metadata"]["name"]: found["spec"] for found in rendered.all("PodDisruptionBudget")}
    assert budgets == {
        name: {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
        }
        for name in SERVERS
    }


def test_the_pods_of_a_server_are_spread_over_nodes_and_zones(rendered: Manifests) -> None:
    for name in SERVERS:
        spread = rendered.pods[name]["spec"]["topologySpreadConstraints"]
        assert {(one["topologyKey"], one["whenUnsatisfiable"], one["maxSkew"]) for one in spread} == {
            ("kubernetes.io/hostname", "DoNotSchedule", 1),
            ("topology.kubernetes.io/zone", "ScheduleAnyway", 1),
        }
        for one in spread:
            assert one["labelSelector"]["matchLabels"].items() <= rendered.pods[name]["metadata"]["labels"].items()
            assert one["matchLabelKeys"] == ["app.kubernetes.io/name", "pod-template-hash"]


def test_every_pod_is_restricted(rendered: Manifests) -> None:
    (namespace,) = rendered.all("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in rendered.pods.values():
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["spec"].keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert not any("hostPath" in volume for volume in pod["spec"]["volumes"])
    for _, container in rendered.containers:
        assert container["securityContext"] == RESTRICTED


def test_the_servers_can_write_to_tmp_alone(rendered: Manifests) -> None:
    for name in (*SERVERS, *JOBS):
        mounts = rendered.container(name)["volumeMounts"]
        assert [mount["mountPath"] for mount in mounts if not mount.get("readOnly")] == ["/tmp"]  # noqa: S108


def test_no_pod_may_ask_the_cluster_for_anything(rendered: Manifests) -> None:
    assert not rendered.all("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    (account,) = rendered.all("ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    for pod in rendered.pods.values():
        assert pod["spec"]["serviceAccountName"] == account["metadata"]["name"]
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["enableServiceLinks"] is False


def test_everything_is_in_the_environments_namespace_with_its_labels(rendered: Manifests, environment: str) -> None:
    for found in rendered.objects:
        if found["kind"] not in ("Namespace", "PriorityClass"):
            assert found["metadata"]["namespace"] == f"messaging-{environment}"
    for name, pod in rendered.pods.items():
        labels = pod["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == name
        assert labels["app.kubernetes.io/part-of"] == "user-admin-messaging"
    for found in rendered.all("Deployment", "StatefulSet"):
        selector = found["spec"]["selector"]["matchLabels"]
        assert selector == {"app.kubernetes.io/name": found["metadata"]["name"]}


def test_migrations_are_a_job_that_ends(rendered: Manifests) -> None:
    job = rendered.one("Job", "messaging-migrate")["spec"]
    container = rendered.container("messaging-migrate")
    assert container["args"] == ["python", "manage.py", "messaging_migrate"]
    assert "command" not in container  # it runs the image's own init
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert job["activeDeadlineSeconds"] == 600


def test_production_goes_first_in_a_full_cluster() -> None:
    rendered = manifests("production")
    (priority,) = rendered.all("PriorityClass")
    for name in SERVERS:
        assert rendered.pods[name]["spec"]["priorityClassName"] == priority["metadata"]["name"]


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_no_secret_is_rendered_outside_development(environment: str) -> None:
    rendered = manifests(environment)
    assert rendered.all("Secret") == []
    assert [value for value in SECRETS.values() if value in rendered.text] == []


def test_development_gets_its_secrets_from_a_file_that_git_ignores() -> None:
    assert manifests("development").secret_values == set(SECRETS.values())
    assert not [path for path in (ROOT / "k8s").rglob("*") if "password" in path.name]


def test_external_secrets_fill_what_the_pods_read() -> None:
    rendered = with_component("external-secrets")
    secret = rendered.one("ExternalSecret", "app-secrets")["spec"]
    assert secret["target"]["name"] == "app-secrets"
    (volume,) = (one for one in rendered.pods["websocket-service"]["spec"]["volumes"] if one["name"] == "secrets")
    assert {item["secretKey"] for item in secret["data"]} == {item["key"] for item in volume["secret"]["items"]}


def test_overlays_hold_differences_only() -> None:
    for environment in ENVIRONMENTS:
        lines = (ROOT / "k8s" / "overlays" / environment / "kustomization.yaml").read_text().splitlines()
        assert len(lines) <= 30, environment


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_the_rendered_settings_pass_djangos_deployment_check(environment: str, tmp_path: Path) -> None:
    variables = manifests(environment).environment("websocket-service", tmp_path)
    (tmp_path / "secret-key").write_text(SECRET_KEY)
    manage(variables, "check", "--deploy", "--fail-level", "WARNING")
