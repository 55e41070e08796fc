"""Traps 8 to 10 of docs/schema.md: worktrees that are merged, of an inactive project, or only behind."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.schema.rows import scalar
from tests.support.schema.rows import worktree_row as row

# 8. Merged worktrees


def test_a_merged_worktree_that_is_registered_again_is_active_and_no_longer_merged(db, project, worktree):
    db.execute("SELECT mark_worktree_merged(%s, 'agent', 'abc')", (worktree,))

    again = scalar(db, "SELECT register_worktree(%s, 'feat', 'feat-auth', 'feat/auth', '/code/feat-auth')", project)

    stored = row(db, again)
    assert again == worktree
    assert stored["active"] is True
    assert (stored["merged_at"], stored["merged_by"], stored["merge_commit_hash"]) == (None, None, None)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE worktrees SET active = true",
        "INSERT INTO worktrees (project_id, type_id, name, branch_name, path)"
        " SELECT project_id, type_id, name, branch_name, path FROM worktrees"
        " ON CONFLICT (project_id, name) DO UPDATE SET active = true",
    ],
)
def test_a_merged_worktree_that_is_reactivated_by_plain_sql_is_no_longer_merged(db, worktree, statement):
    db.execute("SELECT mark_worktree_merged(%s, 'agent', 'abc')", (worktree,))

    db.execute(statement)

    stored = row(db, worktree)
    assert (stored["active"], stored["merged_at"], stored["merged_by"]) == (True, None, None)


def test_a_plain_write_of_merged_at_deactivates(db, project, worktree):
    db.execute("UPDATE worktrees SET merged_at = now(), merged_by = 'agent'")
    db.execute(
        "INSERT INTO worktrees (project_id, type_id, name, branch_name, path, merged_at)"
        " VALUES (%s, 1, 'old', 'old', '/old', now())",
        (project,),
    )

    assert scalar(db, "SELECT count(*) FROM worktrees WHERE active") == 0
    assert scalar(db, "SELECT count(*) FROM worktrees WHERE merged_at IS NOT NULL") == 2


# 9. Worktrees of an inactive project


def test_an_inactive_project_takes_no_active_worktree(db, project, worktree):
    db.execute("SELECT deactivate_project(%s)", (project,))

    for statement in (
        "SELECT register_worktree(%s, 'feat', 'new', 'new', '/new')",
        "SELECT register_worktree(%s, 'feat', 'feat-auth', 'feat/auth', '/code/feat-auth')",
        "INSERT INTO worktrees (project_id, type_id, name, branch_name, path) VALUES (%s, 1, 'new', 'new', '/new')",
        "UPDATE worktrees SET active = true WHERE project_id = %s",
    ):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=r"inactive.*register.* again first"):
            db.execute(statement, (project,))
    db.execute(
        "INSERT INTO worktrees (project_id, type_id, name, branch_name, path, active)"
        " VALUES (%s, 1, 'old', 'old', '/old', false)",
        (project,),
    )


def test_a_worktree_is_not_moved_actively_into_an_inactive_project(db, worktree):
    other = scalar(db, "SELECT register_project('other', 'git@github.com:o/other.git')")
    db.execute("SELECT deactivate_project(%s)", (other,))

    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        db.execute("UPDATE worktrees SET project_id = %s", (other,))


# 10. Statistics: behind-only work


def test_work_that_is_only_behind_is_in_flight(db, worktree):
    db.execute("SELECT update_worktree_git_state(%s, p_behind := 2)", (worktree,))

    assert scalar(db, "SELECT in_flight_worktrees FROM get_registry_stats()") == 1
    assert scalar(db, "SELECT status FROM get_inflight_work()") == "behind"
