-- 026: copies begin anew, and end. A log by month becomes no replica, and one that did ends like any other; a replica that was
-- dropped and became a mirror takes over with an id of its own. A move of the log names all that it would leave behind before it
-- begins, makes nothing of another owner anew, and gives nobody a right that he had not. All files run again, whoever shares a key;
-- projects merge, however long names are; an outcome is of its command's project, and of no other one's host.
-- compatible down to: 018

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;

-- The triggers of the months of a log go with those of the log.
CREATE OR REPLACE FUNCTION uncount_replica()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
    counted record;
BEGIN
    FOR counted IN
        SELECT c.relname, t.tgname, p.proname LIKE 'count\_replicated\_%' AS is_of_replicas
        FROM pg_trigger t
        JOIN pg_class c ON c.oid = t.tgrelid
        JOIN pg_proc p ON p.oid = t.tgfoid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relname IN (SELECT r FROM public.replica_tables() r)
            AND p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'count\_%'
            AND t.tgenabled IN ('A', 'R') AND t.tgparentid = 0    -- those of months go with it
    LOOP
        IF counted.is_of_replicas THEN
            EXECUTE format('DROP TRIGGER %I ON public.%I', counted.tgname, counted.relname);
        ELSE
            EXECUTE format('ALTER TABLE public.%I ENABLE TRIGGER %I', counted.relname, counted.tgname);
        END IF;
    END LOOP;
END;
$$;

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
    IF public.activities_are_by_month() THEN
        RAISE EXCEPTION 'begin_replica: this registry keeps agent_activities by month, in which a replica does not follow: imi-registry months off'
            USING ERRCODE = '55000';
    END IF;
    IF to_regclass('public.agent_activities_next') IS NOT NULL THEN
        RAISE EXCEPTION 'begin_replica: agent_activities of this registry is being moved into months: imi-registry months cancel'
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

CREATE OR REPLACE FUNCTION begin_mirror(p_name text, p_stream text, p_may_replace boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
    mirrored text;
    other name;
BEGIN
    PERFORM set_config('imi.mirror', 'applies', true);
    PERFORM public.require_name('begin_mirror', 'p_name', p_name);
    IF EXISTS (SELECT FROM public.mirror_source m WHERE m.promoted_at IS NULL) THEN
        RAISE EXCEPTION 'begin_mirror: this registry is a mirror already, of %', (SELECT quote_ident(m.name) FROM public.mirror_source m)
            USING ERRCODE = '55000';
    END IF;
    IF EXISTS (SELECT FROM public.replica_source r WHERE r.promoted_at IS NULL AND r.stopped_at IS NULL) THEN
        RAISE EXCEPTION 'begin_mirror: this registry is a replica of % and follows it: imi-registry replica drop',
            (SELECT quote_ident(r.name) FROM public.replica_source r)
            USING ERRCODE = '55000';
    END IF;
    IF NOT p_may_replace AND (
        EXISTS (SELECT FROM public.projects) OR EXISTS (SELECT FROM public.agent_activities)
        OR EXISTS (SELECT FROM public.outbox o WHERE o.entity <> 'registry')
    ) THEN
        RAISE EXCEPTION 'begin_mirror: this registry has projects or a history of its own, which would be gone'
            USING ERRCODE = '55000';
    END IF;
    -- Of a replica that was dropped: its own tables, which a mirror does not refuse, and the id, which is that of its source.
    DELETE FROM public.replica_source r WHERE r.promoted_at IS NULL;
    IF FOUND THEN
        FOR mirrored IN SELECT t FROM public.replica_tables() t EXCEPT SELECT t FROM public.mirror_tables() t LOOP
            EXECUTE format('DROP TRIGGER IF EXISTS mirror_refuses ON public.%I', mirrored);
        END LOOP;
        UPDATE public.registry_metadata SET registry_id = gen_random_uuid();
    END IF;
    FOR mirrored IN SELECT t FROM public.mirror_tables() t LOOP
        -- Rows come as the source has them, with all that its triggers made of them; counts are this registry's own.
        FOR other IN
            SELECT t.tgname
            FROM pg_trigger t
            WHERE t.tgrelid = to_regclass('public.' || mirrored) AND NOT t.tgisinternal AND t.tgname NOT LIKE '%\_count\_%'
        LOOP
            EXECUTE format('ALTER TABLE public.%I DISABLE TRIGGER %I', mirrored, other);
        END LOOP;
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER mirror_refuses BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON public.%I'
            ' FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_on_mirror(%L)',
            mirrored, p_name
        );
        EXECUTE format('ALTER TABLE public.%I ENABLE ALWAYS TRIGGER mirror_refuses', mirrored);
    END LOOP;
    -- The history is that of the source from now on.
    TRUNCATE public.outbox, public.outbox_backlog, public.outbox_fault, public.published_batch, public.publisher_cursor,
        public.command_ledger, public.mirror_source, public.mirror_event, public.mirror_row;
    INSERT INTO public.mirror_source (name, stream) VALUES (p_name, p_stream);
    PERFORM set_config('imi.mirror', '', true);
