-- 021, back: search_registry() asks as before, and looks for projects whose names resemble the text every time.

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;

CREATE OR REPLACE FUNCTION search_known_words(p_word text)
RETURNS SETOF text
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT DISTINCT known.word
    FROM pg_stats s
    CROSS JOIN LATERAL unnest(s.most_common_elems::text::text[]) AS known (word)
    WHERE s.schemaname = 'public'
        AND (
            s.tablename IN ('idx_projects_words', 'idx_worktrees_words', 'idx_agent_activities_words')
            OR s.tablename IN (
                SELECT c.relname
                FROM pg_inherits i
                JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = to_regclass('public.idx_agent_activities_words')
            )
        )
        AND left(known.word, 1) IN (left(p_word, 1), substr(p_word, 2, 1))
        AND length(known.word) BETWEEN length(p_word) - 2 AND length(p_word) + 2
$$;

CREATE OR REPLACE FUNCTION search_busy_worktrees()
RETURNS uuid[]
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
    SELECT coalesce(array_agg(DISTINCT newest.worktree_id), '{}')
    FROM (SELECT a.worktree_id FROM public.agent_activities a ORDER BY a.created_at DESC LIMIT 500) newest
$$;

CREATE OR REPLACE FUNCTION search_similar_words(p_word text)
RETURNS text[]
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known text[];
BEGIN
    PERFORM set_config('search_path', format('pg_catalog, %I, pg_temp', n.nspname), true)
    FROM pg_extension e
    JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'pg_trgm' AND has_schema_privilege(n.oid, 'USAGE');
    IF NOT FOUND THEN
        RAISE NOTICE 'search_registry: misspelt words are not looked for: the extension pg_trgm is not there, or not to be used';
        RETURN '{}';
    END IF;
    IF has_function_privilege('public.search_known_words(text)', 'EXECUTE') THEN
        known := ARRAY(SELECT public.search_known_words(p_word));
    END IF;
    IF p_word = ANY (known) THEN
        RETURN ARRAY[p_word];
    END IF;
    RETURN ARRAY(
        SELECT near.word
        FROM (
            SELECT k.word
            FROM unnest(known) AS k (word)
            UNION
            SELECT named.word
            FROM (
                SELECT w.name FROM public.worktrees w WHERE w.id = ANY (public.search_busy_worktrees())
                UNION ALL
                (SELECT w.name FROM public.worktrees w WHERE w.active LIMIT 200)
            ) newest
            CROSS JOIN LATERAL unnest(
                string_to_array(translate(lower(newest.name COLLATE "C"), '-/_.:', '     '), ' ')
            ) AS named (word)
            WHERE left(named.word, 1) IN (left(p_word, 1), substr(p_word, 2, 1))
        ) near
        WHERE near.word <> p_word
            AND length(near.word) BETWEEN length(p_word) - 2 AND length(p_word) + 2
            AND similarity(near.word, p_word) >= 0.25
        ORDER BY similarity(near.word, p_word) DESC, near.word
        LIMIT 2
    );
END;
$$;

CREATE OR REPLACE FUNCTION search_newest_worktrees(p_query tsquery, p_patterns text[], p_most integer)
RETURNS uuid[]
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET max_parallel_workers_per_gather = 0
SET jit = off
AS $$
DECLARE
    has_choice CONSTANT boolean := p_query::text ~ '[|]';
BEGIN
    RETURN ARRAY(
        SELECT newest.id
        FROM (
            SELECT w.id, w.name, w.branch_name, w.path, w.last_commit_message
            FROM unnest(public.search_busy_worktrees()) AS busy (id)
            JOIN public.worktrees w ON w.id = busy.id    -- with = ANY all that are active would be read as well
            WHERE w.active
            ORDER BY w.updated_at DESC
            OFFSET 0
        ) newest
        CROSS JOIN LATERAL (
            SELECT lower(
                concat_ws(' ', newest.name, newest.branch_name, newest.path, newest.last_commit_message) COLLATE "C"
            ) AS whole
        ) said
        WHERE CASE WHEN has_choice THEN said.whole LIKE ANY (p_patterns) ELSE said.whole LIKE ALL (p_patterns) END
            AND public.search_words_of_worktree(newest.name, newest.branch_name, newest.path, newest.last_commit_message)
                @@ p_query
        LIMIT p_most
    );
END;
$$;

