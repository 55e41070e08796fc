-- 013: a registry may be the replica of another one: PostgreSQL's logical replication writes its tables, and nobody else.
-- compatible down to: 010

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';


-- ---------------------------------------------------------------------------------------------------------------
-- What is replicated, and from where
-- ---------------------------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS replica_source (
    only_row boolean NOT NULL DEFAULT true,
    name text NOT NULL,
    slot text NOT NULL,
    registry_id uuid NOT NULL,
    epoch bigint NOT NULL,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    copied_at timestamptz,
    known_at timestamptz,
    behind_bytes bigint,
    stopped_at timestamptz,
    promoted_at timestamptz,
    CONSTRAINT replica_source_pkey PRIMARY KEY (only_row),
    CONSTRAINT replica_source_only_row_check CHECK (only_row),
    CONSTRAINT replica_source_name_check CHECK (name <> ''),
    CONSTRAINT replica_source_slot_check CHECK (slot ~ '^[a-z0-9_]{1,63}$')
) WITH (fillfactor = 20);

COMMENT ON TABLE replica_source IS 'No row: an ordinary registry. Else it is the replica of another one, or was until promoted_at.';
COMMENT ON COLUMN replica_source.name IS 'What messages call the source.';
COMMENT ON COLUMN replica_source.slot IS 'Of the replication slot at the source, and of the subscription here.';
COMMENT ON COLUMN replica_source.registry_id IS 'Of the source, and so of this copy of it.';
COMMENT ON COLUMN replica_source.epoch IS 'registry_epoch() of the source.';
COMMENT ON COLUMN replica_source.copied_at IS 'When the initial copy of all tables was complete.';
COMMENT ON COLUMN replica_source.known_at IS 'When the tables held all that had been committed by then.';
COMMENT ON COLUMN replica_source.behind_bytes IS 'WAL of the source that was not applied here when it was looked last.';
COMMENT ON COLUMN replica_source.stopped_at IS 'When it was dropped: it follows no longer, and is still read-only.';

CREATE OR REPLACE FUNCTION replica_tables()
RETURNS SETOF text
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.name
    FROM unnest(ARRAY[
        'hosts', 'worktree_types', 'projects', 'project_aliases', 'project_hosts', 'worktrees', 'agent_activities',
        'deleted_worktrees', 'command_ledger', 'outbox', 'outbox_backlog', 'outbox_fault', 'publisher_cursor', 'published_batch'
    ]) WITH ORDINALITY AS t (name, place)
    WHERE to_regclass('public.' || t.name) IS NOT NULL
    ORDER BY t.place
$$;

COMMENT ON FUNCTION replica_tables() IS 'What a replica has of its source: all but the record of the schema, and the counts, which it makes itself.';

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
        coalesce(TG_ARGV[1], 'mirror') || ' promote'
        USING ERRCODE = '55000', TABLE = TG_TABLE_NAME;
END;
$$;

COMMENT ON FUNCTION refuse_on_mirror() IS 'Refuses what anybody but the source writes into a mirror, or a replica.';

CREATE OR REPLACE FUNCTION registry_epoch()
RETURNS bigint
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT greatest(
        1,
        (SELECT m.epoch + CASE WHEN m.promoted_at IS NULL THEN 0 ELSE 1 END FROM public.mirror_source m),
        (SELECT r.epoch + CASE WHEN r.promoted_at IS NULL THEN 0 ELSE 1 END FROM public.replica_source r)
    )
$$;

COMMENT ON FUNCTION registry_epoch() IS 'How often a mirror or a replica took over in the line of this registry, and one: of two that take writes the higher one counts.';

