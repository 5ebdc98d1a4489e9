"""The commands behind `make aws-package`, `make aws-deploy` and `make aws-destroy`."""

import argparse
import os
import subprocess
import sys

from botocore.exceptions import BotoCoreError, ClientError

from aws import Refused
from aws.packaging import ROOT, package, processor, runtime
from aws.stack import Stack, stages

FAILURES = (Refused, ClientError, BotoCoreError)
SMOKE = "DEPLOYMENT_MODE=local .venv/bin/python manage.py messaging_smoke"


def deploy(stage: str, changes: dict[str, str]) -> None:
    """Package, upload, deploy, migrate and test `stage`. `changes`: values of template parameters, by name.

    The environment variable `SMOKE` is a shell command that tests the deployment instead of `messaging_smoke`, which
    logs in as SMOKE_USERNAME. Raise Refused, ClientError or BotoCoreError if a step fails. If the migration or the test
    fails, the previous release is restored first; a first deployment stays.
    """
    smoke = os.environ.get("SMOKE")
    if not smoke and "SMOKE_USERNAME" not in os.environ:
        raise Refused("Set SMOKE_USERNAME and SMOKE_PASSWORD, or SMOKE=true to skip the test")
    stack = Stack(stage)
    secret = changes.get("SecretName", stack.secret)
    version = stack.secret_version(secret)  # first: without a secret, the other steps would be wasted
    archive = package(stage)
    key = f"{stage}/{archive.name}"
    print(f"Deploying as {stack.name} to {stack.place}")
    print(f"  package  s3://{stack.bucket}/{key}")
    parameters = {
        "Stage": stage,
        "CodeBucket": stack.bucket,
        "CodeKey": key,
        "Runtime": runtime(),
        "Architecture": processor(),
        "GatewayLogsRole": stack.gateway_logs(),
        "StaticBucket": stack.static_bucket,
        "SecretName": secret,
        "SecretVersion": version,
    } | changes
    for name, value in parameters.items():
        print(f"  {name} = {value}")
    stack.upload(archive, key)
    before = stack.release()
    if changes.get("StaticFiles", before.value("StaticFiles") if before else "") == "cloudfront":
        stack.publish(archive)  # before any page names them
    print("Waiting for CloudFormation", flush=True)
    stack.create_or_update(parameters)  # if it fails, CloudFormation itself rolls back
    outputs = stack.outputs()
    for name, value in outputs.items():
        print(f"{name} = {value}", flush=True)
    try:
        stack.manage("messaging_migrate")
        test(smoke or f"{SMOKE} {outputs['SiteUrl']}")
    except FAILURES as error:
        print(error, flush=True)
        if before is not None:
            stack.go_back(before)
        restored = f"Restored: {before}" if before else "There is no earlier release to restore."
        raise Refused(f"The deployment failed. {restored}") from error


def test(command: str) -> None:
    """Run a shell command in the project's root. Raise Refused if it fails."""
    if subprocess.run(command, shell=True, cwd=ROOT).returncode != 0:  # noqa: S602  the command is the operator's own
        raise Refused(f"Failed: {command}")


def destroy(stage: str) -> None:
    """Remove the stack of `stage` and its packages; keep its database and its secret."""
    stack = Stack(stage)
    print(f"Removing {stack.name} from {stack.place}:")
    print(
        f"  its function, APIs, table of connections, logs and alarms, its packages in s3://{stack.bucket}/{stage}/,"
        f" and its static files in s3://{stack.static_bucket}/"
    )
    print(f"  but not its database and the secret {stack.secret}, which this command did not create", flush=True)
    stack.delete()
    print("Done")


def main() -> None:
    """Run the command line. Exit with one message if the command fails."""
    parser = argparse.ArgumentParser(prog="python -m aws", description=__doc__)
    parser.add_argument("command", choices=["package", "deploy", "destroy"])
    parser.add_argument("stage", choices=stages(ROOT / "zappa_settings.json"))
    parser.add_argument(
        "parameters", nargs="*", metavar="Parameter=value", help="for deploy: parameters of aws/template.yaml"
    )
    arguments = parser.parse_args()
    if wrong := [text for text in arguments.parameters if "=" not in text]:
        parser.error(f"{wrong[0]!r} must have the form Parameter=value")
    try:
        match arguments.command:
            case "package":
                package(arguments.stage)
            case "deploy":
                deploy(arguments.stage, dict(text.split("=", 1) for text in arguments.parameters))
            case "destroy":
                destroy(arguments.stage)
    except FAILURES as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
