"""Fixtures of the page tests."""

from tests.support.browser import (  # noqa: F401
    inbox_deployment,
    origin,
    own_deployment,
    prepared_database,
    prepared_inbox,
    site_of_pages,
    site_with_inbox,
)