CREATE OR REPLACE FUNCTION search_worktrees(
    p_exact tsquery, p_query tsquery, p_patterns text[], p_named tsquery, p_is_frequent boolean
)
RETURNS uuid[]
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET work_mem = '32MB'
SET gin_fuzzy_search_limit = 20000
SET max_parallel_workers_per_gather = 0
SET jit = off
AS $$
DECLARE
    enough CONSTANT integer := 20;
    is_phrase CONSTANT boolean := p_exact::text ~ '<';
    many CONSTANT integer := CASE WHEN is_phrase THEN 2 * enough ELSE 200 END;
    looked_at CONSTANT integer := CASE WHEN is_phrase THEN 3000 ELSE many END;
    found_ids uuid[];
    by_index uuid[];
    hits bigint;
    query tsquery;
    all_words tsquery;
    side_by_side text;
BEGIN
    found_ids := ARRAY(
        SELECT w.id
        FROM public.worktrees w
        WHERE public.search_words_of_worktree(w.name, w.branch_name, w.path, w.last_commit_message) @@ p_named
        LIMIT enough
    );
    IF p_is_frequent THEN
        found_ids := found_ids || public.search_newest_worktrees(p_query, p_patterns, enough);
    END IF;
    FOREACH query IN ARRAY CASE WHEN p_exact::text = p_query::text THEN ARRAY[p_query] ELSE ARRAY[p_exact, p_query] END LOOP
        EXIT WHEN cardinality(found_ids) >= enough;
        all_words := public.search_all_words(query);
        side_by_side := public.search_side_by_side(query);
        PERFORM set_config('gin_fuzzy_search_limit', CASE numnode(query) WHEN 1 THEN '2000' ELSE '20000' END, true);
        SELECT coalesce(max(best.hits), 0), coalesce(array_agg(best.id), '{}') INTO hits, by_index
        FROM (
            SELECT hit.id, count(*) OVER () AS hits
            FROM (
                SELECT near.id, near.name, near.updated_at
                FROM (
                    SELECT w.id, w.name, w.branch_name, w.path, w.last_commit_message, w.updated_at
                    FROM public.worktrees w
                    WHERE public.search_words_of_worktree(w.name, w.branch_name, w.path, w.last_commit_message)
                        @@ all_words
                    LIMIT looked_at
                ) near
                WHERE CASE
                    WHEN is_phrase THEN
                        lower(concat_ws(' ', near.name, near.branch_name, near.path, near.last_commit_message) COLLATE "C")
                            ~ side_by_side
                        AND public.search_words_of_worktree(
                            near.name, near.branch_name, near.path, near.last_commit_message
                        ) @@ query
                    ELSE true
                END
                LIMIT many
            ) hit
            ORDER BY lower(hit.name COLLATE "C") LIKE ALL (p_patterns) DESC, hit.updated_at DESC
            LIMIT enough
        ) best;
        IF hits = many AND NOT p_is_frequent THEN
            found_ids := found_ids || public.search_newest_worktrees(query, p_patterns, enough);
        END IF;
        found_ids := found_ids || by_index;
    END LOOP;
    RETURN found_ids;
END;
$$;

CREATE OR REPLACE FUNCTION search_activities(p_exact tsquery, p_query tsquery, p_patterns text[], p_newest uuid[])
RETURNS uuid[]
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET work_mem = '32MB'
SET gin_fuzzy_search_limit = 20000
SET max_parallel_workers_per_gather = 0
SET jit = off
AS $$
DECLARE
    enough CONSTANT integer := 20;
    newest_ones CONSTANT integer := 1000;
    is_phrase CONSTANT boolean := p_exact::text ~ '<';
    many CONSTANT integer := CASE WHEN is_phrase THEN 2 * enough ELSE 200 END;
    looked_at CONSTANT integer := CASE WHEN is_phrase THEN 3000 ELSE many END;
    found_ids uuid[] := p_newest;
    by_index uuid[];
    hits bigint := 0;
    query tsquery;
    all_words tsquery;
    side_by_side text;
