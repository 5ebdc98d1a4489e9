"""The product on AWS: the real package, deployed by the real template on ministack, and a PostgreSQL with TLS."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg

from tests.support.aws_template import Template, load, written
from tests.support.chaos_proxy import ChaosProxy
from tests.support.deployments import FOR_TESTS, SECRET_KEY, Deployment, create_staff, output
from tests.support.http_api_host import Front
from tests.support.ministack import Ministack
from tests.support.paths import ROOT
from tests.support.services import HOST, INHERITED, MissingProgram, Postgres, certify
from tests.support.waiting import eventually

PROGRAMS = ROOT / ".venv-aws/bin"  # of the function's packages and Zappa; its Python is that of the function's runtime
STAGE = "production"
PREFIX = "function: "  # of the lines that tests/support/ministack_server.py prints for the function
NAME = f"messaging-{STAGE}"


class PostgresWithTLS(Postgres):
    """PostgreSQL reached like AWS's managed databases: encrypted, with a certificate that no client here can verify."""

    name = "PostgreSQL with TLS"

    def command(self) -> Sequence[str]:
        files = {"ssl_cert_file": self.directory / "certificate", "ssl_key_file": self.directory / "key"}
        return [*super().command(), "--ssl=on", *(f"--{name}={path}" for name, path in files.items())]

    def start(self) -> None:
        certify(self.directory, self.user)
        super().start()

    def url(self, database: str) -> str:
        return f"{super().url(database)}?sslmode=require"


