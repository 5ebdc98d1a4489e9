"""Static files from CloudFront: uploaded before a page names them, allowed on pages of another origin, and kept."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit
from urllib.request import Request

import pytest

from tests.support.aws_deployment import STAGE, AwsDeployment
from tests.support.deployments import opener
from tests.support.ministack import REGION, Ministack
from tests.support.paths import ROOT
from tests.support.services import HOST

pytestmark = pytest.mark.slow

BUCKET = f"messaging-static-{STAGE}-000000000000-{REGION}"
FOR_ANY_ORIGIN = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
    "Strict-Transport-Security": "max-age=31536000",
    "Cache-Control": "max-age=315360000, public, immutable",
}
TYPES = {
    "js": 'text/javascript; charset="utf-8"',
    "css": 'text/css; charset="utf-8"',
    "svg": "image/svg+xml",
}


@pytest.fixture(scope="module")
def static_url(aws_deployment: AwsDeployment) -> Iterator[str]:
    """Deploy with CloudFront for the static files. Yield the URL where they are."""
    with aws_deployment.deployed_with(StaticFiles="cloudfront") as environment:
        yield environment["STATIC_URL"]


def from_cloudfront(ministack: Ministack, url: str) -> tuple[int, dict[str, str], bytes]:
    """Return the status, the headers and the body of the answer of the emulated CloudFront."""
    parts = urlsplit(url)
    headers = {"Host": parts.netloc, "X-Forwarded-Proto": "https", "Origin": "https://chat.example.org"}
    request = Request(f"http://{HOST}:{ministack.port}{parts.path}", headers=headers)
    with opener().open(request, timeout=30) as answer:
        return answer.status, dict(answer.headers), answer.read()


def test_a_page_loads_its_files_from_cloudfront_and_its_policy_allows_no_other_place(
    static_url: str, aws_deployment: AwsDeployment, ministack: Ministack
) -> None:
    assert re.fullmatch(r"https://d[a-z0-9]+\.cloudfront\.net/static/", static_url)
    assert aws_deployment.outputs["StaticUrl"] == static_url
    page = aws_deployment.session("operator").request("/user/").decode()
    files = re.findall(r'<(?:script|link)[^>]* (?:src|href)="([^"]+)"', page)
    assert files
    assert [file for file in files if not file.startswith(static_url)] == []
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in aws_deployment.headers("/user/")["Content-Security-Policy"].split(";")
    )
    assert [policy[name] for name in ("script-src", "style-src", "img-src")] == [
        f"'self' {static_url}",
        f"'self' {static_url}",
        f"'self' {static_url} data:",
    ]
    for file in files:
        status, headers, content = from_cloudfront(ministack, file)
        assert (status, content != b"") == (200, True)
        assert {name: headers.get(name) for name in FOR_ANY_ORIGIN} == FOR_ANY_ORIGIN
        assert headers["Content-Type"] == TYPES[file.rpartition(".")[2]]
        # Pages that were open before load the same files from the function.
        assert aws_deployment.headers(urlsplit(file).path)["Content-Type"] == headers["Content-Type"]


def test_only_cloudfront_may_read_the_bucket(static_url: str, ministack: Ministack) -> None:
    s3 = ministack.client("s3")
    assert set(s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"].values()) == {True}
    distributions = ministack.client("cloudfront").list_distributions()["DistributionList"]["Items"]
    ((own, arn),) = [(found["DomainName"], found["ARN"]) for found in distributions]
    assert own == urlsplit(static_url).netloc
    assert f'"AWS:SourceArn": "{arn}"' in s3.get_bucket_policy(Bucket=BUCKET)["Policy"]


def test_files_are_there_before_the_stack_changes_and_stay_when_versions_come_and_go(
    aws_deployment: AwsDeployment, static_url: str, ministack: Ministack
) -> None:
    s3 = ministack.client("s3")
    earlier = "static/messaging/user.0123456789ab.js"
    s3.put_object(Bucket=BUCKET, Key=earlier, Body=b"of the version before")
    listed = [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    lost = next(key for key in listed if key.startswith("static/messaging/") and key != earlier)
    s3.delete_object(Bucket=BUCKET, Key=lost)
    with pytest.raises(AssertionError, match="MemorySize"):
        aws_deployment.deploy(ROOT, "MemorySize=1")  # CloudFormation refuses this before it changes anything
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == listed
    assert from_cloudfront(ministack, static_url.removesuffix("static/") + earlier)[2] == b"of the version before"
