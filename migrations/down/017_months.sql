-- 017, back: activities are in one table, which retention deletes from. A registry that keeps them by month goes back first,
-- by imi-registry months off: that takes a while, and nobody waits for it.

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';

DO $$
BEGIN
    IF to_regclass('public.agent_activities_next') IS NOT NULL
        OR (SELECT c.relkind = 'p' FROM pg_class c WHERE c.oid = 'public.agent_activities'::regclass)
    THEN
        RAISE EXCEPTION 'activities are kept by month, or are being moved: imi-registry months off comes first'
            USING ERRCODE = '55000';
    END IF;
END;
$$;

CREATE OR REPLACE FUNCTION guard_metadata()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- TG_TABLE_NAME is a name, and require_object has a text.
    PERFORM public.require_object(TG_TABLE_NAME::text, 'metadata', NEW.metadata, TG_TABLE_NAME || '_metadata_check');
    RETURN NEW;
END;
$$;

CREATE OR REPLACE FUNCTION guard_activity_worktree()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM public.worktrees WHERE id = NEW.worktree_id FOR KEY SHARE;
    IF NOT FOUND AND NEW.worktree_id IS NOT NULL THEN
        RAISE EXCEPTION 'activity of agent %: worktree_id % is no worktree', public.quote_for_message(NEW.agent_id), NEW.worktree_id
            USING ERRCODE = '23503', TABLE = TG_TABLE_NAME, COLUMN = 'worktree_id',
                CONSTRAINT = 'agent_activities_worktree_id_fkey';
    END IF;
    RETURN NEW;
END;
$$;

CREATE OR REPLACE FUNCTION forget_deleted_worktrees(p_horizon timestamptz)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    caller CONSTANT text := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    IF NOT has_table_privilege(caller, 'public.agent_activities', 'DELETE')
        AND NOT has_function_privilege(caller, 'public.remove_old_activities(timestamptz)', 'EXECUTE')
    THEN
        RAISE EXCEPTION 'forget_deleted_worktrees: % may not remove activities', quote_ident(caller) USING ERRCODE = '42501';
    END IF;
    DELETE FROM public.deleted_worktrees d
    WHERE d.deleted_at < p_horizon AND NOT EXISTS (SELECT FROM public.agent_activities a WHERE a.worktree_id = d.id);
END;
$$;

COMMENT ON FUNCTION forget_deleted_worktrees(timestamptz) IS 'Removes the names of worktrees that were deleted before this time and have no activities left; 42501 for who may not remove activities.';

CREATE OR REPLACE FUNCTION remove_old_activities(p_horizon timestamptz)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    removed integer;
BEGIN
    PERFORM set_config('imi.activity_retention', 'on', true);
    DELETE FROM public.agent_activities a WHERE a.created_at < p_horizon;
    GET DIAGNOSTICS removed = ROW_COUNT;
    PERFORM set_config('imi.activity_retention', 'off', true);
    RETURN removed;
END;
$$;

COMMENT ON FUNCTION remove_old_activities(timestamptz) IS 'Removes all activities older than this, and says how many; for cleanup_old_activities().';

CREATE OR REPLACE FUNCTION cleanup_old_activities(p_retention_days integer DEFAULT 90)
RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    removed integer;
    horizon timestamptz;
BEGIN
    PERFORM public.require_not_negative('cleanup_old_activities', 'p_retention_days', p_retention_days);
    horizon := public.days_ago(p_retention_days);
    IF has_function_privilege('public.remove_old_activities(timestamptz)', 'EXECUTE') THEN
        removed := public.remove_old_activities(horizon);
    ELSE
        PERFORM set_config('imi.activity_retention', 'on', true);
        DELETE FROM public.agent_activities a WHERE a.created_at < horizon;
        GET DIAGNOSTICS removed = ROW_COUNT;
        PERFORM set_config('imi.activity_retention', 'off', true);
    END IF;
    PERFORM public.forget_deleted_worktrees(horizon);
    RETURN removed;
END;
$$;

COMMENT ON FUNCTION cleanup_old_activities(integer) IS 'Removes activities older than so many days, and says how many.';

CREATE OR REPLACE FUNCTION search_known_words(p_word text)
RETURNS SETOF text
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT known.word
    FROM pg_stats s
    CROSS JOIN LATERAL unnest(s.most_common_elems::text::text[]) AS known (word)
    WHERE s.schemaname = 'public'
        AND s.tablename IN ('idx_projects_words', 'idx_worktrees_words', 'idx_agent_activities_words')
        AND left(known.word, 1) IN (left(p_word, 1), substr(p_word, 2, 1))
        AND length(known.word) BETWEEN length(p_word) - 2 AND length(p_word) + 2