-- ---------------------------------------------------------------------------------------------------------------
-- Counts of what is applied. Who applies fires triggers of rows alone, and of these only what is ENABLE REPLICA or ALWAYS.
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION count_replicated_project()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO public.count_delta (projects, active_projects) VALUES (1, NEW.active::integer);
    ELSE
        INSERT INTO public.count_delta (projects, active_projects) VALUES (-1, - OLD.active::integer);
    END IF;
    IF random() < 0.00025 THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION count_replicated_worktree()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO public.count_delta (
            project_id, worktrees, active_worktrees, uncommitted_worktrees, in_flight_worktrees, last_worktree_at
        )
        VALUES (
            NEW.project_id, 1, NEW.active::integer, (NEW.active AND NEW.has_uncommitted_changes)::integer,
            public.is_in_flight(
                NEW.active, NEW.merged_at, NEW.has_uncommitted_changes, NEW.ahead_of_trunk, NEW.behind_trunk
            )::integer,
            NEW.updated_at
        );
    ELSE
        INSERT INTO public.count_delta (
            project_id, worktrees, active_worktrees, uncommitted_worktrees, in_flight_worktrees, is_stale
        )
        VALUES (
            OLD.project_id, -1, - OLD.active::integer, - (OLD.active AND OLD.has_uncommitted_changes)::integer,
            - public.is_in_flight(
                OLD.active, OLD.merged_at, OLD.has_uncommitted_changes, OLD.ahead_of_trunk, OLD.behind_trunk
            )::integer,
            true
        );
    END IF;
    IF random() < 0.00025 THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION count_replicated_activity()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO public.count_delta (activities) VALUES (CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END);
    IF random() < 0.00025 THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION count_replicated_project() IS 'What count_projects_inserted() and count_projects_deleted() tell, a row each.';
COMMENT ON FUNCTION count_replicated_worktree() IS 'What count_worktrees_inserted() and count_worktrees_deleted() tell, a row each.';
COMMENT ON FUNCTION count_replicated_activity() IS 'What count_activities_inserted() and count_activities_deleted() tell, a row each.';

CREATE OR REPLACE FUNCTION uncount_replica()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    counted record;
BEGIN
    FOR counted IN
        SELECT c.relname, t.tgname, p.proname LIKE 'count\_replicated\_%' AS is_of_replicas
        FROM pg_trigger t
        JOIN pg_class c ON c.oid = t.tgrelid
        JOIN pg_proc p ON p.oid = t.tgfoid
        WHERE c.relnamespace = 'public'::regnamespace AND t.tgenabled IN ('A', 'R') AND p.proname LIKE 'count\_%'
    LOOP
        IF counted.is_of_replicas THEN
            EXECUTE format('DROP TRIGGER %I ON public.%I', counted.tgname, counted.relname);
        ELSE
            EXECUTE format('ALTER TABLE public.%I ENABLE TRIGGER %I', counted.relname, counted.tgname);
        END IF;
    END LOOP;
END;
$$;

COMMENT ON FUNCTION uncount_replica() IS 'Lets counts be made by the triggers of an ordinary registry again.';


-- ---------------------------------------------------------------------------------------------------------------
-- A registry becomes a replica
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION begin_replica(p_name text, p_slot text, p_registry_id uuid, p_epoch bigint, p_may_replace boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    replicated text;
BEGIN
    PERFORM set_config('imi.mirror', 'applies', true);
    PERFORM public.require_name('begin_replica', 'p_name', p_name);
    IF EXISTS (SELECT FROM public.mirror_source m WHERE m.promoted_at IS NULL) THEN
        RAISE EXCEPTION 'begin_replica: this registry is a mirror, of %', (SELECT quote_ident(m.name) FROM public.mirror_source m)
            USING ERRCODE = '55000';
    END IF;
    IF EXISTS (SELECT FROM public.replica_source r WHERE r.promoted_at IS NULL AND r.stopped_at IS NULL) THEN
        RAISE EXCEPTION 'begin_replica: this registry is a replica already, of %', (SELECT quote_ident(r.name) FROM public.replica_source r)
            USING ERRCODE = '55000';
    END IF;
    IF NOT p_may_replace AND (
        EXISTS (SELECT FROM public.projects) OR EXISTS (SELECT FROM public.agent_activities)
        OR EXISTS (SELECT FROM public.outbox o WHERE o.entity <> 'registry')
    ) THEN
        RAISE EXCEPTION 'begin_replica: this registry has projects or a history of its own, which would be gone'
            USING ERRCODE = '55000';
    END IF;
    -- Nothing may be in the way of the rows that come, as the built-in types; and it is no event that they go.
    FOR replicated IN SELECT t FROM public.replica_tables() t LOOP
        EXECUTE format('ALTER TABLE public.%I DISABLE TRIGGER USER', replicated);
    END LOOP;
    EXECUTE (SELECT 'TRUNCATE ' || string_agg(format('public.%I', t), ', ') FROM public.replica_tables() t);
    FOR replicated IN SELECT t FROM public.replica_tables() t LOOP
        EXECUTE format('ALTER TABLE public.%I ENABLE TRIGGER USER', replicated);
        -- Not ENABLE ALWAYS: who applies has session_replication_role = replica, which takes a superuser to set.
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER mirror_refuses BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON public.%I'
            ' FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_on_mirror(%L, ''replica'')',
            replicated, p_name
        );
    END LOOP;
    -- Readers count the rows until the copy is complete.
    INSERT INTO public.count_delta (is_all_stale) VALUES (true);
    UPDATE public.registry_metadata SET registry_id = p_registry_id;
    DELETE FROM public.replica_source;
    INSERT INTO public.replica_source (name, slot, registry_id, epoch) VALUES (p_name, p_slot, p_registry_id, p_epoch);
    PERFORM set_config('imi.mirror', '', true);
