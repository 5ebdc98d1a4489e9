"""The tests. What these modules assert explains itself when it fails, as it does in a test."""

import pytest

pytest.register_assert_rewrite("messaging.tests.traffic", "messaging.tests.stage", "messaging.tests.wire")