BEGIN
    IF cardinality(found_ids) BETWEEN enough / 5 AND enough - 1 THEN
        found_ids := public.search_newest_activities(p_query, p_patterns, 4 * newest_ones, enough);
    END IF;
    FOREACH query IN ARRAY CASE WHEN p_exact::text = p_query::text THEN ARRAY[p_query] ELSE ARRAY[p_exact, p_query] END LOOP
        EXIT WHEN cardinality(found_ids) >= enough;
        all_words := public.search_all_words(query);
        side_by_side := public.search_side_by_side(query);
        PERFORM set_config('gin_fuzzy_search_limit', CASE numnode(query) WHEN 1 THEN '2000' ELSE '20000' END, true);
        SELECT coalesce(max(best.hits), 0), coalesce(array_agg(best.id), '{}') INTO hits, by_index
        FROM (
            SELECT hit.id, count(*) OVER () AS hits
            FROM (
                SELECT near.id, near.created_at
                FROM (
                    SELECT a.id, a.description, a.file_path, a.created_at
                    FROM public.agent_activities a
                    WHERE public.search_words_of_activity(a.description, a.file_path) @@ all_words
                    LIMIT looked_at
                ) near
                WHERE CASE
                    WHEN is_phrase THEN
                        lower(concat_ws(' ', near.description, near.file_path) COLLATE "C") ~ side_by_side
                        AND public.search_words_of_activity(near.description, near.file_path) @@ query
                    ELSE true
                END
                LIMIT many
            ) hit
            ORDER BY hit.created_at DESC
            LIMIT enough
        ) best;
        IF hits = many THEN
            found_ids := public.search_newest_activities(p_query, p_patterns, 4 * newest_ones, enough);
        END IF;
        found_ids := found_ids || by_index;
    END LOOP;
    RETURN found_ids;
END;
$$;

CREATE OR REPLACE FUNCTION search_described_projects(p_exact tsquery, p_query tsquery)
RETURNS uuid[]
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET work_mem = '32MB'
SET gin_fuzzy_search_limit = 20000
SET max_parallel_workers_per_gather = 0
SET jit = off
AS $$
DECLARE
    enough CONSTANT integer := 20;
    many CONSTANT integer := 200;
    found_ids uuid[] := '{}';
    query tsquery;
BEGIN
    FOREACH query IN ARRAY CASE WHEN p_exact::text = p_query::text THEN ARRAY[p_query] ELSE ARRAY[p_exact, p_query] END LOOP
        EXIT WHEN cardinality(found_ids) >= enough;
        found_ids := found_ids || ARRAY(
            SELECT hit.id
            FROM (
                SELECT p.id, p.updated_at
                FROM public.projects p
                WHERE p.active
                    AND public.search_words_of_project(p.name, p.remote_origin, p.trunk_path, p.description) @@ query
                LIMIT many
            ) hit
            ORDER BY hit.updated_at DESC
            LIMIT enough
        );
    END LOOP;
    RETURN found_ids;
END;
$$;

COMMENT ON FUNCTION search_newest_worktrees(tsquery, text[], integer) IS 'Those of the busy worktrees that have the words, newest first.';

CREATE OR REPLACE FUNCTION search_registry(
    p_query text,
    p_limit integer DEFAULT 20,
    p_kinds text[] DEFAULT '{project, worktree, activity}'
)
RETURNS TABLE (
    kind text,
    id uuid,
    name text,
    project_id uuid,
    project_name text,
    worktree_id uuid,
    place text,
    excerpt text[],
    relevance real,
    active boolean,
    occurred_at timestamptz
)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET max_parallel_workers_per_gather = 0
SET jit = off
AS $$
DECLARE
    weights CONSTANT real[] := '{0.05, 0.15, 0.4, 1}';
    all_kinds CONSTANT text[] := '{project, worktree, activity}';
    exact tsquery;
    wanted tsquery;
    asked tsquery;
    ranked tsquery;
    is_last boolean := false;
    words text[];
    patterns text[];
    misspelt text;
    likely text[];
    beginning tsquery;
    of_name text := public.lower_case(btrim(p_query));
    near_projects uuid[] := '{}';
    nearness real[] := '{}';
    projects_found uuid[] := '{}';
    worktrees_found uuid[] := '{}';
    activities_found uuid[] := '{}';
    newest uuid[];
