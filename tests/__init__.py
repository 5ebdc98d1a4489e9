"""The tests. Assertions of the helpers explain themselves when they fail, as those of a test do."""

import pytest

pytest.register_assert_rewrite("tests.support")
