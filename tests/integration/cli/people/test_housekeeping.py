"""Housekeeping on the command line, and that nothing is destroyed unless confirmed."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from registry.database.migration import load
from tests.support.commandline import CommandLine
from tests.support.outbox_reader import events


def test_housekeeping(cli: CommandLine, engine: Path, database: str) -> None:
    cli("activity", "log", "other", "Looked", "--worktree", engine)
    cli("worktree", "remove", engine, "--yes")
    assert "vacuumed projects\n" in cli("maintain", "vacuum").out
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT reltuples FROM pg_class WHERE relname = 'projects'").fetchone() == (1,)
    assert cli("maintain", "prune-worktrees", "--yes").out == "deleted 0 worktrees\n"
    assert cli("maintain", "prune-worktrees", "--days", 0, "--yes").out == "deleted 1 worktrees\n"
    assert cli("maintain", "cleanup-activities", "--days", 0, "--yes").out == "removed 1 activities\n"


@pytest.mark.parametrize(
    "command",
    [
        ["project", "deactivate", "Engine"],
        ["worktree", "remove", "feat-search"],
        ["type", "remove", "docs"],
        ["maintain", "prune-worktrees", "--days", "0"],
        ["maintain", "cleanup-activities", "--days", "0"],
    ],
)
def test_nothing_is_destroyed_unless_confirmed(
    cli: CommandLine, registered: None, database: str, command: list[str]
) -> None:
    # given something for each command to destroy
    cli("type", "add", "docs")
    cli("worktree", "register", "/nowhere/old", "--project", "Engine", "--branch", "fix/old")
    cli("activity", "log", "other", "Looked", "--worktree", "old")
    cli("worktree", "remove", "old", "--yes")
    before = events(database)
    tables = ("projects", "worktrees", "worktree_types", "agent_activities")

    def counts() -> list[object]:
        with psycopg.connect(database) as conn:
            return [conn.execute(f"SELECT count(*) FROM {table}").fetchone() for table in tables]  # noqa: S608  # of constants

    rows = counts()
    # when
    for answer, said in (
        ("n\n", "not confirmed, nothing was done\n"),
        ("", "There is no terminal to ask at; give --yes\n"),
    ):
        refused = cli(*command, stdin=answer)
        assert refused.code == 1
        assert refused.err.endswith(said)
    # then
    assert (events(database), counts()) == (before, rows)
    # when
    assert cli(*command, stdin="y\n").code == 0
    # then
    assert (events(database), counts()) != (before, rows)


def test_migrations_are_taken_back_only_when_that_is_confirmed_and_can_be(cli: CommandLine, database: str) -> None:
    names = [one.name for one in load()]
    assert cli("migrate", "down", "--to", len(names)).out == "nothing to take back\n"
    refused = cli("migrate", "down", "--to", 1, "--yes")
    assert (refused.code, f"{names[5]} has no way back of its own" in refused.err) == (1, True)
    assert "migration 900: there is no such migration" in cli("migrate", "down", "--to", 900, "--yes").err

    later = names[:5:-1]
    dry = cli("migrate", "down", "--to", 6, "--dry-run", "--json").json
    assert dry == {"taken_back": [], "pending": later}
    if later:
        assert cli("migrate", "down", "--to", "006", stdin="n\n").code == 1
    assert cli("migrate", "down", "--to", "006", "--yes", "--json").json == {"taken_back": later, "pending": []}
    assert [item["state"] for item in cli("migrate", "status", "--json").json][6:] == ["pending"] * len(later)
