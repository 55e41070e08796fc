"""What is in flight, and how much there is of everything."""

from __future__ import annotations

import pytest

from tests.support.schema.rows import backdate, new_project, new_worktree, scalar


@pytest.mark.parametrize(
    ("flag", "ahead", "behind", "status"),
    [
        (True, 0, 0, "uncommitted"),
        (True, 2, 3, "uncommitted"),
        (False, 2, 0, "ahead"),
        (False, 0, 3, "behind"),
        (False, 2, 3, "diverged"),
        (False, 0, 0, "clean"),
        (None, None, None, "clean"),
    ],
)
def test_status_of_a_worktree(db, flag, ahead, behind, status):
    assert scalar(db, "SELECT worktree_status(%s::boolean, %s::integer, %s::integer)", flag, ahead, behind) == status


def test_inflight_work_is_that_of_unfinished_worktrees_latest_first(db):
    project = new_project(db)
    other = new_project(db, "git@github.com:o/other.git", "other")
    clean, behind, dirty, merged = (new_worktree(db, project, n) for n in ("clean", "behind", "dirty", "merged"))
    elsewhere = new_worktree(db, other, "elsewhere")
    db.execute("SELECT update_worktree_git_state(%s, p_ahead := 1)", (merged,))
    db.execute("SELECT mark_worktree_merged(%s, 'agent-1', 'abc')", (merged,))
    db.execute("SELECT update_worktree_git_state(%s, p_ahead := 1)", (elsewhere,))
    db.execute("SELECT update_worktree_git_state(%s, p_behind := 4)", (behind,))
    db.execute("SELECT update_worktree_git_state(%s, true, 2)", (dirty,))

    everything = db.execute("SELECT * FROM get_inflight_work()").fetchall()
    of_project = db.execute("SELECT * FROM get_inflight_work(%s)", (project,)).fetchall()

    assert [w["worktree_id"] for w in everything] == [dirty, behind, elsewhere]
    assert [(w["worktree_name"], w["status"]) for w in of_project] == [("dirty", "uncommitted"), ("behind", "behind")]
    assert (of_project[0]["uncommitted_count"], of_project[1]["behind"]) == (2, 4)
    assert clean not in {w["worktree_id"] for w in everything}


def test_statistics_count_every_kind(db):
    project = new_project(db)
    new_project(db, "git@github.com:o/other.git", "other")
    db.execute("SELECT deactivate_project(id) FROM projects WHERE name = 'other'")
    a, b, c = (new_worktree(db, project, n) for n in "abc")
    db.execute("SELECT update_worktree_git_state(%s, p_behind := 1)", (a,))
    db.execute("SELECT update_worktree_git_state(%s, true)", (b,))
    db.execute("SELECT mark_worktree_merged(%s, 'x', 'y')", (c,))
    old = scalar(db, "SELECT log_activity('a', %s, 'other', 'x')", a)
    scalar(db, "SELECT log_activity('a', %s, 'other', 'x')", a)
    backdate(db, "agent_activities", "created_at", old, 2)

    assert db.execute("SELECT * FROM get_registry_stats()").fetchone() == {
        "total_projects": 2,
        "active_projects": 1,
        "total_worktrees": 3,
        "active_worktrees": 2,
        "in_flight_worktrees": 2,
        "total_activities": 2,
        "activities_last_24h": 1,
    }


def test_summary_counts_the_worktrees_of_active_projects(db):
    project = new_project(db)
    new_project(db, "git@github.com:o/empty.git", "empty")
    a, _, c = (new_worktree(db, project, n) for n in "abc")
    db.execute("SELECT update_worktree_git_state(%s, true)", (a,))
    db.execute("SELECT mark_worktree_merged(%s, 'x', 'y')", (c,))

    summary = {s["name"]: s for s in db.execute("SELECT * FROM v_projects_summary")}

    counts = ("active_worktrees_count", "uncommitted_worktrees_count", "unmerged_worktrees_count")
    assert [summary["my-project"][c] for c in counts] == [2, 1, 2]
    assert [summary["empty"][c] for c in counts] == [0, 0, 0]
    assert summary["my-project"]["last_worktree_activity"] is not None
