"""AWS without a network: ministack runs templates, functions, gateways and tables, and enforces their IAM policies."""

import contextlib
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import boto3
from botocore.config import Config

from tests.support.paths import ROOT
from tests.support.services import HOST, MissingProgram, Service

PYTHON = ROOT / ".venv-ministack/bin/python"  # its dependencies are not ours
SERVER = Path(__file__).with_name("ministack_server.py")
REGION = "eu-central-1"


class Ministack(Service):
    """One AWS account, empty at its start."""

    name = "ministack"

    def __init__(self) -> None:
        super().__init__()
        self.environment |= {
            "BIND_HOST": HOST,  # it listens on every interface otherwise
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_HOST": HOST,
            "MINISTACK_REGION": REGION,
            "AUTH": "true",
            "IOT_MTLS_ENABLED": "0",
            "TMPDIR": str(self.directory),
            "STATE_DIR": str(self.directory / "state"),
            "S3_DATA_DIR": str(self.directory / "s3"),
        } | self.credentials

    def command(self) -> Sequence[str]:
        if not PYTHON.exists():
            raise MissingProgram("The tests need ministack. Install it: `make .venv-ministack/.installed`.")
        return [str(PYTHON), "-P", str(SERVER)]  # without its directory, where this module has the package's name

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
        """The variables that lead a process' boto3 and AWS command line here."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_REGION": REGION, **self.credentials}

    def client(self, service: str) -> "boto3.client":
        """A boto3 client of `service`, for what tests look at."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}),
        )
