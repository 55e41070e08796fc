"""The schema as existing components see it: names, signatures, and the statements they send."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

PAGE = Path(__file__).parents[3] / "docs" / "schema.md"

SIGNATURES = {
    "register_project": (
        "p_name text, p_remote_origin text, p_default_branch text DEFAULT 'main'::text,"
        " p_trunk_path text DEFAULT NULL::text, p_metadata jsonb DEFAULT '{}'::jsonb",
        "uuid",
    ),
    "get_project_by_origin": (
        "p_remote_origin text",
        "TABLE(id uuid, name text, remote_origin text, default_branch text, trunk_path text, active boolean,"
        " created_at timestamp with time zone, updated_at timestamp with time zone)",
    ),
    "deactivate_project": ("p_project_id uuid", "void"),
    "register_worktree": (
        "p_project_id uuid, p_type_name text, p_name text, p_branch_name text, p_path text,"
        " p_agent_id text DEFAULT NULL::text, p_metadata jsonb DEFAULT '{}'::jsonb",
        "uuid",
    ),
    "update_worktree_git_state": (
        "p_worktree_id uuid, p_has_uncommitted boolean DEFAULT NULL::boolean,"
        " p_uncommitted_count integer DEFAULT NULL::integer, p_ahead integer DEFAULT NULL::integer,"
        " p_behind integer DEFAULT NULL::integer, p_last_commit_hash text DEFAULT NULL::text,"
        " p_last_commit_message text DEFAULT NULL::text",
        "void",
    ),
    "mark_worktree_merged": ("p_worktree_id uuid, p_merged_by text, p_merge_commit_hash text", "void"),
    "get_worktree_by_path": (
        "p_path text",
        "TABLE(id uuid, project_id uuid, project_name text, worktree_name text, branch_name text, type_name text,"
        " agent_id text, active boolean)",
    ),
    "log_activity": (
        "p_agent_id text, p_worktree_id uuid, p_activity_type text, p_description text,"
        " p_file_path text DEFAULT NULL::text, p_metadata jsonb DEFAULT '{}'::jsonb",
        "uuid",
    ),
    "get_agent_recent_work": (
        "p_agent_id text, p_limit integer DEFAULT 50",
        "TABLE(activity_id uuid, activity_type text, description text, file_path text,"
        " created_at timestamp with time zone, worktree_name text, project_name text, worktree_type text)",
    ),
    "get_inflight_work": (
        "p_project_id uuid DEFAULT NULL::uuid",
        "TABLE(worktree_id uuid, worktree_name text, branch_name text, status text, uncommitted_count integer,"
        " ahead integer, behind integer, agent_id text, last_activity timestamp with time zone)",
    ),
    "get_project_working_path": ("p_project_id uuid, p_worktree_name text DEFAULT NULL::text", "text"),
    "search_projects": (
        "p_query text",
        "TABLE(id uuid, name text, remote_origin text, trunk_path text, relevance real)",
    ),
    "cleanup_old_activities": ("p_retention_days integer DEFAULT 90", "integer"),
    "prune_inactive_worktrees": ("p_inactive_days integer DEFAULT 30", "integer"),
    "maintenance_vacuum": ("", "void"),
    "get_registry_stats": (
        "",
        "TABLE(total_projects bigint, active_projects bigint, total_worktrees bigint, active_worktrees bigint,"
        " in_flight_worktrees bigint, total_activities bigint, activities_last_24h bigint)",
    ),
    "worktree_status": ("p_has_uncommitted boolean, p_ahead integer, p_behind integer", "text"),
}

COLUMNS = {
    "projects": "id uuid, name text, remote_origin text, default_branch text, trunk_path text, description text,"
    " metadata jsonb, created_at timestamptz, updated_at timestamptz, active bool",
    "worktree_types": "id int4, name text, branch_prefix text, worktree_prefix text, description text, is_builtin bool,"
    " color text, icon text, metadata jsonb, created_at timestamptz",
    "worktrees": "id uuid, project_id uuid, type_id int4, name text, branch_name text, path text, agent_id text,"
    " has_uncommitted_changes bool, uncommitted_files_count int4, ahead_of_trunk int4, behind_trunk int4,"
    " last_commit_hash text, last_commit_message text, last_sync_at timestamptz, merged_at timestamptz, merged_by text,"
    " merge_commit_hash text, metadata jsonb, created_at timestamptz, updated_at timestamptz, active bool",
    "agent_activities": "id uuid, agent_id text, worktree_id uuid, activity_type text, file_path text,"
    " description text, metadata jsonb, created_at timestamptz",
    "v_projects_summary": "id uuid, name text, remote_origin text, trunk_path text, created_at timestamptz,"
    " updated_at timestamptz, active_worktrees_count int8, uncommitted_worktrees_count int8,"
    " unmerged_worktrees_count int8, last_worktree_activity timestamptz",
    "v_worktrees_detail": "id uuid, project_id uuid, project_name text, remote_origin text, worktree_name text,"
    " branch_name text, path text, type_name text, branch_prefix text, worktree_prefix text, type_color text,"
    " type_icon text, agent_id text, has_uncommitted_changes bool, uncommitted_files_count int4, ahead_of_trunk int4,"
    " behind_trunk int4, last_sync_at timestamptz, merged_at timestamptz, created_at timestamptz,"
    " updated_at timestamptz, active bool",
    "v_inflight_work": "id uuid, project_id uuid, project_name text, worktree_name text, branch_name text,"
    " agent_id text, has_uncommitted_changes bool, uncommitted_files_count int4, ahead_of_trunk int4,"
    " behind_trunk int4, last_sync_at timestamptz, status text, created_at timestamptz, updated_at timestamptz",
    "v_recent_agent_activity": "id uuid, agent_id text, activity_type text, description text, file_path text,"
    " created_at timestamptz, worktree_name text, project_name text, worktree_type text",
}

INDEXES = {
    "idx_projects_active",
    "idx_projects_remote_origin_trgm",
    "idx_projects_metadata",
    "idx_worktrees_project_id",
    "idx_worktrees_uncommitted",
    "idx_worktrees_unmerged",
    "idx_worktrees_metadata",
    "idx_agent_activities_worktree_id",
    "idx_agent_activities_metadata",
    "worktrees_unique_active_path",
}


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as connection:
        yield connection


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


def scalar(db, query: str, *values: Any) -> Any:
    """First column of the first row."""
    return next(iter(db.execute(query, values).fetchone().values()))


# Names and types


@pytest.mark.parametrize("function", SIGNATURES)
def test_functions_have_the_signature_callers_use(db, function):
    found = db.execute(
        "SELECT pg_get_function_arguments(oid) AS arguments, pg_get_function_result(oid) AS result"
        " FROM pg_proc WHERE proname = %s AND pronamespace = 'public'::regnamespace",
        (function,),
    ).fetchall()

    assert [(f["arguments"], f["result"]) for f in found] == [SIGNATURES[function]]


@pytest.mark.parametrize("table", COLUMNS)
def test_tables_and_views_have_the_columns_callers_use(db, table):
    found = db.execute(
        "SELECT column_name || ' ' || udt_name AS c FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %s ORDER BY ordinal_position",
        (table,),
    ).fetchall()

    assert ", ".join(f["c"] for f in found) == COLUMNS[table]


def test_indexes_and_triggers_have_the_names_of_the_specification(db):
    indexes = {i["indexname"] for i in db.execute("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")}
    triggers = {t["tgname"] for t in db.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")}

    assert indexes >= INDEXES
    assert triggers >= {"projects_updated_at", "worktrees_updated_at", "worktrees_sync_uncommitted"}


def test_built_in_types_are_those_of_the_specification(db):
    found = db.execute("SELECT * FROM worktree_types ORDER BY id").fetchall()

    assert [(t["id"], t["name"], t["branch_prefix"], t["worktree_prefix"]) for t in found] == [
        (1, "feat", "feat/", "feat-"),
        (2, "fix", "fix/", "fix-"),
        (3, "aiops", "aiops/", "aiops-"),
        (4, "devops", "devops/", "devops-"),
        (5, "review", "pr-review/", "pr-"),
        (6, "trunk", "", "trunk-"),
    ]
    assert all(t["is_builtin"] for t in found)


def test_every_function_pins_its_search_path_or_has_a_parsed_body(db):
    unpinned = db.execute(
        "SELECT proname FROM pg_proc p WHERE pronamespace = 'public'::regnamespace AND proname !~ '^outbox_'"
        " AND prosqlbody IS NULL AND NOT coalesce(proconfig::text LIKE '%search_path=%', false)"
        " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')"
    ).fetchall()
    assert unpinned == []


def test_functions_work_whatever_the_callers_search_path(db, worktree):
    db.execute("CREATE SCHEMA elsewhere")
    db.execute("CREATE TABLE elsewhere.projects (id uuid)")
    db.execute("CREATE TABLE elsewhere.worktrees (id uuid)")
    db.execute("SET search_path = elsewhere, pg_catalog")

    db.execute("SELECT public.update_worktree_git_state(%s, true)", (worktree,))
    db.execute("SELECT public.log_activity('a', %s, 'other', 'x')", (worktree,))
    assert scalar(db, "SELECT in_flight_worktrees FROM public.get_registry_stats()") == 1
    assert scalar(db, "SELECT name FROM public.search_projects('my-projct')") == "my-project"


# The specification's examples


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


# Statements existing components send


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
