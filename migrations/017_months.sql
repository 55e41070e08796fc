-- 017: activities by month. Nothing changes until somebody asks for it: imi-registry months on. Then agent_activities is
-- partitioned by the month (UTC) of created_at, and retention drops whole months instead of deleting their rows.
--
-- Rows go from one shape into the other as a copy beside the table, which triggers keep up to date, and which takes its place
-- when it has all of them. Why it is built this way: docs/adr/0021-months.md.
-- compatible down to: 014

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';


-- ---------------------------------------------------------------------------------------------------------------
-- Months
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION activities_are_by_month()
RETURNS boolean
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.relkind = 'p' FROM pg_class c WHERE c.oid = 'public.agent_activities'::regclass
$$;

COMMENT ON FUNCTION activities_are_by_month() IS 'Whether agent_activities is partitioned by month.';

-- The name says which month it is.
CREATE OR REPLACE FUNCTION activity_months()
RETURNS TABLE (name text, begins_at timestamptz, ends_at timestamptz)
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT m.name, m.first AT TIME ZONE 'UTC', (m.first + interval '1 month') AT TIME ZONE 'UTC'
    FROM (
        SELECT c.relname::text AS name, to_date(substring(c.relname from '_y(\d{4}m\d{2})$'), 'YYYY"m"MM')::timestamp AS first
        FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'public.agent_activities'::regclass
            AND c.relispartition
            AND c.relname ~ '^agent_activities_(y\d{4}m\d{2}|other)$'
    ) m
    ORDER BY m.first
$$;

COMMENT ON FUNCTION activity_months() IS 'The partitions of agent_activities, oldest first; last the one for all other times, which has neither beginning nor end. None where it is an ordinary table.';

CREATE OR REPLACE FUNCTION refuse_direct_month()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('imi.activity_retention', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'cannot % %: it is a part of agent_activities; write there, else no event tells of it', lower(TG_OP), TG_TABLE_NAME
        USING ERRCODE = '55000', TABLE = TG_TABLE_NAME;
END;
$$;

COMMENT ON FUNCTION refuse_direct_month() IS 'Refuses what names a month instead of agent_activities, whose triggers would not see it.';

-- ATTACH and not PARTITION OF, which would keep all writers of the parent waiting. It reads what agent_activities_other has.
CREATE OR REPLACE FUNCTION attach_activity_part(p_parent regclass, p_name text, p_first timestamp)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    other CONSTANT regclass := to_regclass('public.agent_activities_other');
    part CONSTANT text := format('public.%I', p_name);
    first CONSTANT timestamptz := p_first AT TIME ZONE 'UTC';
    last CONSTANT timestamptz := (p_first + interval '1 month') AT TIME ZONE 'UTC';
    retention CONSTANT text := coalesce(current_setting('imi.activity_retention', true), '');
    words text;
BEGIN
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES)', part, p_parent);
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I PRIMARY KEY (id)', part, p_name || '_pkey');
    IF p_first IS NULL THEN
        EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s DEFAULT', p_parent, part);
    ELSE
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', other);
        PERFORM set_config('imi.activity_retention', 'on', true);
        EXECUTE format(
            'WITH moved AS (DELETE FROM %s WHERE created_at >= %L AND created_at < %L RETURNING *) INSERT INTO %s SELECT * FROM moved',
            other, first, last, part
        );
        PERFORM set_config('imi.activity_retention', retention, true);
        EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', p_parent, part, first, last);
    END IF;
    EXECUTE format(
        'CREATE TRIGGER %I BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_direct_month()',
        'agent_activities_direct', part
    );
    -- As many frequent words are known of it as of the whole table: see 008.
    FOR words IN
        SELECT x.indexrelid::regclass::text
        FROM pg_index x
        JOIN pg_inherits i ON i.inhrelid = x.indexrelid
        WHERE x.indrelid = part::regclass AND i.inhparent = ANY (ARRAY[
            to_regclass('public.idx_agent_activities_words'), to_regclass('public.next_idx_agent_activities_words')
        ])
    LOOP
        EXECUTE format('ALTER INDEX %s ALTER COLUMN 1 SET STATISTICS 200', words);
    END LOOP;
END;
$$;

COMMENT ON FUNCTION attach_activity_part(regclass, text, timestamp) IS 'Makes a month, with the rows that were put elsewhere for want of it; without a first day the part for all other times.';

-- What asks for a lock waits half a second at most, and every writer behind it no longer.
CREATE OR REPLACE FUNCTION make_activity_months(p_ahead integer DEFAULT 3)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '500ms'
AS $$
DECLARE
    month timestamp;
    made integer := 0;
