-- 999: the way back. Removes everything the migrations created, with all data and the history of events.
--
-- Safe to run twice, and when only some migrations were applied. Nothing is dropped by CASCADE: when a view or a table
-- of somebody else depends on the registry, PostgreSQL names it and nothing at all is removed.

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
SET LOCAL client_min_messages = warning;

-- A table of the same name that is not the registry's must survive.
DO $$
DECLARE
    foreign_table text;
BEGIN
    SELECT own.table_name INTO foreign_table
    FROM (
        VALUES
            ('projects', 'remote_origin'),
            ('worktree_types', 'worktree_prefix'),
            ('worktrees', 'branch_name'),
            ('agent_activities', 'activity_type'),
            ('deleted_worktrees', 'branch_name'),
            ('outbox', 'transaction_id'),
            ('outbox_backlog', 'row_id'),
            ('publisher_cursor', 'stream_sequence'),
            ('command_ledger', 'command_id'),
            ('published_batch', 'last_sequence'),
            ('outbox_fault', 'detail'),
            ('hosts', 'former_names'),
            ('project_hosts', 'host_id'),
            ('project_aliases', 'project_id'),
            ('registry_counts', 'is_only'),
            ('project_counts', 'in_flight_worktrees'),
            ('count_delta', 'is_all_stale'),
            ('schema_migrations', 'checksum'),
            ('registry_metadata', 'registry_id'),
            ('mirror_source', 'snapshot_reason'),
            ('mirror_event', 'event_id'),
            ('mirror_row', 'fields'),
            ('replica_source', 'slot')
    ) AS own (table_name, column_name)
    WHERE to_regclass('public.' || own.table_name) IS NOT NULL
        AND NOT EXISTS (
            SELECT
            FROM pg_attribute a
            WHERE a.attrelid = to_regclass('public.' || own.table_name)
                AND a.attname = own.column_name
                AND NOT a.attisdropped
        );
    IF FOUND THEN
        RAISE EXCEPTION 'cannot roll back: "%" is not the registry''s table; nothing was removed', foreign_table
            USING ERRCODE = '55000';
    END IF;
END;
$$;

DROP VIEW IF EXISTS v_project_hosts, v_projects_summary, v_worktrees_detail, v_inflight_work, v_recent_agent_activity;

-- 003: what takes rows of the tables
DROP FUNCTION IF EXISTS
    outbox_project_data(projects, jsonb),
    outbox_project_data(projects, text),
    outbox_project_changes(projects, projects),
    outbox_worktree_data(worktrees, text, text, text, jsonb),
    outbox_worktree_data(worktrees, text, text, text, text),
    outbox_worktree_changes(worktrees, worktrees),
    outbox_worktree_git_changes(worktrees, worktrees),
    outbox_worktree_merge_changes(worktrees, worktrees),
    outbox_worktree_type_data(worktree_types, jsonb),
    outbox_worktree_type_data(worktree_types, text),
    outbox_worktree_type_changes(worktree_types, worktree_types),
    outbox_activity_data(agent_activities, uuid, text, text);

-- 012: what takes rows of the tables
DROP FUNCTION IF EXISTS mirror_project(projects), mirror_worktree(worktrees);

-- 010: what has rows of the tables
DROP FUNCTION IF EXISTS outbox_project_host_data(project_hosts, projects, jsonb);

-- 007: what has rows of the tables
DROP FUNCTION IF EXISTS kept_totals(), counted_totals();

-- 014: what has rows of the tables
DROP FUNCTION IF EXISTS name_of_merged_worktree(worktrees, uuid), tell_project_merged(projects, projects);

-- 005
DROP FUNCTION IF EXISTS published_ids(publisher_cursor);

-- 002: what has rows of the tables
DROP FUNCTION IF EXISTS deleted_worktree(uuid);

DROP TYPE IF EXISTS outbox_project, outbox_worktree, outbox_worktree_type, outbox_activity;

-- Their triggers, indexes and sequences go with them.
DROP TABLE IF EXISTS
    schema_migrations,
    count_delta,
    project_counts,
    registry_counts,
    registry_metadata,
    mirror_row,
    mirror_event,
    mirror_source,
    replica_source,
    command_ledger,
    published_batch,
    publisher_cursor,
    outbox_fault,
    outbox_backlog,
    outbox,
    deleted_worktrees,
    project_aliases,
    project_hosts,
    agent_activities_next,
    agent_activities,
    worktrees,
    worktree_types,
    projects,
    hosts;

DROP SEQUENCE IF EXISTS publisher_doorbell;

-- 007
DROP FUNCTION IF EXISTS
    differing_counts(),
    may_use_counts(),
    worktree_counts(uuid),
    count_projects_inserted(),
    count_project_updated(),
    count_projects_deleted(),
    count_worktrees_inserted(),
    count_worktree_updated(),
    count_worktrees_deleted(),
    count_activities_inserted(),
    count_activities_deleted(),
    count_truncated();
