"""Trap 6 of docs/schema.md: names, and other texts, that are blank, taken, or more than one word."""

from __future__ import annotations

import psycopg
import pytest


@pytest.mark.parametrize("blank", ["", "   ", "\t\n", None])
@pytest.mark.parametrize(
    ("parameter", "call"),
    [
        ("register_project: p_name", "SELECT register_project(%(blank)s, 'git@github.com:o/new.git')"),
        ("register_worktree: p_name", "SELECT register_worktree(%(project)s, 'feat', %(blank)s, 'b', '/b')"),
        ("register_worktree: p_branch_name", "SELECT register_worktree(%(project)s, 'feat', 'n', %(blank)s, '/b')"),
        ("register_worktree: p_path", "SELECT register_worktree(%(project)s, 'feat', 'n', 'b', %(blank)s)"),
        ("log_activity: p_agent_id", "SELECT log_activity(%(blank)s, %(worktree)s, 'other', 'x')"),
        ("log_activity: p_activity_type", "SELECT log_activity('agent', %(worktree)s, %(blank)s, 'x')"),
        ("search_projects: p_query", "SELECT * FROM search_projects(%(blank)s)"),
    ],
)
def test_blank_texts_are_refused_by_name(db, project, worktree, parameter, call, blank):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"^{parameter} is .*; it must not be blank"):
        db.execute(call, {"blank": blank, "project": project, "worktree": worktree})


@pytest.mark.parametrize("blank", ["", "  "])
@pytest.mark.parametrize(
    "call",
    [
        "SELECT register_project('x', 'git@github.com:o/new.git', %(blank)s)",
        "SELECT register_project('x', 'git@github.com:o/new.git', 'main', %(blank)s)",
        "SELECT register_worktree(%(project)s, 'feat', 'n', 'b', '/b', %(blank)s)",
        "SELECT mark_worktree_merged(%(worktree)s, %(blank)s, 'abc')",
        "SELECT mark_worktree_merged(%(worktree)s, 'agent', %(blank)s)",
        "SELECT update_project(%(project)s, p_name => %(blank)s)",
        "SELECT update_project(%(project)s, p_default_branch => %(blank)s)",
        "SELECT update_project(%(project)s, p_trunk_path => %(blank)s)",
        "SELECT update_worktree(%(worktree)s, p_name => %(blank)s)",
        "SELECT update_worktree(%(worktree)s, p_branch_name => %(blank)s)",
        "SELECT update_worktree(%(worktree)s, p_path => %(blank)s)",
    ],
)
def test_optional_texts_may_be_left_out_but_not_blank(db, project, worktree, call, blank):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="must not be blank"):
        db.execute(call, {"blank": blank, "project": project, "worktree": worktree})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "SELECT update_worktree(%(worktree)s, p_name => 'b')",
            'p_name "b" is taken by another worktree of the project',
        ),
        (
            "SELECT update_worktree(%(worktree)s, p_path => '/b/')",
            'p_path "/b/" is taken by the active worktree "b" of',
        ),
    ],
)
def test_what_another_worktree_has_is_refused_by_name(db, project, worktree, call, message):
    db.execute("SELECT register_worktree(%s, 'feat', 'b', 'b', '/b')", (project,))
    with pytest.raises(psycopg.errors.UniqueViolation, match=message):
        db.execute(call, {"worktree": worktree})


def test_the_name_of_a_worktree_type_is_one_word(db):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match='p_name "two words" has a blank in it'):
        db.execute("SELECT add_worktree_type('two words')")


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("projects", "name"),
        ("projects", "default_branch"),
        ("projects", "trunk_path"),
        ("worktrees", "name"),
        ("worktrees", "branch_name"),
        ("worktrees", "path"),
        ("worktrees", "agent_id"),
    ],
)
def test_blank_columns_are_refused_in_plain_writes(db, worktree, table, column):
    for blank in ("", " "):
        with pytest.raises(psycopg.errors.CheckViolation):
            db.execute(f"UPDATE {table} SET {column} = %s", (blank,))  # noqa: S608  # from the list above
