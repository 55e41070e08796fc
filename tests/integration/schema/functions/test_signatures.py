"""The schema as existing components see it: the names and types of functions, tables, views and indexes."""

from __future__ import annotations

import pytest

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
    " merge_commit_hash text, metadata jsonb, created_at timestamptz, updated_at timestamptz, active bool,"
    " host_id uuid",
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
        " AND NOT EXISTS (SELECT FROM pg_depend d"
        " WHERE (d.classid, d.objid) = ('pg_proc'::regclass, p.oid) AND d.deptype = 'e')"
    ).fetchall()
    assert unpinned == []
