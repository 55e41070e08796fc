-- 025: what others do beside us in the database and on its server is borne: who reads its changes by a publication of all tables,
-- a login that acts by a role it does not inherit, indexes and storage parameters that an administrator gave the log. What an
-- agent did last, and what was slow, is told in half of the time.
-- compatible down to: 018

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;

CREATE OR REPLACE FUNCTION outbox_actor_is_verified()
RETURNS boolean
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF has_table_privilege(session_user, to_regclass('public.command_ledger'), 'INSERT') THEN
        RETURN true;
    END IF;
    RETURN EXISTS (    -- by a role that this login may take on, and inherits not
        SELECT
        FROM pg_roles own
        WHERE pg_has_role(
                session_user, own.oid,
                CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END
            )
            AND has_table_privilege(own.oid, to_regclass('public.command_ledger'), 'INSERT')
    );
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

CREATE OR REPLACE FUNCTION adopt_project_id(p_project_id uuid, p_id uuid)
RETURNS uuid
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
    ids uuid[];
    project public.projects;
    adopted public.projects;
    other public.projects;
BEGIN
    -- Before any row: whoever writes the events of earlier rows has this table, and waits for rows.
    LOCK TABLE public.outbox_backlog IN ROW EXCLUSIVE MODE;
    ids := public.lock_projects('adopt_project_id', ARRAY[p_project_id]);
    IF p_id IS NULL THEN
        RAISE EXCEPTION 'adopt_project_id: p_id is NULL; it must be an id' USING ERRCODE = '22004';
    END IF;
    IF ids[1] = p_id THEN
        RETURN p_id;
    END IF;
    SELECT * INTO STRICT project FROM public.projects p WHERE p.id = ids[1];
    SELECT * INTO other FROM public.projects p WHERE p.id = public.current_project_id(p_id);
    IF FOUND AND other.id <> project.id THEN
        RAISE EXCEPTION 'adopt_project_id: p_id % is project % (%); merge_projects() makes both one',
            p_id, public.quote_for_message(other.name), public.quote_for_message(other.remote_origin)
            USING ERRCODE = '23505', CONSTRAINT = 'projects_pkey';
    END IF;
    PERFORM public.call_project(project.id, p_id);

    adopted := project;
    adopted.id := p_id;
    adopted.updated_at := now();    -- as the trigger does below
    PERFORM public.tell_project_merged(adopted, project);
    PERFORM FROM public.worktrees w WHERE w.project_id = project.id ORDER BY w.id FOR UPDATE;
    PERFORM public.change_project_id(project.id, p_id);
    UPDATE public.deleted_worktrees d SET project_id = p_id WHERE d.project_id = project.id;
    INSERT INTO public.project_hosts (project_id, host_id, trunk_path, created_at)
    SELECT p_id, h.host_id, h.trunk_path, h.created_at
    FROM public.project_hosts h
    WHERE h.project_id = project.id
    ORDER BY h.host_id;
    DELETE FROM public.project_hosts h WHERE h.project_id = project.id;
    UPDATE public.outbox_backlog b SET row_id = p_id::text WHERE b.entity = 'project' AND b.row_id = project.id::text;
    -- For whoever follows the id that is no more.
    INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
    VALUES ('project', 'deleted', project.id, project.id, public.outbox_project_data(project, '{}'));
    RETURN p_id;
END;
$$;

CREATE OR REPLACE FUNCTION storage_of(p_table regclass)
RETURNS text
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(' WITH (' || string_agg(format('%s%I = %L', o.prefix, o.option_name, o.option_value), ', ') || ')', '')
    FROM pg_class c
    LEFT JOIN pg_class toast ON toast.oid = c.reltoastrelid
    CROSS JOIN LATERAL (
        SELECT '' AS prefix, own.* FROM pg_options_to_table(c.reloptions) own
        UNION ALL
        SELECT 'toast.', beside.* FROM pg_options_to_table(toast.reloptions) beside
    ) o
    WHERE c.oid = p_table
$$;