BEGIN
    IF p_ahead IS NULL OR p_ahead NOT BETWEEN 0 AND 120 THEN
        RAISE EXCEPTION 'make_activity_months: p_ahead must be between 0 and 120, it is %', coalesce(p_ahead::text, 'NULL')
            USING ERRCODE = '22023';
    END IF;
    IF NOT public.activities_are_by_month()
        OR to_regclass('public.agent_activities_next') IS NOT NULL
    THEN
        RETURN 0;
    END IF;
    -- One at a time: whoever has the row of registry_metadata. An advisory lock would be anybody's who may connect.
    PERFORM FROM public.registry_metadata FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    FOR month IN
        SELECT m
        FROM generate_series(
            date_trunc('month', now() AT TIME ZONE 'UTC'),
            date_trunc('month', now() AT TIME ZONE 'UTC') + p_ahead * interval '1 month',
            interval '1 month'
        ) m
        WHERE to_regclass('public.agent_activities_' || to_char(m, '"y"YYYY"m"MM')) IS NULL
    LOOP
        PERFORM public.attach_activity_part(
            'public.agent_activities'::regclass, to_char(month, '"agent_activities_y"YYYY"m"MM'), month
        );
        made := made + 1;
    END LOOP;
    RETURN made;
END;
$$;

COMMENT ON FUNCTION make_activity_months(integer) IS 'Makes this month and so many after it, as far as they are not there, and says how many; 0 where activities are not kept by month. 55P03 where a lock is not to be had in half a second.';

-- Nobody of the present waits while it is counted: the lock is on the month alone. The lock that keeps everybody waiting is
-- there for the length of a DROP TABLE. Whoever counts everything anew does so before or afterwards: else what is gone would
-- be subtracted from what was counted without it.
CREATE OR REPLACE FUNCTION drop_activity_month(p_name text)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '500ms'
AS $$
DECLARE
    removed bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM public.activity_months() m WHERE m.name = p_name AND m.ends_at IS NOT NULL) THEN
        RAISE EXCEPTION 'drop_activity_month: p_name % is no month of agent_activities', public.quote_for_message(p_name)
            USING ERRCODE = 'P0002';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'drop_activity_month: it takes a transaction that is READ COMMITTED, this one is %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = '25001';
    END IF;
    IF to_regclass('public.agent_activities_next') IS NOT NULL THEN
        RAISE EXCEPTION 'drop_activity_month: activities are being moved' USING ERRCODE = '55000';
    END IF;
    PERFORM FROM public.registry_counts FOR UPDATE;    -- of who folds or counts anew
    EXECUTE format('LOCK TABLE public.%I IN SHARE MODE', p_name);
    EXECUTE format(
        'WITH gone AS (SELECT count(*) AS activities FROM public.%I),'
        ' told AS (INSERT INTO public.count_delta (activities) SELECT -activities FROM gone)'
        ' SELECT activities FROM gone',
        p_name
    ) INTO removed;
    EXECUTE format('DROP TABLE public.%I', p_name);
    RETURN removed;
END;
$$;

COMMENT ON FUNCTION drop_activity_month(text) IS 'Drops a month with all its activities, and says how many; for remove_old_activities(). 55P03 where a lock is not to be had in half a second.';


-- ---------------------------------------------------------------------------------------------------------------
-- Retention
-- ---------------------------------------------------------------------------------------------------------------

-- What is older goes as well: so it can be asked before that is gone, and without reading it.
CREATE OR REPLACE FUNCTION forget_deleted_worktrees(p_horizon timestamptz)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    caller CONSTANT text := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    IF NOT has_table_privilege(caller, 'public.agent_activities', 'DELETE')
        AND NOT has_function_privilege(caller, 'public.remove_old_activities(timestamptz)', 'EXECUTE')
    THEN
        RAISE EXCEPTION 'forget_deleted_worktrees: % may not remove activities', quote_ident(caller) USING ERRCODE = '42501';
    END IF;
    DELETE FROM public.deleted_worktrees d
    WHERE d.deleted_at < p_horizon
        AND NOT EXISTS (SELECT FROM public.agent_activities a WHERE a.worktree_id = d.id AND a.created_at >= p_horizon);
END;
$$;

COMMENT ON FUNCTION forget_deleted_worktrees(timestamptz) IS 'Removes the names of worktrees that were deleted before this time and have no activities since; 42501 for who may not remove activities.';

