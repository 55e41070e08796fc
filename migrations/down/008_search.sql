-- 008, back: the search, its indexes and its rights.

DROP INDEX CONCURRENTLY IF EXISTS public.idx_agent_activities_words;
DROP INDEX CONCURRENTLY IF EXISTS public.idx_worktrees_words;
DROP INDEX CONCURRENTLY IF EXISTS public.idx_projects_words;

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_min_messages = warning;

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
            ('imi_reader', 'TABLE', 'SELECT',
                '{v_projects_summary, v_worktrees_detail, v_inflight_work, v_recent_agent_activity}'),
            ('imi_reader', 'TABLE', 'SELECT', '{outbox, outbox_fault, outbox_backlog, publisher_cursor, published_batch}'),
            ('imi_reader', 'TABLE', 'SELECT (applied_at)', '{command_ledger}'),
            ('imi_reader', 'TABLE', 'SELECT', '{schema_migrations}'),
            ('imi_reader', 'SEQUENCE', 'SELECT', '{outbox_id_seq}'),

            ('imi_writer', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_writer', 'TABLE', 'SELECT, INSERT, UPDATE, DELETE', '{projects, worktrees, worktree_types}'),
            ('imi_writer', 'TABLE', 'SELECT, INSERT', '{agent_activities}'),
            ('imi_writer', 'TABLE', 'SELECT',
                '{v_projects_summary, v_worktrees_detail, v_inflight_work, v_recent_agent_activity}'),
            ('imi_writer', 'TABLE', 'SELECT', '{schema_migrations}'),
            ('imi_writer', 'FUNCTION', 'EXECUTE', '{remove_old_activities(timestamptz)}'),

            ('imi_publisher', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
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

            ('imi_applier', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT, UPDATE', '{projects, worktrees}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT, DELETE', '{worktree_types}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT', '{agent_activities, command_ledger}'),
            ('imi_applier', 'TABLE', 'SELECT (id, transaction_id, project_id)', '{outbox}'),
            ('imi_applier', 'TABLE', 'SELECT', '{schema_migrations}'),
            ('imi_applier', 'SEQUENCE', 'SELECT', '{outbox_id_seq}')
    ) AS r (role_name, kind, rights, object_names)
    CROSS JOIN LATERAL unnest(r.object_names::text[]) AS o (object_name)
$$;

COMMENT ON FUNCTION role_rights() IS 'What each role of the registry is granted; imi_owner owns everything, and is granted nothing.';

DO $$ BEGIN PERFORM grant_role_rights(); END $$;

DROP FUNCTION IF EXISTS
    search_registry(text, integer, text[]),
    search_excerpt(text, text[]),
    search_described_projects(tsquery, tsquery),
    search_activities(tsquery, tsquery, text[]),
    search_newest_activities(tsquery, text[], integer, integer),
    search_worktrees(tsquery, tsquery, text[], tsquery),
    search_similar_words(text),
    search_busy_worktrees(),
    search_all_words(tsquery),
    search_side_by_side(tsquery),
    search_known_words(text),
    search_query_words(tsquery),
    search_unfinished(tsquery),
    search_query(text),
    search_words_of_activity(text, text),
    search_words_of_worktree(text, text, text, text),
    search_words_of_project(text, text, text, text),
    search_text(text);

COMMIT;
