"""`make aws-deploy` of a release that answers and does not deliver: its own test catches it, and it is undone."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.support.aws_deployment import AwsDeployment
from tests.support.aws_template import load, without, written
from tests.support.deployments import PASSWORD
from tests.support.paths import ROOT


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """This checkout, whose template lacks the right to post to connections."""
    release = tmp_path / "release"
    shutil.copytree(ROOT, release, ignore=shutil.ignore_patterns(".*", "__pycache__", "node_modules", "var"))
    shutil.copytree(ROOT / "var/aws", release / "var/aws")  # the package: it is the same one
    template = load()
    without("WebSockets")(template)
    (release / "aws/template.yaml").write_text(written(template))
    return release


def test_a_release_that_does_not_deliver_is_caught_and_undone(aws_deployment: AwsDeployment, broken: Path) -> None:
    site = aws_deployment.servers[0].origin
    smoke = f"DEPLOYMENT_MODE=local {sys.executable} {ROOT}/manage.py messaging_smoke {site} --timeout"
    account = {"SMOKE_USERNAME": "operator", "SMOKE_PASSWORD": PASSWORD}
    with pytest.raises(AssertionError) as failed:
        aws_deployment.deploy(broken, SMOKE=f"{smoke} 10", **account)
    assert "no identified frame within 10 s" in str(failed.value)
    assert "The deployment failed. Back to: production/production-" in str(failed.value)
    aws_deployment.deploy(ROOT, SMOKE=f"{smoke} 30", **account)


def test_nothing_is_deployed_untested_by_mistake(aws_deployment: AwsDeployment) -> None:
    with pytest.raises(AssertionError, match="Set SMOKE_USERNAME and SMOKE_PASSWORD, or SMOKE=true"):
        aws_deployment.deploy(SMOKE="")
