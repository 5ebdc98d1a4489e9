"""The pages that may open the WebSocket, by their Origin header."""

import pytest
from pytest_django import Settings

from messaging.transports.origin import allowed_origin, trusted_origin


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("https://chat.example.org", True),
        ("https://CHAT.example.org", True),
        ("https://www.example.net", True),
        ("https://a.sub.example.com", True),
        ("http://chat.example.org", False),
        ("https://chat.example.org:8443", False),
        ("https://evilchat.example.org", False),
        ("https://chat.example.org.evil.test", False),
        ("http://www.example.net", False),
        ("https://example.com.evil.test", False),
        ("null", False),
        ("", False),
        ("file://", False),
    ],
)
def test_only_our_own_pages_and_trusted_ones(settings: Settings, origin: str | None, allowed: bool) -> None:
    settings.ALLOWED_HOSTS = ["chat.example.org"]
    settings.HTTPS_ONLY = True
    settings.CSRF_TRUSTED_ORIGINS = ["https://www.example.net", "https://*.sub.example.com"]
    headers = [(b"host", b"chat.example.org")]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    assert allowed_origin({"headers": headers}) is allowed


def test_a_host_that_is_not_ours_is_refused(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["chat.example.org"]
    assert not allowed_origin({"headers": [(b"host", b"rebound.evil.test")]})
    assert not allowed_origin({"headers": []})


@pytest.mark.parametrize(
    ("origin", "trusted"),
    [
        ("https://www.example.net", True),
        ("HTTPS://WWW.example.NET", True),
        ("https://a.sub.example.com", True),
        ("https://chat.example.org", False),
        ("http://www.example.net", False),
        ("https://www.example.net.evil.test", False),
        ("null", False),
        ("", False),
    ],
)
def test_a_websocket_with_a_host_of_its_own_takes_trusted_pages_only(
    settings: Settings, origin: str, trusted: bool
) -> None:
    settings.ALLOWED_HOSTS = ["chat.example.org"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://www.example.net", "https://*.sub.example.com"]
    assert trusted_origin(origin) is trusted
