"""German and English: every text of the pages is translated, and each person gets the language they ask for."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from tests.support.paths import ROOT

CATALOG = Path("locale/de/LC_MESSAGES/django.po")
COMPILED = CATALOG.with_suffix(".mo")
# `make messages` searches its whole directory, and needs no more than these.
SEARCHED = ("Makefile", "manage.py", "aws", "k8s", "locale", "messaging", "messaging_site", "templates")


def output(*command: str, cwd: Path = ROOT) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("flaw", ["untranslated", "only-fuzzy"])
def test_every_text_has_its_german(flaw: str) -> None:
    assert output("msgattrib", f"--{flaw}", str(CATALOG)) == ""


def test_the_catalog_is_what_make_messages_makes_of_the_sources(tmp_path: Path) -> None:
    for name in SEARCHED:
        if (ROOT / name).is_dir():  # bytecode may change during the copy
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / COMPILED).unlink()
    # Do not make the services and the environment, in which this test already runs.
    output("make", "-o", "services", "-o", ".venv/.runtime", f"RUN={sys.executable}", "messages", cwd=tmp_path)
    assert (tmp_path / CATALOG).read_text() == (ROOT / CATALOG).read_text()
    assert output("msgunfmt", str(COMPILED), cwd=tmp_path) == output("msgunfmt", str(COMPILED))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("accepted", "language"), [("de-AT,de;q=0.9,en;q=0.5", "de"), ("en-GB", "en"), ("fr", "en"), (None, "en")]
)
def test_a_page_speaks_the_language_that_the_browser_prefers(
    client: Client, accepted: str | None, language: str
) -> None:
    answer = client.get("/user/", headers={"Accept-Language": accepted} if accepted else {})
    assert f'<html lang="{language}">' in answer.content.decode()
    assert answer["Content-Language"] == language
    assert "Accept-Language" in answer["Vary"]
    assert answer["Cache-Control"] == "private, no-cache"  # the language may depend on a cookie: no cache may answer


@pytest.mark.django_db
@pytest.mark.parametrize("place", ["user", "admin"])
def test_who_chooses_a_language_keeps_it(client: Client, place: str) -> None:
    page = "/user/" if place == "user" else "/admin/login/"
    answer = client.post(f"/{place}/language/", {"language": "de", "next": page}, headers={"Accept-Language": "en"})
    assert (answer.status_code, answer["Location"]) == (302, page)
    assert 'lang="de"' in client.get(page, headers={"Accept-Language": "en"}).content.decode()
    cookie = answer.cookies[settings.LANGUAGE_COOKIE_NAME]
    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Lax", 365 * 24 * 3600)


def test_choosing_a_language_leads_to_no_other_site(client: Client) -> None:
    answer = client.post("/user/language/", {"language": "de", "next": "https://elsewhere.example.org/"})
    assert answer["Location"] == "/"


def test_a_foreign_page_chooses_no_language() -> None:
    client = Client(enforce_csrf_checks=True)
    assert client.post("/user/language/", {"language": "de"}).status_code == 403
