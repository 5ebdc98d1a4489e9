"""The checks of `manage.py check --tag messaging`, each with wrong and with right settings."""

import sys
from ipaddress import ip_network
from pathlib import Path

import pytest
from django.core.checks import run_checks
from pytest_django import Settings as SettingsWrapper
from zappa import websocket

from messaging.checks import WEBSOCKET_MODULE, static_files, websocket_module
from tests.support.configurations import AWS
from tests.support.deployments import SECRET_KEY

SESSIONS = "django.contrib.sessions.backends"
OTHER = f"another {SECRET_KEY}"


@pytest.fixture
def aws(settings: SettingsWrapper) -> SettingsWrapper:
    """Return settings of a deployment with a gateway that pass all checks."""
    settings.CSRF_TRUSTED_ORIGINS = [AWS["CSRF_TRUSTED_ORIGINS"]]
    for name in ("CONNECTIONS_TABLE_NAME", "AWS_REGION", "WEBSOCKET_API_ENDPOINT", "WEBSOCKET_PUBLIC_URL"):
        setattr(settings, name, AWS[name])
    return settings


@pytest.mark.parametrize(
    ("name", "value", "id_", "complaint"),
    [
        ("CONNECTIONS_TABLE_NAME", "", "messaging.E001", "CONNECTIONS_TABLE_NAME is not set."),
        ("CONNECTIONS_TABLE_NAME", "ab", "messaging.E001", "CONNECTIONS_TABLE_NAME='ab' is not the name"),
        ("CONNECTIONS_TABLE_NAME", "a" * 256, "messaging.E001", "is not the name"),
        ("CONNECTIONS_TABLE_NAME", "the table", "messaging.E001", "is not the name"),
        ("WEBSOCKET_API_ENDPOINT", "", "messaging.E002", "WEBSOCKET_API_ENDPOINT is not set."),
        ("WEBSOCKET_API_ENDPOINT", "http://api.example.org", "messaging.E002", "is not an https URL."),
        ("WEBSOCKET_API_ENDPOINT", "wss://api.example.org", "messaging.E002", "is not an https URL."),
        ("WEBSOCKET_API_ENDPOINT", "https:///stage", "messaging.E002", "is not an https URL."),
        ("AWS_REGION", "", "messaging.E003", "AWS_REGION is not set."),
        ("AWS_REGION", "Frankfurt", "messaging.E003", "AWS_REGION='Frankfurt' is not the name of a region."),
        ("WEBSOCKET_PUBLIC_URL", "ws://api.example.org", "messaging.E006", "is not a wss URL."),
        ("CSRF_TRUSTED_ORIGINS", [], "messaging.E007", "CSRF_TRUSTED_ORIGINS is not set"),
        ("SECRET_KEY", "k" * 60, "messaging.E008", "SECRET_KEY can be guessed."),
        ("SECRET_KEY", "abcdefgh" * 6, "messaging.E008", "SECRET_KEY can be guessed."),
        ("SECRET_KEY_FALLBACKS", [OTHER, "short"], "messaging.E012", "SECRET_KEY_FALLBACKS: key 2 can be guessed."),
        ("SECRET_KEY_FALLBACKS", [SECRET_KEY], "messaging.E012", "SECRET_KEY_FALLBACKS: SECRET_KEY is among them."),
        ("SECRET_KEY_FALLBACKS", [OTHER, OTHER], "messaging.E012", "SECRET_KEY_FALLBACKS: one key is there twice."),
        ("SESSION_ENGINE", f"{SESSIONS}.cache", "messaging.E011", "does not keep sessions in the database."),
        ("SESSION_ENGINE", f"{SESSIONS}.signed_cookies", "messaging.E011", "does not keep sessions in the database."),
    ],
)
def test_a_setting_that_would_fail_later_is_told_with_its_id_and_what_to_do(
    name: str, value: object, id_: str, complaint: str, aws: SettingsWrapper
) -> None:
    setattr(aws, name, value)
    (error,) = run_checks(tags=["messaging"])
    assert error.id == id_
    assert complaint in error.msg
    assert error.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONNECTIONS_TABLE_NAME", "a.b_C-3"),
        ("SESSION_ENGINE", f"{SESSIONS}.cached_db"),
        ("SECRET_KEY_FALLBACKS", [OTHER, OTHER[::-1]]),
        ("CONNECTIONS_TABLE_NAME", "a" * 255),
        ("WEBSOCKET_API_ENDPOINT", "http://127.0.0.1:4566/_aws/execute-api/a1b2/production"),
        ("WEBSOCKET_PUBLIC_URL", "ws://localhost:4566/_aws/execute-api/a1b2/production"),
        *(("AWS_REGION", region) for region in ("us-gov-west-1", "eusc-de-east-1", "ap-southeast-2")),
    ],
)
def test_right_settings_pass_and_this_machine_needs_no_tls(name: str, value: str, aws: SettingsWrapper) -> None:
    setattr(aws, name, value)
    assert run_checks(tags=["messaging"]) == []


