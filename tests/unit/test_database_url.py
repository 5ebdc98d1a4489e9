"""DATABASE_URL: its parts, and what is said of one that can't be read."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from messaging_site.conf.endpoints import database


@pytest.mark.parametrize("character", "#?/[")
def test_an_unencoded_character_in_a_password_is_told_with_the_remedy(character: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"percent-encoded \(# as %23, \? as %3F") as stopped:
        database(f"postgres://user:se{character}cret@host:5432/name", sqlite_allowed=False, tls=False)
    assert "cret" not in str(stopped.value)


def test_an_encoded_password_is_decoded() -> None:
    entry = database("postgres://user:a%23b%3Fc%2Fd%40e@host:5432/name", sqlite_allowed=False, tls=False)
    assert (entry["USER"], entry["PASSWORD"], entry["HOST"], entry["NAME"]) == ("user", "a#b?c/d@e", "host", "name")


def test_a_url_without_a_database_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL must name a database"):
        database("postgres://user:password@host:5432/", sqlite_allowed=False, tls=False)
