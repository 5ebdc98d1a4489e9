"""The tests. What these modules assert explains itself when it fails, as it does in a test."""

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("messaging.tests.traffic", "messaging.tests.stage", "messaging.tests.wire")

# How long an example takes depends on who else uses the machine.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")
