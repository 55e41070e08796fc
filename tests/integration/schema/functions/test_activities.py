"""What agents did: logged, asked for, and forgotten in time."""

from __future__ import annotations

from tests.support.schema.rows import backdate, new_project, new_worktree, row, scalar


def test_logging_an_activity_touches_the_worktree(db):
    worktree = new_worktree(db, new_project(db))
    before = row(db, "worktrees", worktree)["updated_at"]

    activity = scalar(
        db,
        """SELECT log_activity('agent-1', %s, 'modified', 'Updated login', 'src/auth.rs', '{"lines": 3}')""",
        worktree,
    )

    stored = row(db, "agent_activities", activity)
    assert (stored["agent_id"], stored["worktree_id"], stored["activity_type"]) == ("agent-1", worktree, "modified")
    assert (stored["description"], stored["file_path"]) == ("Updated login", "src/auth.rs")
    assert stored["metadata"] == {"lines": 3}
    assert row(db, "worktrees", worktree)["updated_at"] > before


def test_recent_work_of_an_agent_comes_newest_first_and_limited(db):
    worktree = new_worktree(db, new_project(db))
    for n in range(4):
        db.execute("SELECT log_activity('agent-1', %s, 'modified', %s)", (worktree, f"step {n}"))
    db.execute("SELECT log_activity('agent-2', %s, 'modified', 'not mine')", (worktree,))

    recent = db.execute("SELECT * FROM get_agent_recent_work('agent-1', 3)").fetchall()

    assert [a["description"] for a in recent] == ["step 3", "step 2", "step 1"]
    assert {(a["worktree_name"], a["project_name"], a["worktree_type"]) for a in recent} == {
        ("feat-auth", "my-project", "feat")
    }
    assert len(db.execute("SELECT * FROM get_agent_recent_work('agent-1')").fetchall()) == 4


def test_cleanup_removes_activities_older_than_the_days_given(db):
    worktree = new_worktree(db, new_project(db))
    old, young = (scalar(db, "SELECT log_activity('a', %s, 'other', 'x')", worktree) for _ in range(2))
    backdate(db, "agent_activities", "created_at", old, 91)

    assert scalar(db, "SELECT cleanup_old_activities()") == 1
    assert scalar(db, "SELECT cleanup_old_activities(90)") == 0

    assert [a["id"] for a in db.execute("SELECT id FROM agent_activities")] == [young]


def test_recent_work_reads_no_more_than_it_tells_of_much_that_was_done_at_one_time(db):
    """As an import leaves it, of an agent whose activities have the time of a day."""
    worktree = new_worktree(db, new_project(db))
    db.execute(
        "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, created_at)"
        " SELECT 'agent-1', %s, 'modified', 'file ' || n, '2026-01-21' FROM generate_series(1, 1000) AS n",
        [worktree],
    )
    db.execute("ANALYZE agent_activities")

    with db.transaction():
        assert len(db.execute("SELECT * FROM get_agent_recent_work('agent-1', 10)").fetchall()) == 10
        found = "FROM pg_stat_xact_user_tables WHERE relname ~ '^agent_activities'"
        read = scalar(db, f"SELECT sum(seq_tup_read + idx_tup_fetch) {found}")

    assert read == 10