END;
$$;

COMMENT ON FUNCTION begin_replica(text, text, uuid, bigint, boolean) IS 'Makes this registry an empty, read-only replica of another one, which a subscription is to fill; only its owner may. 55000 when it has rows or a history, unless they may be replaced.';

-- The triggers come with a lock that waits for what is being applied, so each row is counted by them or by the recount.
CREATE OR REPLACE FUNCTION copied_replica()
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    counted text;
BEGIN
    PERFORM FROM public.replica_source r WHERE r.promoted_at IS NULL AND r.stopped_at IS NULL AND r.copied_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF NOT coalesce((
        SELECT bool_and(rel.srsubstate = 'r')
        FROM pg_subscription sub
        JOIN pg_subscription_rel rel ON rel.srsubid = sub.oid
        JOIN public.replica_source r ON r.slot = sub.subname
        WHERE sub.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
    ), false) THEN
        RETURN false;
    END IF;
    LOCK TABLE public.projects, public.worktrees, public.agent_activities IN SHARE ROW EXCLUSIVE MODE;
    FOREACH counted IN ARRAY ARRAY['project', 'worktree', 'activity'] LOOP
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER replica_counts AFTER INSERT OR DELETE ON public.%I'
            ' FOR EACH ROW EXECUTE FUNCTION public.%I()',
            CASE counted WHEN 'activity' THEN 'agent_activities' ELSE counted || 's' END,
            'count_replicated_' || counted
        );
    END LOOP;
    ALTER TABLE public.projects ENABLE REPLICA TRIGGER replica_counts, ENABLE ALWAYS TRIGGER projects_count_update,
        ENABLE ALWAYS TRIGGER projects_count_truncate;
    ALTER TABLE public.worktrees ENABLE REPLICA TRIGGER replica_counts, ENABLE ALWAYS TRIGGER worktrees_count_update,
        ENABLE ALWAYS TRIGGER worktrees_count_truncate;
    ALTER TABLE public.agent_activities ENABLE REPLICA TRIGGER replica_counts, ENABLE ALWAYS TRIGGER agent_activities_count_truncate;
    CALL public.recount_registry();
    UPDATE public.replica_source SET copied_at = clock_timestamp();
    RETURN true;
END;
$$;

COMMENT ON FUNCTION copied_replica() IS 'Counts once the initial copy is complete, and lets what is applied be counted from then on; false when there is nothing to do, or not yet.';


-- ---------------------------------------------------------------------------------------------------------------
-- A replica ends, or takes over
-- ---------------------------------------------------------------------------------------------------------------

-- Ids go on far above those of the source: what it gave out and nobody here has seen stays its own.
CREATE OR REPLACE FUNCTION advance_replica_sequences()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own record;
    highest bigint;
