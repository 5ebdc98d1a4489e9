"""Fixtures of the unit tests."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.in_process_service import InProcessService


@pytest.fixture
async def service() -> AsyncIterator["InProcessService"]:
    # Imported here, because models need settings and these may be configured after this file is loaded.
    from tests.support.in_process_service import in_process_service

    async with in_process_service() as service:
        yield service
