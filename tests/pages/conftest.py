"""The fixtures of the tests of pages."""

from tests.support.browser import (  # noqa: F401
    origin,
    own_deployment,
    prepared_database,
    site_of_pages,
)