@pytest.mark.parametrize("route", ["$connect", "$disconnect", "$default"])
def test_a_websocket_module_that_does_not_serve_a_route_is_an_error(
    route: str, aws: SettingsWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert websocket_module() == []
    monkeypatch.delitem(websocket._registry, route)
    (error,) = websocket_module()
    assert error.id == "messaging.E004"
    assert f"no handler is registered for {route}" in error.msg
    assert error.hint


def test_a_websocket_module_that_can_not_be_imported_is_an_error(
    aws: SettingsWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, WEBSOCKET_MODULE, None)
    (error,) = websocket_module()
    assert error.id == "messaging.E004"
    assert f"ModuleNotFoundError('import of {WEBSOCKET_MODULE} halted" in error.msg


def test_a_page_that_came_by_https_needs_an_encrypted_websocket_in_every_mode(settings: SettingsWrapper) -> None:
    settings.WEBSOCKET_PUBLIC_URL = "ws://chat.example.org/ws"
    assert run_checks(tags=["messaging"]) == []
    settings.HTTPS_ONLY = True
    assert [error.id for error in run_checks(tags=["messaging"])] == ["messaging.E006"]


def test_traces_need_their_packages(settings: SettingsWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "messaging.observability.opentelemetry"
    settings.MESSAGING_TRACER = {"BACKEND": f"{module}.OpenTelemetryTracer"}
    assert run_checks(tags=["messaging"]) == []
    monkeypatch.setitem(sys.modules, module, None)
    (error,) = run_checks(tags=["messaging"])
    assert error.id == "messaging.E009"
    assert "OpenTelemetry is not installed" in error.msg
    assert error.hint


def test_a_server_of_pages_needs_static_files(settings: SettingsWrapper, tmp_path: Path) -> None:
    settings.STATIC_ROOT = str(tmp_path)
    (error,) = static_files()
    assert (error.id, error.msg.partition("'")[0]) == ("messaging.E010", "STATIC_ROOT=")
    assert error.hint
    assert run_checks(tags=["messaging"]) == []  # `check` may run before `collectstatic`
    settings.SERVICE_ROLE = "websocket"
    assert static_files() == []
    settings.SERVICE_ROLE = "user"
    (tmp_path / "staticfiles.json").touch()
    assert static_files() == []


@pytest.mark.parametrize(
    ("id_", "complaint", "wrong"),
    [
        ("messaging.W001", "ALLOWED_HOSTS=* accepts every host name", {"ALLOWED_HOSTS": ["*"]}),
        (
            "messaging.W002",
            "trusts pages that anyone on the network path can change: http://chat.example.org.",
            {"CSRF_TRUSTED_ORIGINS": ["https://a.example.org", "http://localhost:8000", "http://chat.example.org"]},
        ),
        ("messaging.W003", "all clients would seem to have its address", {"TRUSTED_PROXY_COUNT": 0}),
        ("messaging.W005", "MESSAGING_HOST=0.0.0.0, and TRUSTED_PROXIES is not set.", {"HOST": "0.0.0.0"}),  # noqa: S104
        ("messaging.W005", "Everybody who reaches port 8080 can choose an address", {"HOST": "::"}),
    ],
)
def test_what_is_unwise_in_production_is_told_with_deploy_alone(
    id_: str, complaint: str, wrong: dict[str, object], settings: SettingsWrapper
) -> None:
    settings.HTTPS_ONLY, settings.TRUSTED_PROXY_COUNT = True, 1
    assert run_checks(tags=["messaging"], include_deployment_checks=True) == []
    for name, value in wrong.items():
        setattr(settings, name, value)
    assert run_checks(tags=["messaging"]) == []
    (warning,) = run_checks(tags=["messaging"], include_deployment_checks=True)
    assert (warning.id, warning.is_serious()) == (id_, False)
    assert complaint in warning.msg
    assert warning.hint


@pytest.mark.parametrize("count", [0, 1])
def test_a_server_that_trusts_networks_may_listen_everywhere(settings: SettingsWrapper, count: int) -> None:
    settings.HTTPS_ONLY, settings.HOST, settings.TRUSTED_PROXY_COUNT = True, "::", count
    settings.TRUSTED_PROXIES = [ip_network("10.0.0.0/8")]
    assert run_checks(tags=["messaging"], include_deployment_checks=True) == []


def test_a_private_file_that_others_can_read_is_a_warning(settings: SettingsWrapper, tmp_path: Path) -> None:
    open_to_group, private = tmp_path / "db.sqlite3", tmp_path / "secret_key"
    for path, mode in ((open_to_group, 0o640), (private, 0o600)):
        path.touch()
        path.chmod(mode)
    settings.PRIVATE_FILES = [open_to_group, private, tmp_path / "missing"]
    (warning,) = run_checks(tags=["messaging"])
    assert (warning.id, warning.is_serious()) == ("messaging.W004", False)
    assert str(open_to_group) in warning.msg
    assert warning.hint