$$;

COMMENT ON FUNCTION search_known_words(text) IS 'Words of the registry that ANALYZE met, of about this length and with its first letter; for search_registry().';

CREATE OR REPLACE FUNCTION mirror_event_applied(p_event jsonb)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    entity CONSTANT text := split_part(p_event ->> 'type', '.', 2);
    action CONSTANT text := split_part(p_event ->> 'type', '.', 3);
    data CONSTANT jsonb := p_event -> 'data';
BEGIN
    IF entity = 'worktree' THEN
        PERFORM public.mirror_worktree_event(action, data, (p_event ->> 'time')::timestamptz);
    ELSIF entity = 'activity' THEN
        INSERT INTO public.agent_activities
        SELECT a.*
        FROM jsonb_populate_record(
            NULL::public.agent_activities,
            data || coalesce(data -> 'worktree', '{}') || jsonb_build_object('id', data -> 'activity_id')
        ) a
        ON CONFLICT (id) DO NOTHING;
    ELSIF entity = 'project' AND action = 'deleted' THEN
        DELETE FROM public.project_hosts h WHERE h.project_id = (data ->> 'project_id')::uuid;
        DELETE FROM public.projects p WHERE p.id = (data ->> 'project_id')::uuid;
    ELSIF entity = 'project' AND action = 'merged' THEN
        PERFORM public.mirror_merged(data);
    ELSIF entity = 'project' THEN
        PERFORM public.mirror_project(
            jsonb_populate_record(NULL::public.projects, data || jsonb_build_object('id', data -> 'project_id'))
        );
    ELSIF entity = 'worktree_type' THEN
        PERFORM public.mirror_type_event(action, data);
    ELSIF entity = 'host' THEN
        PERFORM public.mirror_host_event(action, data);
    ELSIF entity = 'project_host' THEN
        PERFORM public.mirror_place_event(action, data);
    ELSIF entity = 'registry' AND action = 'truncated' THEN
        PERFORM public.mirror_truncated(data ->> 'table');
    END IF;
END;
$$;