-- Whole months last: the lock that it takes is held until the end of the transaction. Where somebody reads all the while, and
-- in another kind of transaction, they are deleted row by row: a call removes what it always did.
CREATE OR REPLACE FUNCTION remove_old_activities(p_horizon timestamptz)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    month record;
    rest text := format('DELETE FROM public.agent_activities a WHERE a.created_at < %L', p_horizon);
    removed bigint := 0;
    gone bigint;
    attempts integer := 0;
BEGIN
    FOR month IN SELECT * FROM public.activity_months() m WHERE m.ends_at <= p_horizon LOOP
        rest := rest || format(' AND (a.created_at < %L OR a.created_at >= %L)', month.begins_at, month.ends_at);
    END LOOP;
    PERFORM set_config('imi.activity_retention', 'on', true);
    EXECUTE rest;
    GET DIAGNOSTICS removed = ROW_COUNT;
    FOR month IN SELECT * FROM public.activity_months() m WHERE m.ends_at <= p_horizon LOOP
        gone := NULL;
        WHILE gone IS NULL AND attempts < 3 LOOP
            BEGIN
                gone := public.drop_activity_month(month.name);
            EXCEPTION
                WHEN lock_not_available OR deadlock_detected THEN
                    attempts := attempts + 1;
                    PERFORM pg_sleep(0.5);
                WHEN object_in_use OR active_sql_transaction OR no_data_found OR object_not_in_prerequisite_state THEN
                    EXIT;
            END;
        END LOOP;
        IF gone IS NULL THEN
            DELETE FROM public.agent_activities a WHERE a.created_at >= month.begins_at AND a.created_at < month.ends_at;
            GET DIAGNOSTICS gone = ROW_COUNT;
        END IF;
        removed := removed + gone;
    END LOOP;
    PERFORM set_config('imi.activity_retention', 'off', true);
    RETURN removed;
END;
$$;

COMMENT ON FUNCTION remove_old_activities(timestamptz) IS 'Removes all activities older than this, and says how many; for cleanup_old_activities().';

CREATE OR REPLACE FUNCTION cleanup_old_activities(p_retention_days integer DEFAULT 90)
RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    removed integer;
    horizon timestamptz;
BEGIN
    PERFORM public.require_not_negative('cleanup_old_activities', 'p_retention_days', p_retention_days);
    horizon := public.days_ago(p_retention_days);
    PERFORM public.forget_deleted_worktrees(horizon);
    IF has_function_privilege('public.remove_old_activities(timestamptz)', 'EXECUTE') THEN
        removed := public.remove_old_activities(horizon);
    ELSE
        PERFORM set_config('imi.activity_retention', 'on', true);
        DELETE FROM public.agent_activities a WHERE a.created_at < horizon;
        GET DIAGNOSTICS removed = ROW_COUNT;
        PERFORM set_config('imi.activity_retention', 'off', true);
    END IF;
    RETURN removed;
END;
$$;

COMMENT ON FUNCTION cleanup_old_activities(integer) IS 'Removes activities older than so many days, and says how many.';


-- ---------------------------------------------------------------------------------------------------------------
-- From one shape into the other, beside writers
-- ---------------------------------------------------------------------------------------------------------------

-- A row that is deleted while it is being copied would be there again: whoever deletes waits for the batch, and takes it from
-- there. A row that is inserted can be in no batch yet.
CREATE OR REPLACE FUNCTION copy_written_activities()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            INSERT INTO public.agent_activities_next SELECT n.* FROM new_rows n;
        WHEN 'DELETE' THEN
            PERFORM FROM public.registry_metadata FOR SHARE;
            DELETE FROM public.agent_activities_next t USING old_rows o WHERE t.id = o.id AND t.created_at = o.created_at;
        ELSE
            TRUNCATE public.agent_activities_next;
    END CASE;
    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION copy_written_activities() IS 'Does to the copy what is done to agent_activities, while that is being moved.';

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

COMMENT ON FUNCTION check_activity_move() IS 'Refuses a move that would leave something behind that somebody made.';

-- From the triggers on the copy has each row that is written; they wait for who writes, so what came before is committed.
CREATE OR REPLACE FUNCTION begin_activity_move(p_by_month boolean)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '500ms'
SET timezone = 'UTC'
AS $$
DECLARE
    index record;
    month timestamp;
    this_month CONSTANT timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
