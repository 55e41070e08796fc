-- 024, back.

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;

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
            FROM string_to_table((
                SELECT translate(lower(string_agg(newest.name, ' ') COLLATE "C"), '-/_.:', '     ')
                FROM (
                    SELECT w.name
                    FROM unnest(public.search_busy_worktrees()) AS busy (id)
                    JOIN public.worktrees w ON w.id = busy.id
                    UNION ALL
                    (SELECT w.name FROM public.worktrees w WHERE w.active LIMIT 200)
                ) newest
            ), ' ') AS named (word)
            WHERE left(named.word, 1) IN (left(p_word, 1), substr(p_word, 2, 1))
                AND length(named.word) BETWEEN length(p_word) - 2 AND length(p_word) + 2
        ) near
        CROSS JOIN LATERAL (SELECT similarity(near.word, p_word) AS likeness OFFSET 0) m
        WHERE near.word <> p_word AND m.likeness >= 0.25
        ORDER BY m.likeness DESC, near.word
        LIMIT 2
    );
END;
$$;

CREATE OR REPLACE FUNCTION check_activity_move()
RETURNS void
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    hindrance text;
BEGIN
    SELECT h.what INTO hindrance
    FROM (
        SELECT format('publication %I has it: drop it, with its replicas, which do not follow a table into another shape', p.pubname) AS what
        FROM pg_publication_tables p WHERE p.schemaname = 'public' AND p.tablename = 'agent_activities'
        UNION ALL
        SELECT 'this registry is a replica, whose tables are its source''s'
        WHERE EXISTS (SELECT FROM public.replica_source r WHERE r.promoted_at IS NULL AND r.stopped_at IS NULL)
        UNION ALL
        SELECT format('foreign key %I of %s refers to it', k.conname, k.conrelid::regclass)
        FROM pg_constraint k WHERE k.confrelid = 'public.agent_activities'::regclass
        UNION ALL
        SELECT format('policy %I is on it', p.polname) FROM pg_policy p WHERE p.polrelid = 'public.agent_activities'::regclass
        UNION ALL
        SELECT 'row level security is on' FROM pg_class c
        WHERE c.oid = 'public.agent_activities'::regclass AND c.relrowsecurity
        UNION ALL
        SELECT format('materialized view %s reads it', r.ev_class::regclass)
        FROM pg_depend d
        JOIN pg_rewrite r ON r.oid = d.objid
        JOIN pg_class c ON c.oid = r.ev_class
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
            AND d.refobjid = 'public.agent_activities'::regclass AND c.relkind = 'm'
        UNION ALL
        SELECT format('table %s inherits from it', i.inhrelid::regclass)
        FROM pg_inherits i
        WHERE i.inhparent = 'public.agent_activities'::regclass AND NOT public.activities_are_by_month()
    ) h
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'agent_activities cannot be moved: %', hindrance USING ERRCODE = '55000';
    END IF;
END;
$$;

CREATE OR REPLACE FUNCTION registry_health()
RETURNS TABLE (name text, state text, what text, hint text)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
SET datestyle = 'ISO, YMD'
SET timezone = 'UTC'
SET intervalstyle = 'postgres'
AS $$
DECLARE
    checked record;
