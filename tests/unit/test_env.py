"""Values read from environment variables."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from messaging.backends.base import Rate
from messaging_site.conf import env


def test_a_limit_is_set_by_burst_and_seconds_or_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert env.rate("RATE", 5, 2.0) == Rate(5, 2.0)
    monkeypatch.setenv("RATE", "10/0.5")
    assert env.rate("RATE", 5, 2.0) == Rate(10, 0.5)
    monkeypatch.setenv("RATE", "off")
    assert env.rate("RATE", 5, 2.0) is None


def test_every_wrong_limit_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "_problems", [])
    env.stop_on_problems()
    wrong = ("5", "0/1", "5/0", "5/x", "1/2/3", "-1/2")
    for value in wrong:
        monkeypatch.setenv("RATE", value)
        env.rate("RATE", 5, 2.0)
    with pytest.raises(ImproperlyConfigured) as stopped:
        env.stop_on_problems()
    said = "must be BURST/SECONDS, such as 5/2, or off"
    assert str(stopped.value).splitlines() == [f"RATE={value!r} {said}" for value in wrong]


@pytest.mark.parametrize(
    ("value", "is_right"),
    [
        ("https://files.example.org/", True),
        ("https://d111111abcdef8.cloudfront.net/static/", True),
        ("http://localhost:8000/static/", True),
        ("https://files.example.org", False),
        ("https://files.example.org/static", False),
        ("http://files.example.org/static/", False),
        ("//files.example.org/static/", False),
        ("https://files.example.org/static/?v=1", False),
        ("https://files.example.org/static;script-src/", False),
        ("https://files.example.org/static/ 'unsafe-inline'/", False),
        ("https://*/", False),
        ("/files/", False),
    ],
)
def test_files_elsewhere_have_a_url_that_a_content_security_policy_can_name(
    value: str, is_right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(env, "_problems", [])
    monkeypatch.setenv("FILES", value)
    assert env.directory_url("FILES", "/static/") == (value if is_right else "/static/")
    assert env.is_sound() is is_right