BEGIN
    IF public.activities_are_by_month() = p_by_month THEN
        RETURN false;
    END IF;
    IF to_regclass('public.agent_activities_next') IS NOT NULL THEN
        RETURN true;
    END IF;
    PERFORM public.check_activity_move();
    PERFORM FROM public.registry_metadata FOR UPDATE;
    EXECUTE 'CREATE TABLE public.agent_activities_next (LIKE public.agent_activities INCLUDING ALL EXCLUDING INDEXES)'
        || CASE WHEN p_by_month THEN ' PARTITION BY RANGE (created_at)' ELSE '' END;
    IF NOT p_by_month THEN
        ALTER TABLE public.agent_activities_next ADD CONSTRAINT agent_activities_next_pkey PRIMARY KEY (id);
    END IF;
    FOR index IN
        SELECT c.relname, pg_get_indexdef(x.indexrelid) AS definition
        FROM pg_index x
        JOIN pg_class c ON c.oid = x.indexrelid
        WHERE x.indrelid = 'public.agent_activities'::regclass AND NOT x.indisprimary
    LOOP
        EXECUTE regexp_replace(
            index.definition,
            'INDEX \S+ ON (ONLY )?public\.agent_activities ',
            format('INDEX %I ON public.agent_activities_next ', 'next_' || index.relname)
        );
    END LOOP;
    IF p_by_month THEN
        PERFORM public.attach_activity_part('public.agent_activities_next'::regclass, 'agent_activities_other'::text, NULL::timestamp);
        FOR month IN
            WITH RECURSIVE written (month) AS (
                SELECT date_trunc('month', min(a.created_at) AT TIME ZONE 'UTC')
                FROM public.agent_activities a
                WHERE a.created_at >= (this_month - interval '10 years') AT TIME ZONE 'UTC'
                UNION ALL
                SELECT (
                    SELECT date_trunc('month', min(a.created_at) AT TIME ZONE 'UTC')
                    FROM public.agent_activities a
                    WHERE a.created_at >= (w.month + interval '1 month') AT TIME ZONE 'UTC'
                )
                FROM written w
                WHERE w.month < this_month
            )
            SELECT w.month FROM written w WHERE w.month < this_month
            UNION
            SELECT generate_series(this_month, this_month + interval '3 months', interval '1 month')
            ORDER BY 1
        LOOP
            PERFORM public.attach_activity_part(
                'public.agent_activities_next'::regclass, to_char(month, '"agent_activities_y"YYYY"m"MM'), month
            );
        END LOOP;
    ELSE
        ALTER INDEX public.next_idx_agent_activities_words ALTER COLUMN 1 SET STATISTICS 200;
    END IF;
    CREATE TRIGGER activity_move_insert AFTER INSERT ON public.agent_activities REFERENCING NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION public.copy_written_activities();
    CREATE TRIGGER activity_move_delete AFTER DELETE ON public.agent_activities REFERENCING OLD TABLE AS old_rows
        FOR EACH STATEMENT EXECUTE FUNCTION public.copy_written_activities();
    CREATE TRIGGER activity_move_truncate AFTER TRUNCATE ON public.agent_activities
        FOR EACH STATEMENT EXECUTE FUNCTION public.copy_written_activities();
    RETURN true;
END;
$$;

COMMENT ON FUNCTION begin_activity_move(boolean) IS 'Makes the copy, by month or as one table, which from then on has what is written. False where activities are kept so already.';

CREATE OR REPLACE FUNCTION copy_activities(p_part regclass, p_block bigint, p_blocks integer)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    copied bigint;
BEGIN
    PERFORM FROM public.registry_metadata FOR UPDATE;
    EXECUTE format(
        'INSERT INTO public.agent_activities_next SELECT a.* FROM ONLY %s a WHERE a.ctid >= %L::tid AND a.ctid < %L::tid'
        ' ON CONFLICT DO NOTHING',
        p_part, format('(%s,0)', p_block), format('(%s,0)', p_block + p_blocks)
    );
    GET DIAGNOSTICS copied = ROW_COUNT;
    RETURN copied;
END;
$$;

COMMENT ON FUNCTION copy_activities(regclass, bigint, integer) IS 'Copies what the blocks of a part have and the copy has not, and says how many.';

CREATE OR REPLACE FUNCTION missed_by_activity_move()
RETURNS SETOF uuid
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT coalesce(t.id, n.id)
    FROM public.agent_activities t
    FULL JOIN public.agent_activities_next n ON n.id = t.id AND n.created_at = t.created_at
    WHERE t.id IS NULL OR n.id IS NULL;
END;
$$;

COMMENT ON FUNCTION missed_by_activity_move() IS 'Activities that only the table has, or only its copy: none once all are copied, whoever writes meanwhile.';

