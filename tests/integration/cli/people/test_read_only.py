"""A database that takes no writes now, as a standby does, is told as that by every command that writes."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.support.commandline import CommandLine
from tests.support.git.repositories import ORIGIN, checkout

TOLD = "the database takes no writes now (a standby, or default_transaction_read_only is on)"
REGISTERED = """
SELECT register_worktree(register_project('engine', 'git@github.com:ada/engine.git'), 'feat', 'feat-x', 'feat/x', '/x')
"""
WRITING = [
    ["project", "register", "--origin", "git@github.com:ada/motor.git"],
    ["project", "update", "engine", "--description", "d"],
    ["project", "deactivate", "engine", "--yes"],
    ["worktree", "register", "/x/new", "--project", "engine", "--branch", "feat/new"],
    ["worktree", "update", "feat-x", "--path", "/y"],
    ["worktree", "git-state", "feat-x", "--ahead", "1"],
    ["worktree", "claim", "feat-x", "--agent", "ada"],
    ["worktree", "merge", "feat-x", "0123456"],
    ["worktree", "remove", "feat-x", "--yes"],
    ["activity", "log", "other", "Looked", "--worktree", "feat-x"],
    ["type", "add", "docs"],
    ["maintain", "cleanup-activities", "--yes"],
    ["maintain", "prune-worktrees", "--yes"],
    ["maintain", "cleanup-commands", "--yes"],
    ["migrate", "rollback", "--yes"],
]


@pytest.fixture
def read_only(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(database) as conn:
        conn.execute(REGISTERED.encode())
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_read_only=on")


@pytest.mark.usefixtures("read_only")
def test_a_command_that_writes_says_that_the_database_takes_no_writes(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    checkout(tmp_path / "code" / "engine", ORIGIN)
    others = {}
    for arguments in [*WRITING, ["sync", tmp_path / "code"]]:
        done = cli(*arguments)
        if done.code != 3 or TOLD not in done.err or done.err.count("\n") != 1:
            others[" ".join(map(str, arguments))] = done
    assert others == {}