COMMENT ON FUNCTION storage_of(regclass) IS 'The storage parameters of a table, as CREATE TABLE takes them; empty where it has none.';
REVOKE EXECUTE ON FUNCTION storage_of(regclass) FROM PUBLIC;

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

CREATE OR REPLACE FUNCTION registry_slow_queries(p_limit integer DEFAULT 20)
RETURNS TABLE (
    calls bigint,
    mean_ms double precision,
    max_ms double precision,
    total_ms double precision,
    rows_per_call double precision,
    hit_ratio double precision,
    user_name text,
    query text
)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    place text;
    own_names text;
BEGIN
    IF p_limit IS NULL OR p_limit NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'registry_slow_queries: p_limit is %; it must be 1 to 1000', coalesce(p_limit::text, 'NULL')
            USING ERRCODE = '22023';
    END IF;
    SELECT quote_ident(n.nspname) INTO place
    FROM pg_extension e
    JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'pg_stat_statements';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'registry_slow_queries: nothing is recorded: the extension pg_stat_statements is not there; needed are shared_preload_libraries = ''pg_stat_statements'', a restart, and CREATE EXTENSION pg_stat_statements'
            USING ERRCODE = '55000';
    END IF;
    SELECT string_agg(own.name, '|') INTO own_names
    FROM (
        SELECT c.relname AS name
        FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
            AND c.relowner = (SELECT relowner FROM pg_class WHERE oid = 'public.projects'::regclass)
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE (d.classid, d.objid) = ('pg_class'::regclass, c.oid) AND d.deptype = 'e')
        UNION
        SELECT p.proname
        FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace
            AND p.proowner = (SELECT relowner FROM pg_class WHERE oid = 'public.projects'::regclass)
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE (d.classid, d.objid) = ('pg_proc'::regclass, p.oid) AND d.deptype = 'e')
    ) own
    WHERE own.name ~ '^[[:alnum:]_]+$';
    RETURN QUERY EXECUTE format(
        $statements$
            SELECT
                s.calls, s.mean_exec_time, s.max_exec_time, s.total_exec_time,
                s.rows::double precision / greatest(s.calls, 1),
                s.shared_blks_hit::double precision / nullif(s.shared_blks_hit + s.shared_blks_read, 0),
                r.rolname::text,
                left(regexp_replace(s.query, '[[:space:]]+', ' ', 'g'), 1000)
            FROM %s.pg_stat_statements s
            LEFT JOIN pg_roles r ON r.oid = s.userid
            WHERE s.dbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                AND CASE    -- so that the long texts, those of migrations, are not searched for names
                    WHEN lower(left(s.query, 100) COLLATE "C")
                        ~ '^[[:space:]]*(create|alter|drop|comment|grant|revoke|do|analyze|vacuum|reindex|set)([^[:alnum:]_]|$)'
                    THEN false
                    ELSE s.query ~ $1 AND s.query !~ 'registry_slow_queries'
                END
            ORDER BY s.total_exec_time DESC
            LIMIT $2
        $statements$,
        place
    ) USING E'\\m(' || own_names || E')\\M', p_limit;
END;
$$;

-- Whatever its limit it is planned once: by the index that has the order, each name by its key. A plan of its own for each call took
-- longer than the rest of it, and was made each time, as that of any limit looks dearer than it is.
ALTER FUNCTION get_agent_recent_work(text, integer) SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION get_agent_recent_work(text, integer) SET enable_hashjoin = off;
ALTER FUNCTION get_agent_recent_work(text, integer) SET enable_mergejoin = off;
ALTER FUNCTION get_agent_recent_work(text, integer) SET enable_sort = off;
ALTER FUNCTION get_agent_recent_work(text, integer) SET jit = off;

-- A table that a publication has, of all tables, of its schema or by name, can be updated and deleted from with an identity alone.
-- Not a key: writers would pay for it.
ALTER TABLE mirror_row REPLICA IDENTITY FULL;
ALTER TABLE count_delta REPLICA IDENTITY FULL;

DO $$ BEGIN PERFORM note_schema_version(25); END $$;

COMMIT;
