"""A page's request as Zappa passes it from API Gateway to Django."""

from io import BytesIO

import pytest
from django.core.handlers.wsgi import WSGIRequest
from pytest_django import Settings as SettingsWrapper
from zappa.wsgi import common_log, create_wsgi_request

from messaging.transports.client_address import of_request


class Response:
    status_code = 200
    content = b""


def request(forwarded_for: str) -> WSGIRequest:
    """Return a request through an HTTP API, which appends the client's address to the header that the client sent."""
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/user/",
        "rawQueryString": "",
        "headers": {
            "host": "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com",
            "x-forwarded-for": forwarded_for,
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "requestContext": {"http": {"method": "GET", "path": "/user/", "sourceIp": "203.0.113.7"}, "stage": "$default"},
        "isBase64Encoded": False,
    }
    return WSGIRequest(create_wsgi_request(event, trailing_slash=True) | {"wsgi.input": BytesIO()})


def test_a_client_can_not_choose_the_address_that_its_limits_go_by(settings: SettingsWrapper) -> None:
    settings.TRUSTED_PROXY_COUNT = 1  # the default in mode aws
    own = of_request(request("203.0.113.7"))
    assert of_request(request("6.6.6.6, 203.0.113.7")) == own
    assert of_request(request("6.6.6.6, 7.7.7.7, 203.0.113.7")) == own
    assert of_request(request("203.0.113.8")) != own
    settings.TRUSTED_PROXY_COUNT = 0  # then Zappa's own choice applies, which the client controls
    assert of_request(request("6.6.6.6, 203.0.113.7")) != of_request(request("7.7.7.7, 203.0.113.7"))


def test_nobodys_address_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    assert "203.0.113.7" in common_log(request("203.0.113.7").environ, Response())
    assert caplog.messages == []
