-- 016: what is asked of many rows looks at fewer: pruning at inactive worktrees alone, an agent's recent work at those
-- deleted worktrees that it needs. And an update of a worktree finds room in its page: docs/adr/0003-outbox-triggers.md.
-- compatible down to: 014

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
    LEFT JOIN LATERAL (    -- OFFSET 0: the condition is looked at before the function is called, not after
        SELECT gone.* FROM public.deleted_worktree(latest.worktree_id) gone WHERE w.id IS NULL OFFSET 0
    ) d ON true
    ORDER BY latest.created_at DESC, latest.id;
END;
$$;

-- By an index of the rows that are inactive. None on updated_at: every update of a worktree would then make an entry in each
-- index of the table, since no update of a row whose indexed columns change is heap-only.
CREATE OR REPLACE FUNCTION prune_inactive_worktrees(p_inactive_days integer DEFAULT 30)
RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    removed integer;
    horizon timestamptz;
BEGIN
    PERFORM public.require_not_negative('prune_inactive_worktrees', 'p_inactive_days', p_inactive_days);
    horizon := public.days_ago(p_inactive_days);    -- in the condition it would be worked out for each row
    DELETE FROM public.worktrees w
    WHERE NOT w.active AND w.updated_at < horizon;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END;
$$;

-- An update that finds no room in its page makes an entry in each index of the table; every eighth did.
ALTER TABLE worktrees SET (fillfactor = 90);

DO $$ BEGIN PERFORM note_schema_version(16); END $$;

COMMIT;

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_worktrees_inactive ON public.worktrees (active) WHERE NOT active;