-- What hangs on the table by its number is made anew on the one that has its name then.
CREATE OR REPLACE FUNCTION finish_activity_move()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '500ms'
SET timezone = 'UTC'
AS $$
DECLARE
    moved CONSTANT regclass := 'public.agent_activities'::regclass;
    own_functions oid[];
    own_function oid;
    again text[];
    statement text;
BEGIN
    LOCK TABLE public.agent_activities, public.agent_activities_next IN ACCESS EXCLUSIVE MODE;
    PERFORM FROM public.registry_metadata FOR UPDATE;    -- in this order: who deletes has the table, and wants the row
    DROP TRIGGER activity_move_insert ON public.agent_activities;
    DROP TRIGGER activity_move_delete ON public.agent_activities;
    DROP TRIGGER activity_move_truncate ON public.agent_activities;

    SELECT coalesce(array_agg(p.oid), '{}') INTO own_functions
    FROM pg_proc p
    WHERE (SELECT c.reltype FROM pg_class c WHERE c.oid = moved) = ANY (p.proargtypes::oid[]);

    SELECT array_agg(o.statement ORDER BY o.part, o.place) INTO again
    FROM (
        SELECT 1 AS part, p.oid::bigint AS place, pg_get_functiondef(p.oid) AS statement
        FROM pg_proc p
        WHERE p.oid = ANY (own_functions)
        UNION ALL
        SELECT 2, p.oid::bigint, format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', p.oid::regprocedure)
        FROM pg_proc p
        WHERE p.oid = ANY (own_functions) AND p.proacl IS NOT NULL
        UNION ALL
        SELECT 3, p.oid::bigint, format(
            'GRANT EXECUTE ON FUNCTION %s TO %s', p.oid::regprocedure,
            CASE r.grantee WHEN 0 THEN 'PUBLIC' ELSE r.grantee::regrole::text END
        )
        FROM pg_proc p
        CROSS JOIN LATERAL aclexplode(p.proacl) r
        WHERE p.oid = ANY (own_functions)
        UNION ALL
        SELECT 4, p.oid::bigint, format('COMMENT ON FUNCTION %s IS %L', p.oid::regprocedure, obj_description(p.oid, 'pg_proc'))
        FROM pg_proc p
        WHERE p.oid = ANY (own_functions)
        UNION ALL
        SELECT 5, v.oid::bigint, format(
            'CREATE OR REPLACE VIEW %s%s AS %s',
            v.oid::regclass, ' WITH (' || array_to_string(v.reloptions, ', ') || ')', pg_get_viewdef(v.oid)
        )
        FROM pg_class v
        WHERE v.relkind = 'v' AND EXISTS (
            SELECT
            FROM pg_rewrite r
            JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
            WHERE r.ev_class = v.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = moved
        )
        UNION ALL
        SELECT 6, t.oid::bigint, pg_get_triggerdef(t.oid)
        FROM pg_trigger t
        WHERE t.tgrelid = moved AND NOT t.tgisinternal
        UNION ALL
        SELECT 7, t.oid::bigint, format('ALTER TABLE public.agent_activities %s TRIGGER %I',
            CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, t.tgname)
        FROM pg_trigger t
        WHERE t.tgrelid = moved AND NOT t.tgisinternal AND t.tgenabled <> 'O'
        UNION ALL
        SELECT 8, 0, format('COMMENT ON TABLE public.agent_activities IS %L', obj_description(moved, 'pg_class'))
        UNION ALL
        SELECT 9, row_number() OVER (), format(
            'GRANT %s%s ON public.agent_activities TO %s%s',
            g.privilege_type,
            ' (' || quote_ident(g.attname) || ')',
            CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END,
            CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
        )
        FROM (
            SELECT NULL::name AS attname, r.privilege_type, r.grantee, r.is_grantable
            FROM pg_class c
            CROSS JOIN LATERAL aclexplode(c.relacl) r
            WHERE c.oid = moved
            UNION ALL
            SELECT a.attname, r.privilege_type, r.grantee, r.is_grantable
            FROM pg_attribute a
            CROSS JOIN LATERAL aclexplode(a.attacl) r
            WHERE a.attrelid = moved
        ) g
        UNION ALL
        SELECT 10, 0, 'DROP TABLE public.agent_activities_moved'
        UNION ALL
        SELECT 11, x.indexrelid::bigint, format('ALTER INDEX public.%I RENAME TO %I', c.relname, regexp_replace(c.relname, '^next_', ''))
        FROM pg_index x
        JOIN pg_class c ON c.oid = x.indexrelid
        WHERE x.indrelid = 'public.agent_activities_next'::regclass AND c.relname LIKE 'next\_%'
        UNION ALL
        SELECT 12, 0, 'ALTER INDEX IF EXISTS public.agent_activities_next_pkey RENAME TO agent_activities_pkey'
    ) o;

    FOREACH own_function IN ARRAY own_functions LOOP
        EXECUTE format('DROP FUNCTION %s', own_function::regprocedure);
    END LOOP;
    ALTER TABLE public.agent_activities RENAME TO agent_activities_moved;
    ALTER TABLE public.agent_activities_next RENAME TO agent_activities;
    FOREACH statement IN ARRAY again LOOP
        EXECUTE statement;
    END LOOP;
