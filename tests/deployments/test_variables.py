"""Every variable of docs/configuration.md: a wrong value ends a pod or a function, with one line that names it."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.support import services
from tests.support.configurations import AWS, DJANGO, PRODUCTION
from tests.support.deployments import LocalServer, ended, manage, prepare_database
from tests.support.paths import ROOT
from tests.support.process_starts import Kind, Start, started

pytestmark = pytest.mark.slow

POD: tuple[Kind, ...] = ("pod",)
FUNCTION: tuple[Kind, ...] = ("function",)
BOTH = POD + FUNCTION
RIGHT: dict[Kind, dict[str, str]] = {"pod": PRODUCTION, "function": AWS}
RAISED = "django.core.exceptions.ImproperlyConfigured: "  # Lambda logs this and returns it to the caller

# A wrong value of each variable, the error text about allowed values, and the kinds of process that read it.
WRONG: dict[str, tuple[str, str, tuple[Kind, ...]]] = {
    "DEPLOYMENT_MODE": ("k8s", "must be one of local, kubernetes, aws", BOTH),
    "MESSAGING_VERSION": ("1.0 (beta)", "must be 1 to 128 printable ASCII characters", BOTH),
    "SERVICE_ROLE": ("visitor", "must be one of all, websocket, user, admin", BOTH),
    "SECRET_KEY": ("short", "at least 50 random characters", BOTH),
    "SECRET_KEY_FALLBACKS": ("short", "of at least 50 random characters each", BOTH),
    "ALLOWED_HOSTS": ("https://chat.example.org", "must be host names", BOTH),
    "CSRF_TRUSTED_ORIGINS": ("chat.example.org", "must be origins", BOTH),
    "HTTPS_ONLY": ("perhaps", "must be true or false", BOTH),
    "MESSAGING_DEBUG": ("perhaps", "must be true or false", BOTH),
    "DATABASE_URL": ("mongodb://host/name", "must have the form postgres://user:password@host:5432/name", BOTH),
    "REDIS_URL": ("http://host", "must have the form redis[s]://", POD),
    "REDIS_KEY_PREFIX": ("{site}", "must be up to 64 letters, digits", POD),
    "CONNECTIONS_TABLE_NAME": ("a table", "3 to 255 letters", FUNCTION),
    "AWS_REGION": ("Frankfurt", "eu-central-1", FUNCTION),
    "WEBSOCKET_API_ENDPOINT": ("wss://host/stage", "https://{api}.execute-api", FUNCTION),
    "WEBSOCKET_PUBLIC_URL": ("https://chat.example.org/ws", "must be a URL such as wss://chat.example.org/ws", BOTH),
    "VISITORS_URL": ("chat.example.org", "must be a URL such as https://chat.example.org/user/", BOTH),
    "VAR_DIR": ("var", "must be the absolute path of a writable directory", BOTH),
    "STATIC_ROOT": ("static", "must be the absolute path of a writable directory", BOTH),
    "STATIC_URL": ("https://files.example.org/a;b/", "must be an https URL that ends with a slash", BOTH),
    "MESSAGE_RETENTION_DAYS": ("0", "must be a whole number from 1 to 36500", BOTH),
    "MESSAGING_HOST": ("everywhere", "must be an IP address", POD),
    "PORT": ("http", "must be a whole number from 1 to 65535", POD),
    "HEALTH_CHECK_PORT": ("8080", "from 1 to 65535, other than 8080", POD),
    "HEARTBEAT_MS": ("25", "must be a whole number from 1000 to 240000", BOTH),
    "TRUSTED_PROXIES": ("10.0.0.1/8", "10.0.0.1/8 has host bits set; the value must be networks", POD),
    "TRUSTED_PROXY_COUNT": ("all", "must be a whole number from 0 to 10", BOTH),
    "SOCKETS_PER_ADDRESS": ("-1", "must be a whole number from 0 to 1000000", BOTH),
    "MAX_CONNECTIONS": ("0", "must be a whole number from 1 to 1000000", BOTH),
    "SHUTDOWN_TIMEOUT": ("20s", "must be a whole number from 0 to 3600", BOTH),
    "CONNECTION_TTL": ("60", "0 to 2592000", BOTH),
    "RATE_LIMIT_VISITOR": ("5", "must be BURST/SECONDS, such as 5/2, or off", BOTH),
    "RATE_LIMIT_ADDRESS": ("fast", "with a BURST of at least 100, such as 100000/0.0004, or off", BOTH),
    "RATE_LIMIT_ADMIN": ("20/0", "must be BURST/SECONDS, such as 20/0.05, or off", BOTH),
    "RATE_LIMIT_CONNECTION": (
        "99/1",
        "must be BURST/SECONDS with a BURST of at least 100, such as 3000/0.002, or off",
        BOTH,
    ),
    "RATE_LIMIT_CONVERSATIONS": ("0/6", "must be BURST/SECONDS, such as 1500/2, or off", BOTH),
    "RATE_LIMIT_LOGIN": ("30", "must be BURST/SECONDS, such as 30/1, or off", BOTH),
    "RATE_LIMIT_LOGIN_ADDRESS": ("all", "must be BURST/SECONDS, such as 20/3, or off", BOTH),
    "MESSAGING_LOG_LEVEL": ("loud", "must be one of DEBUG, INFO, WARNING, ERROR", BOTH),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("collector:4318", "must be a URL such as http://collector:4318", BOTH),
    "OTEL_SDK_DISABLED": ("perhaps", "must be true or false", BOTH),
}
# Any text may be a password, but not every file can be read.
UNREADABLE: dict[str, tuple[Kind, dict[str, str], str]] = {
    "REDIS_PASSWORD": ("pod", {"REDIS_PASSWORD_FILE": "/nowhere"}, "must be a readable file path")
}
# Only the platforms set these, to any value. The error also names the settings that the detected mode needs.
DETECTED: dict[str, tuple[Kind, dict[str, str], str]] = {
    "KUBERNETES_SERVICE_HOST": (
        "pod",
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
        "is set, so this is not a local machine",
    ),
    "AWS_LAMBDA_FUNCTION_NAME": (
        "function",
        {"AWS_LAMBDA_FUNCTION_NAME": "f"},
        "is set, so this is not a local machine",
    ),
}
# Values that only the kind of process, its environment or a closer look shows to be wrong.
ELSEWHERE: list[tuple[str, Kind, dict[str, str], str]] = [
    ("STATIC_ROOT", "pod", {"STATIC_ROOT": "/nowhere"}, "Run `python manage.py collectstatic`"),
    ("WEBSOCKET_PUBLIC_URL", "pod", {"WEBSOCKET_PUBLIC_URL": "ws://chat.example.org/ws"}, "is not a wss URL"),
    ("WEBSOCKET_PUBLIC_URL", "function", {"WEBSOCKET_PUBLIC_URL": "ws://chat.example.org/ws"}, "is not a wss URL"),
    ("DATABASE_URL", "pod", {"DATABASE_URL": "postgres://u:canary@host:port/n"}, "must have the form postgres://"),
    ("REDIS_URL", "pod", {"REDIS_URL": "redis://:canary@host:port"}, "must have the form redis[s]://"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "pod", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://u:canary@h:x"}, "must be a URL"),
    ("ALLOWED_HOSTS", "pod", {"ALLOWED_HOSTS": "chat.example.org:443"}, "must be host names"),
    ("CSRF_TRUSTED_ORIGINS", "function", {"CSRF_TRUSTED_ORIGINS": "https://chat.example.org/"}, "must be origins"),
    (
        "MESSAGING_DEBUG",
        "pod",
        {"MESSAGING_DEBUG": "true"},
        "must be false: its pages show settings and code",
    ),
    (
        "MESSAGING_DEBUG",
        "function",
        {"MESSAGING_DEBUG": "1"},
        "must be false: its pages show settings and code",
    ),
    ("VAR_DIR", "pod", {"DEPLOYMENT_MODE": "local", "VAR_DIR": "/proc/var"}, "a writable directory"),
    ("TRUSTED_PROXIES", "pod", {"TRUSTED_PROXIES": "10.0.0.0/8,ingress"}, "such as 10.0.0.0/8"),
]

CASES: list[tuple[str, Kind, dict[str, str], str]] = [
    *(
        (name, kind, RIGHT[kind] | {name: value}, said)
        for name, (value, said, kinds) in WRONG.items()
        for kind in kinds
    ),
    *((name, kind, RIGHT[kind] | more, said) for name, (kind, more, said) in UNREADABLE.items()),
    *((name, kind, more, said) for name, (kind, more, said) in DETECTED.items()),
    *((name, kind, RIGHT[kind] | more, said) for name, kind, more, said in ELSEWHERE),
]


@pytest.fixture(scope="module")
def starts() -> list[Start]:
    return started([(kind, environment) for _, kind, environment, _ in CASES])


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{name}, {kind}" for name, kind, _, _ in CASES])
def test_a_wrong_value_ends_it_with_one_line_that_names_it(number: int, starts: list[Start]) -> None:
    (name, kind, _, said), (code, output) = CASES[number], starts[number]
    lines = output.splitlines()
    assert code == 1
    if kind == "pod":
        lines = [line for line in lines if name in line]  # another line may report that no static files are collected
        assert output.startswith("configuration: ")
        assert len(lines) == 1 or name in DETECTED, output
    else:
        lines = output.rpartition(RAISED)[2].splitlines()
        assert len(lines) == 1 or name in DETECTED, output
    assert name in lines[-1]
    assert said in lines[-1]
    assert "canary" not in output


def test_all_wrong_values_are_told_at_once() -> None:
    wrong = {
        "PORT": "http",
        "HTTPS_ONLY": "perhaps",
        "DATABASE_URL": "",
        "REDIS_URL": "http://host",
        "MESSAGING_LOG_LEVEL": "loud",
    }
    (start,) = started([("pod", PRODUCTION | wrong)])
    assert (start.code, [line.split()[1].partition("=")[0] for line in start.output.splitlines()]) == (
        1,
        [
            "HTTPS_ONLY",
            "DATABASE_URL",
            "REDIS_URL",
            "MESSAGING_LOG_LEVEL",
            "PORT",
        ],  # last, what only some processes use
    )


SHELL = {  # as a conda environment, a shell or a pipeline may export them for other programs
    "HOST": "x86_64-conda-linux-gnu",
    "PORT": "tcp://10.0.0.1:80",
    "HEALTH_CHECK_PORT": "none",
    "DEBUG": "express:*",
    "VERSION": "1.0 (beta)",
    "LOG_LEVEL": "trace",
}


def test_what_a_shell_exports_for_other_programs_stops_nothing_on_a_laptop(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "VAR_DIR": str(tmp_path)} | SHELL
    for command in (("migrate", "--verbosity=0"), ("messaging_prune",), ("messaging_operator",), ("check",)):
        manage(environment, *command)  # these are the commands of `make run`; the next one is its server
    server = LocalServer(**SHELL)
    prepare_database(server.environment)
    with services.started(server):
        assert "Traceback" not in server.log
    shown = manage(environment | {"HOST": "", "PORT": "", "HEALTH_CHECK_PORT": ""}, "messaging_check")
    assert {
        name: json.loads(shown)["configuration"][f"MESSAGING_{name}"] for name in ("DEBUG", "VERSION", "LOG_LEVEL")
    } == {
        "DEBUG": False,
        "VERSION": "dev",
        "LOG_LEVEL": "INFO",
    }


@pytest.mark.parametrize("command", ["messaging_health", "messaging_drain", "messaging_check"])
def test_a_command_that_asks_the_server_needs_the_port_of_its_probes(command: str, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "VAR_DIR": str(tmp_path), "HEALTH_CHECK_PORT": "none"}
    asked = ended([sys.executable, "manage.py", command], environment)
    said = "configuration: HEALTH_CHECK_PORT='none' must be a whole number from 1 to 65535, other than 8080\n"
    assert (asked.returncode, asked.stdout) == (1, said)


def test_a_server_refuses_a_wrong_value_under_the_name_that_was_set() -> None:
    said = "must be an IP address, such as 127.0.0.1 or ::"
    old, new, both = started(
        [
            ("pod", PRODUCTION | {"HOST": "conda"}),
            ("pod", PRODUCTION | {"MESSAGING_HOST": "conda"}),
            ("pod", PRODUCTION | {"HOST": "conda", "MESSAGING_HOST": "::", "MESSAGING_LOG_LEVEL": "loud"}),
        ]
    )
    assert old.output == f"configuration: HOST='conda' {said} (HOST is read because MESSAGING_HOST is not set)\n"
    assert new.output == f"configuration: MESSAGING_HOST='conda' {said}\n"
    assert both.output == "configuration: MESSAGING_LOG_LEVEL='loud' must be one of DEBUG, INFO, WARNING, ERROR\n"


def test_a_pod_also_reads_the_names_without_a_prefix_except_for_debug(tmp_path: Path) -> None:
    old = {"HOST": "::1", "VERSION": "1.2.3", "LOG_LEVEL": "ERROR", "DEBUG": "true"}
    shown = ended([sys.executable, "manage.py", "messaging_check"], PRODUCTION | {"PATH": os.environ["PATH"]} | old)
    configuration = json.loads(shown.stdout.splitlines()[0])["configuration"]
    assert {name: configuration[f"MESSAGING_{name}"] for name in old} == old | {"DEBUG": False}


def test_a_file_that_can_not_be_read_is_one_problem_and_a_wrong_mode_the_only_one() -> None:
    unreadable = {f"{name}_FILE": "/nowhere" for name in ("SECRET_KEY", "DATABASE_URL", "REDIS_URL")}
    kept = {name: value for name, value in PRODUCTION.items() if f"{name}_FILE" not in unreadable}
    files, mode = started(
        [("pod", kept | unreadable), ("pod", {"DEPLOYMENT_MODE": "pods", "VAR_DIR": "/proc/nowhere"})]
    )
    assert [line.split()[1].partition("=")[0] for line in files.output.splitlines()] == [*unreadable]
    assert mode.output == "configuration: DEPLOYMENT_MODE='pods' must be one of local, kubernetes, aws\n"


def test_each_variable_has_a_wrong_value_here() -> None:
    table = (ROOT / "docs" / "configuration.md").read_text()
    documented = set(re.findall(r"^\| `([A-Z_]+)`", table, re.MULTILINE)) - DJANGO
    assert WRONG.keys() | UNREADABLE.keys() | DETECTED.keys() == documented
