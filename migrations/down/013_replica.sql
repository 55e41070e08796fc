-- 013, back: a registry is no replica of another one.

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL client_min_messages = warning;

DO $$
BEGIN
    IF to_regclass('public.replica_source') IS NOT NULL THEN
        IF EXISTS (SELECT FROM replica_source WHERE promoted_at IS NULL) THEN
            RAISE EXCEPTION 'cannot go back behind migration 013: this registry is a replica; run imi-registry replica promote first'
                USING ERRCODE = '55000';
        END IF;
    END IF;
END;
$$;

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
            ('imi_reader', 'TABLE', 'SELECT', '{hosts, project_hosts, v_project_hosts}'),
            ('imi_reader', 'TABLE', 'SELECT',
                '{v_projects_summary, v_worktrees_detail, v_inflight_work, v_recent_agent_activity}'),
            ('imi_reader', 'TABLE', 'SELECT', '{outbox, outbox_fault, outbox_backlog, publisher_cursor, published_batch}'),
            ('imi_reader', 'TABLE', 'SELECT (applied_at)', '{command_ledger}'),
            ('imi_reader', 'TABLE', 'SELECT', '{schema_migrations, registry_metadata}'),
            ('imi_reader', 'TABLE', 'SELECT', '{mirror_source}'),
            ('imi_reader', 'SEQUENCE', 'SELECT', '{outbox_id_seq}'),
            ('imi_reader', 'FUNCTION', 'EXECUTE', '{search_known_words(text)}'),

            ('imi_writer', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_writer', 'TABLE', 'SELECT, INSERT, UPDATE, DELETE',
                '{projects, worktrees, worktree_types, hosts, project_hosts}'),
            ('imi_writer', 'TABLE', 'SELECT, INSERT', '{agent_activities}'),
            ('imi_writer', 'TABLE', 'SELECT',
                '{v_project_hosts, v_projects_summary, v_worktrees_detail, v_inflight_work, v_recent_agent_activity}'),
            ('imi_writer', 'TABLE', 'SELECT', '{schema_migrations, registry_metadata}'),
            ('imi_writer', 'FUNCTION', 'EXECUTE', '{remove_old_activities(timestamptz), search_known_words(text)}'),

            ('imi_publisher', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{projects, worktrees, worktree_types, agent_activities, deleted_worktrees}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{hosts, project_hosts, v_project_hosts}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{outbox, outbox_backlog}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, UPDATE', '{publisher_cursor}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, UPDATE, DELETE', '{published_batch}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, DELETE', '{outbox_fault}'),
            ('imi_publisher', 'TABLE', 'SELECT (applied_at)', '{command_ledger}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{schema_migrations, registry_metadata}'),
            ('imi_publisher', 'TABLE', 'SELECT, UPDATE (known_at)', '{mirror_source}'),
            ('imi_publisher', 'TABLE', 'INSERT', '{mirror_row}'),
            ('imi_publisher', 'SEQUENCE', 'SELECT', '{outbox_id_seq}'),
            ('imi_publisher', 'SEQUENCE', 'UPDATE', '{publisher_doorbell}'),
            ('imi_publisher', 'FUNCTION', 'EXECUTE',
                '{"forget_published(interval, integer)", registry_heartbeat(text), search_known_words(text)}'),
            ('imi_publisher', 'FUNCTION', 'EXECUTE', '{"apply_mirrored(text, text, boolean, bigint[], text[])"}'),
            ('imi_publisher', 'FUNCTION', 'EXECUTE',
                '{"replace_mirrored(text, text, bigint, uuid, uuid, text, bigint, bigint, text)"}'),

            ('imi_applier', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT, UPDATE', '{projects, worktrees, hosts, project_hosts}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT, DELETE', '{worktree_types}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT', '{agent_activities, command_ledger}'),
            ('imi_applier', 'TABLE', 'SELECT (id, transaction_id, project_id)', '{outbox}'),
            ('imi_applier', 'TABLE', 'SELECT', '{schema_migrations, registry_metadata}'),
            ('imi_applier', 'SEQUENCE', 'SELECT', '{outbox_id_seq}')
    ) AS r (role_name, kind, rights, object_names)
    CROSS JOIN LATERAL unnest(r.object_names::text[]) AS o (object_name)
$$;

DO $$ BEGIN PERFORM grant_role_rights(); END $$;

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

                ('triggers', 'ALTER TABLE … ENABLE TRIGGER …, then: imi-registry history verify',
                $check$
                    SELECT CASE WHEN count(*) = 0 THEN 'ok' ELSE 'bad' END,
                        coalesce('switched off: ' || string_agg(t.tgname || ' of ' || c.relname, ', ' ORDER BY c.relname, t.tgname), 'all are switched on')
                    FROM pg_trigger t
                    JOIN pg_class c ON c.oid = t.tgrelid
                    WHERE c.oid IN (
                            'public.projects'::regclass, 'public.worktrees'::regclass, 'public.worktree_types'::regclass,
                            'public.agent_activities'::regclass, 'public.outbox'::regclass
                        )
                        AND NOT t.tgisinternal
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

                ('replication slots', 'start its reader, or SELECT pg_drop_replication_slot(…): WAL is kept for it until the disk is full',
                $check$
                    SELECT CASE WHEN count(*) = 0 THEN 'ok' ELSE 'warn' END,
                        coalesce('used by nobody: ' || string_agg(slot_name, ', ' ORDER BY slot_name), 'each has a reader')
                    FROM pg_replication_slots
                    WHERE NOT active AND restart_lsn IS NOT NULL
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

COMMENT ON FUNCTION registry_health() IS 'How the registry is, a row for each thing that was looked at: ok, warn, bad, or unknown; and what to do where it is not ok.';

CREATE OR REPLACE FUNCTION registry_epoch()
RETURNS bigint
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(
        (SELECT m.epoch + CASE WHEN m.promoted_at IS NULL THEN 0 ELSE 1 END FROM public.mirror_source m), 1
    )
$$;

COMMENT ON FUNCTION registry_epoch() IS 'How often a mirror took over in the line of this registry, and one: of two that take writes the higher one counts.';

CREATE OR REPLACE FUNCTION refuse_on_mirror()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('imi.mirror', true) = 'applies'
        AND pg_has_role(current_user, (SELECT c.relowner FROM pg_class c WHERE c.oid = TG_RELID), 'USAGE')
    THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'cannot write %: this registry is a read-only % of %; change it there, or run imi-registry % here when that one is gone',
        TG_TABLE_NAME,
        coalesce(TG_ARGV[1], 'mirror'),
        quote_ident(TG_ARGV[0]),
        CASE TG_ARGV[1] WHEN 'replica' THEN 'replica drop' ELSE 'mirror promote' END
        USING ERRCODE = '55000', TABLE = TG_TABLE_NAME;
END;
$$;

COMMENT ON FUNCTION refuse_on_mirror() IS 'Refuses what anybody but the source writes into a mirror.';

DROP FUNCTION IF EXISTS
    promote_replica(), stop_replica(), copied_replica(), begin_replica(text, text, uuid, bigint, boolean),
    advance_replica_sequences(), uncount_replica(), count_replicated_activity(), count_replicated_worktree(),
    count_replicated_project(), replica_tables();
DROP TABLE IF EXISTS replica_source;

UPDATE registry_metadata SET migration = 12, upgraded_at = clock_timestamp() WHERE migration > 12;

COMMIT;