BEGIN
    PERFORM public.require_text('search_registry', 'p_query', p_query);
    IF length(p_query) > 512 THEN
        RAISE EXCEPTION 'search_registry: p_query %… has % characters; it must have at most 512',
            public.quote_for_message(left(p_query, 40)), length(p_query)
            USING ERRCODE = '22023';
    END IF;
    IF p_limit IS NULL OR p_limit NOT BETWEEN 1 AND 100 THEN
        RAISE EXCEPTION 'search_registry: p_limit is %; it must be 1 to 100', coalesce(p_limit::text, 'NULL') USING ERRCODE = '22023';
    END IF;
    IF p_kinds IS NULL OR p_kinds = '{}' OR NOT p_kinds <@ all_kinds THEN
        RAISE EXCEPTION 'search_registry: p_kinds is %; it must have one or more of %',
            public.quote_for_message(p_kinds::text), array_to_string(all_kinds, ', ')
            USING ERRCODE = '22023';
    END IF;
    exact := public.search_query(p_query);
    wanted := CASE WHEN numnode(exact) > 1 THEN exact ELSE public.search_unfinished(exact) END;
    IF querytree(exact) = 'T' THEN
        RAISE EXCEPTION 'search_registry: p_query % says only what must not be there; it must have a word without "-" as well',
            public.quote_for_message(p_query)
            USING ERRCODE = '22023';
    END IF;

    -- Projects have a search of their own, by trigrams. Otherwise misspelt words are looked for only where nothing has the
    -- words as they stand.
    -- A path is no name of one, and so long a text takes that search long.
    IF 'project' = ANY (p_kinds) AND p_query !~ '^[[:space:]]*[/~]' AND length(p_query) <= 80
        AND EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_trgm' AND has_schema_privilege(e.extnamespace, 'USAGE'))
    THEN
        SELECT coalesce(array_agg(s.id), '{}'), coalesce(array_agg(s.relevance), '{}') INTO near_projects, nearness
        FROM public.near_projects(p_query) s;
    END IF;
    asked := exact;
    LOOP
        words := public.search_query_words(wanted);
        -- One letter is looked for among the projects alone: too much has it.
        EXIT WHEN NOT EXISTS (SELECT FROM unnest(words) AS word WHERE length(word) > 1);
        patterns := ARRAY(SELECT '%' || regexp_replace(word, '[^ -~]+', '%', 'g') || '%' FROM unnest(words) AS word);
        IF 'project' = ANY (p_kinds) THEN
            projects_found := public.search_described_projects(asked, wanted);
        END IF;
        IF p_kinds && '{worktree, activity}' THEN
            newest := public.search_newest_activities(wanted, patterns, 1000, 20);
        END IF;
        IF 'worktree' = ANY (p_kinds) THEN
            worktrees_found := public.search_worktrees(
                asked, wanted, patterns, quote_literal('=' || public.search_text(btrim(p_query)))::tsquery,
                p_is_frequent => cardinality(newest) = 20
            );
        END IF;
        IF 'activity' = ANY (p_kinds) THEN
            activities_found := public.search_activities(asked, wanted, patterns, newest);
        END IF;
        EXIT WHEN is_last OR cardinality(projects_found || worktrees_found || activities_found) > 0;

        -- Nothing has the words as they stand: the last of several may be the beginning of one.
        -- As texts: two queries of the same words are equal, whether words or beginnings of them.
        IF wanted::text = exact::text AND public.search_unfinished(exact)::text <> exact::text AND numnode(exact) > 1 THEN
            wanted := public.search_unfinished(exact);
            asked := wanted;
            CONTINUE;
        END IF;
        -- Or each is misspelt, or the beginning of one; but for those that are frequent as they stand.
        wanted := exact;
        FOREACH misspelt IN ARRAY words[1:8] LOOP
            likely := public.search_similar_words(misspelt);
            CONTINUE WHEN likely = ARRAY[misspelt] OR length(misspelt) < 2;
            wanted := ts_rewrite(
                wanted,
                quote_literal(misspelt)::tsquery,
                CASE
                    WHEN likely = '{}' OR length(misspelt) < 4 THEN (quote_literal(misspelt) || ':*')::tsquery
                    ELSE (SELECT string_agg(quote_literal(word), ' | ') FROM unnest(likely) AS word)::tsquery
                END
            );
        END LOOP;
        EXIT WHEN wanted::text = exact::text;
        asked := wanted;
        is_last := true;
    END LOOP;
    -- What must not be there says nothing about how well a row fits: ts_rank gives 1e-20 to every row of such a query.
    ranked := CASE WHEN querytree(wanted) IN ('', 'T') THEN wanted ELSE querytree(wanted)::tsquery END;

    RETURN QUERY
    WITH matched AS (
        SELECT
            'project' AS kind, p.id, p.name, p.id AS project_id, p.name AS project_name, NULL::uuid AS worktree_id,
            p.remote_origin AS place,
            ARRAY[p.description, substring(p.remote_origin FROM ':(.*)[.]git$'), p.trunk_path] AS texts,
            near.score::double precision AS score, true AS active, p.updated_at AS occurred_at
        FROM unnest(near_projects, nearness) AS near (id, score)
        JOIN public.projects p ON p.id = near.id
        UNION ALL
        SELECT
            'project', p.id, p.name, p.id, p.name, NULL,
            p.remote_origin, ARRAY[p.description, substring(p.remote_origin FROM ':(.*)[.]git$'), p.trunk_path],
            ts_rank(
                weights,
                setweight(to_tsvector('simple', public.search_text(p.name || ' ' || substr(p.remote_origin, 16))), 'A')
                    || setweight(to_tsvector('simple', coalesce(public.search_text(p.description), '')), 'B')
                    || setweight(to_tsvector('simple', public.search_text(p.trunk_path)), 'C'),
                ranked
            ), true, p.updated_at
        FROM public.projects p
        WHERE p.id = ANY (projects_found)
        UNION ALL
        SELECT
            'worktree', w.id, w.name, w.project_id, p.name, w.id,
            w.path, ARRAY[w.last_commit_message, w.branch_name, w.path],
            CASE
                WHEN of_name IN (public.lower_case(w.name), public.lower_case(w.branch_name))
                    THEN CASE WHEN w.active THEN 1 ELSE 0.99 END
                ELSE CASE WHEN w.active THEN 0.95 ELSE 0.8 END * ts_rank(
                    weights,
                    setweight(to_tsvector('simple', public.search_text(w.name || ' ' || w.branch_name)), 'A')
                        || setweight(to_tsvector('simple', coalesce(public.search_text(w.last_commit_message), '')), 'B')
                        || setweight(to_tsvector('simple', public.search_text(w.path)), 'C'),
                    ranked
                )
            END, w.active, w.updated_at
        FROM public.worktrees w
        JOIN public.projects p ON p.id = w.project_id
        WHERE w.id = ANY (worktrees_found)
        UNION ALL
        SELECT
            'activity', a.id, coalesce(w.name, d.name), coalesce(w.project_id, d.project_id), coalesce(p.name, d.project_name), a.worktree_id,
            a.file_path, ARRAY[a.description, a.file_path],
            0.8 * ts_rank(
                weights,
                setweight(to_tsvector('simple', public.search_text(a.description)), 'B')
                    || setweight(to_tsvector('simple', coalesce(public.search_text(a.file_path), '')), 'C'),
                ranked
            ), coalesce(w.active, false), a.created_at
        FROM public.agent_activities a
        LEFT JOIN public.worktrees w ON w.id = a.worktree_id
        LEFT JOIN public.projects p ON p.id = w.project_id
        LEFT JOIN LATERAL (    -- OFFSET 0: the condition is looked at before the function is called, not after
            SELECT gone.* FROM public.deleted_worktree(a.worktree_id) gone WHERE w.id IS NULL OFFSET 0
        ) d ON true
        WHERE a.id = ANY (activities_found)
    ),
    best AS (
        SELECT DISTINCT ON (m.kind, m.id) m.*
        FROM matched m
        ORDER BY m.kind, m.id, m.score DESC
    ),
    shown AS (
        SELECT b.* FROM best b ORDER BY b.score DESC, b.occurred_at DESC, b.id LIMIT p_limit
    )
    SELECT
        s.kind, s.id, s.name, s.project_id, s.project_name, s.worktree_id, s.place,
        coalesce(
            public.search_excerpt(s.texts[1], words), public.search_excerpt(s.texts[2], words),
            public.search_excerpt(s.texts[3], words), ARRAY[left(coalesce(s.texts[1], s.texts[2]), 160)]
        ),
        s.score::real, s.active, s.occurred_at
    FROM shown s
    ORDER BY s.score DESC, s.occurred_at DESC, s.id;
END;
$$;

DROP FUNCTION IF EXISTS search_rare_words(tsquery, text[]);

COMMENT ON FUNCTION search_registry(text, integer, text[]) IS 'Projects, worktrees and activities that have the words, or words that begin so: best first, at most p_limit; every second piece of the excerpt is what was looked for. Syntax as in web searches: "a phrase", or, -not.';

UPDATE registry_metadata SET migration = 20, upgraded_at = clock_timestamp() WHERE migration > 20;

COMMIT;
