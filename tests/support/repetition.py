"""The number of runs of each test that looks for rare faults: one in `make test`, RUNS in `make faults`."""

import os

RUNS = int(os.environ.get("RUNS", "1"))