CREATE OR REPLACE FUNCTION replace_mirrored(
    p_before text, p_after text, p_sequence bigint, p_event_id uuid, p_registry_id uuid, p_life text, p_epoch bigint, p_outbox_id bigint, p_reason text
)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
SET jit = off
AS $$
BEGIN
    PERFORM set_config('imi.mirror', 'applies', true);
    PERFORM FROM public.mirror_source m WHERE m.promoted_at IS NULL AND m.position = p_before FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the mirror is no longer where this process left it: another one follows the source, or it was promoted'
            USING ERRCODE = '55000';
    END IF;
    CREATE TEMPORARY TABLE new_hosts ON COMMIT DROP AS
        SELECT p.* FROM public.mirror_row r CROSS JOIN LATERAL jsonb_populate_record(NULL::public.hosts, r.fields - 'machine') p WHERE r.kind = 'hosts';
    CREATE TEMPORARY TABLE new_types ON COMMIT DROP AS
        SELECT p.* FROM public.mirror_row r CROSS JOIN LATERAL jsonb_populate_record(NULL::public.worktree_types, r.fields) p WHERE r.kind = 'worktree_types';
    CREATE TEMPORARY TABLE new_projects ON COMMIT DROP AS
        SELECT p.* FROM public.mirror_row r CROSS JOIN LATERAL jsonb_populate_record(NULL::public.projects, r.fields) p WHERE r.kind = 'projects';
    CREATE TEMPORARY TABLE new_places ON COMMIT DROP AS
        SELECT p.* FROM public.mirror_row r CROSS JOIN LATERAL jsonb_populate_record(NULL::public.project_hosts, r.fields) p WHERE r.kind = 'project_hosts';
    CREATE TEMPORARY TABLE new_worktrees ON COMMIT DROP AS
        SELECT p.* FROM public.mirror_row r CROSS JOIN LATERAL jsonb_populate_record(NULL::public.worktrees, r.fields) p WHERE r.kind = 'worktrees';
    CREATE TEMPORARY TABLE new_activities ON COMMIT DROP AS
        SELECT p.* FROM public.mirror_row r CROSS JOIN LATERAL jsonb_populate_record(NULL::public.agent_activities, r.fields) p WHERE r.kind = 'agent_activities';
    CREATE TEMPORARY TABLE new_deleted ON COMMIT DROP AS
        SELECT p.* FROM public.mirror_row r CROSS JOIN LATERAL jsonb_populate_record(NULL::public.deleted_worktrees, r.fields) p WHERE r.kind = 'deleted_worktrees';
    CREATE TEMPORARY TABLE new_aliases ON COMMIT DROP AS
        SELECT p.* FROM public.mirror_row r CROSS JOIN LATERAL jsonb_populate_record(NULL::public.project_aliases, r.fields) p WHERE r.kind = 'project_aliases';
    TRUNCATE public.mirror_row, public.mirror_event;
    ANALYZE pg_temp.new_projects, pg_temp.new_worktrees, pg_temp.new_activities, pg_temp.new_deleted;

    DELETE FROM public.project_hosts t
    WHERE NOT EXISTS (SELECT FROM pg_temp.new_places n WHERE (n.project_id, n.host_id) = (t.project_id, t.host_id) AND n *= t)
        OR NOT EXISTS (SELECT FROM pg_temp.new_hosts n JOIN public.hosts h ON h.id = n.id AND h *= n WHERE h.id = t.host_id);
    DELETE FROM public.hosts t WHERE NOT EXISTS (SELECT FROM pg_temp.new_hosts n WHERE n.id = t.id AND n *= t);
    DELETE FROM public.worktrees t
    WHERE NOT EXISTS (SELECT FROM pg_temp.new_worktrees n WHERE n.id = t.id AND n *= t)
        OR NOT EXISTS (
            SELECT
            FROM pg_temp.new_types n
            JOIN public.worktree_types y ON y.id = n.id AND y *= n
            WHERE y.id = t.type_id
        );
    DELETE FROM public.projects t WHERE NOT EXISTS (SELECT FROM pg_temp.new_projects n WHERE n.id = t.id AND n *= t);
    DELETE FROM public.worktree_types t WHERE NOT EXISTS (SELECT FROM pg_temp.new_types n WHERE n.id = t.id AND n *= t);
    DELETE FROM public.agent_activities t
    WHERE NOT EXISTS (SELECT FROM pg_temp.new_activities n WHERE n.id = t.id AND n *= t);
    DELETE FROM public.deleted_worktrees t
    WHERE NOT EXISTS (SELECT FROM pg_temp.new_deleted n WHERE n.id = t.id AND n *= t);
    DELETE FROM public.project_aliases t WHERE NOT EXISTS (SELECT FROM pg_temp.new_aliases n WHERE n.id = t.id AND n *= t);

    INSERT INTO public.hosts SELECT n.* FROM pg_temp.new_hosts n ON CONFLICT (id) DO NOTHING;
    INSERT INTO public.worktree_types SELECT n.* FROM pg_temp.new_types n ON CONFLICT (id) DO NOTHING;
    INSERT INTO public.projects SELECT n.* FROM pg_temp.new_projects n ON CONFLICT (id) DO NOTHING;
    INSERT INTO public.project_hosts SELECT n.* FROM pg_temp.new_places n ON CONFLICT (project_id, host_id) DO NOTHING;
    INSERT INTO public.worktrees SELECT n.* FROM pg_temp.new_worktrees n ON CONFLICT (id) DO NOTHING;
    INSERT INTO public.agent_activities SELECT n.* FROM pg_temp.new_activities n ON CONFLICT (id) DO NOTHING;
    INSERT INTO public.deleted_worktrees SELECT n.* FROM pg_temp.new_deleted n ON CONFLICT (id) DO NOTHING;
    INSERT INTO public.project_aliases SELECT n.* FROM pg_temp.new_aliases n ON CONFLICT (id) DO NOTHING;

    UPDATE public.mirror_source m
    SET
        position = p_after,
        sequence = p_sequence,
        event_id = p_event_id,
        registry_id = p_registry_id,
        life = p_life,
        epoch = p_epoch,
        outbox_id = greatest(m.outbox_id, p_outbox_id),
        known_at = NULL,
        snapshots = m.snapshots + 1,
        snapshot_at = clock_timestamp(),
        snapshot_reason = p_reason;
    PERFORM set_config('imi.mirror', '', true);
END;
$$;