END;
$$;

COMMENT ON FUNCTION finish_activity_move() IS 'Puts the copy into the place of agent_activities, which is dropped. 55P03 where a lock is not to be had in half a second.';

CREATE OR REPLACE FUNCTION cancel_activity_move()
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '500ms'
AS $$
BEGIN
    IF to_regclass('public.agent_activities_next') IS NULL THEN
        RETURN false;
    END IF;
    DROP TRIGGER activity_move_insert ON public.agent_activities;
    DROP TRIGGER activity_move_delete ON public.agent_activities;
    DROP TRIGGER activity_move_truncate ON public.agent_activities;
    DROP TABLE public.agent_activities_next;
    RETURN true;
END;
$$;

COMMENT ON FUNCTION cancel_activity_move() IS 'Leaves agent_activities as it is, and drops the copy; false where none was begun.';


-- ---------------------------------------------------------------------------------------------------------------
-- What met agent_activities as one table
-- ---------------------------------------------------------------------------------------------------------------

-- A trigger of a row has the name of the month that it is in; who wrote it named the table.
CREATE OR REPLACE FUNCTION guard_metadata()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    named CONSTANT text := CASE WHEN TG_TABLE_NAME LIKE 'agent\_activities\_%' THEN 'agent_activities' ELSE TG_TABLE_NAME END;
BEGIN
    PERFORM public.require_object(named, 'metadata', NEW.metadata, named || '_metadata_check');
    RETURN NEW;
END;
$$;

-- Stands in for a foreign key: same SQLSTATE, same lock on the worktree.
CREATE OR REPLACE FUNCTION guard_activity_worktree()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM public.worktrees WHERE id = NEW.worktree_id FOR KEY SHARE;
    IF NOT FOUND AND NEW.worktree_id IS NOT NULL THEN
        RAISE EXCEPTION 'activity of agent %: worktree_id % is no worktree', public.quote_for_message(NEW.agent_id), NEW.worktree_id
            USING ERRCODE = '23503', TABLE = 'agent_activities', COLUMN = 'worktree_id',
                CONSTRAINT = 'agent_activities_worktree_id_fkey';
    END IF;
    RETURN NEW;
END;
$$;

-- Which rule an activity would break that is there already, is not said: each month has its own.
CREATE OR REPLACE FUNCTION mirror_event_applied(p_event jsonb)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    entity CONSTANT text := split_part(p_event ->> 'type', '.', 2);
    action CONSTANT text := split_part(p_event ->> 'type', '.', 3);
    data CONSTANT jsonb := p_event -> 'data';
BEGIN
    IF entity = 'worktree' THEN
        PERFORM public.mirror_worktree_event(action, data, (p_event ->> 'time')::timestamptz);
    ELSIF entity = 'activity' THEN
        INSERT INTO public.agent_activities
        SELECT a.*
        FROM jsonb_populate_record(
            NULL::public.agent_activities,
            data || coalesce(data -> 'worktree', '{}') || jsonb_build_object('id', data -> 'activity_id')
        ) a
        ON CONFLICT DO NOTHING;
    ELSIF entity = 'project' AND action = 'deleted' THEN
        DELETE FROM public.project_hosts h WHERE h.project_id = (data ->> 'project_id')::uuid;
        DELETE FROM public.projects p WHERE p.id = (data ->> 'project_id')::uuid;
    ELSIF entity = 'project' AND action = 'merged' THEN
        PERFORM public.mirror_merged(data);
    ELSIF entity = 'project' THEN
        PERFORM public.mirror_project(
            jsonb_populate_record(NULL::public.projects, data || jsonb_build_object('id', data -> 'project_id'))
        );
    ELSIF entity = 'worktree_type' THEN
        PERFORM public.mirror_type_event(action, data);
    ELSIF entity = 'host' THEN
        PERFORM public.mirror_host_event(action, data);
    ELSIF entity = 'project_host' THEN
        PERFORM public.mirror_place_event(action, data);
    ELSIF entity = 'registry' AND action = 'truncated' THEN
        PERFORM public.mirror_truncated(data ->> 'table');
    END IF;
