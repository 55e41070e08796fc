-- Back from 007: nothing is kept of the counts, and everything is counted again by who asks.

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
SET LOCAL client_min_messages = warning;

-- In the order in which writers come by them: who updates a worktree reads its project.
LOCK TABLE agent_activities, worktrees, projects IN ACCESS EXCLUSIVE MODE;

DROP TRIGGER IF EXISTS projects_count_insert ON projects;
DROP TRIGGER IF EXISTS projects_count_update ON projects;
DROP TRIGGER IF EXISTS projects_count_delete ON projects;
DROP TRIGGER IF EXISTS projects_count_truncate ON projects;
DROP TRIGGER IF EXISTS worktrees_count_insert ON worktrees;
DROP TRIGGER IF EXISTS worktrees_count_update ON worktrees;
DROP TRIGGER IF EXISTS worktrees_count_delete ON worktrees;
DROP TRIGGER IF EXISTS worktrees_count_truncate ON worktrees;
DROP TRIGGER IF EXISTS agent_activities_count_insert ON agent_activities;
DROP TRIGGER IF EXISTS agent_activities_count_delete ON agent_activities;
DROP TRIGGER IF EXISTS agent_activities_count_truncate ON agent_activities;

CREATE OR REPLACE VIEW v_projects_summary AS
SELECT
    p.id,
    p.name,
    p.remote_origin,
    p.trunk_path,
    p.created_at,
    p.updated_at,
    count(w.id) FILTER (WHERE w.active) AS active_worktrees_count,
    count(w.id) FILTER (WHERE w.active AND w.has_uncommitted_changes) AS uncommitted_worktrees_count,
    count(w.id) FILTER (WHERE w.active AND w.merged_at IS NULL) AS unmerged_worktrees_count,
    max(w.updated_at) AS last_worktree_activity
FROM projects p
LEFT JOIN worktrees w ON w.project_id = p.id
WHERE p.active
GROUP BY p.id;

COMMENT ON VIEW v_projects_summary IS 'Active projects with their worktree counts.';

CREATE OR REPLACE FUNCTION get_inflight_work(p_project_id uuid DEFAULT NULL)
RETURNS TABLE (
    worktree_id uuid,
    worktree_name text,
    branch_name text,
    status text,
    uncommitted_count integer,
    ahead integer,
    behind integer,
    agent_id text,
    last_activity timestamptz
)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_project_id IS NOT NULL AND NOT EXISTS (SELECT FROM public.projects p WHERE p.id = p_project_id) THEN
        RAISE EXCEPTION 'get_inflight_work: p_project_id % is no project', p_project_id USING ERRCODE = 'P0002';
    END IF;
    RETURN QUERY
    SELECT
        w.id, w.name, w.branch_name,
        public.worktree_status(w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk),
        w.uncommitted_files_count, w.ahead_of_trunk, w.behind_trunk, w.agent_id, w.updated_at
    FROM public.worktrees w
    WHERE public.is_in_flight(w.active, w.merged_at, w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk)
        AND (p_project_id IS NULL OR w.project_id = p_project_id)
    ORDER BY w.updated_at DESC, w.id;
END;
$$;

COMMENT ON FUNCTION get_inflight_work(uuid) IS 'Worktrees with uncommitted or unmerged work, latest first; of all projects when no id is given.';

CREATE OR REPLACE FUNCTION get_registry_stats()
RETURNS TABLE (
    total_projects bigint,
    active_projects bigint,
    total_worktrees bigint,
    active_worktrees bigint,
    in_flight_worktrees bigint,
    total_activities bigint,
    activities_last_24h bigint
)
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        (SELECT count(*) FROM public.projects),
        (SELECT count(*) FROM public.projects WHERE active),
        (SELECT count(*) FROM public.worktrees),
        (SELECT count(*) FROM public.worktrees WHERE active),
        (
            SELECT count(*)
            FROM public.worktrees
            WHERE public.is_in_flight(active, merged_at, has_uncommitted_changes, ahead_of_trunk, behind_trunk)
        ),
        (SELECT count(*) FROM public.agent_activities),
        (SELECT count(*) FROM public.agent_activities WHERE created_at > now() - interval '24 hours')