class ProxyToGateway(ChaosProxy):
    """A proxy that plays the network in front of a WebSocket API."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.port is not None
        super().__init__([(HOST, parts.port)])
        self._path = parts.path

    @property
    def websocket_url(self) -> str:
        return f"ws://{HOST}:{self.port}{self._path}"


class Function:
    """The function behind its two APIs, with the interface of a server."""

    def __init__(self, ministack: Ministack, environment: Mapping[str, str], origin: str) -> None:
        self._ministack = ministack
        self.environment = dict(environment)
        self.origin = origin
        self.websocket_url = environment["WEBSOCKET_PUBLIC_URL"]

    @property
    def log(self) -> str:
        """Everything that the function has printed."""
        lines = self._ministack.log.splitlines()
        return "\n".join(line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX))


class AwsDeployment(Deployment[Function]):
    """The stack, with its function configured for tests."""

    gateway = True

    def __init__(self, ministack: Ministack, postgres: Postgres, database: str) -> None:
        self._ministack = ministack
        self.postgres = postgres
        self._tools = {key: os.environ[key] for key in INHERITED if key in os.environ}
        self._tools |= dict(ministack.environment_for_clients) | {"VIRTUAL_ENV": str(PROGRAMS.parent)}
        self._database = database

    def deploy(self, directory: Path = ROOT, *parameters: str, **smoke: str) -> str:
        """Run `make aws-deploy` with the sources in `directory` and with PARAMETERS. Return its output."""
        command = ("python", "-m", "aws", "deploy", STAGE, *parameters)
        return self.tool(*command, directory=directory, **{"SMOKE": "true"} | smoke)

    @contextlib.contextmanager
    def deployed_with(self, **parameters: str) -> Iterator[dict[str, str]]:
        """Deploy with other values of `parameters` for the time of the body. Yield the variables of the function.

        They are those of the template, with the addresses that the function has here.
        """
        environment, before = self.environment, self._parameters()
        self.deploy(ROOT, *(f"{name}={value}" for name, value in parameters.items()))
        self.configure(**self._addresses)
        try:
            yield self.environment
        finally:
            self.deploy(ROOT, *(f"{name}={before[name]}" for name in parameters))
            self.set_environment(environment)
            self._start_process()

    def _parameters(self) -> dict[str, str]:
        stack = self._ministack.client("cloudformation").describe_stacks(StackName=NAME)["Stacks"][0]
        return {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}

    def destroy(self) -> str:
        """Run `make aws-destroy`. Return its output."""
        return self.tool("python", "-m", "aws", "destroy", STAGE)

    def manage(self, command: str) -> str:
        """Run a management command in the function. Return its output."""
        return self.tool("zappa", "manage", STAGE, command)

    @contextlib.contextmanager
    def nights_in_a_row(self) -> Iterator[None]:
        """Run EventBridge's nightly rules every minute during the body, which is as often as rules can run."""
        events = self._ministack.client("events")
        schedules = {rule["Name"]: rule["ScheduleExpression"] for rule in events.list_rules()["Rules"]}
        for name in schedules:
            events.put_rule(Name=name, ScheduleExpression="rate(1 minute)")
        try:
            yield
        finally:
            for name, schedule in schedules.items():
                events.put_rule(Name=name, ScheduleExpression=schedule)

    def tool(self, program: str, *arguments: str, directory: Path = ROOT, **environment: str) -> str:
        """Return the output of a program of the packaging environment.

        Raise AssertionError with the output if the program fails, MissingProgram if it is not installed.
        """
        if not (PROGRAMS / program).exists():
            raise MissingProgram("The tests need Zappa. Install it: `make .venv-aws/.installed`.")
        return output([str(PROGRAMS / program), *arguments], self._tools | environment, directory)

    def change_template(self, change: Callable[[Template], None]) -> None:
        """Update the stack to the template with `change`, and change nothing else."""
        environment = self.environment
        cloudformation = self._ministack.client("cloudformation")
        template = load()
        change(template)
        kept = [{"ParameterKey": name, "UsePreviousValue": True} for name in template["Parameters"]]
        arguments = {"Parameters": kept, "Capabilities": ["CAPABILITY_IAM"]}
        cloudformation.update_stack(StackName=NAME, TemplateBody=written(template), **arguments)
        waiting = {"Delay": 1, "MaxAttempts": 60}
        cloudformation.get_waiter("stack_update_complete").wait(StackName=NAME, WaiterConfig=waiting)
        assert self.environment == environment
        self._start_process()

    def forget_conversations(self) -> None:
        """Delete the conversations and messages of earlier tests."""
        with psycopg.connect(self.database) as session:
            session.execute("DELETE FROM messaging_message")
            session.execute("DELETE FROM messaging_conversation")

    @contextlib.contextmanager
    def with_limits(self, **limits: str) -> Iterator[None]:
        """Set `limits` during the body, and the product's own where tests set others. Nothing of them is spent."""
        environment = self.environment
        self.forget_limits()
        own = {name: environment[name] for name in environment.keys() - FOR_TESTS.keys()}
        self.set_environment(own | limits)
        self.invoke({"manage": "check"})  # a process with the new environment has started
        try:
            yield
        finally:
            self.set_environment(environment)
            self.configure(**FOR_TESTS)

    def forget_limits(self) -> None:
        """Delete what earlier tests have spent of their limits."""
        table = {"TableName": f"{NAME}-connections"}
        client = self._ministack.client("dynamodb")
        for item in client.scan(**table)["Items"]:
            if item["group"]["S"].startswith("limit:"):
                client.delete_item(**table, Key={name: item[name] for name in ("group", "connection_id")})

    async def forgets_the_past(self) -> None:
        await eventually(lambda: not self.rows("admins"), "no admin is connected")  # a gateway may report it late

    def rows(self, group: str) -> dict[str, Any]:
        """Return the table's rows of the connections in `group`, by connection ID."""
        answer = self._ministack.client("dynamodb").query(
            TableName=f"{NAME}-connections",
            KeyConditionExpression="#group = :group",
            ExpressionAttributeNames={"#group": "group"},
            ExpressionAttributeValues={":group": {"S": group}},
        )
        return {item["connection_id"]["S"]: item for item in answer["Items"]}

    def add_row(self, row: Mapping[str, Any]) -> None:
        self._ministack.client("dynamodb").put_item(TableName=f"{NAME}-connections", Item=row)

    def database_connections(self) -> dict[int, set[int]]:
        """Return the local ports of the function's connections to PostgreSQL, by process ID."""
        found: dict[int, set[int]] = {}
        for process in self._ministack.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                ends = [(end.laddr.port, end.raddr) for end in process.net_connections("tcp") if end.raddr]
                found[process.pid] = {port for port, remote in ends if remote.port == self.postgres.port}
        return found

    def process_at(self, port: int) -> psutil.Process:
        """Return the process of the function that has a connection to PostgreSQL with the local port `port`."""
        return next(psutil.Process(pid) for pid, ports in self.database_connections().items() if port in ports)

    def leftovers(self) -> list[str]:
        """Return the names of the resources on the emulator that carry the project's name."""
        clients = {service: self._ministack.client(service) for service in ("lambda", "dynamodb", "logs", "s3", "iam")}
        names = [found["FunctionName"] for found in clients["lambda"].list_functions()["Functions"]]
        names += clients["dynamodb"].list_tables()["TableNames"]
        names += [found["logGroupName"] for found in clients["logs"].describe_log_groups()["logGroups"]]
        names += [found["Name"] for found in self._ministack.client("apigatewayv2").get_apis()["Items"]]
        names += [found["Name"] for found in clients["s3"].list_buckets()["Buckets"]]
        names += [found["RoleName"] for found in clients["iam"].list_roles()["Roles"]]
        names += [found["Name"] for found in self._ministack.client("events").list_rules()["Rules"]]
        alarms = self._ministack.client("cloudwatch").describe_alarms()["MetricAlarms"]
        names += [found["AlarmName"] for found in alarms]
        return sorted(name for name in names if "messaging-" in name)

    @property
    def outputs(self) -> dict[str, str]:
        stack = self._ministack.client("cloudformation").describe_stacks(StackName=NAME)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def open(self, front: Front) -> None:
        """Configure the function with the addresses that it has here, instead of those that DNS would resolve."""
        outputs = self.outputs
        front.leads_to(f"/_aws/execute-api/{outputs['HttpApiId']}/$default")
        gateway = f"{HOST}:{self._ministack.port}/_aws/execute-api/{outputs['WebSocketApiId']}/ws"
        self._addresses = {
            "ALLOWED_HOSTS": HOST,
            "CSRF_TRUSTED_ORIGINS": front.origin,
            "HTTPS_ONLY": "false",
            "WEBSOCKET_API_ENDPOINT": f"http://{gateway}",
            "WEBSOCKET_PUBLIC_URL": f"ws://{gateway}",
        }
        self.configure(**self._addresses, **FOR_TESTS)
        environment = {"DEPLOYMENT_MODE": "aws", **self._tools, **self.environment}
        super().__init__([Function(self._ministack, environment, front.origin)], self._database)

    def configure(self, **environment: str) -> None:
        """Set environment variables of the function, and wait for a new process of it."""
        self.set_environment(self.environment | environment)
        self._start_process()

    @contextlib.contextmanager
    def configured(self, **environment: str) -> Iterator[None]:
        """Configure the function for the time of the body."""
        before = self.environment
        self.configure(**environment)
        try:
            yield
        finally:
            self.set_environment(before)
            self._start_process()

    def set_environment(self, environment: Mapping[str, str]) -> None:
        self._ministack.client("lambda").update_function_configuration(
            FunctionName=NAME, Environment={"Variables": dict(environment)}
        )

    def invoke(self, event: Mapping[str, str]) -> dict[str, Any]:
        """Return the function's result; it has an `errorMessage` if the function raised an error."""
        answer = self._ministack.client("lambda").invoke(FunctionName=NAME, Payload=json.dumps(event).encode())
        result: dict[str, Any] = json.loads(answer["Payload"].read())
        return result

    def _start_process(self) -> None:
        assert self.invoke({"manage": "check"}) == {}

    @property
    def environment(self) -> dict[str, str]:
        function = self._ministack.client("lambda").get_function_configuration(FunctionName=NAME)
        variables: dict[str, str] = function["Environment"]["Variables"]
        return variables

    @property
    def websocket_urls(self) -> list[str]:
        return super().websocket_urls * 2  # tests want two servers: here each event may be served by another process

    @property
    def websocket_sources(self) -> str:
        parts = urlsplit(self.servers[0].websocket_url)
        return f" {parts.scheme}://{parts.netloc}"


@contextlib.contextmanager
def deployed(ministack: Ministack, postgres: Postgres) -> Iterator[AwsDeployment]:
    """Deploy the stack as docs/aws.md says, and destroy it after the body."""
    database = postgres.create_database("aws")
    secret = f'{{"SECRET_KEY": "{SECRET_KEY}", "DATABASE_URL": "{database}"}}'
    ministack.client("secretsmanager").create_secret(Name=f"messaging/{STAGE}", SecretString=secret)
    deployment = AwsDeployment(ministack, postgres, database)
    deployment.deploy()
    with Front(ministack.port) as front:
        deployment.open(front)
        create_staff(deployment.servers[0].environment)
        yield deployment
        assert "Done" in deployment.destroy()
        # The role that lets API Gateway write logs belongs to the whole Region, and stays.
        assert [name for name in deployment.leftovers() if "GatewayRole" not in name] == []
