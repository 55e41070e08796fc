"""Trap 11 of docs/schema.md: the log is append-only; built-in types and primary keys stay what they are."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest

from tests.support.schema.rows import ORIGIN, scalar


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE agent_activities SET description = 'never happened'",
        "DELETE FROM agent_activities",
        "INSERT INTO agent_activities SELECT * FROM agent_activities"
        " ON CONFLICT (id) DO UPDATE SET description = 'never happened'",
    ],
)
def test_the_activity_log_is_append_only(db, worktree, statement):
    db.execute("SELECT log_activity('agent', %s, 'committed', 'it happened')", (worktree,))

    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="agent_activities: the log is append-only"):
        db.execute(statement)

    assert scalar(db, "SELECT description FROM agent_activities") == "it happened"


def test_retention_does_not_leave_the_log_open(db, worktree):
    db.execute("SELECT log_activity('agent', %s, 'committed', 'it happened')", (worktree,))

    with db.transaction():
        assert scalar(db, "SELECT cleanup_old_activities(90)") == 0
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState), db.transaction():
            db.execute("DELETE FROM agent_activities")
    assert scalar(db, "SELECT cleanup_old_activities(0)") == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM worktrees",
        "DELETE FROM projects",
        "DO $$ BEGIN PERFORM deactivate_project(id) FROM projects; PERFORM prune_inactive_worktrees(0); END $$",
    ],
)
def test_the_activities_of_a_deleted_worktree_stay_and_say_which_one_it_was(db, project, worktree, statement):
    activity = scalar(db, "SELECT log_activity('agent', %s, 'committed', 'it happened')", worktree)
    before = db.execute("SELECT * FROM agent_activities").fetchall()
    if "prune" in statement:
        db.execute("SELECT deactivate_project(%s)", (project,))
        assert scalar(db, "SELECT prune_inactive_worktrees(0)") == 1
    else:
        db.execute(statement)

    assert scalar(db, "SELECT count(*) FROM worktrees") == 0
    assert db.execute("SELECT * FROM agent_activities").fetchall() == before
    seen = db.execute("SELECT * FROM v_recent_agent_activity").fetchone()
    recent = db.execute("SELECT * FROM get_agent_recent_work('agent')").fetchone()
    assert (seen["id"], recent["activity_id"]) == (activity, activity)
    for told in (seen, recent):
        assert (told["worktree_name"], told["project_name"], told["worktree_type"]) == (
            "feat-auth",
            "my-project",
            "feat",
        )
    remembered = db.execute("SELECT * FROM deleted_worktrees").fetchone()
    assert (remembered["id"], remembered["project_id"]) == (worktree, project)
    assert (remembered["remote_origin"], remembered["path"]) == (ORIGIN, "/code/feat-auth")


def test_deleted_worktrees_are_remembered_as_long_as_their_activities(db, worktree):
    db.execute("SELECT log_activity('agent', %s, 'committed', 'it happened')", (worktree,))
    db.execute("DELETE FROM worktrees")

    assert scalar(db, "SELECT cleanup_old_activities(1)") == 0
    assert scalar(db, "SELECT count(*) FROM deleted_worktrees") == 1
    assert scalar(db, "SELECT cleanup_old_activities(0)") == 1
    assert scalar(db, "SELECT count(*) FROM deleted_worktrees") == 0


def test_an_activity_of_a_worktree_that_does_not_exist_is_refused(db, worktree):
    for key in (uuid4(), worktree):
        db.execute("DELETE FROM worktrees")
        with pytest.raises(psycopg.errors.ForeignKeyViolation, match=f"worktree_id {key} is no worktree"):
            db.execute(
                "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
                " VALUES ('agent', %s, 'other', 'x')",
                (key,),
            )


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM worktree_types WHERE name = 'trunk'",
        "UPDATE worktree_types SET name = 'feature' WHERE name = 'feat'",
        "UPDATE worktree_types SET branch_prefix = 'f/' WHERE name = 'feat'",
        "UPDATE worktree_types SET worktree_prefix = 'f-' WHERE name = 'feat'",
        "UPDATE worktree_types SET is_builtin = false WHERE name = 'feat'",
    ],
)
def test_a_built_in_type_keeps_its_name_and_cannot_be_deleted(db, statement):
    before = db.execute("SELECT * FROM worktree_types ORDER BY id").fetchall()

    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=r'worktree type ".*": it is built in'):
        db.execute(statement)

    assert db.execute("SELECT * FROM worktree_types ORDER BY id").fetchall() == before


def test_a_built_in_type_may_look_different_and_a_custom_type_may_go(db):
    db.execute("UPDATE worktree_types SET color = '#000000', icon = 'x' WHERE name = 'feat'")
    db.execute("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('spike', 'spike/', 'spike-')")

    assert db.execute("DELETE FROM worktree_types WHERE is_builtin = FALSE").rowcount == 1


def test_a_type_in_use_cannot_be_deleted(db, project):
    db.execute("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('spike', 'spike/', 'spike-')")
    db.execute("SELECT register_worktree(%s, 'spike', 's', 'spike/s', '/s')", (project,))

    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        db.execute("DELETE FROM worktree_types WHERE name = 'spike'")


@pytest.mark.parametrize(
    ("table", "key"), [("projects", "gen_random_uuid()"), ("worktrees", "gen_random_uuid()"), ("worktree_types", "99")]
)
def test_primary_keys_are_immutable(db, worktree, table, key):
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=f"cannot change {table}.id"):
        db.execute(f"UPDATE {table} SET id = {key}")  # noqa: S608  # from the list above
