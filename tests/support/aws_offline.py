"""A second AWS without a network: serverless-offline ends WebSockets as API Gateway does, and runs functions at once.

ministack does neither. This one knows WebSocket APIs and functions alone: the table stays ministack's.
"""

import contextlib
import json
import re
import socket
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.ministack import PYTHON, REGION, Ministack
from tests.support.paths import ROOT
from tests.support.services import HOST, MissingProgram, Service, free_port

MODULES = ROOT / "aws/offline/node_modules"
NEVER = 24 * 3600
# What it logs when it closes a WebSocket.
CUTS = {"idle": re.compile(r"timeout:idle:\S+:trigger"), "life": re.compile(r"timeout:hard:")}


class ServerlessOffline(Service):
    """A WebSocket API with the function of `package` behind it.

    It closes a WebSocket on which nothing came or went for `idle` seconds, and each one after `life` seconds. API
    Gateway's own limits are 10 minutes and 2 hours.
    """

    name = "serverless-offline"

    def __init__(
        self, ministack: Ministack, package: Path, environment: Mapping[str, str], *, idle: int = NEVER, life: int
    ) -> None:
        super().__init__()
        self.working_directory = self.directory
        self.environment |= dict(ministack.environment_for_clients) | {
            "SLS_TELEMETRY_DISABLED": "1",
            "SLS_NOTIFICATIONS_MODE": "off",
            "SLS_LOG_DEBUG": "plugin:serverless-offline",
            "VIRTUAL_ENV": str(PYTHON.parents[1]),  # the functions' Python, with boto3 as Lambda has it
        }
        with zipfile.ZipFile(package) as archive:
            archive.extractall(self.directory)
        (self.directory / "node_modules").symlink_to(MODULES)  # plugins are looked for beside the configuration
        configuration = self._configuration(
            {**environment, "WEBSOCKET_API_ENDPOINT": f"http://{HOST}:{self.port}"},
            {"webSocketIdleTimeout": idle, "webSocketHardTimeout": life},
        )
        (self.directory / "serverless.json").write_text(json.dumps(configuration))

    def _configuration(self, environment: Mapping[str, str], limits: Mapping[str, int]) -> dict[str, object]:
        return {
            "service": "messaging",
            "plugins": ["serverless-offline"],
            "provider": {
                "name": "aws",
                "runtime": f"python3.{sys.version_info.minor}",
                "region": REGION,
                "timeout": 29,
                "websocketsApiRouteSelectionExpression": "$request.body.action",
            },
            "functions": {
                "product": {
                    "handler": "handler.lambda_handler",
                    "environment": environment,
                    "events": [{"websocket": {"route": f"${route}"}} for route in ("connect", "disconnect", "default")],
                }
            },
            "custom": {
                "serverless-offline": {
                    "host": HOST,
                    "websocketPort": self.port,
                    "httpPort": free_port(),
                    "lambdaPort": free_port(),
                    "terminateIdleLambdaTime": NEVER,
                    **limits,
                }
            },
        }

    def command(self) -> Sequence[str]:
        if not MODULES.exists():
            raise MissingProgram(
                "The tests need serverless-offline. Install it: `npm ci --prefix aws/offline --ignore-scripts`."
            )
        return ["node", str(MODULES / "serverless/bin/serverless.js"), "offline", "start"]

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=5):
            return True
        return False

    def cuts(self, limit: str) -> int:
        """How many WebSockets it has closed at `limit`, a key of CUTS."""
        return len(CUTS[limit].findall(self.log))
