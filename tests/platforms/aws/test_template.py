"""The content of aws/template.yaml: rights as narrow as possible, and a table and routes as the code needs them."""

import json
import subprocess
from typing import Any

import pytest

from messaging.backends.dynamodb.client import EXPIRY, PARTITION, SORT
from tests.support.aws_template import load
from tests.support.kustomize import tool
from tests.support.paths import ROOT

RESOURCES: dict[str, Any] = load()["Resources"]
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


def test_the_heartbeat_can_be_shorter_while_a_site_moves() -> None:
    parameter = load()["Parameters"]["HeartbeatMs"]
    assert (parameter["Default"], parameter["MinValue"], parameter["MaxValue"]) == (240_000, 1_000, 240_000)
    environment = RESOURCES["Function"]["Properties"]["Environment"]["Variables"]
    assert environment["HEARTBEAT_MS"] == {"Ref": "HeartbeatMs"}


def test_secrets_are_read_by_cloudformation_alone() -> None:
    environment = RESOURCES["Function"]["Properties"]["Environment"]["Variables"]
    for name in ("SECRET_KEY", "DATABASE_URL"):
        assert environment[name]["Fn::Sub"].startswith("{{resolve:secretsmanager:${SecretName}:")
    condition, fallbacks, otherwise = environment["SECRET_KEY_FALLBACKS"]["Fn::If"]
    assert (condition, otherwise) == ("HasSecretKeyFallbacks", {"Ref": "AWS::NoValue"})
    assert fallbacks["Fn::Sub"] == environment["SECRET_KEY"]["Fn::Sub"].replace("SECRET_KEY", "SECRET_KEY_FALLBACKS")
