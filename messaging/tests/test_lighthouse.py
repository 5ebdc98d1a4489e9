"""What Lighthouse says of the visitor's page as it is deployed: everything but speed, which depends on the machine."""

import json
import os
import subprocess
from pathlib import Path

from messaging.tests.browser import ARGUMENTS, chromium
from messaging.tests.deployments import ROOT, Deployment

LIGHTHOUSE = ROOT / "node_modules/.bin/lighthouse"
GATED = ("accessibility", "best-practices", "seo")


def test_lighthouse_finds_nothing_to_improve(kubernetes_deployment: Deployment, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [
        str(LIGHTHOUSE),
        f"{kubernetes_deployment.servers[0].origin}/user/",
        "--quiet",
        "--output=json",
        f"--output-path={report}",
        f"--chrome-flags=--headless=new {' '.join(ARGUMENTS)}",
        f"--only-categories={','.join(GATED)}",  # the others need a trace of Chromium, which sometimes has no beginning
    ]
    subprocess.run(command, check=True, cwd=tmp_path, env=os.environ | {"CHROME_PATH": chromium()}, timeout=110)
    found = json.loads(report.read_text())
    scores = {name: round(category["score"] * 100) for name, category in found["categories"].items()}
    print(scores)  # `make lighthouse` shows it
    failed = [
        audit["title"]
        for name in GATED
        for reference in found["categories"][name]["auditRefs"]
        if (audit := found["audits"][reference["id"]])["score"] not in (None, 1) and reference["weight"]
    ]
    assert failed == []
    assert scores == dict.fromkeys(GATED, 100)