DROP PROCEDURE IF EXISTS fold_counts(), recount_registry();
-- 009
DROP FUNCTION IF EXISTS registry_slow_queries(integer), registry_health(), note_schema_version(integer);

-- 008
DROP FUNCTION IF EXISTS
    search_registry(text, integer, text[]),
    near_projects(text),
    search_excerpt(text, text[]),
    search_described_projects(tsquery, tsquery),
    search_activities(tsquery, tsquery, text[], uuid[]),
    search_newest_activities(tsquery, text[], integer, integer),
    search_worktrees(tsquery, tsquery, text[], tsquery, boolean),
    search_newest_worktrees(tsquery, text[], integer),
    search_similar_words(text),
    search_busy_worktrees(),
    search_all_words(tsquery),
    search_rare_words(tsquery, text[]),
    search_side_by_side(tsquery),
    search_known_words(text),
    search_query_words(tsquery),
    search_unfinished(tsquery),
    search_query(text),
    search_words_of_activity(text, text),
    search_words_of_worktree(text, text, text, text),
    search_words_of_project(text, text, text, text),
    search_text(text);

-- 006. The roles themselves belong to the server, and perhaps to other registries on it.
DROP FUNCTION IF EXISTS grant_role_rights(), role_rights();

DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT r.rolname
        FROM pg_namespace n
        CROSS JOIN LATERAL aclexplode(n.nspacl) a
        JOIN pg_roles r ON r.oid = a.grantee
        WHERE n.nspname = 'public'
            AND r.rolname IN ('imi_writer', 'imi_reader', 'imi_publisher', 'imi_applier')
    LOOP
        EXECUTE format('REVOKE ALL ON SCHEMA public FROM %I', name);
    END LOOP;
END;
$$;

-- 013: replicas
DROP FUNCTION IF EXISTS
    promote_replica(),
    stop_replica(),
    copied_replica(),
    begin_replica(text, text, uuid, bigint, boolean),
    advance_replica_sequences(),
    uncount_replica(),
    count_replicated_activity(),
    count_replicated_worktree(),
    count_replicated_project(),
    replica_tables();

-- 012: mirrors
DROP FUNCTION IF EXISTS
    promote_mirror(),
    replace_mirrored(text, text, bigint, uuid, uuid, text, bigint, bigint, text),
    apply_mirrored(text, text, boolean, bigint[], text[]),
    mirror_event_applied(jsonb),
    mirror_truncated(text),
    mirror_place_event(text, jsonb),
    mirror_host_event(text, jsonb),
    mirror_type_event(text, jsonb),
    mirror_worktree_event(text, jsonb, timestamptz),
    begin_mirror(text, text, boolean),
    mirror_tables(),
    refuse_on_mirror(),
    registry_epoch(),
    registry_life();

-- 010: hosts
DROP FUNCTION IF EXISTS
    outbox_project_host_changed(),
    outbox_host_changed(),
    enter_command_host(text, text),
    worktree_called_here(text),
    move_worktree(uuid, uuid),
    worktree_at(text),
    worktree_name_on(uuid, text, uuid),
    place_new_projects(),
    displace_project(uuid, uuid),
    place_project(uuid, uuid, text, boolean),
    trunk_for_caller(uuid, text),
    project_trunk(uuid, uuid),
    guard_project_host(),
    displace_deleted_projects(),
    displace_truncated_projects(),
    refuse_truncate_of_hosts(),
    guard_host(),
    remove_host(uuid),
    update_host(uuid, text, text, text),
    use_host(text, text, boolean),
    register_host(text, text),
    host_named(text),
    require_host_name(text, text, text, text),
    caller_host_id(),
    default_host_id();

-- 017: months
DROP FUNCTION IF EXISTS
    cancel_activity_move(),
    finish_activity_move(),
    missed_by_activity_move(),
    copy_activities(regclass, bigint, integer),
    begin_activity_move(boolean),
    check_activity_move(),
    copy_written_activities(),
    drop_activity_month(text),
    drop_activity_months(text[]),
    make_activity_months(integer),
    attach_activity_part(regclass, text, timestamp),
    refuse_direct_month(),
    activities_kept(),
    activity_months(),
    take_surplus_rights(regclass),
    storage_of(regclass),
    activities_are_by_month();

-- 014: identity
DROP FUNCTION IF EXISTS
    merge_projects(uuid, uuid),
    adopt_project_id(uuid, uuid),
    lock_projects(text, uuid[]),
    guard_project_id(),
    current_project_id(uuid),
    derive_project_ids(boolean),
    id_for_new_project(text),
    mirror_merged(jsonb),
    call_project(uuid, uuid),
    change_project_id(uuid, uuid),
    derived_project_id(text),
    sha1_of(bytea);

-- 005
DROP FUNCTION IF EXISTS forget_published(interval, integer);

