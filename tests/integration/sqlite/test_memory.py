"""However many rows an old database has, and however large some are: the import holds a few of them at a time."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.before.importing import everything
from tests.support.before.sqlite import T2, OldDatabase, W
from tests.support.processes import environment

MIB = 1024 * 1024
ROWS, HUGE, HUGE_BYTES = 100_000, 60, 4 * MIB
ID_CHARACTERS = 1000
MORE_MIB = 100
"""Beside what the import of three rows takes."""
IMPORT = """
import atexit, re, sys
from publisher.cli import main
atexit.register(lambda: print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr))
main.main()
"""


def peak_mib(database: str, file: Path) -> float:
    """The most memory that a process had which looked at all rows, inserted them and took them back."""
    command = [sys.executable, "-c", IMPORT, "import-sqlite", str(file), "--dry-run", "--leave-out", "--json"]
    done = subprocess.run(
        command, env=environment(DATABASE_URL=database), capture_output=True, text=True, timeout=600, check=True
    )
    return int(done.stderr.split()[-1]) / 1024


@pytest.mark.parametrize(("count", "size"), [(ROWS, 10), (HUGE, HUGE_BYTES)], ids=["many", "huge"])
def test_an_import_takes_no_more_memory_for_more_rows_or_for_larger_ones(
    database: str, old: OldDatabase, count: int, size: int
) -> None:
    everything(old)
    small = peak_mib(database, old.file)
    with closing(sqlite3.connect(old.file)) as conn, conn:
        conn.executemany(
            "INSERT INTO agent_activities VALUES (?, 'ada', ?, 'modified', 'f', hex(zeroblob(?)), ?)",
            ((str(uuid4()), W, size // 2, T2) for _ in range(count)),
        )
    assert count * size > MORE_MIB * MIB or count == ROWS

    assert peak_mib(database, old.file) < small + MORE_MIB


@pytest.mark.parametrize("worktree", [pytest.param(W, marks=pytest.mark.long), "gone"], ids=["notes", "problems"])
def test_an_import_takes_no_more_memory_for_more_rows_of_which_there_is_something_to_say(
    database: str, old: OldDatabase, worktree: str
) -> None:
    everything(old)
    small = peak_mib(database, old.file)
    with closing(sqlite3.connect(old.file)) as conn, conn:
        conn.executemany(
            "INSERT INTO agent_activities VALUES (?, 'ada', ?, 'modified', 'f', 'x', ?)",
            ((f"{number:0{ID_CHARACTERS}}", worktree, T2) for number in range(ROWS)),
        )
    assert ROWS * ID_CHARACTERS > MORE_MIB * MIB / 2

    assert peak_mib(database, old.file) < small + MORE_MIB / 2