END;
$$;

-- What became a mirror before this, and could never publish.
DO $$
DECLARE
    replicated text;
BEGIN
    IF EXISTS (
        SELECT
        FROM public.replica_source r
        JOIN public.mirror_source m ON m.began_at > r.began_at
        WHERE r.promoted_at IS NULL AND r.stopped_at IS NOT NULL
    ) THEN
        FOR replicated IN SELECT t FROM public.replica_tables() t EXCEPT SELECT t FROM public.mirror_tables() t LOOP
            EXECUTE format('DROP TRIGGER IF EXISTS mirror_refuses ON public.%I', replicated);
        END LOOP;
        DELETE FROM public.replica_source;
        UPDATE public.registry_metadata SET registry_id = gen_random_uuid();
    END IF;
END;
$$;

CREATE OR REPLACE FUNCTION name_of_merged_worktree(p_worktree worktrees, p_winner uuid)
RETURNS text
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT named.name
    FROM unnest(ARRAY[
        (
            SELECT h.name
            FROM public.worktrees w
            JOIN public.hosts h ON h.id = p_worktree.host_id
            WHERE w.project_id = p_winner AND w.name = p_worktree.name AND w.host_id <> p_worktree.host_id
        ),
        left(p_worktree.project_id::text, 8),
        p_worktree.project_id::text,
        p_worktree.id::text
    ]) WITH ORDINALITY AS marks (mark, place)
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN octet_length(p_worktree.name) + 1 + octet_length(mark) <= 512 THEN p_worktree.name
            ELSE left(p_worktree.name, (511 - octet_length(mark)) / 4)    -- a character has at most four bytes
        END || '@' || mark AS name
    ) named
    WHERE mark IS NOT NULL
        AND NOT EXISTS (
            SELECT
            FROM public.worktrees w
            WHERE w.project_id IN (p_winner, p_worktree.project_id) AND w.name = named.name
        )
    ORDER BY place
    LIMIT 1
$$;

CREATE OR REPLACE FUNCTION check_activity_move()
RETURNS void
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    moved CONSTANT regclass := 'public.agent_activities'::regclass;
    hindrance text;
