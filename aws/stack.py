"""The CloudFormation stack of one stage: the calls that create, update, restore and delete it."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError, WaiterError
from whitenoise.media_types import MediaTypes

from aws import Refused

TEMPLATE = Path(__file__).with_name("template.yaml")
PROJECT = "messaging"  # as in zappa_settings.json: `zappa manage STAGE` looks for the function PROJECT-STAGE
FORM = '{"SECRET_KEY": "…", "DATABASE_URL": "postgres://user:password@host:5432/name?sslmode=verify-full"}'
NO_UPDATE = "No updates are to be performed"
COLLECTED = "var/static/"  # the static files in a package
NOT_FOR_BROWSERS = (".gz", "staticfiles.json")  # CloudFront compresses by itself
FOR_EVER = "max-age=315360000, public, immutable"  # as the function says: a name contains the hash of its content


@dataclass(frozen=True, slots=True)
class Release:
    """The template and the parameters of a stack. The package stays in the bucket until the stage is removed."""

    template: str
    parameters: list[dict[str, str]]  # as describe_stacks returns them

    def __str__(self) -> str:
        return self.value("CodeKey")

    def value(self, name: str) -> str:
        """Return the value of the parameter `name`; empty if the template has no such parameter."""
        return next((each["ParameterValue"] for each in self.parameters if each["ParameterKey"] == name), "")


class Stack:
    """The stack of `stage` in the account and Region of the AWS credentials, or at `AWS_ENDPOINT_URL` if that is set.

    `template`: CloudFormation text; the default is template.yaml. Methods block. They raise Refused or an exception of
    botocore.
    """

    def __init__(self, stage: str, template: str | None = None) -> None:
        self.stage = stage
        self.name = f"{PROJECT}-{stage}"
        self.secret = f"{PROJECT}/{stage}"
        self._template = template or TEMPLATE.read_text()
        self._session = boto3.Session()
        if self._session.region_name is None:
            raise Refused("No AWS Region is set. Set AWS_REGION and AWS_DEFAULT_REGION, or a region in ~/.aws/config")
        self._cloudformation = self._session.client("cloudformation")
        self._s3 = self._session.client("s3")
        account = self._session.client("sts").get_caller_identity()["Account"]
        self.bucket = f"{PROJECT}-code-{account}-{self._session.region_name}"
        self.static_bucket = f"{PROJECT}-static-{stage}-{account}-{self._session.region_name}"

    @property
    def place(self) -> str:
        """The account, Region and endpoint of the stack, to be printed."""
        endpoint = self._cloudformation.meta.endpoint_url
        return f"account {self.bucket.split('-')[2]}, Region {self._session.region_name} ({endpoint})"

    def upload(self, package: Path, key: str) -> None:
        """Upload the package to this account's bucket for packages. Create the bucket if it is missing."""
        self._need_bucket(self.bucket)
        self._s3.upload_file(str(package), self.bucket, key)

    def publish(self, package: Path) -> None:
        """Upload the static files of `package` to this stage's bucket for them. Create the bucket if it is missing.

        Files stay until the stage is removed: pages of an earlier version may be open for days, and may come back.
        """
        self._need_bucket(self.static_bucket)
        there = set(self._keys(self.static_bucket))
        with zipfile.ZipFile(package) as archive:
            for name in archive.namelist():
                key = f"static/{name.removeprefix(COLLECTED)}"
                if name.startswith(COLLECTED) and not name.endswith(("/", *NOT_FOR_BROWSERS)) and key not in there:
                    headers = {"ContentType": _media_type(name), "CacheControl": FOR_EVER}
                    self._s3.put_object(Bucket=self.static_bucket, Key=key, Body=archive.read(name), **headers)

    def create_or_update(self, parameters: Mapping[str, str]) -> None:
        """Create or update the stack, and wait for it. Parameters missing in `parameters` keep their present values."""
        known = self._parameters()
        if unknown := parameters.keys() - known:
            raise Refused(
                f"{TEMPLATE.name} has no parameter {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}"
            )
        before = self._describe()
        kept = {parameter["ParameterKey"] for parameter in before.get("Parameters", ())} & known
        self._make(
            self._template,
            [
                *({"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()),
                *({"ParameterKey": name, "UsePreviousValue": True} for name in sorted(kept - parameters.keys())),
            ],
            exists=bool(before),
        )

    def release(self) -> Release | None:
        """Return the deployed release, or None if there is no stack."""
        stack = self._describe()
        if not stack:
            return None
        template = self._cloudformation.get_template(StackName=self.name)["TemplateBody"]
        # boto3 returns a JSON template parsed, as a dict.
        return Release(template if isinstance(template, str) else json.dumps(template), stack["Parameters"])

    def go_back(self, release: Release) -> None:
        """Restore the template and the parameters of `release`, and wait for the stack."""
        self._make(release.template, release.parameters, exists=True)

    def manage(self, command: str) -> None:
        """Run a management command in the function; its output goes to CloudWatch Logs. Raise Refused if it fails."""
        answer = self._session.client("lambda").invoke(
            FunctionName=self.name, Payload=json.dumps({"manage": command}).encode()
        )
        result = json.loads(answer["Payload"].read())
        if "errorMessage" in result:
            raise Refused(f"{command} failed in the function: {result['errorMessage']}")

    def outputs(self) -> dict[str, str]:
        """Return the outputs of the stack, by key; empty if there is no stack."""
        return {output["OutputKey"]: output["OutputValue"] for output in self._describe().get("Outputs", ())}

    def delete(self) -> None:
        """Delete the stack, the packages of this stage and its static files; delete the buckets if they are empty."""
        if self._describe():
            self._cloudformation.delete_stack(StackName=self.name)
            self._wait("stack_delete_complete")
        self._empty(self.bucket, f"{self.stage}/")
        self._empty(self.static_bucket)

    def secret_version(self, name: str) -> str:
        """Return the ID of the secret's current version. The secret's value is not read."""
        try:
            versions = self._session.client("secretsmanager").describe_secret(SecretId=name)["VersionIdsToStages"]
        except ClientError as error:
            raise Refused(
                f"Can't read the secret {name} ({error.response['Error']['Code']}). Create it with the command\n"
                f"  aws secretsmanager create-secret --name {name} --secret-string file://secret.json\n"
                f"from a file that contains\n  {FORM}\nand then delete the file."
            ) from error
        return next(str(version) for version, stages in versions.items() if "AWSCURRENT" in stages)

    def gateway_logs(self) -> str:
        """Return the value of the template parameter GatewayLogsRole.

        It is "exists" if API Gateway already has a role to write logs with in this whole Region, else "create".
        """
        return "exists" if self._session.client("apigateway").get_account().get("cloudwatchRoleArn") else "create"

    def _make(self, template: str, parameters: list[dict[str, Any]], *, exists: bool) -> None:
        arguments = {
            "StackName": self.name,
            "TemplateBody": template,
            "Capabilities": ["CAPABILITY_IAM"],
            "Parameters": parameters,
        }
        try:
            if exists:
                self._cloudformation.update_stack(**arguments)
            else:
                self._cloudformation.create_stack(**arguments, OnFailure="DELETE")
        except ClientError as error:
            if NO_UPDATE in str(error):
                return
            raise Refused(f"CloudFormation: {error}") from error
        self._wait("stack_update_complete" if exists else "stack_create_complete")

    def _describe(self) -> dict[str, Any]:
        try:
            stack: dict[str, Any] = self._cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in str(error):
                return {}
            raise Refused(f"CloudFormation: {error}") from error
        return stack

    def _parameters(self) -> set[str]:
        found = self._cloudformation.validate_template(TemplateBody=self._template)["Parameters"]
        return {parameter["ParameterKey"] for parameter in found}

    def _has_bucket(self, name: str) -> bool:
        return any(bucket["Name"] == name for bucket in self._s3.list_buckets()["Buckets"])

    def _need_bucket(self, name: str) -> None:
        """Create a bucket, not public, if it is missing."""
        if self._has_bucket(name):
            return
        where = {"LocationConstraint": self._session.region_name}
        options = {} if self._session.region_name == "us-east-1" else {"CreateBucketConfiguration": where}
        self._s3.create_bucket(Bucket=name, **options)
        closed = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        self._s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=dict.fromkeys(closed, True))

    def _keys(self, bucket: str) -> list[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def _empty(self, bucket: str, prefix: str = "") -> None:
        """Delete the objects of `bucket` that begin with `prefix`, and the bucket if none is left. It may not exist."""
        if not self._has_bucket(bucket):
            return
        keys = self._keys(bucket)
        own = [key for key in keys if key.startswith(prefix)]
        for key in own:
            self._s3.delete_object(Bucket=bucket, Key=key)
        if len(own) == len(keys):
            self._s3.delete_bucket(Bucket=bucket)

    def _wait(self, waiter: str) -> None:
        try:
            self._cloudformation.get_waiter(waiter).wait(
                StackName=self.name, WaiterConfig={"Delay": self._delay(), "MaxAttempts": 360}
            )
        except WaiterError as error:
            reasons = "\n".join(f"  {reason}" for reason in self._failures())
            raise Refused(f"{self.name}: {error}\n{reasons}") from error

    def _delay(self) -> int:
        """Return the seconds between two polls; fewer for an emulator on this machine, which is done at once."""
        return 1 if "127.0.0.1" in self._cloudformation.meta.endpoint_url else 5

    def _failures(self) -> Iterator[str]:
        try:
            events = self._cloudformation.describe_stack_events(StackName=self.name)["StackEvents"]
        except ClientError as error:
            yield str(error)
            return
        for event in reversed(events):
            if event["ResourceStatus"].endswith("_FAILED"):
                yield f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"


def _media_type(name: str) -> str:
    """Return the media type of a file, as the function's own server names it."""
    found: str = MediaTypes().get_type(name)
    return f'{found}; charset="utf-8"' if found.startswith("text/") else found


def stages(settings: Path) -> list[str]:
    """Return the names of the stages in `settings`, the path of zappa_settings.json."""
    return [name for name in json.loads(settings.read_text()) if name != "base"]
