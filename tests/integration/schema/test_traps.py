"""Traps 1 to 3 and 8 to 14 of docs/schema.md: states that must not come about. 4 to 7: test_schema_values.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from registry import errors
from registry.database.errors import from_database

ORIGIN = "git@github.com:delorenj/my-project.git"


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture
def schema_files() -> list[str]:
    """The text of 001 and 002, as psql is given it."""
    directory = Path(__file__).parents[3] / "migrations"
    return [(directory / name).read_text() for name in ("001_create_schema.sql", "002_functions_and_helpers.sql")]


@pytest.fixture
def project(db) -> UUID:
    return scalar(db, "SELECT register_project('my-project', %s, 'main', '/code/my-project/trunk-main')", ORIGIN)


@pytest.fixture
def worktree(db, project: UUID) -> UUID:
    return scalar(db, "SELECT register_worktree(%s, 'feat', 'feat-auth', 'feat/auth', '/code/feat-auth')", project)


def scalar(db, query: str, *values: Any) -> Any:
    """First column of the first row."""
    return next(iter(db.execute(query, values).fetchone().values()))


def row(db, key: UUID) -> dict[str, Any]:
    return db.execute("SELECT * FROM worktrees WHERE id = %s", (key,)).fetchone()


# 1. The trigram index needs pg_trgm


def test_the_extension_of_the_trigram_indexes_comes_with_the_schema(db):
    assert scalar(db, "SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'") == 1
    assert "gin_trgm_ops" in scalar(
        db, "SELECT indexdef FROM pg_indexes WHERE indexname = 'idx_projects_remote_origin_trgm'"
    )


# 2. Two unique guards on one key: see also test_schema_races.py


def test_one_constraint_guards_the_origin_of_active_and_inactive_projects(db, project):
    guards = db.execute(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE i.indrelid = 'projects'::regclass AND (i.indisunique OR i.indisexclusion) AND NOT i.indisprimary"
    ).fetchall()
    assert [g["relname"] for g in guards] == ["projects_unique_remote_origin"]

    db.execute("UPDATE projects SET active = false")
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.execute("INSERT INTO projects (name, remote_origin, trunk_path) VALUES ('x', %s, '/x')", (ORIGIN,))


# 3. VACUUM inside a function


def test_maintenance_is_callable_even_in_a_transaction_and_analyzes_every_table(db, worktree):
    with db.transaction():
        db.execute("SELECT maintenance_vacuum()")

    sizes = {t["relname"]: t["reltuples"] for t in db.execute("SELECT relname, reltuples FROM pg_class")}
    assert (sizes["projects"], sizes["worktrees"], sizes["worktree_types"]) == (1, 1, 6)
    assert sizes["agent_activities"] == 0


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


# 11. Append-only activities, protected built-ins


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


# 13. Migrations: running the files twice (the way back is tested with the migrations)


def test_running_the_schema_again_changes_nothing_and_causes_no_event(db, worktree, schema_files):
    db.execute("UPDATE worktree_types SET color = '#000000' WHERE name = 'feat'")
    before = [db.execute(f"SELECT * FROM {t} ORDER BY id").fetchall() for t in ("projects", "worktree_types", "outbox")]  # noqa: S608

    for statements in schema_files:
        db.execute(statements)

    after = [db.execute(f"SELECT * FROM {t} ORDER BY id").fetchall() for t in ("projects", "worktree_types", "outbox")]  # noqa: S608
    assert after == before


@pytest.mark.parametrize("number", [0, 1])
def test_a_file_that_stops_before_its_end_leaves_nothing_half_done(empty_database, schema_files, number):
    count = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    with psycopg.connect(empty_database, autocommit=True) as db:
        for complete in schema_files[:number]:
            db.execute(complete)
        before = db.execute(count).fetchone()
        assert schema_files[number].endswith("\nCOMMIT;\n")

        db.execute(schema_files[number].removesuffix("COMMIT;\n"))

        assert db.info.transaction_status == TransactionStatus.INTRANS
        db.rollback()
        assert db.execute(count).fetchone() == before


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