BEGIN
    FOR checked IN
        SELECT *
        FROM (
            VALUES
                ('schema', 'run: imi-registry migrate up',
                $check$
                    SELECT 'ok', format('schema %s, migration %s since %s', schema_version, migration, date_trunc('second', upgraded_at))
                    FROM public.registry_metadata
                $check$),

                ('publisher', 'start imi-registry serve, or up; imi-registry doctor tells what hinders it',
                $check$
                    SELECT
                        CASE
                            WHEN count(*) = 0 THEN 'warn'
                            WHEN bool_or(abs(extract(epoch FROM clock_timestamp() - heartbeat_at)) > 10 OR hindrance IS NOT NULL) THEN 'bad'
                            ELSE 'ok'
                        END,
                        coalesce(
                            string_agg(
                                format('%s: %s was heard %s ago%s', stream, coalesce(leader, 'nobody'),
                                    date_trunc('second', clock_timestamp() - heartbeat_at), coalesce(', hindered: ' || hindrance, '')),
                                '; ' ORDER BY stream
                            ),
                            'nothing was ever published from this database'
                        )
                    FROM public.publisher_cursor
                $check$),

                -- Above what is published, and in the first hundred gaps below it; more than 1,000 are not counted.
                ('events that wait', 'look at the publisher, and at transactions that are open for long: an event waits for those before it',
                $check$
                    SELECT
                        CASE WHEN max(age) > '1 minute' THEN 'bad' ELSE 'ok' END,
                        coalesce(
                            string_agg(
                                CASE events
                                    WHEN 0 THEN stream || ': none'
                                    ELSE format('%s: %s%s, the oldest for %s', stream, CASE events WHEN 1000 THEN 'at least ' END,
                                        events, date_trunc('second', age))
                                END,
                                '; ' ORDER BY stream
                            ),
                            'no stream is fed'
                        )
                    FROM (
                        SELECT cursor.stream, count(waiting.id) AS events, max(clock_timestamp() - waiting.occurred_at) AS age
                        FROM public.publisher_cursor cursor
                        CROSS JOIN LATERAL (SELECT public.published_ids(cursor) AS ids) published
                        LEFT JOIN LATERAL (
                            SELECT event.id, event.occurred_at
                            FROM (
                                SELECT part
                                FROM unnest(int8multirange(int8range(1, NULL)) - published.ids) AS part
                                ORDER BY part
                                LIMIT 100
                            ) gap
                            CROSS JOIN LATERAL (
                                SELECT o.id, o.occurred_at
                                FROM public.outbox o
                                WHERE o.id >= lower(gap.part) AND (upper_inf(gap.part) OR o.id < upper(gap.part))
                                ORDER BY o.id
                                LIMIT 1000
                            ) event
                            LIMIT 1000
                        ) waiting ON true
                        GROUP BY cursor.stream
                    ) streams
                $check$),

                ('rows without events', 'run: imi-registry migrate up, which writes the events of rows that are older than the outbox',
                $check$
                    SELECT CASE WHEN count(*) = 0 THEN 'ok' ELSE 'warn' END,
                        CASE count(*) WHEN 0 THEN 'none' WHEN 1000 THEN 'at least 1000' ELSE count(*)::text END
                    FROM (SELECT FROM public.outbox_backlog LIMIT 1000) waiting
                $check$),

                ('events without data', 'imi-registry doctor names each; what PostgreSQL cannot read is damage: restore it from a backup',
                $check$
                    SELECT CASE WHEN count(*) = 0 THEN 'ok' ELSE 'warn' END,
                        format('%s went out as references%s', count(*), ', the last one, ' || max(outbox_id) || ': ' || max(reason))
                    FROM public.outbox_fault
                $check$),

                ('work in flight', 'imi-registry inflight lists it; imi-registry sync brings it up to date; release, merge or remove what is left over',
                $check$
                    SELECT CASE WHEN count(*) FILTER (WHERE is_old) = 0 THEN 'ok' ELSE 'warn' END,
                        format('%s%s worktrees, %s of them untouched for more than 30 days',
                            CASE WHEN count(*) = 10000 THEN 'at least ' END, count(*), count(*) FILTER (WHERE is_old))
                    FROM (
                        SELECT w.updated_at < clock_timestamp() - interval '30 days' AS is_old
                        FROM public.worktrees w
                        WHERE w.active AND public.is_in_flight(w.active, w.merged_at, w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk)
                        LIMIT 10000
                    ) work
                $check$),

                -- What a table's trigger is in a month of it, is internal in PostgreSQL 14.
                ('triggers', 'ALTER TABLE … ENABLE TRIGGER …, then: imi-registry history verify',
                $check$
                    SELECT CASE WHEN count(*) = 0 THEN 'ok' ELSE 'bad' END,
                        coalesce('switched off: ' || string_agg(t.tgname || ' of ' || c.relname, ', ' ORDER BY c.relname, t.tgname), 'all are switched on')
                    FROM pg_trigger t
                    JOIN pg_class c ON c.oid = t.tgrelid
                    WHERE (
                            c.oid IN (
                                'public.projects'::regclass, 'public.worktrees'::regclass, 'public.worktree_types'::regclass,
                                'public.agent_activities'::regclass, 'public.outbox'::regclass
                            )
                            OR c.oid IN (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = 'public.agent_activities'::regclass)
                        )
                        AND (NOT t.tgisinternal OR t.tgparentid <> 0)
                        AND t.tgenabled IN ('D', 'R')
                        AND NOT EXISTS (    -- a mirror's rows come as they are
                            SELECT FROM pg_trigger r WHERE r.tgrelid = t.tgrelid AND r.tgname = 'mirror_refuses'
                        )
                $check$),

                ('indexes', 'an index that is not valid costs every writer and helps nobody: REINDEX INDEX CONCURRENTLY …, or drop it',
                $check$
                    SELECT CASE WHEN count(*) = 0 THEN 'ok' ELSE 'warn' END,
                        coalesce('not valid: ' || string_agg(i.indexrelid::regclass::text, ', ' ORDER BY 1), 'all are valid')
                    FROM pg_index i
                    JOIN pg_class c ON c.oid = i.indrelid
                    WHERE c.relnamespace = 'public'::regnamespace AND NOT (i.indisvalid AND i.indisready)
                $check$),

                ('transactions', 'let them end: events that come later wait, and what is removed stays on disk; or SELECT pg_terminate_backend(pid)',
                $check$
                    SELECT CASE WHEN count(*) = 0 THEN 'ok' ELSE 'warn' END,
                        coalesce(
                            string_agg(
                                format('pid %s (application %s, user %s) since %s', pid, to_json(application_name), usename,
                                    date_trunc('second', clock_timestamp() - xact_start)),
                                ', ' ORDER BY xact_start
                            ),
                            'none is open for more than 10 minutes'
                        )
                    FROM (
                        SELECT *
                        FROM pg_stat_activity
                        WHERE datname = current_database()
                            AND pid <> pg_backend_pid()
                            AND coalesce(backend_xid, backend_xmin) IS NOT NULL
                            AND backend_type = 'client backend'
                            AND xact_start < clock_timestamp() - interval '10 minutes'
                        ORDER BY xact_start
                        LIMIT 5
                    ) old
                $check$),

                ('prepared transactions', 'COMMIT PREPARED or ROLLBACK PREPARED: until then their events, and those that came later, wait',
                $check$
                    SELECT CASE WHEN count(*) = 0 THEN 'ok' ELSE 'warn' END,
                        coalesce(
                            string_agg(format('%s of %s since %s', to_json(gid), owner, date_trunc('second', clock_timestamp() - prepared)), ', ' ORDER BY prepared),
                            'none is older than a minute'
                        )
                    FROM pg_prepared_xacts
                    WHERE database = current_database() AND prepared < clock_timestamp() - interval '1 minute'
                $check$),

                ('replication slots', 'start its reader, or SELECT pg_drop_replication_slot(…): WAL is kept for it until the disk is full, or up to max_slot_wal_keep_size',
                $check$
                    SELECT CASE WHEN bool_or(is_lost) THEN 'bad' WHEN count(*) = 0 THEN 'ok' ELSE 'warn' END,
                        coalesce(nullif(concat_ws('; ',
                            'lost, so that their readers are to be set up anew: ' || string_agg(slot_name, ', ' ORDER BY slot_name) FILTER (WHERE is_lost),
                            'used by nobody: ' || string_agg(slot_name, ', ' ORDER BY slot_name) FILTER (WHERE NOT is_lost)
                        ), ''), 'each has a reader')
                    FROM (
                        SELECT slot_name, coalesce(wal_status IN ('unreserved', 'lost'), false) AS is_lost
                        FROM pg_replication_slots
                        WHERE wal_status IN ('unreserved', 'lost') OR NOT active AND restart_lsn IS NOT NULL
                    ) slots
                $check$),

                ('source', 'imi-registry mirror status, or imi-registry replica status, tells what it waits for',
                $check$
                    SELECT CASE
                            WHEN s.name IS NULL THEN 'ok'
                            WHEN s.age IS NULL THEN 'warn'
                            WHEN s.age > interval '1 minute' THEN 'bad'
                            ELSE 'ok'
                        END,
                        CASE
                            WHEN s.name IS NULL THEN 'none: this registry follows no other one'
                            WHEN s.age IS NULL THEN format('a %s of %s, which has not caught up yet', s.kind, quote_ident(s.name))
                            ELSE format('a %s of %s, which had everything %s ago', s.kind, quote_ident(s.name), date_trunc('second', s.age))
                        END
                    FROM (SELECT) one
                    LEFT JOIN (
                        SELECT 'mirror' AS kind, m.name, clock_timestamp() - m.known_at AS age
                        FROM public.mirror_source m
                        WHERE m.promoted_at IS NULL
                        UNION ALL
                        SELECT 'replica', r.name, clock_timestamp() - r.known_at
                        FROM public.replica_source r
                        WHERE r.promoted_at IS NULL
                    ) s ON true
                $check$),

                ('months', 'serve makes them ahead, imi-registry months ahead 12 does at once: what lies elsewhere goes into its month then, what is older goes with retention; a move that stands still goes on with imi-registry months on, or off, or is given up with months cancel',
                $check$
                    SELECT
                        CASE
                            WHEN k.by_month AND k.elsewhere IS NULL THEN 'bad'
                            WHEN k.by_month AND (k.months_ahead < 1 OR k.elsewhere > 0) OR k.moved IS NOT NULL AND NOT k.is_in_hand THEN 'warn'
                            ELSE 'ok'
                        END,
                        concat_ws('; ',
                            CASE
                                WHEN NOT k.by_month THEN 'activities are kept in one table'
                                ELSE format('activities are kept by month, %s months stand ahead', k.months_ahead)
                            END,
                            CASE
                                WHEN k.by_month AND k.elsewhere IS NULL THEN 'agent_activities_other is gone, without which an insert may fail'
                                WHEN k.elsewhere > 0 THEN format('about %s activities are in no month', k.elsewhere)
                            END,
                            CASE
                                WHEN k.moved IS NOT NULL
                                THEN format('a move %s, about %s %% are copied', CASE WHEN k.is_in_hand THEN 'is under way' ELSE 'stands still' END,
                                    floor(100 * k.moved))
                            END
                        )
                    FROM public.activities_kept() k
                $check$),

                ('connections', 'raise max_connections, or let clients share connections: a publisher that takes over may get none',
                $check$
                    SELECT CASE WHEN used >= 0.9 * most THEN 'warn' ELSE 'ok' END, format('%s of %s are in use', used, most)
                    FROM (
                        SELECT
                            (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
                            current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer AS most
                    ) connections
                $check$),

                -- Of a table from which so much was removed or replaced that is still on disk.
                ('vacuum', 'run: imi-registry maintain vacuum; look whether autovacuum is on, and who keeps a transaction open',
                $check$
                    SELECT CASE WHEN count(*) = 0 THEN 'ok' ELSE 'warn' END,
                        coalesce(
                            string_agg(
                                format('%s: %s dead rows beside %s, vacuumed %s', relname, n_dead_tup, n_live_tup,
                                    coalesce(date_trunc('second', clock_timestamp() - greatest(last_vacuum, last_autovacuum)) || ' ago', 'never')),
                                ', ' ORDER BY relname
                            ),
                            'no table has more dead rows than vacuum should leave'
                        )
                    FROM pg_stat_user_tables
                    WHERE schemaname = 'public' AND n_dead_tup > 10000 + 0.5 * n_live_tup
                $check$),

                ('transaction ids', 'VACUUM (FREEZE) the oldest tables: at 2,000 million PostgreSQL takes no more writes',
                $check$
                    SELECT CASE WHEN age(datfrozenxid) > 1000000000 THEN 'bad' ELSE 'ok' END,
                        format('the oldest is %s million transactions old', age(datfrozenxid) / 1000000)
                    FROM pg_database
                    WHERE datname = current_database()
                $check$),

                ('misspelt words', 'CREATE EXTENSION pg_trgm, and give USAGE of its schema to who searches; ANALYZE lets the search know the words',
                $check$
                    SELECT CASE WHEN trigrams.usable THEN 'ok' ELSE 'warn' END,
                        CASE WHEN trigrams.usable THEN 'are found' ELSE 'are not found: pg_trgm is not there, or not to be used' END
                    FROM (
                        SELECT EXISTS (
                            SELECT FROM pg_extension e WHERE e.extname = 'pg_trgm' AND has_schema_privilege(e.extnamespace, 'USAGE')
                        ) AS usable
                    ) trigrams
                $check$),

                ('slow queries', 'shared_preload_libraries = ''pg_stat_statements'', a restart, and CREATE EXTENSION pg_stat_statements',
                $check$
                    SELECT CASE WHEN there.is_there THEN 'ok' ELSE 'unknown' END,
                        CASE WHEN there.is_there THEN 'SELECT * FROM registry_slow_queries()' ELSE 'are not recorded: pg_stat_statements is not there' END
                    FROM (SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements') AS is_there) there
                $check$)
        ) AS checks (name, hint, query)
    LOOP
        name := checked.name;
        hint := NULL;
        BEGIN
            EXECUTE checked.query INTO state, what;
        EXCEPTION
            WHEN insufficient_privilege OR undefined_object OR undefined_table OR undefined_function OR undefined_column
                OR lock_not_available
            THEN
                state := 'unknown';
                what := SQLERRM;
        END;
        IF state IS DISTINCT FROM 'ok' THEN
            hint := checked.hint;
        END IF;
        RETURN NEXT;
    END LOOP;
END;
$$;

UPDATE registry_metadata SET migration = 23, upgraded_at = clock_timestamp() WHERE migration > 23;

COMMIT;
