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
def recent_values() -> Iterator[None]:
    """Forget what pages keep for seconds: the changes of a test are rolled back without a signal."""
    # When Django has its settings.
    from messaging.journal.blocks import recent_barriers
    from messaging.journal.quick_messages import recent_quick_messages

    def forget() -> None:
        recent_barriers.forget()
        recent_quick_messages.forget()

    forget()
    yield
    forget()
