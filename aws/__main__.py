"""The commands behind `make aws-package`, `make aws-deploy` and `make aws-destroy`."""

import argparse
import sys

from botocore.exceptions import BotoCoreError, ClientError

from aws import Refused
from aws.packaging import ROOT, package, processor, runtime
from aws.stack import Stack, stages


def deploy(stage: str, changes: dict[str, str]) -> None:
    """Packages, uploads and deploys. `changes`: parameters of the template."""
    stack = Stack(stage)
    secret = changes.get("SecretName", stack.secret)
    version = stack.secret_version(secret)  # first: without it all else is in vain
    archive = package(stage)
    key = f"{stage}/{archive.name}"
    print(f"Deploying it as {stack.name} to {stack.place}")
    print(f"  package  s3://{stack.bucket}/{key}")
    parameters = {
        "Stage": stage,
        "CodeBucket": stack.bucket,
        "CodeKey": key,
        "Runtime": runtime(),
        "Architecture": processor(),
        "GatewayLogsRole": stack.gateway_logs(),
        "SecretName": secret,
        "SecretVersion": version,
    } | changes
    for name, value in parameters.items():
        print(f"  {name} = {value}")
    stack.upload(archive, key)
    print("Waiting for CloudFormation", flush=True)
    stack.create_or_update(parameters)
    for name, value in stack.outputs().items():
        print(f"{name} = {value}")
    print(f'Next: .venv-aws/bin/zappa manage {stage} "messaging_migrate"')


def destroy(stage: str) -> None:
    """Removes what `deploy` made."""
    stack = Stack(stage)
    print(f"Removing {stack.name} from {stack.place}:")
    print(
        f"  its function, APIs, table of connections, logs and alarms, and its packages in s3://{stack.bucket}/{stage}/"
    )
    print(f"  not its database, nor the secret {stack.secret}: those were not made here", flush=True)
    stack.delete()
    print("Done")


def main() -> None:
    """The command line. Ends with one message where something was not done."""
    parser = argparse.ArgumentParser(prog="python -m aws", description=__doc__)
    parser.add_argument("command", choices=["package", "deploy", "destroy"])
    parser.add_argument("stage", choices=stages(ROOT / "zappa_settings.json"))
    parser.add_argument("parameters", nargs="*", metavar="Parameter=value", help="of aws/template.yaml, for deploy")
    arguments = parser.parse_args()
    if wrong := [text for text in arguments.parameters if "=" not in text]:
        parser.error(f"{wrong[0]!r} is no Parameter=value")
    try:
        match arguments.command:
            case "package":
                package(arguments.stage)
            case "deploy":
                deploy(arguments.stage, dict(text.split("=", 1) for text in arguments.parameters))
            case "destroy":
                destroy(arguments.stage)
    except (Refused, ClientError, BotoCoreError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
