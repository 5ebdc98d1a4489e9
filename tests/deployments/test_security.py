"""The security headers of every answer, the protection of the login, and packages without known holes."""

from importlib.metadata import version
from urllib.error import HTTPError

import pytest
from packaging.version import Version

from tests.support.deployments import PASSWORD, Deployment, StaffSession

# The first releases without these: CVE-2026-44545 and CVE-2026-44546 (daphne), CVE-2024-41671 and CVE-2024-41810
# (Twisted), CVE-2026-5766 (Django), and the holes before them.
FLOORS = {"daphne": "4.2.2", "Twisted": "24.7", "Django": "5.2.14", "channels": "4.3.2"}

CONNECT = "connect-src 'self'"
POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    CONNECT,
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
}
STRICT_SCRIPTS = {"require-trusted-types-for 'script'", "trusted-types 'none'"}


def policy(headers: dict[str, str]) -> set[str]:
    return {directive.strip() for directive in headers["Content-Security-Policy"].split(";")}


@pytest.mark.parametrize(("path", "expected"), [("/user/", POLICY | STRICT_SCRIPTS), ("/admin/login/", POLICY)])
def test_a_page_may_do_nothing_that_it_does_not_need(deployment: Deployment, path: str, expected: set[str]) -> None:
    headers = deployment.headers(path)
    assert policy(headers) == expected - {CONNECT} | {CONNECT + deployment.websocket_sources}
    assert "Server" not in headers
    assert {name: headers[name] for name in ("X-Frame-Options", "X-Content-Type-Options", "Referrer-Policy")} == {
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
    }
    assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]


def test_guessing_a_password_is_stopped_after_five_tries(shared_deployment: Deployment) -> None:
    code = "from django.contrib.auth.models import User; User.objects.create_superuser('target', password={!r})"
    shared_deployment.run(code.format(PASSWORD))
    guesser = StaffSession(shared_deployment.servers, "target")
    guesser.request("/admin/login/")
    for _ in range(4):
        guesser.request("/admin/login/", {"username": "target", "password": "a guess"})
    for password in ("a guess", PASSWORD):
        with pytest.raises(HTTPError, match="429"):
            guesser.request("/admin/login/", {"username": "target", "password": password})
    code = "from axes.models import AccessAttempt; print([row.ip_address for row in AccessAttempt.objects.all()])"
    addresses = shared_deployment.run(code)
    assert "127.0.0.1" not in addresses
    assert ":" in addresses


@pytest.mark.parametrize("package", FLOORS)
def test_no_package_has_a_known_hole(package: str) -> None:
    assert Version(version(package)) >= Version(FLOORS[package])
