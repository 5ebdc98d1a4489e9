"""How often tests run that look for faults which show rarely: once in `make test`, RUNS times in `make faults`."""

import os

RUNS = int(os.environ.get("RUNS", "1"))
