"""Trap 7 of docs/schema.md: working paths."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.schema.rows import ORIGIN, scalar
from tests.support.schema.rows import worktree_row as row


@pytest.mark.parametrize(
    ("branch", "trunk", "name", "path"),
    [
        ("main", "/code/p/trunk-main", None, "/code/p/trunk-main"),
        ("main", "/code/p/trunk-main/", None, "/code/p/trunk-main"),
        ("main", "/code/p/trunk-main", "feat-auth", "/code/p/feat-auth"),
        ("main", "/code/p/trunk-main/", "feat-auth", "/code/p/feat-auth"),
        ("main", "/code//p//trunk-main//", "feat-auth", "/code/p/feat-auth"),
        ("main", "/code/p/trunk-main", "feat/auth", "/code/p/feat-auth"),
        ("release/1.0", "/code/p/trunk-release/1.0", "feat-auth", "/code/p/feat-auth"),
        ("release/1.0", "/code/p/trunk-release-1.0", "feat-auth", "/code/p/feat-auth"),
        ("a%", "/code/p/trunk-abc", "feat-auth", "/code/p/feat-auth"),
        ("main", "/code/p/other-trunk-main", "feat-auth", "/code/p/feat-auth"),
        ("main", "~/code/p/trunk-main", "feat-auth", "~/code/p/feat-auth"),
        ("main", "/trunk-main", "feat-auth", "/feat-auth"),
        ("main", "/code/p/checkout", "..feat..", "/code/p/..feat.."),
    ],
)
def test_working_path_is_the_trunk_or_a_sibling_of_it(db, branch, trunk, name, path):
    project = scalar(db, "SELECT register_project('p', %s, %s, %s)", ORIGIN, branch, trunk)

    assert scalar(db, "SELECT get_project_working_path(%s, %s)", project, name) == path


@pytest.mark.parametrize("name", ["../evil", "..", ".", "a/../../b", "a/..", "/etc", "a//b", "a/", "", " ", "a\nb"])
def test_a_worktree_name_that_leads_elsewhere_is_refused(db, project, name):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="get_project_working_path: p_worktree_name"):
        scalar(db, "SELECT get_project_working_path(%s, %s)", project, name)


def test_stored_paths_have_no_parent_parts_and_no_trailing_slash(db, project, worktree):
    for statement in (
        "UPDATE projects SET trunk_path = '/code/../etc'",
        "UPDATE worktrees SET path = '../code'",
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            db.execute(statement)

    db.execute("UPDATE projects SET trunk_path = '/code//my-project/'")
    db.execute("UPDATE worktrees SET path = '/code/feat-auth//'")
    assert scalar(db, "SELECT trunk_path FROM projects") == "/code/my-project"
    assert row(db, worktree)["path"] == "/code/feat-auth"


def test_a_project_name_that_is_no_directory_needs_a_trunk_path(db):
    for name in ("a/b", "..", "../x"):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="is no directory name; give p_trunk_path"):
            scalar(db, "SELECT register_project(%s, %s)", name, ORIGIN)
    assert scalar(db, "SELECT register_project('a/b', %s, 'main', '/code/ab')", ORIGIN)
