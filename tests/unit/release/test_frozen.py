"""A release freezes its migrations and their ways back, and the changelog says of which version they are."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from registry.database import migrate

ROOT = Path(__file__).parents[3]
FROZEN = json.loads((ROOT / "migrations/frozen.json").read_text())
SECTIONS = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]
RELEASES = [section for section in SECTIONS if re.match(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d\n", section)]
LAST = max((int(number) for number in re.findall(r"migrations,? \d{3} to (\d{3})", "".join(RELEASES))), default=0)
"""The newest migration that was released, as the changelog has it."""


def files() -> dict[str, int]:
    """Every file that a release freezes, and its number."""
    every = migrate.load()
    return {one.name: one.version for one in every} | {
        f"down/{one.name}": one.version for one in every if one.down is not None
    }


def test_of_what_was_released_each_file_is_frozen_and_nothing_else() -> None:
    assert {name for name, number in files().items() if number <= LAST} == set(FROZEN)


def test_a_changelog_that_begins_with_a_release_is_of_this_version_and_of_every_migration() -> None:
    if SECTIONS[0].startswith("Unreleased\n"):
        pytest.skip("there are changes since the last release")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert RELEASES[:1] == SECTIONS[:1]
    assert SECTIONS[0].startswith(f"{version} - ")
    assert max(files().values()) == LAST
