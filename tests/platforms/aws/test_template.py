"""The content of aws/template.yaml: rights as narrow as possible, and a table and routes as the code needs them."""

import json
import re
import subprocess
from typing import Any

import pytest

from messaging.backends.dynamodb.client import EXPIRY, PARTITION, SORT
from tests.support.aws_template import load
from tests.support.configurations import DJANGO
from tests.support.kustomize import tool
from tests.support.paths import ROOT

RESOURCES: dict[str, Any] = load()["Resources"]
PARAMETERS: dict[str, Any] = load()["Parameters"]
CONDITIONS: dict[str, Any] = load()["Conditions"]
VARIABLES: dict[str, Any] = RESOURCES["Function"]["Properties"]["Environment"]["Variables"]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
AWS = (ROOT / "docs" / "aws.md").read_text()
ACTIONS = {
    "Logs": {"logs:CreateLogStream", "logs:PutLogEvents"},
    "Connections": {
        "dynamodb:DeleteItem", "dynamodb:DescribeContinuousBackups",
        "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive", "dynamodb:GetItem", "dynamodb:PutItem",
        "dynamodb:Query", "dynamodb:UpdateItem",
    },
    "WebSockets": {"execute-api:ManageConnections"},
}  # fmt: skip


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_the_function_may_do_nothing_else() -> None:
    (policy,) = RESOURCES["Role"]["Properties"]["Policies"]
    statements = policy["PolicyDocument"]["Statement"]
    assert {found["Sid"]: set(listed(found["Action"])) for found in statements} == ACTIONS
    assert "ManagedPolicyArns" not in RESOURCES["Role"]["Properties"]


def test_each_right_is_to_one_thing_of_this_stack() -> None:
    (policy,) = RESOURCES["Role"]["Properties"]["Policies"]
    for statement in policy["PolicyDocument"]["Statement"]:
        for resource in listed(statement["Resource"]):
            match resource:
                case {"Fn::GetAtt": [name, "Arn"]}:
                    assert name in RESOURCES
                case {"Fn::Sub": text}:
                    # Only the last part is a wildcard: a stream of the log group, or a connection of the API.
                    assert text.count("*") == 1
                    assert text.endswith("*")
                    assert "${Project}-${Stage}" in text or "${WebSocketApi}/ws/" in text
                case _:
                    raise AssertionError(resource)


@pytest.mark.slow
def test_checkov_finds_nothing_but_what_is_answered_with_a_reason() -> None:
    command = [tool("checkov"), "--file", "aws/template.yaml", "--framework", "cloudformation", "--skip-download"]
    judged = subprocess.run([*command, "--compact", "--quiet"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    metadata = [found["Metadata"] for found in RESOURCES.values() if "Metadata" in found]
    answered = [found["checkov"]["skip"] for found in metadata if "checkov" in found]
    assert answered
    assert [skip["id"] for skips in answered for skip in skips if len(skip.get("comment", "")) < 20] == []


def test_the_table_is_the_one_that_the_store_expects() -> None:
    table = RESOURCES["ConnectionsTable"]["Properties"]
    assert table["KeySchema"] == [
        {"AttributeName": PARTITION, "KeyType": "HASH"},
        {"AttributeName": SORT, "KeyType": "RANGE"},
    ]
    assert table["TimeToLiveSpecification"] == {"AttributeName": EXPIRY, "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}


def test_every_event_of_a_websocket_reaches_the_function() -> None:
    routes = [found["Properties"] for found in RESOURCES.values() if found["Type"] == "AWS::ApiGatewayV2::Route"]
    websocket = [route["RouteKey"] for route in routes if route["ApiId"] == {"Ref": "WebSocketApi"}]
    assert sorted(websocket) == ["$connect", "$default", "$disconnect"]


def test_retention_happens_every_night_and_its_rule_alone_may_invoke_the_function() -> None:
    rules = {name: found["Properties"] for name, found in RESOURCES.items() if found["Type"] == "AWS::Events::Rule"}
    rule = rules.pop("PruneRule")
    assert rules == {}
    assert rule["ScheduleExpression"] == "cron(17 3 * * ? *)"
    (target,) = rule["Targets"]
    assert target["Arn"] == {"Fn::GetAtt": ["Function", "Arn"]}
    assert json.loads(target["Input"]) == {"manage": "messaging_prune"}
    permissions = [found["Properties"] for found in RESOURCES.values() if found["Type"] == "AWS::Lambda::Permission"]
    assert [found for found in permissions if found["Principal"] != "apigateway.amazonaws.com"] == [
        {
            "Action": "lambda:InvokeFunction",
            "FunctionName": {"Ref": "Function"},
            "Principal": "events.amazonaws.com",
            "SourceArn": {"Fn::GetAtt": ["PruneRule", "Arn"]},
        }
    ]


def test_no_log_keeps_addresses_and_all_end() -> None:
    stages = [found["Properties"] for found in RESOURCES.values() if found["Type"] == "AWS::ApiGatewayV2::Stage"]
    assert len(stages) == 2
    for stage in stages:
        assert "sourceIp" not in stage["AccessLogSettings"]["Format"]
        assert stage["DefaultRouteSettings"].keys() >= {"ThrottlingRateLimit", "ThrottlingBurstLimit"}
    logs = [found["Properties"] for found in RESOURCES.values() if found["Type"] == "AWS::Logs::LogGroup"]
    assert [group["RetentionInDays"] for group in logs] == [{"Ref": "LogRetentionDays"}] * 3


def parameter_of(variable: str) -> str:
    """Return the name of the parameter that sets `variable`."""
    return "".join(part.capitalize() for part in variable.split("_"))


def test_every_variable_has_a_parameter_or_a_reason_to_have_none() -> None:
    documented = set(re.findall(r"^\| `([A-Z_]+)`", CONFIGURATION, re.MULTILINE)) - DJANGO
    cells = re.findall(r"^\| ((?:`[A-Z_]+`(?:, )?)+) \|", AWS, re.MULTILINE)
    reasons = {name for cell in cells for name in re.findall(r"[A-Z_]+", cell)}
    variables = {name: parameter_of(name) for name in sorted(documented - reasons)}
    missing = "".join(
        f'\n  {parameter}: {{Type: String, Default: ""}}'
        f'\n  Has{parameter}: !Not [!Equals [!Ref {parameter}, ""]]'
        f"\n          {name}: !If [Has{parameter}, !Ref {parameter}, !Ref AWS::NoValue]"
        for name, parameter in variables.items()
        if name not in VARIABLES
    )
    assert not missing, f"add to aws/template.yaml, or give a reason in docs/aws.md:{missing}"
    gone = (reasons | VARIABLES.keys()) - documented - {"INSTANTIATE_LAMBDA_HANDLER_ON_IMPORT"}  # which is Zappa's
    assert gone == set(), "docs/configuration.md has no such variables"
    for name, parameter in variables.items():
        assert PARAMETERS[parameter] == {"Type": "String", "Default": ""}
        assert CONDITIONS[f"Has{parameter}"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, ""]}]}
        assert VARIABLES[name] == {"Fn::If": [f"Has{parameter}", {"Ref": parameter}, {"Ref": "AWS::NoValue"}]}


