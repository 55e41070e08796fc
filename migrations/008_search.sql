-- 008: full-text search in all that people wrote and named: search_registry().
--
-- What is indexed, what a writer pays for it, and how a question is answered in bounded time: docs/adr/0015-search.md.
-- compatible down to: 007

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';


-- ---------------------------------------------------------------------------------------------------------------
-- What is indexed. Bodies that are parsed: they are part of the expression of an index, and of each query that uses it.
-- ---------------------------------------------------------------------------------------------------------------

-- Words are what stands between blanks, and the signs that stand in names and paths count as such: PostgreSQL's parser would
-- take feat/user-auth for one file, a.b for a host, <b> for a tag, which it leaves out. No language: the texts have many,
-- and no word is dropped. Beyond 4,000 characters nothing is looked at, or a long text could not be stored: an index entry
-- has at most 1 MB of words.
CREATE OR REPLACE FUNCTION search_text(p_text text)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN lower_case(translate(left(p_text, 4000), E'-/_.:@~<>&+=#%?,;()[]{}|\\`"''', '                            '));

COMMENT ON FUNCTION search_text(text) IS 'A text as it is searched: in lower case, with blanks for the signs of names and paths, at most 4,000 characters.';

CREATE OR REPLACE FUNCTION search_words_of_project(p_name text, p_remote_origin text, p_trunk_path text, p_description text)
RETURNS tsvector
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN to_tsvector(
    'pg_catalog.simple',
    search_text(p_name || ' ' || substr(p_remote_origin, 16) || ' ' || p_trunk_path)
        || coalesce(' ' || search_text(p_description), '')
);

-- Name and branch as a whole are words, too, so that a worktree is found by its full name however many have its parts.
CREATE OR REPLACE FUNCTION search_words_of_worktree(p_name text, p_branch_name text, p_path text, p_last_commit_message text)
RETURNS tsvector
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN to_tsvector(
    'pg_catalog.simple',
    search_text(p_name || ' ' || p_branch_name || ' ' || p_path) || coalesce(' ' || search_text(p_last_commit_message), '')
) || array_to_tsvector(ARRAY['=' || search_text(p_name), '=' || search_text(p_branch_name)]);

CREATE OR REPLACE FUNCTION search_words_of_activity(p_description text, p_file_path text)
RETURNS tsvector
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN to_tsvector('pg_catalog.simple', search_text(p_description) || coalesce(' ' || search_text(p_file_path), ''));

COMMENT ON FUNCTION search_words_of_project(text, text, text, text) IS 'What search_registry() finds a project by.';
COMMENT ON FUNCTION search_words_of_worktree(text, text, text, text) IS 'What search_registry() finds a worktree by.';
COMMENT ON FUNCTION search_words_of_activity(text, text) IS 'What search_registry() finds an activity by.';


-- ---------------------------------------------------------------------------------------------------------------
-- The question
-- ---------------------------------------------------------------------------------------------------------------

-- The syntax is that of websearch_to_tsquery, which refuses nothing: words, "a phrase", or, -not. A sign within a word is a
-- blank here as it is in the texts.
CREATE OR REPLACE FUNCTION search_query(p_query text)
RETURNS tsquery
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT websearch_to_tsquery(
        'pg_catalog.simple',
        translate(
            public.search_text(
                replace(regexp_replace(p_query, '(^|[[:space:]])-+(?=[[:alnum:]"])', E'\\1\u0001', 'g'), '"', E'\u0002')
            ),
            E'\u0001\u0002', '-"'
        )
    )
$$;

COMMENT ON FUNCTION search_query(text) IS 'What a person typed, as PostgreSQL looks for it.';

-- One letter begins too many words.
CREATE OR REPLACE FUNCTION search_unfinished(p_query tsquery)
RETURNS tsquery
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT regexp_replace(p_query::text, '(^|[&|(] )(''[^'']{2,}'')$', E'\\1\\2:*')::tsquery
$$;

COMMENT ON FUNCTION search_unfinished(tsquery) IS 'The same query, whose last word may be the beginning of one.';

CREATE OR REPLACE FUNCTION search_query_words(p_query tsquery)
RETURNS text[]
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(DISTINCT match[2]), '{}')
    FROM regexp_matches(p_query::text, '(!?) ?''([^'']+)''', 'g') AS match
    WHERE match[1] = ''
$$;

COMMENT ON FUNCTION search_query_words(tsquery) IS 'The words that may be there, for a coarse look and for marking them.';

