"""What takes long says on a terminal how far it is, and nothing of it where nobody looks."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.support.before.importing import everything
from tests.support.before.sqlite import OldDatabase
from tests.support.cli import forked
from tests.support.cli.terminals import lines_of, on_terminal
from tests.support.git.repositories import checkout

SHOWN = {
    "import-sqlite": "3 of 3 rows ━━━━",
    "months": "1 of 1 blocks ━━━━",
    "sync": "engine ━━━━",
}
"""By the first word of a command, the beginning of its bar when all is done."""
ERASED = "\x1b[2K"


@pytest.fixture
def commands(database: str, tmp_path: Path) -> dict[str, list[str]]:
    """Commands of which each has something to do, by their first word."""
    old = OldDatabase(tmp_path / "imi.db")
    everything(old)
    checkout(tmp_path / "code" / "engine", "git@github.com:ada/other.git")
    with psycopg.connect(database) as conn:
        made = "register_worktree(register_project('motor', 'git@github.com:ada/motor.git'), 'feat', 'n', 'b', '/b')"
        conn.execute(f"SELECT log_activity('ada', {made}, 'other', 'Looked')")
    return {
        "import-sqlite": ["import-sqlite", str(old.file)],
        "months": ["months", "on"],
        "sync": ["sync", str(tmp_path / "code")],
    }


@pytest.mark.parametrize("command", SHOWN)
def test_a_bar_is_on_the_terminal_until_all_is_done(
    database: str, commands: dict[str, list[str]], tmp_path: Path, command: str
) -> None:
    code, shown = on_terminal(*commands[command], output=tmp_path / "out", DATABASE_URL=database)

    lines = lines_of(shown)
    assert code == 0, lines
    assert any(line.startswith(SHOWN[command]) for line in lines), lines
    assert max(map(len, lines)) <= 80
    assert shown.rstrip("\r\n").endswith(ERASED)
    assert "━" not in (tmp_path / "out").read_text()


@pytest.mark.parametrize("command", SHOWN)
def test_no_bar_is_where_standard_error_is_no_terminal(
    database: str, commands: dict[str, list[str]], command: str
) -> None:
    done = forked.run(*commands[command], DATABASE_URL=database, TERM="xterm-256color")
    assert (done.returncode, done.stderr) == (0, "")
    assert "━" not in done.stdout
