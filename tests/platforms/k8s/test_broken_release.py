"""`make k8s-deploy` of a release that is ready but does not deliver: the smoke test fails and the release is undone."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.support.cluster import Cluster
from tests.support.containers import BROKEN, IMAGE, build_broken
from tests.support.deployments import PASSWORD, ended
from tests.support.paths import ROOT
from tests.support.services import HOST, INHERITED

WORKLOAD = "websocket-service"
# A kubectl that sends each command to `cluster_api`, which runs the containers.
KUBECTL = """#!/bin/sh
exec python3 - "$@" <<'END'
import sys, urllib.error, urllib.parse, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    with opener.open("@URL@/" + urllib.parse.quote(" ".join(sys.argv[1:]), safe=""), timeout=300) as answer:
        print(answer.read().decode(), end="")
except urllib.error.HTTPError as error:
    sys.exit(error.read().decode())
END
"""

pytestmark = [pytest.mark.usefixtures("image"), pytest.mark.timeout(300)]


@contextmanager
def cluster_api(site: Cluster, asked: list[str]) -> Iterator[str]:
    """Yield the URL of a server that applies `kubectl` commands to one Deployment's containers; add them to `asked`."""
    verbs: dict[str, Callable[[], str]] = {
        "get deployments": lambda: f"{WORKLOAD}=1 ",
        "apply": lambda: roll(site, BROKEN),
        "rollout undo": lambda: roll(site, IMAGE),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            command = unquote(self.path[1:])
            asked.append(command)
            body = "".join(do() for verb, do in verbs.items() if verb in command).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass  # `asked` has the commands

    server = ThreadingHTTPServer((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def roll(site: Cluster, image: str) -> str:
    """Replace every pod by one of `image`, one after another, each when its successor is ready."""
    for _ in site.pods[WORKLOAD]:
        site.replace(image, WORKLOAD)
    return ""


def running(site: Cluster) -> set[str]:
    return {pod.image for pod in site.pods[WORKLOAD]}


def test_a_release_that_does_not_deliver_is_caught_and_undone(containers_deployment: Cluster, tmp_path: Path) -> None:
    site, asked = containers_deployment, list[str]()
    build_broken()
    kubectl = tmp_path / "kubectl"
    environment = {key: os.environ[key] for key in INHERITED if key in os.environ}
    account = {"SMOKE_USERNAME": "operator", "SMOKE_PASSWORD": PASSWORD, "VAR_DIR": str(tmp_path)}
    with cluster_api(site, asked) as url:
        kubectl.write_text(KUBECTL.replace("@URL@", url))
        kubectl.chmod(0o755)
        command = ["make", "k8s-deploy", "ENV=staging", f"KUBECTL={kubectl}", f"URL={site.ingress.origin} --timeout 10"]
        deployed = ended(command, environment | account)
    assert deployed.returncode != 0
    assert "CommandError: no message frame within 10 s" in deployed.stdout
    assert f"The rollout failed. Restored: {WORKLOAD}=1" in deployed.stdout
    undone = "--namespace messaging-staging rollout undo deployment websocket-service --to-revision=1"
    assert [command for command in asked if "undo" in command] == [undone]
    assert running(site) == {IMAGE}
    again = ["manage.py", "messaging_smoke", site.ingress.origin]
    subprocess.run([sys.executable, *again], cwd=ROOT, env=environment | account, check=True)
