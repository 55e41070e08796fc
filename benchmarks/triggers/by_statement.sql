-- An update told by statement, out of transition tables: one INSERT for all rows, each aspect of each row a line of it.

DROP TRIGGER worktrees_outbox_update ON worktrees;

CREATE FUNCTION tell_by_statement()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET enable_nestloop = off
SET enable_seqscan = off
SET jit = off
AS $$
BEGIN
    INSERT INTO public.outbox (entity, action, project_id, entity_id, host_id, data)
    SELECT 'worktree', event.action, (event.w).project_id, (event.w).id,
        nullif((event.w).host_id, public.default_host_id()), public.outbox_worktree_data(
        event.w,
        (SELECT name FROM public.projects WHERE id = (event.w).project_id),
        (SELECT remote_origin FROM public.projects WHERE id = (event.w).project_id),
        (SELECT name FROM public.worktree_types WHERE id = (event.w).type_id),
        event.changed
        || CASE WHEN event.action = event.first THEN event.touched ELSE '{}' END
        || CASE WHEN event.action = event.sync THEN event.synced ELSE '{}' END
    )
    FROM (
        SELECT
            part.w, part.touched, part.synced, part.first,
            CASE WHEN part.git IS NULL THEN part.first ELSE 'git_state_updated' END AS sync,
            unnest(ARRAY[
                'reactivated', 'updated', part.agent_action, 'git_state_updated', 'merged', 'removed'
            ]) AS action,
            unnest(ARRAY[part.reactivated, part.updated, part.agent, part.git, part.merged, part.removed]) AS changed
        FROM (
            SELECT
                c.w, c.touched, c.synced, c.agent, c.agent_action, c.git,
                CASE
                    WHEN NOT c.is_reactivated THEN NULL
                    WHEN c.merge IS NULL OR c.is_merged THEN '{"active": false}'
                    ELSE c.merge || '{"active": false}'
                END AS reactivated,
                CASE
                    WHEN c.merge IS NULL OR c.is_merged OR c.is_reactivated THEN c.plain
                    ELSE coalesce(c.plain, '{}') || c.merge
                END AS updated,
                CASE
                    WHEN NOT c.is_merged THEN NULL
                    WHEN c.is_closed THEN c.merge || '{"active": true}'
                    ELSE c.merge
                END AS merged,
                CASE WHEN c.is_closed AND NOT c.is_merged THEN '{"active": true}'::jsonb END AS removed,
                CASE
                    WHEN c.is_reactivated THEN 'reactivated'
                    WHEN c.plain IS NOT NULL OR c.merge IS NOT NULL AND NOT c.is_merged THEN 'updated'
                    WHEN c.agent IS NOT NULL THEN c.agent_action
                    WHEN c.git IS NOT NULL THEN 'git_state_updated'
                    WHEN c.is_merged THEN 'merged'
                    ELSE 'removed'
                END AS first
            FROM (
                SELECT
                    ROW(n.*)::public.worktrees AS w,
                    o.merged_at IS NULL AND n.merged_at IS NOT NULL AS is_merged,
                    n.active AND NOT o.active AS is_reactivated,
                    o.active AND NOT n.active AS is_closed,
                    nullif(
                        public.outbox_worktree_changes(ROW(o.*)::public.worktrees, ROW(n.*)::public.worktrees), '{}'
                    ) AS plain,
                    nullif(
                        public.outbox_worktree_git_changes(ROW(o.*)::public.worktrees, ROW(n.*)::public.worktrees), '{}'
                    ) AS git,
                    nullif(
                        public.outbox_worktree_merge_changes(ROW(o.*)::public.worktrees, ROW(n.*)::public.worktrees), '{}'
                    ) AS merge,
                    nullif(public.outbox_change('agent_id', o.agent_id, n.agent_id), '{}') AS agent,
                    CASE WHEN n.agent_id IS NULL THEN 'released' ELSE 'claimed' END AS agent_action,
                    public.outbox_change('updated_at', o.updated_at, n.updated_at) AS touched,
                    public.outbox_change('last_sync_at', o.last_sync_at, n.last_sync_at) AS synced
                FROM old_rows o
                JOIN new_rows n ON n.id = o.id
                OFFSET 0
            ) c
        ) part
    ) event
    WHERE event.changed IS NOT NULL;
    RETURN NULL;
END;
$$;

CREATE TRIGGER worktrees_outbox_update
    AFTER UPDATE ON worktrees REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION tell_by_statement();
