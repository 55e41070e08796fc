"""Traps 12 and 14 of docs/schema.md: ids, types and limits that are none, and the names that callers use."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest

from registry import errors
from registry.database.errors import from_database
from tests.support.schema.rows import scalar

# 12. Unknown ids


@pytest.mark.parametrize(
    "call",
    [
        "SELECT deactivate_project(%(id)s::uuid)",
        "SELECT register_worktree(%(id)s::uuid, 'feat', 'n', 'b', '/p')",
        "SELECT update_worktree_git_state(%(id)s::uuid, true)",
        "SELECT mark_worktree_merged(%(id)s::uuid, 'agent', 'abc')",
        "SELECT log_activity('agent', %(id)s::uuid, 'other', 'x')",
        "SELECT get_project_working_path(%(id)s::uuid)",
    ],
)
@pytest.mark.parametrize("key", [uuid4(), None])
def test_an_unknown_id_is_an_error(db, worktree, call, key):
    with pytest.raises(psycopg.errors.NoDataFound, match=f"p_[a-z]+_id {key or 'NULL'} is no ") as raised:
        db.execute(call, {"id": key})
    assert isinstance(from_database(raised.value), errors.NotFound)


def test_inflight_work_of_an_unknown_project_is_an_error(db, worktree):
    with pytest.raises(psycopg.errors.NoDataFound, match="is no project"):
        db.execute("SELECT * FROM get_inflight_work(%s)", (uuid4(),))


def test_the_working_path_of_an_inactive_project_is_an_error(db, project):
    db.execute("SELECT deactivate_project(%s)", (project,))

    with pytest.raises(psycopg.errors.NoDataFound, match="is no active project"):
        db.execute("SELECT get_project_working_path(%s)", (project,))


def test_an_unknown_worktree_type_is_an_error_that_lists_the_known_ones(db, project):
    for name in ("feature", "FEAT", "", None):
        with pytest.raises(psycopg.errors.NoDataFound, match="there are feat, fix, aiops, devops, review, trunk"):
            db.execute("SELECT register_worktree(%s, %s, 'n', 'b', '/p')", (project, name))


@pytest.mark.parametrize(
    "call",
    [
        "SELECT cleanup_old_activities(-1)",
        "SELECT cleanup_old_activities(NULL)",
        "SELECT prune_inactive_worktrees(-1)",
        "SELECT prune_inactive_worktrees(NULL)",
        "SELECT * FROM get_agent_recent_work('agent', -1)",
    ],
)
def test_negative_and_missing_limits_are_refused(db, call):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="it must be 0 or more"):
        db.execute(call)


# 14. Names in use by existing callers


@pytest.mark.parametrize(
    "kind",
    ["created", "modified", "deleted", "committed", "pushed", "merged", "synced", "claimed", "released", "other"],
)
def test_every_activity_type_in_use_is_accepted(db, worktree, kind):
    assert scalar(db, "SELECT log_activity('agent', %s, %s, 'x')", worktree, kind)


def test_an_unknown_activity_type_is_refused(db, worktree):
    refusal = r'p_activity_type "pondered" is no type of activity; there are created'
    with pytest.raises(psycopg.errors.CheckViolation, match=refusal) as it:
        scalar(db, "SELECT log_activity('agent', %s, 'pondered', 'x')", worktree)
    assert it.value.diag.constraint_name == "agent_activities_activity_type_check"


def test_pr_is_an_alias_of_review_unless_a_type_has_that_name(db, project):
    first = scalar(db, "SELECT register_worktree(%s, 'pr', 'pr-1', 'pr-review/1', '/pr-1')", project)
    db.execute("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('pr', 'pr/', 'pr-')")
    second = scalar(db, "SELECT register_worktree(%s, 'pr', 'pr-2', 'pr/2', '/pr-2')", project)

    kinds = {w["id"]: w["type_name"] for w in db.execute("SELECT id, type_name FROM v_worktrees_detail")}
    assert (kinds[first], kinds[second]) == ("review", "pr")