BEGIN
    -- Of the table and its months: what goes with them, and functions that are made anew. A foreign or unique key does not, nor a trigger of one month.
    WITH own AS (
        SELECT o.classid, o.objid
        FROM pg_class c
        JOIN pg_type row_type ON row_type.oid = c.reltype
        CROSS JOIN LATERAL (
            VALUES ('pg_class'::regclass, c.oid), ('pg_type', row_type.oid), ('pg_type', row_type.typarray)
            UNION ALL
            SELECT 'pg_class', x.indexrelid FROM pg_index x WHERE x.indrelid = c.oid
            UNION ALL
            SELECT 'pg_constraint', k.oid FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('p', 'c', 'n', 't')
            UNION ALL
            SELECT 'pg_attrdef', v.oid FROM pg_attrdef v WHERE v.adrelid = c.oid
            UNION ALL
            SELECT 'pg_statistic_ext', s.oid FROM pg_statistic_ext s WHERE s.stxrelid = c.oid
            UNION ALL
            SELECT 'pg_trigger', t.oid
            FROM pg_trigger t
            WHERE t.tgrelid = c.oid AND (c.oid = moved OR t.tgparentid <> 0 OR t.tgname = 'agent_activities_direct')
            UNION ALL
            SELECT 'pg_proc', p.oid
            FROM pg_proc p
            WHERE c.oid = moved AND row_type.oid = ANY (p.proargtypes::oid[]) AND p.prokind IN ('f', 'w')
                AND p.proowner = c.relowner AND NOT pg_is_other_temp_schema(p.pronamespace)
        ) o (classid, objid)
        WHERE c.oid = moved OR c.relispartition AND c.oid IN (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = moved)
    )
    SELECT h.what INTO hindrance
    FROM (
        SELECT format('publication %I has it: drop it, with its replicas, which do not follow a table into another shape', p.pubname) AS what
        FROM own o
        JOIN pg_class c ON c.oid = o.objid
        JOIN pg_publication_tables p ON p.schemaname = c.relnamespace::regnamespace::name AND p.tablename = c.relname
        WHERE o.classid = 'pg_class'::regclass
        UNION ALL
        SELECT 'this registry is a replica, whose tables are its source''s'
        WHERE EXISTS (SELECT FROM public.replica_source r WHERE r.promoted_at IS NULL AND r.stopped_at IS NULL)
        UNION ALL
        SELECT 'row level security is on' FROM pg_class c WHERE c.oid = moved AND c.relrowsecurity
        UNION ALL
        SELECT format('trigger %I is of each row and has a transition table', t.tgname)
        FROM pg_trigger t
        WHERE t.tgrelid = moved AND t.tgtype & 1 = 1 AND (t.tgoldtable IS NOT NULL OR t.tgnewtable IS NOT NULL)
        UNION ALL
        SELECT format('view %s reads it, and is of another owner, %I', v.oid::regclass, pg_get_userbyid(v.relowner))
        FROM pg_class v
        WHERE v.relkind = 'v' AND NOT pg_has_role(v.relowner, 'USAGE') AND EXISTS (
            SELECT
            FROM pg_rewrite r
            JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
            WHERE r.ev_class = v.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = moved
        )
        UNION ALL
        -- A view that reads the table is made anew, and nothing else that is somebody's.
        SELECT format('%s depends on %s',
            CASE
                WHEN r.rulename = '_RETURN' THEN pg_describe_object('pg_class'::regclass, r.ev_class, 0)
                ELSE pg_describe_object(d.classid, d.objid, d.objsubid)
            END,
            CASE WHEN d.refobjid = moved THEN 'it' ELSE pg_describe_object(d.refclassid, d.refobjid, 0) END)
        FROM own o
        JOIN pg_depend d ON d.refclassid = o.classid AND d.refobjid = o.objid AND d.deptype IN ('n', 'a')
        LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
        LEFT JOIN pg_class v ON v.oid = r.ev_class
        WHERE (o.classid = 'pg_proc'::regclass OR NOT EXISTS (SELECT FROM own WHERE own.classid = d.classid AND own.objid = d.objid))
            AND (d.refobjid = moved AND r.rulename = '_RETURN' AND v.relkind = 'v' AND v.relpersistence <> 't') IS NOT TRUE
    ) h
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'agent_activities cannot be moved: %', hindrance USING ERRCODE = '55000';
    END IF;
END;
$$;

CREATE OR REPLACE FUNCTION take_surplus_rights(p_table regclass)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    surplus record;
BEGIN
    FOR surplus IN
        SELECT own.privilege_type, CASE own.grantee WHEN 0 THEN 'PUBLIC' ELSE own.grantee::regrole::text END AS grantee
        FROM pg_class c
        CROSS JOIN LATERAL aclexplode(c.relacl) own
        WHERE c.oid = p_table AND own.grantee <> c.relowner AND NOT EXISTS (
            SELECT
            FROM pg_class whole
            CROSS JOIN LATERAL aclexplode(whole.relacl) given
            WHERE whole.oid = 'public.agent_activities'::regclass
                AND given.grantee = own.grantee AND given.privilege_type = own.privilege_type AND given.is_grantable >= own.is_grantable
        )
    LOOP
        EXECUTE format('REVOKE %s ON %s FROM %s CASCADE', surplus.privilege_type, p_table, surplus.grantee);
    END LOOP;
END;
$$;

COMMENT ON FUNCTION take_surplus_rights(regclass) IS 'Takes from everybody but the owner what he may do with a table, as by ALTER DEFAULT PRIVILEGES, and not with agent_activities.';
REVOKE EXECUTE ON FUNCTION take_surplus_rights(regclass) FROM PUBLIC;

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
    -- What is partitioned has no storage parameters: those of the table before it are those of its other part.
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES)%s', part, p_parent,
        public.storage_of(coalesce(other, 'public.agent_activities'::regclass)));
    PERFORM public.take_surplus_rights(part::regclass);
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

