"""Commands that a function refuses, because what they print would stay in its log, or because they can't run there."""

import subprocess

import pytest

from tests.support.aws_deployment import PROGRAMS
from tests.support.configurations import AWS
from tests.support.paths import ROOT

pytestmark = pytest.mark.aws


def test_a_function_says_what_is_not_for_it() -> None:
    code = """
import django
from django.core.management import CommandError, call_command
django.setup()
for command in ("messaging_smoke http://localhost", "messaging_operator", "messaging_export"):
    try:
        call_command(*command.split())
    except CommandError as error:
        print(error)
"""
    environment = AWS | {"DJANGO_SETTINGS_MODULE": "messaging_site.settings"}
    ended = subprocess.run([PROGRAMS / "python", "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (ended.stdout.splitlines(), ended.stderr) == (
        [
            "No module named 'websockets'. A Lambda function can't run this: use another machine.",
            "This would leave the password in the function's log. Use createsuperuser instead (docs/aws.md).",
            "This would leave the messages in the function's log. Export them in the Django admin, or on a machine "
            "that reaches the database, with only DATABASE_URL set.",
        ],
        "",
    )