-- 004
DROP FUNCTION IF EXISTS
    outbox_command_recorded(),
    apply_command(uuid, text, jsonb, bytea, uuid, text, text, text, text, boolean),
    apply_command(uuid, text, jsonb, bytea, uuid, text, text, text, text, boolean, text),
    run_command(text, jsonb),
    command_worktree(jsonb),
    command_project(jsonb),
    cleanup_command_ledger(integer),
    remove_worktree_type(text),
    update_worktree_type(text, text, text, text, text, text, text, jsonb),
    add_worktree_type(text, text, text, text, text, text, jsonb),
    remove_worktree(uuid),
    release_worktree(uuid, text),
    claim_worktree(uuid, text),
    update_worktree(uuid, text, text, text, text, jsonb),
    update_project(uuid, text, text, text, text, jsonb),
    change_project_origin(uuid, text);

-- 003
DROP FUNCTION IF EXISTS
    backfill_outbox(integer),
    backfill_outbox_lock(regclass, text, boolean),
    outbox_change(text, anyelement, anyelement),
    outbox_change(text, text, text),
    outbox_change(text, text[], text[]),
    outbox_change(text, timestamptz, timestamptz),
    outbox_change(text, jsonb, jsonb),
    outbox_change(text, boolean, boolean),
    outbox_change(text, integer, integer),
    outbox_change(text, uuid, uuid),
    outbox_uuid_setting(text),
    outbox_actor_is_verified(),
    outbox_refuse_rewrite(),
    outbox_ring(),
    outbox_project_inserted(),
    outbox_project_updated(),
    outbox_project_deleted(),
    outbox_worktree_inserted(),
    outbox_worktree_updated(),
    outbox_worktree_deleted(),
    outbox_worktree_type_inserted(),
    outbox_worktree_type_updated(),
    outbox_worktree_type_deleted(),
    outbox_activity_inserted(),
    outbox_truncated(),
    registry_heartbeat(text);

-- 002: the functions of the registry
DROP FUNCTION IF EXISTS
    register_project(text, text, text, text, jsonb),
    get_project_by_origin(text),
    deactivate_project(uuid),
    register_worktree(uuid, text, text, text, text, text, jsonb),
    update_worktree_git_state(uuid, boolean, integer, integer, integer, text, text),
    mark_worktree_merged(uuid, text, text),
    get_worktree_by_path(text),
    log_activity(text, uuid, text, text, text, jsonb),
    get_agent_recent_work(text, integer),
    get_inflight_work(uuid),
    get_project_working_path(uuid, text),
    search_projects(text),
    cleanup_old_activities(integer),
    remove_old_activities(timestamptz),
    forget_deleted_worktrees(timestamptz),
    prune_inactive_worktrees(integer),
    maintenance_vacuum(),
    get_registry_stats();

-- 002: its triggers and helpers
DROP FUNCTION IF EXISTS
    update_updated_at_column(),
    guard_primary_key(),
    guard_metadata(),
    guard_project(),
    guard_worktree(),
    guard_builtin_worktree_type(),
    guard_activity_log(),
    guard_activity_worktree(),
    deactivate_worktrees(),
    sync_uncommitted_changes(),
    remember_worktrees(),
    remember_worktrees_of_project(),
    restore_builtin_worktree_types(),
    truncate_activities(),
    resolve_worktree_type(text),
    normalize_remote_origin(text),
    normalize_path(text),
    days_ago(integer),
    quote_origin(text),
    require_not_negative(text, text, integer);

-- 001
DROP FUNCTION IF EXISTS
    seed_worktree_types(),
    project_search_text(text, text),
    lower_case(text),
    is_remote_origin(text),
    require_object(text, text, jsonb, text),
    refuse_times(text, text[], timestamptz[]),
    require_activity_type(text, text, text, text),
    require_color(text, text, text, text),
    require_commit(text, text, text, text),
    require_path(text, text, text, text),
    require_word(text, text, text, text),
    require_name(text, text, text, text),
    require_text(text, text, text, text, integer),
    refuse_value(text, text, text, text, text),
    quote_for_message(text),
    without_credentials(text, boolean),
    worktree_status(boolean, integer, integer),
    is_in_flight(boolean, timestamptz, boolean, integer, integer);

-- The extension may have been there before, and a query or a function body that uses it leaves no trace in the
-- catalogs. So it goes only from a database that has nothing else in it, and only by who may drop it.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT
        FROM (
            SELECT 'pg_class'::regclass AS classid, oid, relnamespace AS namespace FROM pg_class
            UNION ALL
            SELECT 'pg_proc'::regclass, oid, pronamespace FROM pg_proc
        ) object
        JOIN pg_namespace n ON n.oid = object.namespace
        WHERE n.nspname !~ '^(pg_|information_schema$)'
            AND NOT EXISTS (
                SELECT
                FROM pg_depend d
                WHERE d.classid = object.classid AND d.objid = object.oid AND d.deptype = 'e'
            )
    ) THEN
        DROP EXTENSION IF EXISTS pg_trgm;
    END IF;
EXCEPTION
    WHEN insufficient_privilege OR dependent_objects_still_exist THEN
        RAISE WARNING 'extension pg_trgm is left: %', SQLERRM;
END;
$$;

COMMIT;
