"""docs/upgrading.md tells of each migration how long it keeps writers waiting."""

from __future__ import annotations

import re
from pathlib import Path

from registry.database import migrate

PAGE = (Path(__file__).parents[3] / "docs" / "upgrading.md").read_text()


def test_every_migration_that_is_applied_beside_writers_was_measured() -> None:
    measured = re.findall(r"^\| (\d{3} [a-z0-9 ]+) \|(?: \d[\d.]* \|){6}$", PAGE, re.MULTILINE)
    later = [one.name.removesuffix(".sql").replace("_", " ") for one in migrate.load() if one.version > 6]
    assert measured == later, "docs/upgrading.md has the command that measures them; it takes two minutes"
    assert f"goes up to migration {later[-1][:3]} and back" in PAGE
