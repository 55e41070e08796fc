-- 015, back: whoever may connect may call both functions again, and what fits best may be made by others.

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL client_min_messages = warning;

CREATE OR REPLACE FUNCTION forget_deleted_worktrees(p_horizon timestamptz)
RETURNS void
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM public.deleted_worktrees d
    WHERE d.deleted_at < p_horizon AND NOT EXISTS (SELECT FROM public.agent_activities a WHERE a.worktree_id = d.id)
$$;

COMMENT ON FUNCTION forget_deleted_worktrees(timestamptz) IS 'Removes the names of worktrees that were deleted before this time and have no activities left.';

CREATE OR REPLACE FUNCTION maintenance_vacuum()
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER    -- of others ANALYZE takes no notice but a warning
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    ANALYZE public.projects, public.worktrees, public.worktree_types, public.agent_activities, public.deleted_worktrees;
END;
$$;

COMMENT ON FUNCTION maintenance_vacuum() IS 'Refreshes planner statistics of all registry tables. VACUUM itself cannot run inside a function.';

CREATE OR REPLACE FUNCTION guard_metadata()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM public.require_object(TG_TABLE_NAME, 'metadata', NEW.metadata, TG_TABLE_NAME || '_metadata_check');
    RETURN NEW;
END;
$$;

DROP FUNCTION IF EXISTS
    outbox_change(text, text, text),
    outbox_change(text, text[], text[]),
    outbox_change(text, timestamptz, timestamptz),
    outbox_change(text, jsonb, jsonb),
    outbox_change(text, boolean, boolean),
    outbox_change(text, integer, integer),
    outbox_change(text, uuid, uuid),
    outbox_project_data(projects, text),
    outbox_worktree_type_data(worktree_types, text),
    outbox_worktree_data(worktrees, text, text, text, text);

UPDATE registry_metadata SET migration = 14, upgraded_at = clock_timestamp() WHERE migration > 14;

COMMIT;
