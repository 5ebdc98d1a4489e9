"""The release notes script of .github/workflows. zizmor (`make lint`) and actionlint (in CI) judge the workflows."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

CHANGELOG = """# Changelog

## [Unreleased]

## [1.2.0] - 2026-11-25

### Added
- A thing.

## [1.1.0] - 2026-10-01
"""


@pytest.fixture
def release_notes(tmp_path: Path) -> Path:
    """Return the path of the script, in a checkout whose version is 1.2.0."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "release-notes", tmp_path / "scripts")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    return tmp_path / "scripts" / "release-notes"


def test_the_notes_of_a_release_are_what_the_changelog_says_of_it(release_notes: Path) -> None:
    told = subprocess.run([release_notes, "1.2.0"], capture_output=True, text=True, check=True)
    assert told.stdout == "### Added\n- A thing.\n"


def test_a_tag_of_another_version_is_no_release(release_notes: Path) -> None:
    told = subprocess.run([release_notes, "1.1.0"], capture_output=True, text=True, check=False)
    complaint = '1.1.0 is not the version of pyproject.toml: "1.2.0"\n'
    assert (told.returncode, told.stdout, told.stderr) == (1, "", complaint)


def test_a_version_of_which_nothing_is_told_is_no_release(release_notes: Path) -> None:
    (release_notes.parents[1] / "CHANGELOG.md").write_text(CHANGELOG.replace("1.2.0", "1.0.0"))
    told = subprocess.run([release_notes, "1.2.0"], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith("CHANGELOG.md has no section for 1.2.0")