-- The index knows of no order: of each row that has the words it must be looked whether they stand side by side, which takes
-- 30 microseconds when the text is taken apart for it, and 3 by these two.
CREATE OR REPLACE FUNCTION search_all_words(p_query tsquery)
RETURNS tsquery
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT regexp_replace(p_query::text, '<(-|[0-9]+)>', '&', 'g')::tsquery
$$;

CREATE OR REPLACE FUNCTION search_side_by_side(p_query tsquery)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN p_query::text ~ '^''[a-z0-9]+''( <-> ''[a-z0-9]+'')+$'
            THEN replace(replace(p_query::text, ''' <-> ''', '[^a-z0-9]+'), '''', '')
        ELSE ''
    END
$$;

COMMENT ON FUNCTION search_all_words(tsquery) IS 'The query without the order of its words: what the index can be asked for.';
COMMENT ON FUNCTION search_side_by_side(tsquery) IS 'A pattern for a coarse look whether the words of a phrase follow each other; matches everything where the query is more than one phrase.';

-- What PostgreSQL keeps about the words of an index: up to 2,000 of them for each table, the most frequent ones. With the
-- owner's rights, since others see no statistics of an index; so only who may read the tables may call it.
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

REVOKE EXECUTE ON FUNCTION search_known_words(text) FROM PUBLIC;

-- No index has the worktrees in the order they were written in: every write would make an entry in it, and in each other
-- index as well. Who works on one says so in the log, which has one.
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

COMMENT ON FUNCTION search_busy_worktrees() IS 'Worktrees that the newest activities are of.';

-- Two words at most, so that a query stays small. The names of busy worktrees, and of some, are known before ANALYZE runs.
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

COMMENT ON FUNCTION search_similar_words(text) IS 'Words of the registry that a misspelt one may mean; itself where it is a frequent one, none without pg_trgm.';


-- ---------------------------------------------------------------------------------------------------------------
-- Candidates: few rows, found in bounded time, of which the best are told by their exact relevance afterwards
-- ---------------------------------------------------------------------------------------------------------------

-- The index has every row that has the words, and reads all of them before the first is known: 2 microseconds each. So it is
-- asked for rare words alone. A frequent one is found among the newest rows, which are read at 1 microsecond each: where
-- one row in fifty has it, a thousand of them are enough. What is between is found by the index, some hundred rows in no
-- order, and the newest of them among more of the newest rows.
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

-- What is frequent among the newest activities is looked for among the newest worktrees first, else where the index has more
-- rows than are looked at.
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

CREATE OR REPLACE FUNCTION search_newest_activities(p_query tsquery, p_patterns text[], p_depth integer, p_most integer)
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
            SELECT a.id, a.description, a.file_path
            FROM public.agent_activities a
            ORDER BY a.created_at DESC
            LIMIT p_depth
        ) newest
        CROSS JOIN LATERAL (
            SELECT lower(concat_ws(' ', newest.description, newest.file_path) COLLATE "C") AS whole
        ) said
        WHERE CASE WHEN has_choice THEN said.whole LIKE ANY (p_patterns) ELSE said.whole LIKE ALL (p_patterns) END
            AND public.search_words_of_activity(newest.description, newest.file_path) @@ p_query
        LIMIT p_most
    );
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

COMMENT ON FUNCTION search_worktrees(tsquery, tsquery, text[], tsquery, boolean) IS 'Worktrees that have the words, of which search_registry() takes the best.';
COMMENT ON FUNCTION search_newest_worktrees(tsquery, text[], integer) IS 'Those of the busy worktrees that have the words, newest first.';
COMMENT ON FUNCTION search_activities(tsquery, tsquery, text[], uuid[]) IS 'Activities that have the words, of which search_registry() takes the best.';
COMMENT ON FUNCTION search_newest_activities(tsquery, text[], integer, integer) IS 'Those of the newest activities that have the words, newest first.';
COMMENT ON FUNCTION search_described_projects(tsquery, tsquery) IS 'Projects that have the words, of which search_registry() takes the best.';


-- ---------------------------------------------------------------------------------------------------------------
-- The answer
-- ---------------------------------------------------------------------------------------------------------------

-- Of a word with one letter only that word is marked, of a longer one every word that begins so.
CREATE OR REPLACE FUNCTION search_excerpt(p_text text, p_words text[])
RETURNS text[]
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    shown CONSTANT integer := 160;
    beginnings text := regexp_replace(array_to_string(p_words, '|'), '(^|[|])(.)(?=[|]|$)', E'\\1\\2(?![[:alnum:]])', 'g');
    pattern text := '(^|[^[:alnum:]])((?:' || beginnings || ')[[:alnum:]]*)';
    whole text := regexp_replace(left(p_text, 4000), '[[:space:][:cntrl:]]+', ' ', 'g');
    first_match text[] := regexp_match(whole, pattern, 'i');
    begins integer;
BEGIN
    IF first_match IS NULL OR beginnings = '' THEN
        RETURN NULL;
    END IF;
    begins := greatest(1, strpos(whole, array_to_string(first_match, '')) - shown / 4);
    RETURN string_to_array(
        CASE WHEN begins > 1 THEN '…' ELSE '' END
            || regexp_replace(substr(whole, begins, shown), pattern, E'\\1\u0001\\2\u0001', 'gi')
            || CASE WHEN begins + shown <= length(whole) THEN '…' ELSE '' END,
        E'\u0001'
    );
END;
$$;

COMMENT ON FUNCTION search_excerpt(text, text[]) IS 'The part of a text that has one of the words first, in pieces: every second one is a word that was looked for; NULL where there is none.';

-- The search of projects by their names, which is the half of search_projects() that finds them.
CREATE OR REPLACE FUNCTION near_projects(p_query text)
RETURNS TABLE (id uuid, relevance real)
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
    SELECT best.id, best.score::real
    FROM (
        SELECT
            p.id, p.name,
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

CREATE OR REPLACE FUNCTION search_projects(p_query text)
RETURNS TABLE (id uuid, name text, remote_origin text, trunk_path text, relevance real)
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.id, p.name, p.remote_origin, p.trunk_path, near.relevance
    FROM public.near_projects(p_query) WITH ORDINALITY AS near (id, relevance, place)
    JOIN public.projects p ON p.id = near.id
    ORDER BY near.place
$$;

COMMENT ON FUNCTION near_projects(text) IS 'The projects that search_projects() returns, in its order.';

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

COMMENT ON FUNCTION search_registry(text, integer, text[]) IS 'Projects, worktrees and activities that have the words, or words that begin so: best first, at most p_limit; every second piece of the excerpt is what was looked for. Syntax as in web searches: "a phrase", or, -not.';


-- ---------------------------------------------------------------------------------------------------------------
-- Rights: search_registry() acts with those of its caller; the known words are for who may read the tables
-- ---------------------------------------------------------------------------------------------------------------

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
            ('imi_reader', 'FUNCTION', 'EXECUTE', '{search_known_words(text)}'),

            ('imi_writer', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_writer', 'TABLE', 'SELECT, INSERT, UPDATE, DELETE', '{projects, worktrees, worktree_types}'),
            ('imi_writer', 'TABLE', 'SELECT, INSERT', '{agent_activities}'),
            ('imi_writer', 'TABLE', 'SELECT',
                '{v_projects_summary, v_worktrees_detail, v_inflight_work, v_recent_agent_activity}'),
            ('imi_writer', 'TABLE', 'SELECT', '{schema_migrations}'),
            ('imi_writer', 'FUNCTION', 'EXECUTE', '{remove_old_activities(timestamptz), search_known_words(text)}'),

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
                '{"forget_published(interval, integer)", registry_heartbeat(text), search_known_words(text)}'),

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

COMMIT;

-- What a table has is indexed beside its writers. Of an insert only a list is written, which is put into the index when it has
-- grown to half a megabyte: a question reads that list, and 4 MB, the default, would take it 15 ms.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_projects_words
    ON public.projects USING gin (public.search_words_of_project(name, remote_origin, trunk_path, description))
    WITH (gin_pending_list_limit = 512) WHERE active;
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_worktrees_words
    ON public.worktrees USING gin (public.search_words_of_worktree(name, branch_name, path, last_commit_message))
    WITH (gin_pending_list_limit = 512);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_agent_activities_words
    ON public.agent_activities USING gin (public.search_words_of_activity(description, file_path))
    WITH (gin_pending_list_limit = 512);

-- So many frequent words are known to whoever misspells one: ten times this number for each table.
ALTER INDEX public.idx_projects_words ALTER COLUMN 1 SET STATISTICS 200;
ALTER INDEX public.idx_worktrees_words ALTER COLUMN 1 SET STATISTICS 200;
ALTER INDEX public.idx_agent_activities_words ALTER COLUMN 1 SET STATISTICS 200;
