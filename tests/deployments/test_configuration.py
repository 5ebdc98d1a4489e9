"""The start of a process: it succeeds with a valid configuration, or ends and names every wrong value."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.configurations import AWS, PRODUCTION
from tests.support.paths import ROOT

NOT_ON_LAMBDA = (
    "autobahn",
    "channels",
    "channels_redis",
    "daphne",
    "django_prometheus",
    "hiredis",
    "prometheus_client",
    "redis",
    "twisted",
    "uvloop",
)
ALL_WRONG = {
    "CONNECTIONS_TABLE_NAME": "",
    "WEBSOCKET_API_ENDPOINT": "",
    "AWS_REGION": "",
    "DATABASE_URL": "sqlite:////tmp/file",
    "WEBSOCKET_PUBLIC_URL": "ws://api.example.org",
    "CSRF_TRUSTED_ORIGINS": "",
}
CHECK = ("manage.py", "check", "--tag", "messaging")
START = ("-c", "import messaging_site.wsgi")  # as Zappa starts Django


def settings(expression: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a process that prints an expression over `settings`, with `environment` and the variables that it needs."""
    code = (
        "from messaging_site.conf.env import stop_on_bad_configuration; stop_on_bad_configuration();"
        f"from django.conf import settings; print({expression})"
    )
    kept = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "messaging_site.settings", "VAR_DIR": str(tmp_path)}
    return subprocess.run([sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        ({}, "local"),
        ({"AWS_REGION": "eu-central-1"}, "local"),
        ({**PRODUCTION, "DEPLOYMENT_MODE": "", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "DEPLOYMENT_MODE": "local"}, "local"),
        (PRODUCTION, "kubernetes"),
        (AWS, "aws"),
        ({**AWS, "DEPLOYMENT_MODE": "", "AWS_LAMBDA_FUNCTION_NAME": "f", "KUBERNETES_SERVICE_HOST": "h"}, "aws"),
    ],
)
def test_the_mode_is_what_is_set_or_else_what_is_detected(
    environment: dict[str, str], mode: str, tmp_path: Path
) -> None:
    assert settings("settings.MODE", tmp_path, **environment).stdout.strip() == mode


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({**AWS, "SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({**AWS, "ALLOWED_HOSTS": ""}, "ALLOWED_HOSTS is not set"),
        ({**AWS, "DATABASE_URL": ""}, "DATABASE_URL is not set"),
        ({**AWS, "WEBSOCKET_PUBLIC_URL": ""}, "WEBSOCKET_PUBLIC_URL is not set"),
        (
            {**AWS, "DATABASE_URL": AWS["DATABASE_URL"] + "?sslmode=prefer"},
            "DATABASE_URL: sslmode must be one of require, verify-ca, verify-full",
        ),
        ({**PRODUCTION, "SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({**PRODUCTION, "ALLOWED_HOSTS": ""}, "ALLOWED_HOSTS is not set"),
        ({**PRODUCTION, "DATABASE_URL": ""}, "DATABASE_URL is not set"),
        ({**PRODUCTION, "DATABASE_URL": "sqlite:///x"}, "DATABASE_URL must name a PostgreSQL database"),
        ({**PRODUCTION, "REDIS_URL": ""}, "REDIS_URL is not set"),
        ({"HEARTBEAT_MS": "1"}, "HEARTBEAT_MS='1' must be a whole number from 1000 to 240000"),
        ({"SECRET_KEY_FILE": "/nowhere"}, "SECRET_KEY"),
    ],
)
def test_a_wrong_value_ends_the_process_with_one_line_that_names_it(
    environment: dict[str, str], complaint: str, tmp_path: Path
) -> None:
    ended = settings("'never'", tmp_path, **environment)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("configuration: ")
    assert complaint in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_the_server_and_the_command_line_end_alike(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "VAR_DIR": str(tmp_path), "DEPLOYMENT_MODE": "k8s"}
    for command in (["manage.py", "check"], ["-m", "messaging_site.server"]):
        ended = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True)
        complaint = "configuration: DEPLOYMENT_MODE='k8s' must be one of local, kubernetes, aws\n"
        assert (ended.returncode, ended.stderr) == (1, complaint)


def test_secrets_are_read_from_files_without_the_newline_that_editors_add(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 60 + "\n")
    environment = PRODUCTION | {"SECRET_KEY_FILE": str(tmp_path / "key")}
    del environment["SECRET_KEY"]
    assert settings("[settings.SECRET_KEY]", tmp_path, **environment).stdout == f"['{'k' * 60}']\n"


def test_a_laptop_keeps_its_secret_key(tmp_path: Path) -> None:
    first, second = (settings("settings.SECRET_KEY", tmp_path).stdout for _ in range(2))
    assert first == second
    assert len(first.strip()) >= 50
    assert (tmp_path / "secret_key").stat().st_mode & 0o077 == 0


def test_on_aws_the_database_is_spoken_to_over_tls_and_connections_outlive_an_invocation(tmp_path: Path) -> None:
    shown = "(d := settings.DATABASES['default'])['OPTIONS']['sslmode'], d['CONN_MAX_AGE'], d['CONN_HEALTH_CHECKS']"
    assert settings(shown, tmp_path, **AWS).stdout.strip() == "require 60 True"
    strict = AWS | {"DATABASE_URL": AWS["DATABASE_URL"] + "?sslmode=verify-full"}
    assert settings(shown, tmp_path, **strict).stdout.strip() == "verify-full 60 True"
    assert settings("'sslmode' in settings.DATABASES['default']['OPTIONS']", tmp_path, **PRODUCTION).stdout == "False\n"


def test_aws_has_defaults_of_its_own(tmp_path: Path) -> None:
    shown = (
        "settings.CONNECTION_TTL, settings.MESSAGING_HEARTBEAT_MS, settings.TRUSTED_PROXY_COUNT, settings.HTTPS_ONLY,"
        "settings.MESSAGING_JOURNAL_OPTIONS['readers'], settings.STORAGES['staticfiles']['BACKEND']"
    )
    expected = "7800 240000 1 True 1 messaging_site.static.HashedStaticFiles"
    assert settings(shown, tmp_path, **AWS).stdout.strip() == expected


def test_on_aws_nothing_is_imported_that_the_package_leaves_out(tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules |= dict.fromkeys({NOT_ON_LAMBDA})  # to import one of them is an ImportError now
import messaging_site.wsgi
import messaging.transports.apigateway.handler
from django.urls import get_resolver
from messaging.runtime import runtime
get_resolver().url_patterns
runtime.service, runtime.states, runtime.addresses, runtime.gateway, runtime.holder
"""
    environment = AWS | {"PATH": os.environ["PATH"], "STATIC_ROOT": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_pods_and_laptops_do_without_boto3(tmp_path: Path) -> None:
    code = """
import sys
sys.modules |= dict.fromkeys(("boto3", "botocore", "zappa"))
import messaging_site.asgi
from django.core.management import call_command
from messaging.runtime import runtime
runtime.service
call_command("check")
"""
    for environment in ({"VAR_DIR": str(tmp_path)}, PRODUCTION):
        kept = {"PATH": os.environ["PATH"], "STATIC_ROOT": str(tmp_path)}
        ended = subprocess.run([sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (0, "")


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python with only `environment` and PATH."""
    environment = environment | {"PATH": os.environ["PATH"]}
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("command", [CHECK, START], ids=["the command line", "the start of a function"])
def test_all_that_is_wrong_ends_it_and_is_told_at_once(command: tuple[str, ...]) -> None:
    ended = run(AWS | ALL_WRONG, *command)
    assert ended.returncode == 1
    for number in (1, 2, 3, 5, 6, 7):
        assert f"(messaging.E00{number})" in ended.stderr
    assert "DATABASE_URL names a SQLite file" in ended.stderr
    assert "Use PostgreSQL" in ended.stderr


@pytest.mark.parametrize("environment", [AWS, PRODUCTION], ids=["aws", "pods, which need none of it"])
def test_what_is_right_passes(environment: dict[str, str]) -> None:
    ended = run(environment, *CHECK)
    assert (ended.returncode, ended.stdout) == (0, "System check identified no issues (0 silenced).\n")


@pytest.mark.parametrize("made_before", [False, True])
def test_only_their_owner_may_read_the_database_and_the_key_of_a_laptop(made_before: bool, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm", "secret_key")]

    def write() -> sqlite3.Connection:
        database = sqlite3.connect(files[0])
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE written (words)")
        return database

    def modes() -> set[int]:
        return {file.stat().st_mode & 0o777 for file in files}

    if made_before:
        with contextlib.closing(write()):
            files[-1].write_text("x" * 60)
            for file in files:
                file.chmod(0o644)
            assert settings("settings.MODE", tmp_path).stdout == "local\n"
            assert modes() == {0o600}
    else:
        assert settings("settings.MODE", tmp_path).stdout == "local\n"
        with contextlib.closing(write()):
            assert modes() == {0o600}


def test_a_key_that_is_given_leaves_none_behind(tmp_path: Path) -> None:
    assert settings("settings.MODE", tmp_path, SECRET_KEY="k" * 60).stdout == "local\n"
    assert not (tmp_path / "secret_key").exists()
