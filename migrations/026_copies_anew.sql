-- 026: copies begin anew, and end. A log by month becomes no replica, and one that did ends like any other; a replica that was
-- dropped and became a mirror takes over with an id of its own. A move of the log names all that it would leave behind before it
-- begins, and gives nobody a right that he had not. All files run again, whoever shares a key; projects merge, however long names are.
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
                AND pg_has_role(p.proowner, 'USAGE')
        ) o (classid, objid)
        WHERE c.oid = moved OR c.relispartition AND c.oid IN (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = moved)
    )
    SELECT h.what INTO hindrance
    FROM (
        SELECT format('publication %I has it: drop it, with its replicas, which do not follow a table into another shape', p.pubname) AS what
        FROM pg_publication_tables p WHERE p.schemaname = 'public' AND p.tablename = 'agent_activities'
        UNION ALL
        SELECT 'this registry is a replica, whose tables are its source''s'
        WHERE EXISTS (SELECT FROM public.replica_source r WHERE r.promoted_at IS NULL AND r.stopped_at IS NULL)
        UNION ALL
        SELECT 'row level security is on' FROM pg_class c WHERE c.oid = moved AND c.relrowsecurity
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
        WHERE NOT EXISTS (SELECT FROM own WHERE own.classid = d.classid AND own.objid = d.objid)
            AND (d.refobjid = moved AND r.rulename = '_RETURN' AND v.relkind = 'v') IS NOT TRUE
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

DO $$
BEGIN
    PERFORM take_surplus_rights(i.inhrelid)
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent IN ('agent_activities'::regclass, to_regclass('agent_activities_next')) AND c.relispartition;
END;
$$;

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
