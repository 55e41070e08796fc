"""What tests say of activities holds by month, too; but for the one statement that docs/months.md names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.processes import environment

SCHEMA = Path(__file__).parents[1]
FILES = [
    SCHEMA / "functions/test_activities.py",
    SCHEMA / "functions/test_statistics.py",
    SCHEMA / "traps/test_protected_rows.py",
    SCHEMA / "traps/test_metadata.py",
    SCHEMA.parent / "outbox/test_statements.py",
]
ON_CONFLICT_ID = f"{FILES[2]}::test_the_activity_log_is_append_only[statement2]"


def test_a_registry_by_month_does_what_any_registry_does() -> None:
    command = [sys.executable, "-m", "pytest", "--by-month", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *FILES]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(), cwd=SCHEMA.parents[2], check=False
    )

    failed = [line.split(" ", 1)[1].split(" - ")[0] for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    assert failed == [str(Path(ON_CONFLICT_ID).relative_to(SCHEMA.parents[2]))], done.stdout
