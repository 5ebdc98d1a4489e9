"""The report of Lighthouse on the deployed visitor's page: all categories but speed, which depends on the machine."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import ARGUMENTS, chromium
from tests.support.deployments import Deployment
from tests.support.paths import ROOT

LIGHTHOUSE = ROOT / "node_modules/.bin/lighthouse"
GATED = ("accessibility", "best-practices", "seo")
PERFORMANCE = os.environ.get("PERFORMANCE")  # set by `make lighthouse`; no test depends on it
SECONDS = 110


@pytest.mark.browser
@pytest.mark.timeout(2 * SECONDS + 60)
def test_lighthouse_finds_nothing_to_improve(kubernetes_deployment: Deployment, tmp_path: Path) -> None:
    page = f"{kubernetes_deployment.servers[0].origin}/user/"
    found = lighthouse(page, tmp_path / "report.json", *GATED)
    scores = {name: round(category["score"] * 100) for name, category in found["categories"].items()}
    print(scores)  # for `make lighthouse`
    if PERFORMANCE:
        print("performance:", performance(page, tmp_path / "performance.json"))
    failed = [
        audit["title"]
        for name in GATED
        for reference in found["categories"][name]["auditRefs"]
        if (audit := found["audits"][reference["id"]])["score"] not in (None, 1) and reference["weight"]
    ]
    assert failed == []
    assert scores == dict.fromkeys(GATED, 100)


def performance(page: str, report: Path) -> str:
    """Return the score, or why there is none: Chromium's trace, which the score comes from, may lack its beginning."""
    try:
        found = lighthouse(page, report, "performance")
    except subprocess.TimeoutExpired:
        return f"no score: not done in {SECONDS} s"
    except subprocess.CalledProcessError as error:
        said = json.loads(report.read_text()).get("runtimeError", {}) if report.exists() else {}
        return f"no score: {said.get('code') or error}"
    score = found["categories"]["performance"]["score"]
    return "no score: an audit failed" if score is None else f"{score * 100:.0f}"


def lighthouse(page: str, report: Path, *categories: str) -> dict[str, Any]:
    """Return the report of Lighthouse. Raise subprocess.CalledProcessError or TimeoutExpired if there is none."""
    command = [
        str(LIGHTHOUSE),
        page,
        "--quiet",
        "--output=json",
        f"--output-path={report}",
        f"--chrome-flags=--headless=new {' '.join(ARGUMENTS)}",
        f"--only-categories={','.join(categories)}",
    ]
    environment = os.environ | {"CHROME_PATH": chromium()}
    subprocess.run(command, check=True, cwd=report.parent, env=environment, timeout=SECONDS)
    found: dict[str, Any] = json.loads(report.read_text())
    return found
