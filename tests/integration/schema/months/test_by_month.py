"""What tests say of activities holds by month, too, and what tests say of months in the oldest PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from publisher.embedded.postgres import postgres
from tests.support.postgres.postgres14 import binaries_of_14
from tests.support.processes import environment
from tests.support.services import DATABASE_VARIABLE, POSTGRES_SETTINGS, scratch_directory

HERE = Path(__file__).parent
SCHEMA = HERE.parent
ROOT = Path(__file__).parents[4]
OF_ACTIVITIES = [
    SCHEMA / "functions/test_activities.py",
    SCHEMA / "functions/test_statistics.py",
    SCHEMA / "traps/test_protected_rows.py",
    SCHEMA / "traps/test_metadata.py",
    SCHEMA.parent / "outbox/test_statements.py",
]
OF_MONTHS = [
    HERE / "test_parts.py",
    HERE / "test_told.py",
    HERE / "test_fence.py",
    HERE / "test_hung.py",
    f"{HERE / 'test_moving.py'}::test_what_retention_removes_meanwhile_is_not_there_again",
]
ON_CONFLICT_ID = f"{OF_ACTIVITIES[2]}::test_the_activity_log_is_append_only[statement2]"
"""The one statement that is refused by month: docs/months.md."""


def failed(server: str, *arguments: object) -> tuple[list[str], str]:
    """Which tests fail, run on that server, and all that was said."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *map(str, arguments)]
    variables = environment(**{DATABASE_VARIABLE: server})
    done = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=ROOT, check=False)
    names = [line.split(" ", 1)[1].split(" - ")[0] for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return names, done.stdout


def test_a_registry_by_month_does_what_any_registry_does(admin_url: str) -> None:
    names, said = failed(admin_url, "--by-month", *OF_ACTIVITIES)
    assert names == [str(Path(ON_CONFLICT_ID).relative_to(ROOT))], said


def test_months_are_what_they_are_in_the_oldest_postgresql() -> None:
    with (
        scratch_directory() as folder,
        postgres(folder, settings=POSTGRES_SETTINGS, bin_dir=binaries_of_14()) as server,
    ):
        names, said = failed(server.url, *OF_MONTHS)
    assert names == [], said
