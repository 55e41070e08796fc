"""Trap 6 of docs/schema.md: metadata is an object, and never null."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.schema.rows import ORIGIN, scalar


@pytest.mark.parametrize("metadata", ["[]", '"text"', "1", "null", "true"])
def test_metadata_must_be_an_object(db, project, worktree, metadata):
    calls = {
        "register_project": f"SELECT register_project('x', '{ORIGIN}', p_metadata := %s)",
        "register_worktree": f"SELECT register_worktree('{project}', 'feat', 'x', 'x', '/x', NULL, %s)",
        "log_activity": f"SELECT log_activity('agent', '{worktree}', 'other', 'x', NULL, %s)",
    }
    for function, call in calls.items():
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"{function}: p_metadata is the JSON .* object"):
            db.execute(call, (metadata,))
    for table in ("projects", "worktrees", "worktree_types"):
        with pytest.raises(psycopg.errors.CheckViolation, match=f"{table}_metadata_check"):
            db.execute(f"UPDATE {table} SET metadata = %s", (metadata,))  # noqa: S608  # from the list above
    with pytest.raises(psycopg.errors.CheckViolation, match="agent_activities_metadata_check"):
        db.execute(
            "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, metadata)"
            " VALUES ('a', %s, 'other', 'x', %s)",
            (worktree, metadata),
        )


def test_metadata_is_never_null(db, project, worktree):
    db.execute("SELECT register_project('other', 'git@github.com:o/other.git', p_metadata := NULL)")
    db.execute("SELECT register_worktree(%s, 'feat', 'x', 'x', '/x', NULL, NULL)", (project,))
    db.execute("SELECT log_activity('agent', %s, 'other', 'x', NULL, NULL)", (worktree,))

    for table in ("projects", "worktrees", "agent_activities"):
        assert scalar(db, f"SELECT bool_and(metadata = '{{}}') FROM {table}") is True  # noqa: S608  # as above
    for table in ("projects", "worktrees", "worktree_types"):
        with pytest.raises(psycopg.errors.NotNullViolation):
            db.execute(f"UPDATE {table} SET metadata = NULL")  # noqa: S608  # from the list above
