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

CREATE OR REPLACE FUNCTION search_projects(p_query text)
RETURNS TABLE (id uuid, name text, remote_origin text, trunk_path text, relevance real)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET gin_fuzzy_search_limit = 0
SET enable_seqscan = off
SET enable_indexscan = off
SET max_parallel_workers_per_gather = 0
SET jit = off
AS $$
DECLARE
    threshold_before text;
    many CONSTANT integer := 500;
    wanted text := coalesce(substring(public.normalize_remote_origin(p_query) FROM ':(.*)[.]git$'), public.lower_case(btrim(p_query)));
    is_short boolean := wanted ~ '^[[:alnum:]_]{1,2}$';
    literal text := regexp_replace(translate(wanted, '-/.', '   '), E'([\\\\%_])', E'\\\\\\1', 'g');
    pattern text := CASE WHEN is_short THEN '% ' ELSE '%' END || literal || '%';
    coarse_pattern text := '%' || replace(literal, ' ', '_') || '%';
    hits bigint;
    candidates uuid[];
    threshold real;
BEGIN
    PERFORM public.require_text('search_projects', 'p_query', p_query);
    PERFORM set_config('search_path', format('pg_catalog, %I, pg_temp', n.nspname), true)
    FROM pg_extension e
    JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'pg_trgm';

    SELECT max(short.hits), array_agg(short.id) INTO hits, candidates
    FROM (
        SELECT hit.id, count(*) OVER () AS hits
        FROM (
            SELECT p.id, p.name
            FROM public.projects p
            WHERE p.active AND public.project_search_text(p.name, p.remote_origin) LIKE pattern
            LIMIT many
        ) hit
        ORDER BY length(hit.name), hit.name, hit.id
        LIMIT 30
    ) short;

    IF hits = many THEN
        PERFORM set_config('enable_indexscan', 'on', true);
        candidates := candidates || ARRAY(
            SELECT short.id
            FROM (
                SELECT p.id, p.name, p.remote_origin
                FROM public.projects p
                WHERE p.active
                ORDER BY length(p.name), p.name, p.id
                LIMIT CASE WHEN is_short THEN 3 * many ELSE 6 * many END
            ) short
            WHERE (short.remote_origin LIKE coarse_pattern OR public.lower_case(short.name) LIKE coarse_pattern)
            AND public.project_search_text(short.name, short.remote_origin) LIKE pattern
            LIMIT 30
        );
    END IF;

    -- What resembles the text: at first closely, and less so only while there is nothing at all. The threshold is put
    -- back by hand, as only a superuser may create a function with a setting of an extension; before it is read, a
    -- function of the extension is called, which loads it and gives it its value.
    PERFORM similarity(wanted, wanted);
    threshold_before := current_setting('pg_trgm.word_similarity_threshold');
    FOREACH threshold IN ARRAY '{0.8, 0.6, 0.45, 0.3}'::real[] LOOP
        EXIT WHEN is_short OR coalesce(cardinality(candidates), 0) >= CASE threshold WHEN 0.8::real THEN 20 ELSE 1 END;
        PERFORM set_config('pg_trgm.word_similarity_threshold', threshold::text, true);
        candidates := candidates || ARRAY(
            SELECT hit.id
            FROM (
                SELECT p.id, p.name
                FROM public.projects p
                WHERE p.active AND public.project_search_text(p.name, p.remote_origin) %> wanted
                LIMIT 300
            ) hit
            ORDER BY length(hit.name), hit.name, hit.id
            LIMIT 30
        );
    END LOOP;
    PERFORM set_config('pg_trgm.word_similarity_threshold', threshold_before, true);

    RETURN QUERY
    SELECT best.id, best.name, best.remote_origin, best.trunk_path, best.score::real
    FROM (
        SELECT
            p.id, p.name, p.remote_origin, p.trunk_path,
            CASE
                WHEN wanted IN (public.lower_case(p.name), s.slug, s.repo) THEN 1
                WHEN strpos(public.lower_case(p.name), wanted) > 0 OR strpos(s.slug, wanted) > 0 THEN 0.75 + 0.25 * m.likeness
                ELSE 0.75 * m.likeness
            END AS score
        FROM public.projects p
        CROSS JOIN LATERAL (
            SELECT
                substring(p.remote_origin FROM ':(.*)[.]git$') AS slug,
                substring(p.remote_origin FROM '/(.*)[.]git$') AS repo,
                public.project_search_text(p.name, p.remote_origin) AS search_text
        ) s
        CROSS JOIN LATERAL (
            SELECT (
                word_similarity(wanted, s.search_text)
                + greatest(similarity(wanted, p.name), similarity(wanted, s.repo), similarity(wanted, s.slug))
            ) / 2 AS likeness
            OFFSET 0
        ) m
        WHERE p.id = ANY (candidates)
    ) best
    WHERE best.score > 0
    ORDER BY best.score DESC, best.name, best.id
    LIMIT 20;
END;
$$;

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
