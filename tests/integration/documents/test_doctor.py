"""docs/doctor.md: each line names a test that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NAMED = sorted(set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "doctor.md").read_text())))


def test_each_line_names_one() -> None:
    rows = re.findall(r"^\| (?!what|---|\*\*).*$", (ROOT / "docs" / "doctor.md").read_text(), re.MULTILINE)
    assert len(rows) > 25
    assert [row for row in rows if "`test_" not in row] == []


@pytest.mark.parametrize("name", NAMED)
def test_each_test_is_there(name: str) -> None:
    files = (ROOT / "tests").rglob("test_*.py")
    assert any(re.search(rf"^(async )?def {name}\(", file.read_text(), re.MULTILINE) for file in files)
