"""AWS without a network: ministack runs templates, functions, gateways and tables, and enforces their IAM policies."""

import contextlib
import re
import signal
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal
from urllib.request import ProxyHandler, build_opener

import boto3
from botocore.config import Config

from tests.support.paths import ROOT
from tests.support.services import HOST, MissingProgram, Service
from tests.support.waiting import wait_until

PYTHON = ROOT / ".venv-ministack/bin/python"  # its dependencies are not ours
SERVER = Path(__file__).with_name("ministack_server.py")
REGION = "eu-central-1"
Limit = Literal["idle", "life"]
LIMITS: dict[Limit, signal.Signals] = {"idle": signal.SIGUSR1, "life": signal.SIGUSR2}  # for ministack_server.py


class Ministack(Service):
    """One emulated AWS account, empty at its start, in which functions have `processes`.

    A new process occupies one of this machine's few cores for a second.
    """

    name = "ministack"

    def __init__(self, processes: int = 3) -> None:
        super().__init__()
        self.processes = processes
        self._clients: dict[str, Any] = {}
        self.environment |= {
            "BIND_HOST": HOST,  # it listens on every interface otherwise
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_HOST": HOST,
            "MINISTACK_REGION": REGION,
            "AUTH": "true",
            "FUNCTION_PROCESSES": str(processes),
            "IOT_MTLS_ENABLED": "0",
            "TMPDIR": str(self.directory),
            "STATE_DIR": str(self.directory / "state"),
            "S3_DATA_DIR": str(self.directory / "s3"),
        } | self.credentials

    def command(self) -> Sequence[str]:
        if not PYTHON.exists():
            raise MissingProgram("The tests need ministack. Install it: `make .venv-ministack/.installed`.")
        return [str(PYTHON), "-P", str(SERVER)]  # -P: this file must not hide the package ministack

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError, HTTPException):
            return bool(build_opener(ProxyHandler({})).open(f"{self.url}/_ministack/health", timeout=5))
        return False

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def credentials(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}

    @property
    def environment_for_clients(self) -> Mapping[str, str]:
        """The variables that lead boto3 and the AWS command line of a process here."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_REGION": REGION, **self.credentials}

    def client(self, service: str) -> "boto3.client":
        """Return a boto3 client of `service` for a test's own requests. It is made once, as that takes 50 ms."""
        if service not in self._clients:
            self._clients[service] = boto3.client(
                service,
                endpoint_url=self.url,
                region_name=REGION,
                aws_access_key_id="test",
                aws_secret_access_key="test",
                config=Config(retries={"total_max_attempts": 1}),
            )
        return self._clients[service]

    def reach_limit(self, limit: Limit) -> None:
        """Make the gateway end the WebSockets that have reached the limit of silence ("idle") or of age ("life").

        The time of the limit passes at once. Return when the gateway has ended them.
        """
        said = self.log.count(f"by the {limit} limit")
        self.send_signal(LIMITS[limit])
        wait_until(lambda: self.log.count(f"by the {limit} limit") > said, f"the {limit} limit is reached")

    def wait_until_used(self, number: int) -> None:
        """Wait until `number` WebSockets have carried a frame since the idle limit was last reached."""
        wait_until(lambda: self._used() >= number, f"{number} WebSockets are in use", within=60)

    def _used(self) -> int:
        return self.log.rpartition("by the idle limit")[2].count("gateway: a WebSocket is silent no more")

    def ended_by(self, limit: Limit) -> int:
        """Return the number of WebSockets that the gateway has ended by `limit` so far."""
        return sum(map(int, re.findall(rf"gateway: (\d+) WebSockets end by the {limit} limit", self.log)))

    def stop(self) -> None:
        for client in self._clients.values():
            client.close()
        super().stop()
