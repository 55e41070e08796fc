"""What the functions for worktrees do when used as intended."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.schema.rows import backdate, events, new_project, new_worktree, row, scalar


@pytest.mark.parametrize(
    ("column", "arguments"),
    [
        ("type_id", "'fix', 'w', 'b', '/w'"),
        ("branch_name", "'feat', 'w', 'c', '/w'"),
        ("path", "'feat', 'w', 'b', '/v'"),
        ("agent_id", "'feat', 'w', 'b', '/w', 'agent-2'"),
        ("metadata", """'feat', 'w', 'b', '/w', NULL, '{"a": 1}'"""),
    ],
)
def test_one_difference_is_enough_to_update_a_worktree(db, column, arguments):
    project = new_project(db)
    worktree = scalar(db, "SELECT register_worktree(%s, 'feat', 'w', 'b', '/w', 'agent-1')", project)
    before = row(db, "worktrees", worktree)

    db.execute(f"SELECT register_worktree(%s, {arguments})", (project,))

    after = row(db, "worktrees", worktree)
    assert {c for c in before if before[c] != after[c]} == {column, "updated_at"}


def test_registering_a_worktree_stores_what_was_given(db):
    project = new_project(db)

    worktree = scalar(
        db,
        "SELECT register_worktree(%s, %s, %s, %s, %s, %s, %s)",
        project,
        "fix",
        "fix-login",
        "fix/login",
        "/code/fix-login",
        "agent-1",
        '{"ticket": 7}',
    )

    detail = row(db, "v_worktrees_detail", worktree)
    assert detail["project_name"] == "my-project"
    assert detail["type_name"] == "fix"
    assert (detail["worktree_name"], detail["branch_name"]) == ("fix-login", "fix/login")
    assert (detail["path"], detail["agent_id"]) == ("/code/fix-login", "agent-1")
    assert detail["active"] is True
    assert row(db, "worktrees", worktree)["metadata"] == {"ticket": 7}


def test_registering_the_same_worktree_again_changes_nothing_and_causes_no_event(db):
    project = new_project(db)
    worktree = new_worktree(db, project)
    before, told = row(db, "worktrees", worktree), events(db)

    assert new_worktree(db, project) == worktree

    assert row(db, "worktrees", worktree) == before
    assert events(db) == told


def test_registering_a_worktree_again_updates_what_differs_and_keeps_what_is_left_out(db):
    project = new_project(db)
    worktree = scalar(
        db, """SELECT register_worktree(%s, 'feat', 'w', 'feat/w', '/a/w', 'agent-1', '{"a": 1}')""", project
    )

    again = scalar(db, "SELECT register_worktree(%s, 'fix', 'w', 'fix/w', '/b/w')", project)

    assert again == worktree
    stored = row(db, "worktrees", worktree)
    assert (stored["branch_name"], stored["path"], stored["agent_id"]) == ("fix/w", "/b/w", "agent-1")
    assert stored["type_id"] == scalar(db, "SELECT id FROM worktree_types WHERE name = 'fix'")
    assert stored["metadata"] == {"a": 1}


def test_a_worktree_is_found_by_path_while_active(db):
    project = new_project(db)
    worktree = new_worktree(db, project)
    path = f"/code/{project}/feat-auth"

    found = db.execute("SELECT * FROM get_worktree_by_path(%s)", (path + "/",)).fetchall()
    assert [(w["id"], w["project_name"], w["type_name"]) for w in found] == [(worktree, "my-project", "feat")]

    db.execute("UPDATE worktrees SET active = false WHERE id = %s", (worktree,))
    assert db.execute("SELECT * FROM get_worktree_by_path(%s)", (path,)).fetchall() == []


def test_a_path_of_an_active_worktree_cannot_be_taken_but_that_of_an_inactive_one_can(db):
    project = new_project(db)
    other = new_project(db, "git@github.com:o/other.git", "other")
    worktree = scalar(db, "SELECT register_worktree(%s, 'feat', 'w', 'feat/w', '/code/w')", project)

    with pytest.raises(psycopg.errors.UniqueViolation, match='"/code/w/" is taken by the active worktree "w"'):
        scalar(db, "SELECT register_worktree(%s, 'feat', 'v', 'feat/v', '/code/w/')", other)
    db.execute("UPDATE worktrees SET active = false WHERE id = %s", (worktree,))

    assert scalar(db, "SELECT register_worktree(%s, 'feat', 'v', 'feat/v', '/code/w/')", other)


def test_an_empty_hash_says_that_there_is_no_commit(db):
    worktree = new_worktree(db, new_project(db))

    db.execute("SELECT update_worktree_git_state(%s, true, 3, 2, 1, 'abc', 'Message')", (worktree,))
    empty = "SELECT update_worktree_git_state(%s, p_last_commit_hash := '', p_last_commit_message := 'x')"
    db.execute(empty, (worktree,))

    stored = row(db, "worktrees", worktree)
    assert (stored["last_commit_hash"], stored["last_commit_message"], stored["ahead_of_trunk"]) == (None, None, 2)


def test_git_state_is_stored_and_parameters_left_out_keep_their_value(db):
    worktree = new_worktree(db, new_project(db))

    db.execute("SELECT update_worktree_git_state(%s, true, 3, 2, 1, 'abc', 'Message')", (worktree,))
    db.execute("SELECT update_worktree_git_state(%s, p_behind := 0)", (worktree,))

    stored = row(db, "worktrees", worktree)
    assert (stored["has_uncommitted_changes"], stored["uncommitted_files_count"]) == (True, 3)
    assert (stored["ahead_of_trunk"], stored["behind_trunk"]) == (2, 0)
    assert (stored["last_commit_hash"], stored["last_commit_message"]) == ("abc", "Message")
    assert stored["last_sync_at"] == stored["updated_at"]


def test_merging_records_who_and_what_and_deactivates(db):
    worktree = new_worktree(db, new_project(db))

    db.execute("SELECT mark_worktree_merged(%s, 'agent-2', 'deadbeef')", (worktree,))
    merged = row(db, "worktrees", worktree)
    db.execute("SELECT mark_worktree_merged(%s, 'agent-2', 'deadbeef')", (worktree,))

    assert (merged["merged_by"], merged["merge_commit_hash"], merged["active"]) == ("agent-2", "deadbeef", False)
    assert merged["merged_at"] is not None
    assert row(db, "worktrees", worktree) == merged
    assert events(db).count("worktree.merged") == 1


def test_a_merge_is_not_overwritten_by_another_one(db):
    worktree = new_worktree(db, new_project(db))
    db.execute("SELECT mark_worktree_merged(%s, 'agent-2', 'deadbeef')", (worktree,))

    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="was merged by agent-2 as deadbeef"):
        db.execute("SELECT mark_worktree_merged(%s, 'agent-3', 'cafe')", (worktree,))


def test_pruning_deletes_long_inactive_worktrees_only(db):
    project = new_project(db)
    old, young, active = (new_worktree(db, project, n) for n in ("old", "young", "active"))
    db.execute("UPDATE worktrees SET active = false WHERE id <> %s", (active,))
    backdate(db, "worktrees", "updated_at", old, 31)
    backdate(db, "worktrees", "updated_at", active, 31)

    assert scalar(db, "SELECT prune_inactive_worktrees()") == 1

    assert {w["id"] for w in db.execute("SELECT id FROM worktrees")} == {young, active}