CREATE OR REPLACE FUNCTION begin_activity_move(p_by_month boolean)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '500ms'
SET timezone = 'UTC'
SET standard_conforming_strings = on
SET quote_all_identifiers = off
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
        || CASE WHEN p_by_month THEN ' PARTITION BY RANGE (created_at)'
            ELSE public.storage_of(to_regclass('public.agent_activities_other')) END;
    PERFORM public.take_surplus_rights('public.agent_activities_next'::regclass);
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
            'INDEX ("([^"]|"")+"|\S+) ON (ONLY )?public\.agent_activities ',
            replace(format('INDEX %I ON public.agent_activities_next ', 'next_' || index.relname), '\', '\\')
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

CREATE OR REPLACE FUNCTION finish_activity_move()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '500ms'
SET timezone = 'UTC'
SET standard_conforming_strings = on
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
    PERFORM public.take_surplus_rights('public.agent_activities_next'::regclass);
    PERFORM public.take_surplus_rights(i.inhrelid::regclass) FROM pg_inherits i WHERE i.inhparent = 'public.agent_activities_next'::regclass;
    DROP TRIGGER activity_move_insert ON public.agent_activities;
    DROP TRIGGER activity_move_delete ON public.agent_activities;
    DROP TRIGGER activity_move_truncate ON public.agent_activities;

    SELECT coalesce(array_agg(p.oid), '{}') INTO own_functions
    FROM pg_proc p
    JOIN pg_class c ON c.oid = moved AND c.reltype = ANY (p.proargtypes::oid[])
    WHERE p.proowner = c.relowner;    -- made anew, one is of who does it

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

-- The outcome of what registers a host is of its project; that of a rejected command is of no other one's host.
CREATE OR REPLACE FUNCTION apply_command(
    p_command_id uuid,
    p_type text,
    p_data jsonb,
    p_digest bytea,
    p_correlation_id uuid,
    p_idempotency_key text DEFAULT NULL,
    p_actor text DEFAULT NULL,
    p_traceparent text DEFAULT NULL,
    p_problem text DEFAULT NULL,
    p_actor_is_verified boolean DEFAULT false,
    p_sender text DEFAULT NULL
)
RETURNS TABLE (command_id uuid, verdict text, code text, message text, result jsonb)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known public.command_ledger;
    ledger_key text := p_idempotency_key;
    last_outbox_id bigint;
    state text;
    project uuid;
BEGIN
    SELECT * INTO known FROM public.command_ledger l WHERE l.command_id = p_command_id;
    IF NOT FOUND AND p_idempotency_key IS NOT NULL THEN
        SELECT * INTO known
        FROM public.command_ledger l
        WHERE l.idempotency_key = p_idempotency_key
            AND coalesce(l.sender = p_sender, true)    -- where one is not known it may be the same
        ORDER BY l.digest = p_digest DESC
        LIMIT 1;
    END IF;
    IF known.digest = p_digest THEN
        RETURN QUERY SELECT known.command_id, known.verdict, known.code, known.message, known.result;
        RETURN;
    END IF;
    command_id := p_command_id;
    IF known.command_id = p_command_id THEN
        RAISE EXCEPTION 'id: % is the id of another command (%, applied at %)',
            p_command_id, known.type, to_char(known.applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
            USING ERRCODE = '23505', CONSTRAINT = 'command_ledger_pkey';
    END IF;

    PERFORM
        set_config('imi.correlation_id', p_correlation_id::text, true),
        set_config('imi.causation_id', p_command_id::text, true),
        set_config('imi.idempotency_key', coalesce(p_idempotency_key, ''), true),
        set_config('imi.actor', coalesce(p_actor, ''), true),
        set_config('imi.actor_is_verified', CASE WHEN p_actor_is_verified THEN 'on' ELSE '' END, true),
        set_config('imi.traceparent', coalesce(p_traceparent, ''), true),
        set_config('imi.host_id', '', true);    -- that of one before it in this transaction is not its own

    verdict := 'rejected';
    IF p_problem IS NOT NULL THEN
        code := 'VALIDATION_ERROR';
        message := p_problem;
    ELSIF known.command_id IS NOT NULL THEN
        ledger_key := NULL;
        code := 'CONFLICT';
        message := format(
            'idempotencykey: %s was used for another command (%s, id %s)',
            public.quote_for_message(p_idempotency_key), known.type, known.command_id
        );
    ELSE
        -- Not from the sequence as a table: that shows ids 32 ahead while another session logs the next 32.
        last_outbox_id := coalesce(pg_sequence_last_value('public.outbox_id_seq'), 0);
        BEGIN
            result := public.run_command(p_type, p_data);
        EXCEPTION
            WHEN OTHERS OR assert_failure THEN    -- OTHERS leaves that one out
                GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
                message := public.without_credentials(message, true);    -- PostgreSQL quotes values as they are
                -- registry/database/errors.py says the same; a test compares both for every SQLSTATE.
                code := CASE
                    WHEN state = 'P0002' THEN 'NOT_FOUND'
                    WHEN state IN ('23505', '23503', '23P01', '23001', '55000', '2BP01') THEN 'CONFLICT'
                    -- 54000: a value longer than an index takes
                    WHEN state IN ('23514', '23502') OR left(state, 2) IN ('22', '54') THEN 'VALIDATION_ERROR'
                    -- What the server, its load or its administrator is to blame for says nothing about the command: a lock not
                    -- had (55P03), a right missing (42501), a function or a column missing (class 42), a schema missing (3F000),
                    -- a plan older than its table (0A000, 26000), a standby or read-only session (25006), no memory, a shutdown,
                    -- a damaged file.
                    WHEN state IN ('0A000', '26000', '55P03') THEN NULL
                    WHEN left(state, 2) IN (
                        '08', '25', '28', '3D', '3F', '40', '42', '53', '57', '58', '72', 'F0', 'HV', 'XX'
                    ) THEN NULL
                    ELSE 'INTERNAL_ERROR'
                END;
                IF code IS NULL THEN
                    RAISE;
                END IF;
        END;
    END IF;

    project := coalesce(result ->> 'project_id', p_data ->> 'project_id');
    IF result IS NOT NULL THEN
        -- Each change of the registry is an event of this transaction: without one there was nothing to change. Both ends
        -- are given so that the planner, who knows neither, takes the index: a cached plan may be older than the rows.
        SELECT 'applied', 'applied', coalesce(o.project_id, (result ->> 'project_id')::uuid)    -- its first event may be of a host
        INTO verdict, message, project
        FROM public.outbox o
        WHERE o.id > last_outbox_id
            AND o.id <= (SELECT pg_sequence_last_value('public.outbox_id_seq'))
            AND o.transaction_id = pg_current_xact_id_if_assigned()
        ORDER BY o.id
        LIMIT 1;
        IF NOT FOUND THEN
            verdict := 'idempotent';
            message := 'nothing to change';
            project := coalesce(
                (result ->> 'project_id')::uuid,
                (SELECT w.project_id FROM public.worktrees w WHERE w.id = (result ->> 'worktree_id')::uuid)
            );
        END IF;
    END IF;

    INSERT INTO public.command_ledger AS l (
        command_id, digest, project_id, idempotency_key, type, verdict, code, message, result, actor, sender
    )
    VALUES (p_command_id, p_digest, project, ledger_key, p_type, verdict, code, message, result, p_actor, p_sender)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'command % is being applied by another session', p_command_id USING ERRCODE = '40001';
    END IF;
    RETURN NEXT;
END;
$$;

-- The default host may have another name, and has an event, too.
CREATE OR REPLACE FUNCTION promote_mirror()
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
    mirrored text;
BEGIN
    PERFORM set_config('imi.mirror', 'applies', true);
    PERFORM FROM public.mirror_source m WHERE m.promoted_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'promote_mirror: this registry is no mirror' USING ERRCODE = '55000';
    END IF;
    IF (SELECT m.snapshots = 0 FROM public.mirror_source m) THEN
        RAISE EXCEPTION 'promote_mirror: this mirror has never had a snapshot of its source: it holds nothing'
            USING ERRCODE = '55000';
    END IF;
    PERFORM setval('public.outbox_id_seq', (SELECT m.outbox_id + 1000000 FROM public.mirror_source m));
    PERFORM setval(
        'public.worktree_types_id_seq', (SELECT least(coalesce(max(t.id), 0)::bigint + 1000, 2147483647) FROM public.worktree_types t)
    );
    INSERT INTO public.outbox_backlog (entity, row_id)
    SELECT earlier.entity, earlier.row_id
    FROM (
        SELECT 1 AS part, created_at, id AS number, 'worktree_type' AS entity, id::text AS row_id FROM public.worktree_types
        UNION ALL
        SELECT 2, created_at, 0, 'project', id::text FROM public.projects
        UNION ALL
        SELECT 3, created_at, 0, 'worktree', id::text FROM public.worktrees
        UNION ALL
        SELECT 4, created_at, 0, 'activity', id::text FROM public.agent_activities
    ) earlier
    ORDER BY earlier.part, earlier.created_at, earlier.number, earlier.row_id COLLATE "C";
    FOR mirrored IN SELECT t FROM public.mirror_tables() t LOOP
        EXECUTE format('DROP TRIGGER mirror_refuses ON public.%I', mirrored);
        EXECUTE format('ALTER TABLE public.%I ENABLE TRIGGER USER', mirrored);
    END LOOP;
    -- backfill_outbox() knows none of these.
    INSERT INTO public.outbox (entity, action, entity_id, host_id, data)
    SELECT 'host', 'registered', h.id, nullif(h.id, public.default_host_id()), jsonb_build_object(
        'host_id', h.id, 'name', h.name, 'former_names', h.former_names, 'description', h.description,
        'created_at', h.created_at, 'updated_at', h.updated_at, 'changed', '{}'::jsonb
    )
    FROM public.hosts h
    ORDER BY h.created_at, h.id;
    INSERT INTO public.outbox (entity, action, project_id, entity_id, host_id, data)
    SELECT 'project_host', 'added', p.id, p.id, nullif(h.host_id, public.default_host_id()), jsonb_build_object(
        'project_id', p.id, 'project_name', p.name, 'remote_origin', p.remote_origin, 'host_id', h.host_id,
        'host', (SELECT o.name FROM public.hosts o WHERE o.id = h.host_id),
        'trunk_path', coalesce(h.trunk_path, p.trunk_path), 'is_home', h.trunk_path IS NULL,
        'created_at', h.created_at, 'updated_at', h.updated_at, 'changed', '{}'::jsonb
    )
    FROM public.project_hosts h
    JOIN public.projects p ON p.id = h.project_id
    ORDER BY h.created_at, p.id, h.host_id;
    UPDATE public.mirror_source m SET promoted_at = clock_timestamp();
    DELETE FROM public.mirror_event;
    PERFORM set_config('imi.mirror', '', true);
    RETURN public.registry_epoch();
END;
$$;

-- Whether new projects get derived ids comes with a snapshot; a source of before this tells nothing of it.
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
    UPDATE public.registry_metadata m
    SET derived_ids = (r.fields ->> 'derived_ids')::boolean
    FROM public.mirror_row r
    WHERE r.kind = 'registry_metadata' AND m.derived_ids <> (r.fields ->> 'derived_ids')::boolean;
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

-- What refuses writes at a mirror hangs on the log, and not on its months.
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
                            c.oid IN (SELECT to_regclass('public.' || t) FROM public.replica_tables() t)
                            OR c.oid IN (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = 'public.agent_activities'::regclass)
                        )
                        AND (NOT t.tgisinternal OR t.tgparentid <> 0)
                        AND t.tgenabled IN ('D', 'R')
                        AND NOT EXISTS (    -- a mirror's rows come as they are
                            SELECT
                            FROM pg_trigger r
                            WHERE r.tgname = 'mirror_refuses'
                                AND r.tgrelid IN (t.tgrelid, (SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = t.tgrelid))
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
                        SELECT slot_name, coalesce(wal_status = 'lost', false) AS is_lost
                        FROM pg_replication_slots
                        WHERE wal_status = 'lost' OR NOT active AND restart_lsn IS NOT NULL
                    ) slots
                $check$),

                ('source', 'the log of imi-registry mirror run, or replica run, and imi-registry doctor there, tell what it waits for',
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
                        WHERE r.promoted_at IS NULL AND r.stopped_at IS NULL
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

-- Under the name that 004 looks for: else it would build the one of before, which senders who share a key are in the way of.
DO $$
BEGIN
    IF (SELECT x.indisvalid FROM pg_index x WHERE x.indexrelid = to_regclass('public.command_ledger_unique_key_of_sender')) THEN
        DROP INDEX IF EXISTS public.command_ledger_unique_idempotency_key;
        ALTER INDEX public.command_ledger_unique_key_of_sender RENAME TO command_ledger_unique_idempotency_key;
    END IF;
END;
$$;

DO $$ BEGIN PERFORM note_schema_version(26); END $$;

COMMIT;
