"""The command line as a role that has rights on the registry's four tables and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tests.support.commandline import CommandLine, command_line
from tests.support.databases import Role, name_of, plain_role, url_of

TABLES = "projects, worktrees, worktree_types, agent_activities"
ORIGIN = "git@github.com:ada/engine.git"
READING = [
    ["project", "list"],
    ["project", "show", "engine"],
    ["worktree", "list"],
    ["worktree", "show", "feat-x"],
    ["type", "list"],
    ["activity", "list"],
    ["activity", "list", "--project", "engine"],
    ["inflight"],
    ["search", "engin"],
    ["stats"],
    ["path", "engine"],
]
WRITING = [
    ["project", "register", "--name", "other", "--origin", "git@github.com:ada/other.git"],
    ["project", "update", "engine", "--description", "An engine"],
    ["worktree", "claim", "feat-x", "--agent", "ada"],
    ["activity", "log", "other", "Looked", "--worktree", "feat-x"],
    ["worktree", "release", "feat-x"],
    ["worktree", "update", "feat-x", "--branch", "feat/y"],
    ["worktree", "merge", "feat-x", "abc123"],
    ["type", "add", "spike"],
    ["type", "update", "spike", "--description", "A try"],
    ["type", "remove", "spike", "--yes"],
    ["maintain", "prune-worktrees", "--days", "0", "--yes"],
    ["maintain", "cleanup-activities", "--days", "0", "--yes"],
    ["project", "deactivate", "engine", "--yes"],
    ["project", "activate", "engine"],
]


@pytest.fixture
def role(admin_url: str, database: str) -> Iterator[Role]:
    """A role that may only connect; there is a project, and activities in a worktree and in a deleted one."""
    with psycopg.connect(database, autocommit=True) as conn:
        for statement in (
            f"SELECT register_project('engine', '{ORIGIN}')",
            "SELECT register_worktree(p.id, 'feat', w.name, 'feat/x', '/x/' || w.name) FROM projects p,"
            " unnest('{feat-x, gone}'::text[]) AS w (name)",
            "SELECT log_activity('ada', id, 'other', 'Looked') FROM worktrees",
            "DELETE FROM worktrees WHERE name = 'gone'",
        ):
            conn.execute(statement.encode())
    with plain_role(admin_url, database) as plain:
        yield plain


@pytest.fixture
def cli(database: str, role: Role, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(monkeypatch, capsys, DATABASE_URL=url_of(database, name_of(database), role))


def grant(database: str, role: Role, rights: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(rights), sql.SQL(TABLES), sql.Identifier(role.name))
        )


def test_who_may_read_the_four_tables_can_ask_for_everything(cli: CommandLine, database: str, role: Role) -> None:
    grant(database, role, "SELECT")
    for command in READING:
        done = cli(*command)
        assert (done.code, done.err) == (0, ""), command
    assert {row["worktree_name"] for row in cli("activity", "list", "--json").json} == {"feat-x", "gone"}


def test_who_may_write_the_four_tables_can_do_everything(cli: CommandLine, database: str, role: Role) -> None:
    grant(database, role, "SELECT, INSERT, UPDATE, DELETE")
    for command in WRITING:
        done = cli(*command)
        assert done.code == 0, (command, done.err)


def test_who_may_not_is_told_what_is_missing(cli: CommandLine, database: str, role: Role) -> None:
    for command in READING:
        refused = cli(*command)
        assert refused.code == 1
        assert "permission denied for " in refused.err, command
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(sql.SQL("GRANT SELECT ON schema_migrations TO {}").format(sql.Identifier(role.name)))
    refused = cli("maintain", "vacuum")
    assert refused.code == 1
    assert "table agent_activities: " in refused.err
    assert "vacuum" in refused.err
    assert refused.out == ""
