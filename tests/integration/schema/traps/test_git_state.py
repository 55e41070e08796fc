"""Trap 4 of docs/schema.md: the flag and the count of uncommitted changes."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.schema.rows import worktree_row as row


@pytest.mark.parametrize(
    ("before", "given", "after"),
    [
        ((False, 0), "p_has_uncommitted := true", (True, 1)),
        ((True, 5), "p_has_uncommitted := true", (True, 5)),
        ((True, 5), "p_has_uncommitted := false", (False, 0)),
        ((False, 0), "p_uncommitted_count := 4", (True, 4)),
        ((True, 5), "p_uncommitted_count := 0", (False, 0)),
        ((True, 5), "p_has_uncommitted := true, p_uncommitted_count := 2", (True, 2)),
        ((True, 5), "p_has_uncommitted := false, p_uncommitted_count := 0", (False, 0)),
        ((True, 5), "p_ahead := 1", (True, 5)),
    ],
)
def test_flag_and_count_of_uncommitted_changes_follow_each_other(db, worktree, before, given, after):
    db.execute("SELECT update_worktree_git_state(%s, %s, %s)", (worktree, *before))

    db.execute(f"SELECT update_worktree_git_state(%s, {given})", (worktree,))

    stored = row(db, worktree)
    assert (stored["has_uncommitted_changes"], stored["uncommitted_files_count"]) == after


@pytest.mark.parametrize(("flag", "count"), [(True, 0), (False, 3)])
def test_a_flag_that_contradicts_its_count_is_refused(db, worktree, flag, count):
    with pytest.raises(
        psycopg.errors.InvalidParameterValue, match=r"p_has_uncommitted . contradicts p_uncommitted_count"
    ):
        db.execute("SELECT update_worktree_git_state(%s, %s, %s)", (worktree, flag, count))


@pytest.mark.parametrize(
    ("before", "assignment", "after"),
    [
        ((0, False), "has_uncommitted_changes = true", (1, True)),
        ((3, True), "has_uncommitted_changes = false", (0, False)),
        ((0, False), "uncommitted_files_count = 2", (2, True)),
        ((3, True), "uncommitted_files_count = 0", (0, False)),
        ((3, True), "uncommitted_files_count = NULL", (1, True)),
        ((3, True), "has_uncommitted_changes = NULL", (3, True)),
    ],
)
def test_flag_and_count_follow_each_other_in_a_plain_update(db, worktree, before, assignment, after):
    db.execute("UPDATE worktrees SET uncommitted_files_count = %s, has_uncommitted_changes = %s", before)

    db.execute(f"UPDATE worktrees SET {assignment}")  # noqa: S608  # from the list above

    stored = row(db, worktree)
    assert (stored["uncommitted_files_count"], stored["has_uncommitted_changes"]) == after


def test_a_plain_update_that_contradicts_itself_is_refused(db, worktree):
    db.execute("UPDATE worktrees SET uncommitted_files_count = 3")

    with pytest.raises(psycopg.errors.InvalidParameterValue, match="contradicts uncommitted_files_count 4"):
        db.execute("UPDATE worktrees SET has_uncommitted_changes = false, uncommitted_files_count = 4")


@pytest.mark.parametrize(
    ("columns", "values", "after"),
    [
        ("uncommitted_files_count", "4", (True, 4)),
        ("has_uncommitted_changes", "true", (True, 1)),
        ("has_uncommitted_changes, uncommitted_files_count", "NULL, NULL", (False, 0)),
        ("ahead_of_trunk, behind_trunk", "NULL, NULL", (False, 0)),
    ],
)
def test_flag_and_count_follow_each_other_in_a_plain_insert(db, project, columns, values, after):
    db.execute(
        f"INSERT INTO worktrees (project_id, type_id, name, branch_name, path, {columns})"  # noqa: S608  # from above
        f" VALUES (%s, 1, 'w', 'b', '/w', {values})",
        (project,),
    )

    stored = db.execute("SELECT * FROM worktrees WHERE name = 'w'").fetchone()
    assert (stored["has_uncommitted_changes"], stored["uncommitted_files_count"]) == after
    assert (stored["ahead_of_trunk"], stored["behind_trunk"]) == (0, 0)


@pytest.mark.parametrize("parameter", ["p_uncommitted_count", "p_ahead", "p_behind"])
def test_negative_counts_are_refused(db, worktree, parameter):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"{parameter} is -1; it must be 0 or more"):
        db.execute(f"SELECT update_worktree_git_state(%s, {parameter} := -1)", (worktree,))
