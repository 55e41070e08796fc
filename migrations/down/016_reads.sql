-- 016, back: pruning reads every worktree.

DROP INDEX CONCURRENTLY IF EXISTS public.idx_worktrees_inactive;

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;

CREATE OR REPLACE FUNCTION get_agent_recent_work(p_agent_id text, p_limit integer DEFAULT 50)
RETURNS TABLE (
    activity_id uuid,
    activity_type text,
    description text,
    file_path text,
    created_at timestamptz,
    worktree_name text,
    project_name text,
    worktree_type text
)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM public.require_not_negative('get_agent_recent_work', 'p_limit', coalesce(p_limit, 50));
    RETURN QUERY
    SELECT
        latest.id, latest.activity_type, latest.description, latest.file_path, latest.created_at,
        coalesce(w.name, d.name), coalesce(p.name, d.project_name), coalesce(t.name, d.type_name)
    FROM (    -- names are joined to these alone, not to all that the agent ever did
        SELECT a.*
        FROM public.agent_activities a
        WHERE a.agent_id = p_agent_id
        ORDER BY a.created_at DESC, a.id
        LIMIT coalesce(p_limit, 50)
    ) latest
    LEFT JOIN public.worktrees w ON w.id = latest.worktree_id
    LEFT JOIN public.projects p ON p.id = w.project_id
    LEFT JOIN public.worktree_types t ON t.id = w.type_id
    LEFT JOIN LATERAL public.deleted_worktree(latest.worktree_id) d ON w.id IS NULL
    ORDER BY latest.created_at DESC, latest.id;
END;
$$;

CREATE OR REPLACE FUNCTION prune_inactive_worktrees(p_inactive_days integer DEFAULT 30)
RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    removed integer;
BEGIN
    PERFORM public.require_not_negative('prune_inactive_worktrees', 'p_inactive_days', p_inactive_days);
    DELETE FROM public.worktrees w
    WHERE NOT w.active AND w.updated_at < public.days_ago(p_inactive_days);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END;
$$;

ALTER TABLE worktrees RESET (fillfactor);

UPDATE registry_metadata SET migration = 15, upgraded_at = clock_timestamp() WHERE migration > 15;

COMMIT;