END;
$$;

CREATE OR REPLACE FUNCTION replace_mirrored(
    p_before text, p_after text, p_sequence bigint, p_event_id uuid, p_registry_id uuid, p_life text, p_epoch bigint, p_outbox_id bigint, p_reason text
)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
SET jit = off
AS $$
BEGIN
    PERFORM set_config('imi.mirror', 'applies', true);
    PERFORM FROM public.mirror_source m WHERE m.promoted_at IS NULL AND m.position = p_before FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the mirror is no longer where this process left it: another one follows the source, or it was promoted'
            USING ERRCODE = '55000';
    END IF;
    CREATE TEMPORARY TABLE new_hosts ON COMMIT DROP AS
        SELECT p.* FROM public.mirror_row r CROSS JOIN LATERAL jsonb_populate_record(NULL::public.hosts, r.fields - 'machine') p WHERE r.kind = 'hosts';
    CREATE TEMPORARY TABLE new_types ON COMMIT DROP AS
        SELECT p.* FROM public.mirror_row r CROSS JOIN LATERAL jsonb_populate_record(NULL::public.worktree_types, r.fields) p WHERE r.kind = 'worktree_types';
    CREATE TEMPORARY TABLE new_projects ON COMMIT DROP AS
        SELECT p.* FROM public.mirror_row r CROSS JOIN LATERAL jsonb_populate_record(NULL::public.projects, r.fields) p WHERE r.kind = 'projects';
    CREATE TEMPORARY TABLE new_places ON COMMIT DROP AS
        SELECT p.* FROM public.mirror_row r CROSS JOIN LATERAL jsonb_populate_record(NULL::public.project_hosts, r.fields) p WHERE r.kind = 'project_hosts';
    CREATE TEMPORARY TABLE new_worktrees ON COMMIT DROP AS
        SELECT p.* FROM public.mirror_row r CROSS JOIN LATERAL jsonb_populate_record(NULL::public.worktrees, r.fields) p WHERE r.kind = 'worktrees';
    CREATE TEMPORARY TABLE new_activities ON COMMIT DROP AS
        SELECT p.* FROM public.mirror_row r CROSS JOIN LATERAL jsonb_populate_record(NULL::public.agent_activities, r.fields) p WHERE r.kind = 'agent_activities';
    CREATE TEMPORARY TABLE new_deleted ON COMMIT DROP AS
        SELECT p.* FROM public.mirror_row r CROSS JOIN LATERAL jsonb_populate_record(NULL::public.deleted_worktrees, r.fields) p WHERE r.kind = 'deleted_worktrees';
    CREATE TEMPORARY TABLE new_aliases ON COMMIT DROP AS
        SELECT p.* FROM public.mirror_row r CROSS JOIN LATERAL jsonb_populate_record(NULL::public.project_aliases, r.fields) p WHERE r.kind = 'project_aliases';
    TRUNCATE public.mirror_row, public.mirror_event;
    ANALYZE pg_temp.new_projects, pg_temp.new_worktrees, pg_temp.new_activities, pg_temp.new_deleted;

    DELETE FROM public.project_hosts t
    WHERE NOT EXISTS (SELECT FROM pg_temp.new_places n WHERE (n.project_id, n.host_id) = (t.project_id, t.host_id) AND n *= t)
        OR NOT EXISTS (SELECT FROM pg_temp.new_hosts n JOIN public.hosts h ON h.id = n.id AND h *= n WHERE h.id = t.host_id);
    DELETE FROM public.hosts t WHERE NOT EXISTS (SELECT FROM pg_temp.new_hosts n WHERE n.id = t.id AND n *= t);
    DELETE FROM public.worktrees t
    WHERE NOT EXISTS (SELECT FROM pg_temp.new_worktrees n WHERE n.id = t.id AND n *= t)
        OR NOT EXISTS (
            SELECT
            FROM pg_temp.new_types n
            JOIN public.worktree_types y ON y.id = n.id AND y *= n
            WHERE y.id = t.type_id
        );
    DELETE FROM public.projects t WHERE NOT EXISTS (SELECT FROM pg_temp.new_projects n WHERE n.id = t.id AND n *= t);
    DELETE FROM public.worktree_types t WHERE NOT EXISTS (SELECT FROM pg_temp.new_types n WHERE n.id = t.id AND n *= t);
    DELETE FROM public.agent_activities t
    WHERE NOT EXISTS (SELECT FROM pg_temp.new_activities n WHERE n.id = t.id AND n *= t);
    DELETE FROM public.deleted_worktrees t
    WHERE NOT EXISTS (SELECT FROM pg_temp.new_deleted n WHERE n.id = t.id AND n *= t);
    DELETE FROM public.project_aliases t WHERE NOT EXISTS (SELECT FROM pg_temp.new_aliases n WHERE n.id = t.id AND n *= t);

    INSERT INTO public.hosts SELECT n.* FROM pg_temp.new_hosts n ON CONFLICT (id) DO NOTHING;
    INSERT INTO public.worktree_types SELECT n.* FROM pg_temp.new_types n ON CONFLICT (id) DO NOTHING;
    INSERT INTO public.projects SELECT n.* FROM pg_temp.new_projects n ON CONFLICT (id) DO NOTHING;
    INSERT INTO public.project_hosts SELECT n.* FROM pg_temp.new_places n ON CONFLICT (project_id, host_id) DO NOTHING;
    INSERT INTO public.worktrees SELECT n.* FROM pg_temp.new_worktrees n ON CONFLICT (id) DO NOTHING;
    INSERT INTO public.agent_activities SELECT n.* FROM pg_temp.new_activities n ON CONFLICT DO NOTHING;
    INSERT INTO public.deleted_worktrees SELECT n.* FROM pg_temp.new_deleted n ON CONFLICT (id) DO NOTHING;
    INSERT INTO public.project_aliases SELECT n.* FROM pg_temp.new_aliases n ON CONFLICT (id) DO NOTHING;

    UPDATE public.mirror_source m
    SET
        position = p_after,
        sequence = p_sequence,
        event_id = p_event_id,
        registry_id = p_registry_id,
        life = p_life,
        epoch = p_epoch,
        outbox_id = greatest(m.outbox_id, p_outbox_id),
        known_at = NULL,
        snapshots = m.snapshots + 1,
        snapshot_at = clock_timestamp(),
        snapshot_reason = p_reason;
    PERFORM set_config('imi.mirror', '', true);
