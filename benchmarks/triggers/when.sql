-- A trigger for each event of an update, its aspect in the WHEN clause: the executor compares, and no function is called
-- for an aspect that did not change. Each needs the conditions of all before it, to know whether it has the stamps.

DROP TRIGGER worktrees_outbox_update ON worktrees;

DO $do$
DECLARE
    git CONSTANT text := '(OLD.behind_trunk, OLD.ahead_of_trunk, OLD.last_commit_hash, OLD.last_commit_message,'
        ' OLD.has_uncommitted_changes, OLD.uncommitted_files_count) IS DISTINCT FROM (NEW.behind_trunk, NEW.ahead_of_trunk,'
        ' NEW.last_commit_hash, NEW.last_commit_message, NEW.has_uncommitted_changes, NEW.uncommitted_files_count)';
    plain CONSTANT text := '(OLD.name, OLD.path, OLD.type_id, OLD.metadata, OLD.created_at, OLD.project_id,'
        ' OLD.branch_name, OLD.host_id) IS DISTINCT FROM (NEW.name, NEW.path, NEW.type_id, NEW.metadata, NEW.created_at,'
        ' NEW.project_id, NEW.branch_name, NEW.host_id)';
    merge CONSTANT text := '(OLD.merged_at, OLD.merged_by, OLD.merge_commit_hash) IS DISTINCT FROM'
        ' (NEW.merged_at, NEW.merged_by, NEW.merge_commit_hash)';
    merged CONSTANT text := '(OLD.merged_at IS NULL AND NEW.merged_at IS NOT NULL)';
    reactivated CONSTANT text := '(NEW.active AND NOT OLD.active)';
    closed CONSTANT text := '(OLD.active AND NOT NEW.active)';
    of_merge CONSTANT text := 'public.outbox_worktree_merge_changes(OLD, NEW)';
    synced CONSTANT text := 'public.outbox_change(''last_sync_at'', OLD.last_sync_at, NEW.last_sync_at)';
    earlier text := 'false';
    event record;
BEGIN
    FOR event IN
        SELECT *
        FROM (VALUES
            (1, $$'reactivated'$$, reactivated, of_merge || $$ || '{"active": false}'$$),
            (
                2, $$'updated'$$, format('%s OR %s AND NOT %s AND NOT %s', plain, merge, merged, reactivated),
                format(
                    $$public.outbox_worktree_changes(OLD, NEW) || CASE WHEN %s OR %s THEN '{}' ELSE %s END$$,
                    merged, reactivated, of_merge
                )
            ),
            (
                3, $$CASE WHEN NEW.agent_id IS NULL THEN 'released' ELSE 'claimed' END$$,
                'OLD.agent_id IS DISTINCT FROM NEW.agent_id', $$public.outbox_change('agent_id', OLD.agent_id, NEW.agent_id)$$
            ),
            (4, $$'git_state_updated'$$, git, 'public.outbox_worktree_git_changes(OLD, NEW) || ' || synced),
            (
                5, $$'merged'$$, merged,
                format($$%s || CASE WHEN %s THEN '{"active": true}'::jsonb ELSE '{}' END$$, of_merge, closed)
            ),
            (6, $$'removed'$$, format('%s AND NOT %s', closed, merged), $$'{"active": true}'::jsonb$$)
        ) AS events (place, action, condition, changes)
        ORDER BY place
    LOOP
        EXECUTE format(
            $sql$
            CREATE FUNCTION tell_when_%s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
            SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET enable_seqscan = off
            AS $body$
            BEGIN
                INSERT INTO public.outbox (entity, action, project_id, entity_id, host_id, data)
                SELECT 'worktree', %s, NEW.project_id, NEW.id, nullif(NEW.host_id, public.default_host_id()),
                    public.outbox_worktree_data(NEW, p.name, p.remote_origin, t.name, %s || CASE
                        WHEN %s THEN '{}'
                        ELSE public.outbox_change('updated_at', OLD.updated_at, NEW.updated_at)
                            || CASE WHEN %s THEN '{}' ELSE %s END
                    END)
                FROM (SELECT) one
                LEFT JOIN public.projects p ON p.id = NEW.project_id
                LEFT JOIN public.worktree_types t ON t.id = NEW.type_id;
                RETURN NULL;
            END
            $body$
            $sql$,
            event.place, event.action, event.changes, earlier, git, synced
        );
        EXECUTE format(
            'CREATE TRIGGER worktrees_outbox_update_%s AFTER UPDATE ON worktrees FOR EACH ROW'
            ' WHEN (%s) EXECUTE FUNCTION tell_when_%s()',
            event.place, event.condition, event.place
        );
        earlier := format('%s OR %s', earlier, event.condition);
    END LOOP;
END
$do$;