def test_every_parameter_is_documented_with_its_default() -> None:
    section = AWS.partition("## Parameters")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([A-Z][a-z][A-Za-z]*)`", section)) == PARAMETERS.keys()
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| .* \|$", section, re.MULTILINE)
    defaults = {name: PARAMETERS[name].get("Default", "") for name, _ in rows if name in PARAMETERS}
    assert defaults
    assert {name: default for name, default in rows if name in PARAMETERS} == {
        name: "–" if default == "" else f"`{default}`" for name, default in defaults.items()
    }


def test_the_throttles_let_a_hall_in() -> None:
    people, at_once = 1000, 10  # they arrive within so many seconds
    frames = 4  # the connection, `identify`, `history` and a tap
    requests = 4  # of a first visit: the page and its files
    stages = {name: RESOURCES[name]["Properties"]["DefaultRouteSettings"] for name in ("WebSocketStage", "HttpStage")}
    names = {
        name: (found["ThrottlingRateLimit"]["Ref"], found["ThrottlingBurstLimit"]["Ref"])
        for name, found in stages.items()
    }
    assert names == {
        "WebSocketStage": ("ThrottleRate", "ThrottleBurst"),
        "HttpStage": ("PageThrottleRate", "PageThrottleBurst"),
    }
    assert PARAMETERS["ThrottleRate"]["Default"] * at_once >= people * frames
    assert PARAMETERS["PageThrottleRate"]["Default"] * at_once >= people * requests


def test_the_bucket_is_read_by_this_distribution_alone_and_browsers_use_tls_1_2() -> None:
    (allowed,) = RESOURCES["StaticBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert allowed == {
        "Sid": "CloudFront",
        "Effect": "Allow",
        "Principal": {"Service": "cloudfront.amazonaws.com"},
        "Action": "s3:GetObject",
        "Resource": {"Fn::Sub": "arn:${AWS::Partition}:s3:::${StaticBucket}/static/*"},
        "Condition": {
            "StringEquals": {
                "AWS:SourceArn": {
                    "Fn::Sub": "arn:${AWS::Partition}:cloudfront::${AWS::AccountId}:distribution/${StaticDistribution}"
                }
            }
        },
    }
    distribution = RESOURCES["StaticDistribution"]["Properties"]["DistributionConfig"]
    (origin,) = distribution["Origins"]
    assert origin["OriginAccessControlId"] == {"Ref": "StaticAccess"}
    assert distribution["DefaultCacheBehavior"]["ViewerProtocolPolicy"] == "https-only"
    assert "AllowedMethods" not in distribution["DefaultCacheBehavior"], "CloudFront's default is GET and HEAD"
    _, with_domain, _ = distribution["ViewerCertificate"]["Fn::If"]
    assert with_domain["MinimumProtocolVersion"] == "TLSv1.2_2021"


def test_without_cloudfront_nothing_of_it_is_created() -> None:
    static = {name for name, found in RESOURCES.items() if name.startswith("Static")}
    assert static == {name for name, found in RESOURCES.items() if found.get("Condition") == "HasCloudFront"}
    condition, _, otherwise = VARIABLES["STATIC_URL"]["Fn::If"]
    assert (condition, otherwise) == ("HasCloudFront", {"Ref": "AWS::NoValue"})
    # Files can be read before the function names them.
    assert "StaticBucketPolicy" in json.dumps(RESOURCES["Function"])


def test_secrets_are_read_by_cloudformation_alone() -> None:
    for name in ("SECRET_KEY", "DATABASE_URL"):
        assert VARIABLES[name]["Fn::Sub"].startswith("{{resolve:secretsmanager:${SecretName}:")
    condition, fallbacks, otherwise = VARIABLES["SECRET_KEY_FALLBACKS"]["Fn::If"]
    assert (condition, otherwise) == ("HasSecretKeyFallbacks", {"Ref": "AWS::NoValue"})
    assert fallbacks["Fn::Sub"] == VARIABLES["SECRET_KEY"]["Fn::Sub"].replace("SECRET_KEY", "SECRET_KEY_FALLBACKS")
