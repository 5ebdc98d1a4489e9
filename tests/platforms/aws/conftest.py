"""The API Gateway transport, run in the test process."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from pytest_django import Settings

from messaging_site.conf import backends
from tests.support import gateway_events
from tests.support.dynamodb_table import DynamoDBTable
from tests.support.gateway_events import ORIGIN
from tests.support.services import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.support.gateway import Gate


@pytest.fixture
def gate(dynamodb_table: DynamoDBTable, settings: Settings) -> Iterator["Gate"]:
    # Imported here, because pytest loads this file before Django's settings if it is given this directory.
    from messaging.runtime import runtime
    from messaging.transports.apigateway import invocation
    from tests.support.gateway import Gate

    settings.MESSAGING_JOURNAL_OPTIONS = settings.MESSAGING_JOURNAL_OPTIONS | {"answer_seconds": PATIENCE_SECONDS}
    invocation.run(runtime.close())  # parts that an earlier test has left
    with gateway_events.management_api() as api:
        chosen = backends.dynamodb(dynamodb_table.name, dynamodb_table.region, api.url, ttl=7_800)
        for name in ("store", "states", "limiter", "addresses"):
            backend = getattr(chosen, name)
            patient = {**backend["OPTIONS"], "timeout": 5}  # so a busy machine does not look like a lost table
            setattr(settings, f"MESSAGING_{name.upper()}", backend | {"OPTIONS": patient})
        settings.MESSAGING_METRICS = {"BACKEND": chosen.metrics, "OPTIONS": {"version": "dev"}}
        settings.MESSAGING_HOLDER, settings.MESSAGING_GATEWAY = chosen.holder, chosen.gateway
        settings.CSRF_TRUSTED_ORIGINS = [ORIGIN]
        try:
            yield Gate(api)
        finally:
            api.release()
            invocation.run(runtime.close())