CREATE OR REPLACE FUNCTION role_rights()
RETURNS TABLE (role_name text, kind text, object_name text, rights text)
LANGUAGE sql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.role_name, r.kind, o.object_name, r.rights
    FROM (
        VALUES
            ('imi_reader', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_reader', 'TABLE', 'SELECT', '{projects, worktrees, worktree_types, agent_activities, deleted_worktrees}'),
            ('imi_reader', 'TABLE', 'SELECT', '{hosts, project_hosts, v_project_hosts, project_aliases}'),
            ('imi_reader', 'TABLE', 'SELECT',
                '{v_projects_summary, v_worktrees_detail, v_inflight_work, v_recent_agent_activity}'),
            ('imi_reader', 'TABLE', 'SELECT', '{outbox, outbox_fault, outbox_backlog, publisher_cursor, published_batch}'),
            ('imi_reader', 'TABLE', 'SELECT (applied_at)', '{command_ledger}'),
            ('imi_reader', 'TABLE', 'SELECT', '{schema_migrations, registry_metadata}'),
            ('imi_reader', 'TABLE', 'SELECT', '{mirror_source, replica_source}'),
            ('imi_reader', 'SEQUENCE', 'SELECT', '{outbox_id_seq}'),
            ('imi_reader', 'FUNCTION', 'EXECUTE', '{search_known_words(text)}'),

            ('imi_writer', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_writer', 'TABLE', 'SELECT, INSERT, UPDATE, DELETE',
                '{projects, worktrees, worktree_types, hosts, project_hosts}'),
            ('imi_writer', 'TABLE', 'SELECT, INSERT', '{agent_activities}'),
            ('imi_writer', 'TABLE', 'SELECT',
                '{v_project_hosts, v_projects_summary, v_worktrees_detail, v_inflight_work, v_recent_agent_activity}'),
            ('imi_writer', 'TABLE', 'SELECT', '{schema_migrations, registry_metadata}'),
            ('imi_writer', 'TABLE', 'SELECT', '{project_aliases}'),
            ('imi_writer', 'FUNCTION', 'EXECUTE',
                '{remove_old_activities(timestamptz), search_known_words(text), "merge_projects(uuid, uuid)", "adopt_project_id(uuid, uuid)"}'),

            ('imi_publisher', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{projects, worktrees, worktree_types, agent_activities, deleted_worktrees}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{hosts, project_hosts, v_project_hosts, project_aliases}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{outbox, outbox_backlog}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, UPDATE', '{publisher_cursor}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, UPDATE, DELETE', '{published_batch}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, DELETE', '{outbox_fault}'),
            ('imi_publisher', 'TABLE', 'SELECT (applied_at)', '{command_ledger}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{schema_migrations, registry_metadata}'),
            ('imi_publisher', 'TABLE', 'SELECT, UPDATE (known_at)', '{mirror_source}'),
            ('imi_publisher', 'TABLE', 'INSERT', '{mirror_row}'),
            ('imi_publisher', 'TABLE', 'SELECT, UPDATE (known_at, behind_bytes)', '{replica_source}'),
            ('imi_publisher', 'FUNCTION', 'EXECUTE', '{copied_replica()}'),
            ('imi_publisher', 'SEQUENCE', 'SELECT', '{outbox_id_seq}'),
            ('imi_publisher', 'SEQUENCE', 'UPDATE', '{publisher_doorbell}'),
            ('imi_publisher', 'FUNCTION', 'EXECUTE',
                '{"forget_published(interval, integer)", registry_heartbeat(text), search_known_words(text)}'),
            ('imi_publisher', 'FUNCTION', 'EXECUTE', '{"apply_mirrored(text, text, boolean, bigint[], text[])"}'),
            ('imi_publisher', 'FUNCTION', 'EXECUTE',
                '{"replace_mirrored(text, text, bigint, uuid, uuid, text, bigint, bigint, text)"}'),

            ('imi_applier', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT, UPDATE', '{projects, worktrees, hosts, project_hosts}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT, DELETE', '{worktree_types}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT', '{agent_activities, command_ledger}'),
            ('imi_applier', 'TABLE', 'SELECT (id, transaction_id, project_id)', '{outbox}'),
            ('imi_applier', 'TABLE', 'SELECT', '{schema_migrations, registry_metadata}'),
            ('imi_applier', 'TABLE', 'SELECT', '{project_aliases}'),
            ('imi_applier', 'FUNCTION', 'EXECUTE', '{"adopt_project_id(uuid, uuid)"}'),
            ('imi_applier', 'SEQUENCE', 'SELECT', '{outbox_id_seq}')
    ) AS r (role_name, kind, rights, object_names)
    CROSS JOIN LATERAL unnest(r.object_names::text[]) AS o (object_name)
$$;

DO $$ BEGIN PERFORM grant_role_rights(); END $$;

UPDATE registry_metadata SET migration = 16, upgraded_at = clock_timestamp() WHERE migration > 16;

DROP FUNCTION IF EXISTS
    cancel_activity_move(),
    finish_activity_move(),
    missed_by_activity_move(),
    copy_activities(regclass, bigint, integer),
    begin_activity_move(boolean),
    check_activity_move(),
    copy_written_activities(),
    drop_activity_month(text),
    make_activity_months(integer),
    attach_activity_part(regclass, text, timestamp),
    refuse_direct_month(),
    activity_months(),
    activities_are_by_month();

COMMIT;
