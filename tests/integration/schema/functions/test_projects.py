"""What the functions for projects do when used as intended."""

from __future__ import annotations

import pytest

from tests.support.schema.rows import ORIGIN, events, new_project, new_worktree, row, scalar


def test_registering_a_project_stores_what_was_given(db):
    project = scalar(
        db,
        "SELECT register_project(%s, %s, %s, %s, %s)",
        "my-project",
        ORIGIN,
        "develop",
        "/code/my-project/trunk-develop",
        '{"language": "rust"}',
    )

    stored = row(db, "projects", project)
    assert stored["name"] == "my-project"
    assert stored["remote_origin"] == ORIGIN
    assert stored["default_branch"] == "develop"
    assert stored["trunk_path"] == "/code/my-project/trunk-develop"
    assert stored["metadata"] == {"language": "rust"}
    assert stored["active"] is True


def test_a_trunk_path_is_derived_from_home_name_and_branch(db):
    db.execute("SET imi.home_dir = '/home/jarad'")

    project = scalar(db, "SELECT register_project('my-project', %s, 'release/1.0')", ORIGIN)

    assert row(db, "projects", project)["trunk_path"] == "/home/jarad/code/my-project/trunk-release-1.0"


def test_registering_the_same_project_again_changes_nothing_and_causes_no_event(db):
    project = new_project(db)
    before, told = row(db, "projects", project), events(db)

    assert new_project(db) == project

    assert row(db, "projects", project) == before
    assert events(db) == told


def test_registering_again_keeps_name_branch_and_path_and_merges_metadata(db):
    project = scalar(db, """SELECT register_project('a', %s, 'main', '/x/trunk-main', '{"a": 1, "b": 1}')""", ORIGIN)

    again = scalar(db, """SELECT register_project('b', %s, 'develop', '/y/trunk-develop', '{"b": 2}')""", ORIGIN)

    assert again == project
    stored = row(db, "projects", project)
    assert (stored["name"], stored["default_branch"], stored["trunk_path"]) == ("a", "main", "/x/trunk-main")
    assert stored["metadata"] == {"a": 1, "b": 2}
    assert stored["updated_at"] > stored["created_at"]


@pytest.mark.parametrize(
    "arguments",
    [
        "'b', '{}', 'main', '/x/trunk-main'",
        "'a', '{}', 'develop', '/x/trunk-main'",
        "'a', '{}', 'main', '/y/trunk-main'",
        "'b', 'https://github.com/DeLorenJ/My-Project', 'develop', '/y/trunk-main'",
    ],
)
def test_a_second_host_that_registers_a_known_origin_changes_nothing_and_causes_no_event(db, arguments):
    project = scalar(db, "SELECT register_project('a', %s, 'main', '/x/trunk-main')", ORIGIN)
    before, told = row(db, "projects", project), events(db)

    assert scalar(db, f"SELECT register_project({arguments.format(ORIGIN)})") == project

    assert row(db, "projects", project) == before
    assert events(db) == told


def test_metadata_that_differs_is_enough_to_update_a_project(db):
    project = scalar(db, "SELECT register_project('a', %s, 'main', '/x/trunk-main')", ORIGIN)
    before = row(db, "projects", project)

    scalar(db, """SELECT register_project('a', %s, 'main', '/x/trunk-main', '{"a": 1}')""", ORIGIN)

    after = row(db, "projects", project)
    assert {c for c in before if before[c] != after[c]} == {"metadata", "updated_at"}


def test_registering_again_keeps_what_the_call_leaves_out(db):
    project = scalar(db, """SELECT register_project('a', %s, 'develop', '/x/trunk-develop', '{"a": 1}')""", ORIGIN)
    before = row(db, "projects", project)

    scalar(db, "SELECT register_project('a', %s)", ORIGIN)

    assert row(db, "projects", project) == before


def test_name_branch_and_path_are_changed_by_update(db):
    project = scalar(db, "SELECT register_project('a', %s, 'master', '/x/trunk-master')", ORIGIN)

    db.execute("SELECT update_project(%s, 'b', 'main', '/x/trunk-main')", (project,))

    stored = row(db, "projects", project)
    assert (stored["name"], stored["default_branch"], stored["trunk_path"]) == ("b", "main", "/x/trunk-main")


def test_an_inactive_project_is_reactivated_by_registering_it_again(db):
    project = new_project(db)
    worktree = new_worktree(db, project)
    db.execute("SELECT deactivate_project(%s)", (project,))

    assert new_project(db) == project

    assert row(db, "projects", project)["active"] is True
    assert row(db, "worktrees", worktree)["active"] is False
    assert events(db)[-1] == "project.reactivated"


def test_a_project_is_found_by_any_form_of_its_origin_while_active(db):
    project = new_project(db)
    found = db.execute("SELECT * FROM get_project_by_origin('https://github.com/DeLorenJ/My-Project')").fetchall()
    assert [p["id"] for p in found] == [project]
    assert list(found[0]) == [
        "id",
        "name",
        "remote_origin",
        "default_branch",
        "trunk_path",
        "active",
        "created_at",
        "updated_at",
    ]

    db.execute("SELECT deactivate_project(%s)", (project,))

    assert db.execute("SELECT * FROM get_project_by_origin(%s)", (ORIGIN,)).fetchall() == []


def test_deactivating_a_project_deactivates_its_worktrees_once(db):
    project = new_project(db)
    worktree = new_worktree(db, project)

    db.execute("SELECT deactivate_project(%s)", (project,))
    db.execute("SELECT deactivate_project(%s)", (project,))

    assert row(db, "projects", project)["active"] is False
    assert row(db, "worktrees", worktree)["active"] is False
    assert events(db)[-2:] == ["worktree.removed", "project.deactivated"]


def test_a_plain_update_of_active_takes_the_worktrees_along(db):
    project = new_project(db)
    worktree = new_worktree(db, project)

    db.execute("UPDATE projects SET active = FALSE WHERE id = %s", (project,))

    assert row(db, "worktrees", worktree)["active"] is False
