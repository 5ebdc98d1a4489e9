"""The ports that tests give to services: test processes that run side by side never share one."""

import subprocess
import sys

from tests.support.paths import ROOT
from tests.support.services import free_port

# The other process draws the port in its argument first, which is taken, and then other ports.
OTHER_PROCESS = """
import sys
from unittest.mock import Mock
from tests.support import services
taken = int(sys.argv[1])
services._ports = Mock(randrange=Mock(side_effect=[taken, taken - 1, taken - 2]))
print(services.free_port())
"""


def test_a_port_that_is_given_is_given_to_no_other_process() -> None:
    port = free_port()
    command = [sys.executable, "-c", OTHER_PROCESS, str(port)]
    given = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert int(given) in (port - 1, port - 2)
