"""`messaging_smoke`, run as an operator runs it."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.deployments import PASSWORD, ended
from tests.support.services import INHERITED


class Smoke:
    """The command with settings of its own, as on an operator's machine. `prefix`: begins its command line."""

    def __init__(self, directory: Path, prefix: Sequence[str] = ()) -> None:
        self._prefix = prefix
        inherited = {key: os.environ[key] for key in INHERITED if key in os.environ}
        account = {"SMOKE_USERNAME": "colleague", "SMOKE_PASSWORD": PASSWORD}
        self.environment = inherited | {"DEPLOYMENT_MODE": "local", "VAR_DIR": str(directory)} | account
        self.output = ""

    def __call__(self, url: str, *options: str, **environment: str) -> int:
        """Run the command against `url`. Return its exit code; `output` is everything that it printed."""
        command = [*self._prefix, sys.executable, "manage.py", "messaging_smoke", url, *options]
        result = ended(command, self.environment | environment)
        self.output = result.stdout
        assert PASSWORD not in self.output
        return result.returncode
