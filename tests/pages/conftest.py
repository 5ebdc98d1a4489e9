"""Fixtures of the page tests."""

from collections.abc import Iterator

import pytest

from tests.support.browser import (  # noqa: F401
    inbox_deployment,
    origin,
    own_deployment,
    prepared_database,
    prepared_inbox,
    site_of_pages,
    site_with_inbox,
)


@pytest.fixture(autouse=True)
def remembered_quick_messages() -> Iterator[None]:
    """Forget the quick messages of a test: its changes are rolled back without a signal."""
    from messaging.journal.quick_messages import forget_recent  # when Django has its settings

    yield
    forget_recent()
