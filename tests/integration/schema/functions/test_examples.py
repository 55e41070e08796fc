"""The schema as existing components use it: the examples of the specification, and the statements they send."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.schema.rows import scalar

PAGE = Path(__file__).parents[4] / "docs" / "schema.md"


@pytest.fixture
def project(db) -> UUID:
    return scalar(
        db,
        "SELECT register_project('my-project', 'git@github.com:delorenj/my-project.git', 'main',"
        " '/home/jarad/code/my-project/trunk-main')",
    )


@pytest.fixture
def worktree(db, project: UUID) -> UUID:
    return scalar(
        db,
        "SELECT register_worktree(%s, 'feat', 'feat-user-auth', 'feat/user-auth',"
        " '/home/jarad/code/my-project/feat-user-auth', 'agent-1')",
        project,
    )


def test_functions_work_whatever_the_callers_search_path(db, worktree):
    db.execute("CREATE SCHEMA elsewhere")
    db.execute("CREATE TABLE elsewhere.projects (id uuid)")
    db.execute("CREATE TABLE elsewhere.worktrees (id uuid)")
    db.execute("SET search_path = elsewhere, pg_catalog")

    db.execute("SELECT public.update_worktree_git_state(%s, true)", (worktree,))
    db.execute("SELECT public.log_activity('a', %s, 'other', 'x')", (worktree,))
    assert scalar(db, "SELECT in_flight_worktrees FROM public.get_registry_stats()") == 1
    assert scalar(db, "SELECT name FROM public.search_projects('my-projct')") == "my-project"


def test_the_examples_of_the_specification(db, project, worktree):
    db.execute(
        "SELECT update_worktree_git_state(%s, p_has_uncommitted := TRUE, p_uncommitted_count := 3,"
        " p_ahead := 2, p_behind := 0)",
        (worktree,),
    )
    activity = scalar(
        db,
        "SELECT log_activity('agent-1', %s, 'modified', 'Updated authentication logic', 'src/auth.rs')",
        worktree,
    )

    inflight = db.execute("SELECT * FROM get_inflight_work()").fetchall()
    assert [(w["worktree_id"], w["status"], w["uncommitted_count"], w["ahead"]) for w in inflight] == [
        (worktree, "uncommitted", 3, 2)
    ]
    assert scalar(db, "SELECT activity_id FROM get_agent_recent_work('agent-1')") == activity
    assert (
        scalar(db, "SELECT get_project_working_path(%s, 'feat-auth')", project)
        == "/home/jarad/code/my-project/feat-auth"
    )


def test_the_examples_of_the_documentation_run(db):
    for block in re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL):
        statements = [s for s in block.split(";") if s.strip()]
        assert statements
        for statement in statements:
            assert db.execute(statement).fetchall(), f"no row: {statement}"

    assert scalar(db, "SELECT merged_by FROM worktrees") == "agent-1"


def test_positional_calls_with_explicit_arguments(db):
    project = scalar(
        db,
        "SELECT register_project(%s, %s, %s, %s, '{}'::jsonb)",
        "iMi",
        "git@github.com:delorenj/iMi.git",
        "main",
        "/code/iMi/trunk-main",
    )
    worktree = scalar(
        db,
        "SELECT register_worktree(%s, %s, %s, %s, %s, %s, '{}'::jsonb)",
        project,
        "pr",
        "pr-7",
        "pr-review/7",
        "/code/iMi/pr-7",
        None,
    )
    assert scalar(db, "SELECT type_name FROM v_worktrees_detail WHERE id = %s", worktree) == "review"


def test_plain_writes_to_projects_and_worktrees(db, project, worktree):
    for statement, values in (
        (
            "UPDATE projects SET trunk_path = %s, updated_at = NOW() WHERE name = %s AND active = TRUE",
            ("/x", "my-project"),
        ),
        ("UPDATE projects SET updated_at = NOW() WHERE name = %s AND active = TRUE", ("my-project",)),
        ("UPDATE worktrees SET agent_id = %s, updated_at = NOW() WHERE id = %s", ("agent-2", worktree)),
        (
            "UPDATE worktrees SET agent_id = NULL, updated_at = NOW() WHERE id = %s AND agent_id = %s",
            (worktree, "agent-2"),
        ),
        (
            "UPDATE worktrees SET metadata = COALESCE(metadata, '{}'::jsonb) || %s::jsonb, updated_at = NOW()"
            " WHERE id = %s",
            (Jsonb({"ticket": {"id": 7}}), worktree),
        ),
        (
            "UPDATE worktrees SET active = FALSE, updated_at = NOW() WHERE project_id = %s AND name = %s",
            (project, "feat-user-auth"),
        ),
        ("DELETE FROM worktrees WHERE id = %s", (worktree,)),
    ):
        assert db.execute(statement, values).rowcount == 1, statement


def test_plain_inserts_need_only_the_columns_without_default(db):
    project = scalar(
        db,
        "INSERT INTO projects (name, remote_origin, trunk_path)"
        " VALUES ('x', 'git@github.com:o/x.git', '/x/trunk-main') RETURNING id",
    )
    worktree = scalar(
        db,
        "INSERT INTO worktrees (project_id, type_id, name, branch_name, path)"
        " SELECT %s, id, 'w', 'feat/w', '/x/w' FROM worktree_types WHERE name = 'feat' RETURNING id",
        project,
    )
    db.execute(
        "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, file_path, description, metadata)"
        " VALUES ('agent-1', %s, 'claimed', NULL, 'Claimed', '{}'::jsonb)",
        (worktree,),
    )
    db.execute(
        "INSERT INTO worktree_types (name, branch_prefix, worktree_prefix, description, is_builtin, metadata)"
        " VALUES ('spike', 'spike/', 'spike-', NULL, FALSE, '{}'::jsonb)"
    )

    stored = db.execute("SELECT * FROM worktrees").fetchone()
    assert (stored["has_uncommitted_changes"], stored["uncommitted_files_count"]) == (False, 0)
    assert (stored["metadata"], stored["active"], stored["agent_id"]) == ({}, True, None)
    assert scalar(db, "SELECT color FROM worktree_types WHERE name = 'spike'") == "#6B7280"


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE projects CASCADE",
        "TRUNCATE worktrees, projects CASCADE",
        "TRUNCATE agent_activities, worktrees, projects",
        "TRUNCATE projects, worktrees, agent_activities RESTART IDENTITY CASCADE",
        "TRUNCATE projects, worktree_types CASCADE",
    ],
)
def test_truncate_empties_projects_worktrees_and_activities(db, worktree, statement):
    db.execute("SELECT log_activity('agent-1', %s, 'other', 'x')", (worktree,))
    db.execute("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('spike', 's/', 's-')")

    db.execute(statement)

    for table in ("projects", "worktrees", "agent_activities", "deleted_worktrees"):
        assert scalar(db, f"SELECT count(*) FROM {table}") == 0, table  # noqa: S608  # from the list above
    truncated = {t["t"] for t in db.execute("SELECT data->>'table' AS t FROM outbox WHERE action = 'truncated'")}
    assert truncated >= {"projects", "worktrees", "agent_activities"}
    builtins = [t["name"] for t in db.execute("SELECT name FROM worktree_types WHERE is_builtin ORDER BY id")]
    assert builtins == ["feat", "fix", "aiops", "devops", "review", "trunk"]


def test_deleting_a_project_deletes_its_worktrees(db, project, worktree):
    other = scalar(db, "SELECT register_project('other', 'git@github.com:o/other.git')")

    assert db.execute("DELETE FROM projects WHERE id = %s", (project,)).rowcount == 1

    assert scalar(db, "SELECT count(*) FROM worktrees") == 0
    assert scalar(db, "SELECT id FROM projects") == other


@pytest.mark.superuser
def test_a_writer_needs_rights_only_on_what_it_writes(db, worktree):
    """Rules that read or lock another table run with the owner's rights."""
    with db.transaction() as transaction:
        db.execute("CREATE ROLE registry_test_writer")
        db.execute("GRANT SELECT, INSERT, DELETE ON worktrees TO registry_test_writer")
        db.execute("GRANT INSERT ON agent_activities TO registry_test_writer")
        db.execute("SET LOCAL ROLE registry_test_writer")
        db.execute(
            "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
            " VALUES ('agent', %s, 'other', 'x')",
            (worktree,),
        )
        db.execute(
            "INSERT INTO worktrees (project_id, type_id, name, branch_name, path)"
            " SELECT project_id, type_id, 'w', 'w', '/w' FROM worktrees"
        )
        assert db.execute("DELETE FROM worktrees").rowcount == 2
        raise psycopg.Rollback(transaction)