$$;

COMMENT ON FUNCTION get_registry_stats() IS 'One row of counts; in flight means the rows of v_inflight_work.';

DROP FUNCTION IF EXISTS
    differing_counts(), may_use_counts(), kept_totals(), counted_totals(), worktree_counts(uuid),
    count_projects_inserted(), count_project_updated(), count_projects_deleted(),
    count_worktrees_inserted(), count_worktree_updated(), count_worktrees_deleted(),
    count_activities_inserted(), count_activities_deleted(), count_truncated();
DROP PROCEDURE IF EXISTS fold_counts(), recount_registry();
DROP TABLE IF EXISTS count_delta, project_counts, registry_counts;

CREATE OR REPLACE FUNCTION role_rights()
RETURNS TABLE (role_name text, kind text, object_name text, rights text)
LANGUAGE sql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.role_name, r.kind, o.object_name, r.rights
    FROM (
        VALUES
            ('imi_reader', 'TABLE', 'SELECT', '{projects, worktrees, worktree_types, agent_activities, deleted_worktrees}'),
            ('imi_reader', 'TABLE', 'SELECT',
                '{v_projects_summary, v_worktrees_detail, v_inflight_work, v_recent_agent_activity}'),
            ('imi_reader', 'TABLE', 'SELECT', '{outbox, outbox_fault, outbox_backlog, publisher_cursor, published_batch}'),
            ('imi_reader', 'TABLE', 'SELECT (applied_at)', '{command_ledger}'),
            ('imi_reader', 'TABLE', 'SELECT', '{schema_migrations}'),
            ('imi_reader', 'SEQUENCE', 'SELECT', '{outbox_id_seq}'),

            ('imi_writer', 'TABLE', 'SELECT, INSERT, UPDATE, DELETE', '{projects, worktrees, worktree_types}'),
            ('imi_writer', 'TABLE', 'SELECT, INSERT', '{agent_activities}'),
            ('imi_writer', 'TABLE', 'SELECT',
                '{v_projects_summary, v_worktrees_detail, v_inflight_work, v_recent_agent_activity}'),
            ('imi_writer', 'TABLE', 'SELECT', '{schema_migrations}'),
            ('imi_writer', 'FUNCTION', 'EXECUTE', '{remove_old_activities(timestamptz)}'),

            ('imi_publisher', 'TABLE', 'SELECT', '{projects, worktrees, worktree_types, agent_activities, deleted_worktrees}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{outbox, outbox_backlog}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, UPDATE', '{publisher_cursor}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, UPDATE, DELETE', '{published_batch}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, DELETE', '{outbox_fault}'),
            ('imi_publisher', 'TABLE', 'SELECT (applied_at)', '{command_ledger}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{schema_migrations}'),
            ('imi_publisher', 'SEQUENCE', 'SELECT', '{outbox_id_seq}'),
            ('imi_publisher', 'SEQUENCE', 'UPDATE', '{publisher_doorbell}'),
            ('imi_publisher', 'FUNCTION', 'EXECUTE',
                '{"forget_published(interval, integer)", registry_heartbeat(text)}'),

            ('imi_applier', 'TABLE', 'SELECT, INSERT, UPDATE', '{projects, worktrees}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT, DELETE', '{worktree_types}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT', '{agent_activities, command_ledger}'),
            ('imi_applier', 'TABLE', 'SELECT (id, transaction_id, project_id)', '{outbox}'),
            ('imi_applier', 'TABLE', 'SELECT', '{schema_migrations}'),
            ('imi_applier', 'SEQUENCE', 'SELECT', '{outbox_id_seq}')
    ) AS r (role_name, kind, rights, object_names)
    CROSS JOIN LATERAL unnest(r.object_names::text[]) AS o (object_name)
$$;

DO $$ BEGIN PERFORM grant_role_rights(); END $$;

COMMIT;