BEGIN
    FOR own IN
        SELECT c.relname, a.attname, s.seqrelid::regclass AS sequence, s.seqmax, s.seqtypid = 'bigint'::regtype AS is_long
        FROM pg_sequence s
        JOIN pg_depend d
            ON d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.refclassid = 'pg_class'::regclass
            AND d.deptype IN ('a', 'i')
        JOIN pg_class c ON c.oid = d.refobjid
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relname IN (SELECT t FROM public.replica_tables() t)
    LOOP
        EXECUTE format('SELECT max(%I) FROM public.%I', own.attname, own.relname) INTO highest;
        IF own.relname = 'outbox' THEN    -- retention may have removed the last one
            highest := greatest(highest, (SELECT max(upper(public.published_ids(c))) FROM public.publisher_cursor c));
        END IF;
        PERFORM setval(
            own.sequence,
            least(
                greatest(coalesce(highest, 0), coalesce(pg_sequence_last_value(own.sequence), 0))
                    + CASE WHEN own.is_long THEN 1000000 ELSE 1000 END,
                own.seqmax
            )
        );
    END LOOP;
END;
$$;

COMMENT ON FUNCTION advance_replica_sequences() IS 'Lets sequences go on above what the source gave out; replication does not move them.';

CREATE OR REPLACE FUNCTION stop_replica()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM public.replica_source r WHERE r.promoted_at IS NULL AND r.stopped_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'stop_replica: this registry is no replica that follows' USING ERRCODE = '55000';
    END IF;
    PERFORM public.uncount_replica();
    PERFORM public.advance_replica_sequences();
    UPDATE public.replica_source SET stopped_at = clock_timestamp();
END;
$$;

COMMENT ON FUNCTION stop_replica() IS 'Notes that a replica follows no longer: it stays as it is, and read-only; only its owner may.';

CREATE OR REPLACE FUNCTION promote_replica()
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    replicated text;
BEGIN
    PERFORM FROM public.replica_source r WHERE r.promoted_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'promote_replica: this registry is no replica' USING ERRCODE = '55000';
    END IF;
    IF (SELECT r.copied_at IS NULL FROM public.replica_source r) THEN
        RAISE EXCEPTION 'promote_replica: the initial copy is not complete: this replica has a part of its source'
            USING ERRCODE = '55000';
    END IF;
    IF EXISTS (
        SELECT
        FROM pg_subscription sub
        JOIN public.replica_source r ON r.slot = sub.subname
        WHERE sub.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
    ) THEN
        RAISE EXCEPTION 'promote_replica: subscription % is there: two would write', (SELECT r.slot FROM public.replica_source r)
            USING ERRCODE = '55000';
    END IF;
    PERFORM public.uncount_replica();
    PERFORM public.advance_replica_sequences();
    FOR replicated IN SELECT t FROM public.replica_tables() t LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS mirror_refuses ON public.%I', replicated);
    END LOOP;
    UPDATE public.replica_source SET promoted_at = clock_timestamp();
    RETURN public.registry_epoch();
END;
$$;

COMMENT ON FUNCTION promote_replica() IS 'Makes a replica whose subscription is gone a registry that takes writes, and returns its epoch; only its owner may.';


-- ---------------------------------------------------------------------------------------------------------------
-- What the registry says of it
-- ---------------------------------------------------------------------------------------------------------------

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

-- ---------------------------------------------------------------------------------------------------------------
-- Rights
-- ---------------------------------------------------------------------------------------------------------------

REVOKE EXECUTE ON FUNCTION
    count_replicated_project(),
    count_replicated_worktree(),
    count_replicated_activity(),
    uncount_replica(),
    begin_replica(text, text, uuid, bigint, boolean),
    copied_replica(),
    advance_replica_sequences(),
    stop_replica(),
    promote_replica()
FROM PUBLIC;

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
            ('imi_reader', 'TABLE', 'SELECT', '{mirror_source, replica_source}'),
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
            ('imi_publisher', 'TABLE', 'SELECT, UPDATE (known_at, behind_bytes)', '{replica_source}'),
            ('imi_publisher', 'FUNCTION', 'EXECUTE', '{copied_replica()}'),
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

DO $$ BEGIN PERFORM grant_role_rights(); PERFORM note_schema_version(13); END $$;

COMMIT;
