"""`make aws-deploy` of a release that answers but does not deliver: the smoke test fails and the release is undone."""

import shutil
import sys
from pathlib import Path

import pytest

from aws.packaging import SOURCES
from tests.support.aws_deployment import AwsDeployment
from tests.support.aws_template import load, without, written
from tests.support.deployments import PASSWORD
from tests.support.paths import ROOT


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Return a copy of what this checkout deploys, whose template lacks the right to post to connections."""
    release = tmp_path / "release"
    for name in ("aws", "var/aws", *SOURCES):  # including the package, which does not change
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        (release / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, release / name)
    template = load()
    without("WebSockets")(template)
    (release / "aws/template.yaml").write_text(written(template))
    return release


def test_a_release_that_does_not_deliver_is_caught_and_undone(aws_deployment: AwsDeployment, broken: Path) -> None:
    site = aws_deployment.servers[0].origin
    smoke = f"DEPLOYMENT_MODE=local {sys.executable} {ROOT}/manage.py messaging_smoke {site} --timeout"
    account = {"SMOKE_USERNAME": "operator", "SMOKE_PASSWORD": PASSWORD}
    try:
        with pytest.raises(AssertionError) as failed:
            aws_deployment.deploy(broken, SMOKE=f"{smoke} 10", **account)
    finally:
        aws_deployment.deploy(ROOT, SMOKE=f"{smoke} 30", **account)
    assert "no identified frame within 10 s" in str(failed.value)
    assert "The deployment failed. Restored: production/production-" in str(failed.value)


def test_nothing_is_deployed_untested_by_mistake(aws_deployment: AwsDeployment) -> None:
    with pytest.raises(AssertionError, match="Set SMOKE_USERNAME and SMOKE_PASSWORD, or SMOKE=true"):
        aws_deployment.deploy(SMOKE="")