END;
$$;

-- The index of each month has its own statistics.
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


-- ---------------------------------------------------------------------------------------------------------------
-- Rights: months are made by the publisher, and dropped by retention; all else is for the owner alone
-- ---------------------------------------------------------------------------------------------------------------

REVOKE EXECUTE ON FUNCTION
    refuse_direct_month(), attach_activity_part(regclass, text, timestamp), make_activity_months(integer), drop_activity_month(text),
    copy_written_activities(), check_activity_move(), begin_activity_move(boolean), copy_activities(regclass, bigint, integer),
    missed_by_activity_move(), finish_activity_move(), cancel_activity_move()
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
            ('imi_reader', 'TABLE', 'SELECT', '{hosts, project_hosts, v_project_hosts, project_aliases}'),
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
            ('imi_writer', 'TABLE', 'SELECT', '{project_aliases}'),
            ('imi_writer', 'FUNCTION', 'EXECUTE',
                '{remove_old_activities(timestamptz), search_known_words(text), "merge_projects(uuid, uuid)", "adopt_project_id(uuid, uuid)"}'),

            ('imi_publisher', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{projects, worktrees, worktree_types, agent_activities, deleted_worktrees}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{hosts, project_hosts, v_project_hosts, project_aliases}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{outbox, outbox_backlog}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, UPDATE', '{publisher_cursor}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, UPDATE, DELETE', '{published_batch}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, DELETE', '{outbox_fault}'),
            ('imi_publisher', 'TABLE', 'SELECT (applied_at)', '{command_ledger}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{schema_migrations, registry_metadata}'),
            ('imi_publisher', 'TABLE', 'SELECT, UPDATE (known_at)', '{mirror_source}'),
            ('imi_publisher', 'TABLE', 'INSERT', '{mirror_row}'),
            ('imi_publisher', 'TABLE', 'SELECT, UPDATE (known_at, behind_bytes)', '{replica_source}'),
            ('imi_publisher', 'FUNCTION', 'EXECUTE', '{copied_replica(), make_activity_months(integer)}'),
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
            ('imi_applier', 'TABLE', 'SELECT', '{project_aliases}'),
            ('imi_applier', 'FUNCTION', 'EXECUTE', '{"adopt_project_id(uuid, uuid)"}'),
            ('imi_applier', 'SEQUENCE', 'SELECT', '{outbox_id_seq}')
    ) AS r (role_name, kind, rights, object_names)
    CROSS JOIN LATERAL unnest(r.object_names::text[]) AS o (object_name)
$$;

DO $$ BEGIN PERFORM grant_role_rights(); PERFORM note_schema_version(17); END $$;

COMMIT;
