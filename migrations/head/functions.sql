-- Generated from a migrated database, for reading; never applied. See docs/adr/0007-migrations.md.

CREATE OR REPLACE FUNCTION public.activities_are_by_month()
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT c.relkind = 'p' FROM pg_class c WHERE c.oid = 'public.agent_activities'::regclass
$function$;
COMMENT ON FUNCTION activities_are_by_month() IS 'Whether agent_activities is partitioned by month.';

CREATE OR REPLACE FUNCTION public.activities_kept()
 RETURNS TABLE(by_month boolean, months_ahead integer, elsewhere bigint, moved double precision, is_in_hand boolean)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT
        public.activities_are_by_month(),
        (SELECT count(*) FROM public.activity_months() m WHERE m.begins_at > now())::integer,
        CASE WHEN public.activities_are_by_month() THEN pg_stat_get_live_tuples(to_regclass('public.agent_activities_other')) END,
        CASE WHEN s.copy IS NOT NULL THEN coalesce(least(s.copy::float8 / nullif(s.original, 0), 1), 1) END,
        EXISTS (
            SELECT
            FROM pg_locks l
            WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
                AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                AND (l.classid, l.objid) = (1768778079, 1835624306)
        )
    FROM (
        SELECT
            sum(pg_relation_size(c.oid)) FILTER (WHERE t.name = 'agent_activities_next') AS copy,
            sum(pg_relation_size(c.oid)) FILTER (WHERE t.name = 'agent_activities') AS original
        FROM unnest('{agent_activities, agent_activities_next}'::text[]) t (name)
        JOIN pg_class c ON c.oid = to_regclass('public.' || t.name)
            OR c.oid IN (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = to_regclass('public.' || t.name))
    ) s
$function$;
COMMENT ON FUNCTION activities_kept() IS 'How activities are kept: by month or in one table, months that stand ahead, activities in none of them (estimated; NULL where these have no place), of a move the share that is copied (estimated; NULL where there is none), and whether somebody is at it.';

CREATE OR REPLACE FUNCTION public.activity_months()
 RETURNS TABLE(name text, begins_at timestamp with time zone, ends_at timestamp with time zone)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET standard_conforming_strings TO 'on'
AS $function$
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
$function$;
COMMENT ON FUNCTION activity_months() IS 'The partitions of agent_activities, oldest first; last the one for all other times, which has neither beginning nor end. None where it is an ordinary table.';

CREATE OR REPLACE FUNCTION public.add_worktree_type(p_name text, p_branch_prefix text DEFAULT NULL::text, p_worktree_prefix text DEFAULT NULL::text, p_description text DEFAULT NULL::text, p_color text DEFAULT NULL::text, p_icon text DEFAULT NULL::text, p_metadata jsonb DEFAULT '{}'::jsonb)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    found_type public.worktree_types;
BEGIN
    PERFORM public.require_word('add_worktree_type', 'p_name', p_name);
    PERFORM public.require_word('add_worktree_type', 'p_branch_prefix', coalesce(nullif(p_branch_prefix, ''), 'none'));
    PERFORM public.require_name('add_worktree_type', 'p_worktree_prefix', coalesce(p_worktree_prefix, p_name));
    PERFORM public.require_text('add_worktree_type', 'p_description', coalesce(p_description, 'none'));
    PERFORM public.require_color('add_worktree_type', 'p_color', p_color);
    PERFORM public.require_name('add_worktree_type', 'p_icon', coalesce(p_icon, 'none'));
    PERFORM public.require_object('add_worktree_type', 'p_metadata', p_metadata);
    LOOP
        SELECT * INTO found_type FROM public.worktree_types t WHERE t.name = p_name;
        IF FOUND THEN
            IF (found_type.branch_prefix, found_type.worktree_prefix) IS DISTINCT FROM (
                coalesce(p_branch_prefix, found_type.branch_prefix),
                coalesce(p_worktree_prefix, found_type.worktree_prefix)
            ) THEN
                RAISE EXCEPTION 'add_worktree_type: p_name % is taken by a type with the prefixes % and %',
                    public.quote_for_message(p_name),
                    public.quote_for_message(found_type.branch_prefix), public.quote_for_message(found_type.worktree_prefix)
                    USING ERRCODE = '23505', CONSTRAINT = 'worktree_types_name_key';
            END IF;
            RETURN found_type.id;
        END IF;
        INSERT INTO public.worktree_types (name, branch_prefix, worktree_prefix, description, color, icon, metadata)
        VALUES (
            p_name,
            coalesce(p_branch_prefix, p_name || '/'),
            coalesce(p_worktree_prefix, p_name || '-'),
            p_description,
            coalesce(p_color, '#6B7280'),
            p_icon,
            coalesce(p_metadata, '{}')
        )
        ON CONFLICT (name) DO NOTHING;    -- added meanwhile: look again
    END LOOP;
END;
$function$;
COMMENT ON FUNCTION add_worktree_type(text,text,text,text,text,text,jsonb) IS 'Id of the worktree type of this name, added when there is none; 23505 when there is one with other prefixes.';

CREATE OR REPLACE FUNCTION public.adopt_project_id(p_project_id uuid, p_id uuid)
 RETURNS uuid
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION adopt_project_id(uuid,uuid) FROM PUBLIC;
COMMENT ON FUNCTION adopt_project_id(uuid,uuid) IS 'A project goes on under another id, which another registry gave its origin, or which follows from it; the one it had means it, too. 23505 when another project has the id.';

CREATE OR REPLACE FUNCTION public.advance_replica_sequences()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION advance_replica_sequences() FROM PUBLIC;
COMMENT ON FUNCTION advance_replica_sequences() IS 'Lets sequences go on above what the source gave out; replication does not move them.';

CREATE OR REPLACE FUNCTION public.apply_command(p_command_id uuid, p_type text, p_data jsonb, p_digest bytea, p_correlation_id uuid, p_idempotency_key text DEFAULT NULL::text, p_actor text DEFAULT NULL::text, p_traceparent text DEFAULT NULL::text, p_problem text DEFAULT NULL::text, p_actor_is_verified boolean DEFAULT false, p_sender text DEFAULT NULL::text)
 RETURNS TABLE(command_id uuid, verdict text, code text, message text, result jsonb)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
COMMENT ON FUNCTION apply_command(uuid,text,jsonb,bytea,uuid,text,text,text,text,boolean,text) IS 'Carries out a command once and returns its outcome, or the recorded one. 23505 (command_ledger_pkey): the id belongs to another command; states that may pass (40001, 53xxx …) are raised.';

CREATE OR REPLACE FUNCTION public.apply_mirrored(p_before text, p_after text, p_is_complete boolean, p_sequences bigint[], p_payloads text[], OUT applied integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET "DateStyle" TO 'ISO, YMD'
 SET jit TO 'off'
AS $function$
DECLARE
    told record;
    was bigint;
    last record;
BEGIN
    PERFORM set_config('imi.mirror', 'applies', true);
    SELECT m.sequence INTO was FROM public.mirror_source m WHERE m.promoted_at IS NULL AND m.position = p_before FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the mirror is no longer where this process left it: another one follows the source, or it was promoted'
            USING ERRCODE = '55000';
    END IF;
    applied := 0;
    FOR told IN
        WITH given AS MATERIALIZED (
            SELECT g.place, g.sequence, g.payload::jsonb AS event
            FROM unnest(p_sequences, p_payloads) WITH ORDINALITY AS g (sequence, payload, place)
        ), noted AS (
            INSERT INTO public.mirror_event (event_id, sequence)
            SELECT DISTINCT ON (g.event ->> 'id') (g.event ->> 'id')::uuid, g.sequence
            FROM given g
            ORDER BY g.event ->> 'id', g.place
            ON CONFLICT DO NOTHING
            RETURNING event_id, sequence
        )
        SELECT g.event
        FROM given g
        JOIN noted n ON n.event_id = (g.event ->> 'id')::uuid AND n.sequence = g.sequence
        ORDER BY g.place
    LOOP
        PERFORM public.mirror_event_applied(told.event);
        applied := applied + 1;
    END LOOP;
    SELECT e.event ->> 'id' AS id, e.event ->> 'sequence' AS outbox_id, e.event ->> 'time' AS at
    INTO last
    FROM (SELECT p_payloads[cardinality(p_payloads)]::jsonb AS event) e;
    UPDATE public.mirror_source m
    SET
        position = p_after,
        sequence = coalesce(p_sequences[cardinality(p_sequences)], m.sequence),
        event_id = coalesce(last.id::uuid, m.event_id),
        outbox_id = greatest(m.outbox_id, last.outbox_id::bigint),
        event_at = coalesce(last.at::timestamptz, m.event_at),
        known_at = CASE WHEN p_is_complete THEN statement_timestamp() ELSE m.known_at END,
        events = m.events + applied;
    IF p_sequences[cardinality(p_sequences)] / 1000 > was / 1000 THEN
        DELETE FROM public.mirror_event e WHERE e.sequence < was - 20000;
    END IF;
    PERFORM set_config('imi.mirror', '', true);
END;
$function$;
REVOKE EXECUTE ON FUNCTION apply_mirrored(text,text,boolean,bigint[],text[]) FROM PUBLIC;
COMMENT ON FUNCTION apply_mirrored(text,text,boolean,bigint[],text[]) IS 'Applies events of the source, given as their envelopes, and moves the position from before them to behind them; returns how many were new. 55000 when the mirror is elsewhere.';

CREATE OR REPLACE FUNCTION public.attach_activity_part(p_parent regclass, p_name text, p_first timestamp without time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET "DateStyle" TO 'ISO, YMD'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION attach_activity_part(regclass,text,timestamp without time zone) FROM PUBLIC;
COMMENT ON FUNCTION attach_activity_part(regclass,text,timestamp without time zone) IS 'Makes a month, with the rows that were put elsewhere for want of it; without a first day the part for all other times.';

CREATE OR REPLACE FUNCTION public.backfill_outbox(p_limit integer DEFAULT 1000)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET jit TO 'off'
AS $function$
DECLARE
    mark CONSTANT jsonb := '{"backfill": true}';
    earlier record;
    last bigint;
    taken integer := 0;
BEGIN
    LOCK TABLE public.outbox_backlog IN EXCLUSIVE MODE;    -- one at a time, so in order
    FOR earlier IN SELECT * FROM public.outbox_backlog ORDER BY position LIMIT p_limit LOOP
        IF earlier.entity = 'worktree_type' THEN
            EXIT WHEN NOT public.backfill_outbox_lock('public.worktree_types', earlier.row_id, taken = 0);
            INSERT INTO public.outbox (entity, action, data)
            SELECT 'worktree_type', 'added', public.outbox_worktree_type_data(t, '{}') || mark
            FROM public.worktree_types t
            WHERE t.id = earlier.row_id::integer;
        ELSIF earlier.entity = 'project' THEN
            EXIT WHEN NOT public.backfill_outbox_lock('public.projects', earlier.row_id, taken = 0);
            INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
            SELECT 'project', 'registered', p.id, p.id, public.outbox_project_data(p, '{}') || mark
            FROM public.projects p
            WHERE p.id = earlier.row_id::uuid;
        ELSIF earlier.entity = 'worktree' THEN
            EXIT WHEN NOT public.backfill_outbox_lock('public.worktrees', earlier.row_id, taken = 0);
            INSERT INTO public.outbox (entity, action, project_id, entity_id, host_id, data)
            SELECT 'worktree', 'created', w.project_id, w.id, nullif(w.host_id, public.default_host_id()),
                public.outbox_worktree_data(w, p.name, p.remote_origin, t.name, '{}') || mark
            FROM public.worktrees w
            JOIN public.projects p ON p.id = w.project_id
            JOIN public.worktree_types t ON t.id = w.type_id
            WHERE w.id = earlier.row_id::uuid;
        ELSIF earlier.entity = 'project_host' THEN    -- of an import, whose rows nobody else can see yet
            INSERT INTO public.outbox (entity, action, project_id, entity_id, host_id, data)
            SELECT 'project_host', 'added', p.id, p.id, nullif(place.host_id, public.default_host_id()),
                public.outbox_project_host_data(place, p, '{}') || mark
            FROM public.project_hosts place
            JOIN public.projects p ON p.id = place.project_id
            WHERE (place.project_id, place.host_id) = (
                split_part(earlier.row_id, ' ', 1)::uuid, split_part(earlier.row_id, ' ', 2)::uuid
            );
        ELSE
            -- Never changed, so not locked.
            INSERT INTO public.outbox (entity, action, project_id, entity_id, host_id, data)
            SELECT 'activity', 'logged', coalesce(w.project_id, d.project_id), a.id,
                nullif(coalesce(w.host_id, d.host_id), public.default_host_id()),
                public.outbox_activity_data(
                    a,
                    coalesce(w.project_id, d.project_id),
                    coalesce(p.name, d.project_name),
                    coalesce(w.name, d.name)
                ) || mark
            FROM public.agent_activities a
            LEFT JOIN public.worktrees w ON w.id = a.worktree_id
            LEFT JOIN public.projects p ON p.id = w.project_id
            LEFT JOIN public.deleted_worktrees d ON d.id = a.worktree_id
            WHERE a.id = earlier.row_id::uuid;
        END IF;
        last := earlier.position;
        taken := taken + 1;
    END LOOP;
    DELETE FROM public.outbox_backlog WHERE position <= last;
    RETURN taken;
END;
$function$;
REVOKE EXECUTE ON FUNCTION backfill_outbox(integer) FROM PUBLIC;
COMMENT ON FUNCTION backfill_outbox(integer) IS 'Writes the event of the next rows that are older than the outbox, and returns how many it took; 0 when none is left.';

CREATE OR REPLACE FUNCTION public.backfill_outbox_lock(p_table regclass, p_id text, p_may_wait boolean)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    by_id text := format('SELECT true FROM %s WHERE id = %L', p_table, p_id);
    is_there boolean;
BEGIN
    EXECUTE by_id || CASE WHEN p_may_wait THEN ' FOR SHARE' ELSE ' FOR SHARE SKIP LOCKED' END INTO is_there;
    IF is_there IS NULL AND NOT p_may_wait THEN
        EXECUTE by_id INTO is_there;
        RETURN is_there IS NULL;
    END IF;
    RETURN true;
END;
$function$;
REVOKE EXECUTE ON FUNCTION backfill_outbox_lock(regclass,text,boolean) FROM PUBLIC;
COMMENT ON FUNCTION backfill_outbox_lock(regclass,text,boolean) IS 'Locks a row against changes, and says whether that is done: false where somebody is changing it, true where it is gone.';

CREATE OR REPLACE FUNCTION public.begin_activity_move(p_by_month boolean)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '500ms'
 SET "TimeZone" TO 'UTC'
 SET standard_conforming_strings TO 'on'
 SET quote_all_identifiers TO 'off'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION begin_activity_move(boolean) FROM PUBLIC;
COMMENT ON FUNCTION begin_activity_move(boolean) IS 'Makes the copy, by month or as one table, which from then on has what is written. False where activities are kept so already.';

CREATE OR REPLACE FUNCTION public.begin_mirror(p_name text, p_stream text, p_may_replace boolean DEFAULT false)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET standard_conforming_strings TO 'on'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION begin_mirror(text,text,boolean) FROM PUBLIC;
COMMENT ON FUNCTION begin_mirror(text,text,boolean) IS 'Makes this registry the read-only mirror of another one; only its owner may. 55000 when it has rows or a history, unless they may be replaced.';

CREATE OR REPLACE FUNCTION public.begin_replica(p_name text, p_slot text, p_registry_id uuid, p_epoch bigint, p_may_replace boolean DEFAULT false)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION begin_replica(text,text,uuid,bigint,boolean) FROM PUBLIC;
COMMENT ON FUNCTION begin_replica(text,text,uuid,bigint,boolean) IS 'Makes this registry an empty, read-only replica of another one, which a subscription is to fill; only its owner may. 55000 when it has rows or a history, unless they may be replaced.';

CREATE OR REPLACE FUNCTION public.call_project(p_former uuid, p_current uuid)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    DELETE FROM public.project_aliases a WHERE a.id = p_current;
    UPDATE public.project_aliases a SET project_id = p_current WHERE a.project_id = p_former;
    INSERT INTO public.project_aliases AS a (id, project_id) VALUES (p_former, p_current)
    ON CONFLICT (id) DO UPDATE SET project_id = excluded.project_id
$function$;
REVOKE EXECUTE ON FUNCTION call_project(uuid,uuid) FROM PUBLIC;
COMMENT ON FUNCTION call_project(uuid,uuid) IS 'An id, and all that meant it, means another one from now on.';

CREATE OR REPLACE FUNCTION public.caller_host_id()
 RETURNS uuid
 LANGUAGE sql
 STABLE
RETURN CASE WHEN (NULLIF(current_setting('imi.host_id'::text, true), ''::text) IS NOT NULL) THEN outbox_uuid_setting('imi.host_id'::text) ELSE NULL::uuid END;
COMMENT ON FUNCTION caller_host_id() IS 'The host that the caller says it is on, by the setting imi.host_id; NULL when it says none. 22023 when that is no UUID.';

CREATE OR REPLACE FUNCTION public.cancel_activity_move()
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '500ms'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION cancel_activity_move() FROM PUBLIC;
COMMENT ON FUNCTION cancel_activity_move() IS 'Leaves agent_activities as it is, and drops the copy; false where none was begun.';

CREATE OR REPLACE FUNCTION public.change_project_id(p_former uuid, p_current uuid)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    -- One statement, at whose end the foreign key is looked at: two rows could not have the origin, even for a moment.
    WITH moved AS (
        UPDATE public.worktrees w SET project_id = p_current WHERE w.project_id = p_former
    )
    UPDATE public.projects p SET id = p_current WHERE p.id = p_former
$function$;
REVOKE EXECUTE ON FUNCTION change_project_id(uuid,uuid) FROM PUBLIC;
COMMENT ON FUNCTION change_project_id(uuid,uuid) IS 'Gives a row another id, and its worktrees with it.';

CREATE OR REPLACE FUNCTION public.change_project_origin(p_project_id uuid, p_remote_origin text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    origin text := public.normalize_remote_origin(p_remote_origin);
    project public.projects;
    other public.projects;
    former jsonb;
BEGIN
    IF origin IS NULL THEN
        RAISE EXCEPTION 'change_project_origin: p_remote_origin % is not owner/repo on GitHub; expected git@github.com:owner/repo.git',
            public.quote_origin(p_remote_origin)
            USING ERRCODE = '22023';
    END IF;
    p_project_id := public.current_project_id(p_project_id);
    SELECT * INTO project FROM public.projects p WHERE p.id = p_project_id FOR UPDATE;
    IF NOT FOUND THEN    -- merged while this waited, if it is there at all
        p_project_id := public.current_project_id(p_project_id);
        SELECT * INTO project FROM public.projects p WHERE p.id = p_project_id FOR UPDATE;
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'change_project_origin: p_project_id % is no project', coalesce(p_project_id::text, 'NULL')
            USING ERRCODE = 'P0002';
    END IF;
    IF project.remote_origin = origin THEN
        RETURN;
    END IF;
    -- For the message. The constraint is what holds against a concurrent writer.
    SELECT * INTO other FROM public.projects p WHERE p.remote_origin = origin;
    IF FOUND THEN
        RAISE EXCEPTION 'change_project_origin: p_remote_origin % is taken by project % (%)',
            public.quote_for_message(origin), public.quote_for_message(other.name), other.id
            USING ERRCODE = '23505', CONSTRAINT = 'projects_unique_remote_origin';
    END IF;
    former := project.metadata -> 'former_origins';
    IF former IS NULL OR jsonb_typeof(former) <> 'array' THEN
        former := '[]';
    END IF;
    UPDATE public.projects p
    SET remote_origin = origin,
        metadata = p.metadata
            || jsonb_build_object('former_origins', former - origin - p.remote_origin || to_jsonb(p.remote_origin))
    WHERE p.id = p_project_id;
END;
$function$;
COMMENT ON FUNCTION change_project_origin(uuid,text) IS 'Gives a project the origin its repository has now; the one before is added to former_origins in its metadata. 23505 when another project has it.';

CREATE OR REPLACE FUNCTION public.check_activity_move()
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION check_activity_move() FROM PUBLIC;
COMMENT ON FUNCTION check_activity_move() IS 'Refuses a move that would leave something behind that somebody made.';

CREATE OR REPLACE FUNCTION public.claim_worktree(p_worktree_id uuid, p_agent_id text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    worktree public.worktrees;
BEGIN
    PERFORM public.require_name('claim_worktree', 'p_agent_id', p_agent_id);
    SELECT * INTO worktree FROM public.worktrees w WHERE w.id = p_worktree_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'claim_worktree: p_worktree_id % is no worktree', coalesce(p_worktree_id::text, 'NULL')
            USING ERRCODE = 'P0002';
    END IF;
    IF NOT worktree.active THEN
        RAISE EXCEPTION 'claim_worktree: worktree % (%) is inactive; register it again first',
            public.quote_for_message(worktree.name), worktree.id
            USING ERRCODE = '55000';
    END IF;
    IF worktree.agent_id <> p_agent_id THEN
        RAISE EXCEPTION 'claim_worktree: worktree % (%) is held by agent %; it must be released first',
            public.quote_for_message(worktree.name), worktree.id, public.quote_for_message(worktree.agent_id)
            USING ERRCODE = '55000';
    END IF;
    IF worktree.agent_id IS NULL THEN
        UPDATE public.worktrees w SET agent_id = p_agent_id WHERE w.id = p_worktree_id;
    END IF;
END;
$function$;
COMMENT ON FUNCTION claim_worktree(uuid,text) IS 'Gives a worktree to an agent; 55000 when another agent holds it. The same claim again changes nothing.';

CREATE OR REPLACE FUNCTION public.cleanup_command_ledger(p_retention_days integer DEFAULT 30)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    removed integer;
BEGIN
    PERFORM public.require_not_negative('cleanup_command_ledger', 'p_retention_days', p_retention_days);
    DELETE FROM public.command_ledger l WHERE l.applied_at < public.days_ago(p_retention_days);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END;
$function$;
COMMENT ON FUNCTION cleanup_command_ledger(integer) IS 'Removes rows older than so many days, and says how many. A command sent again after that is carried out again.';

CREATE OR REPLACE FUNCTION public.cleanup_old_activities(p_retention_days integer DEFAULT 90)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
COMMENT ON FUNCTION cleanup_old_activities(integer) IS 'Removes activities older than so many days, and says how many.';

CREATE OR REPLACE FUNCTION public.command_project(p_data jsonb)
 RETURNS uuid
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    project_id uuid := (p_data ->> 'project_id')::uuid;
BEGIN
    IF project_id IS NULL THEN
        SELECT p.id INTO project_id
        FROM public.projects p
        WHERE p.remote_origin = public.normalize_remote_origin(p_data ->> 'remote_origin');
        IF NOT FOUND THEN
            RAISE EXCEPTION 'remote_origin % is no project', public.quote_origin(p_data ->> 'remote_origin')
                USING ERRCODE = 'P0002';
        END IF;
    END IF;
    RETURN public.current_project_id(project_id);
END;
$function$;
COMMENT ON FUNCTION command_project(jsonb) IS 'The project that the data of a command names by project_id or remote_origin.';

CREATE OR REPLACE FUNCTION public.command_worktree(p_data jsonb)
 RETURNS uuid
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    worktree_id uuid := (p_data ->> 'worktree_id')::uuid;
BEGIN
    IF worktree_id IS NULL THEN
        worktree_id := public.worktree_at(p_data ->> 'path');
        IF worktree_id IS NULL THEN
            RAISE EXCEPTION 'path % is no active worktree%', public.quote_for_message(p_data ->> 'path'),
                coalesce(' on host ' || public.quote_for_message(p_data ->> 'host'), '')
                USING ERRCODE = 'P0002';
        END IF;
    END IF;
    RETURN worktree_id;
END;
$function$;
COMMENT ON FUNCTION command_worktree(jsonb) IS 'The worktree that the data of a command names by worktree_id, or by path while it is active, on the caller''s host.';

CREATE OR REPLACE FUNCTION public.copied_replica()
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION copied_replica() FROM PUBLIC;
COMMENT ON FUNCTION copied_replica() IS 'Counts once the initial copy is complete, and lets what is applied be counted from then on; false when there is nothing to do, or not yet.';

CREATE OR REPLACE FUNCTION public.copy_activities(p_part regclass, p_block bigint, p_blocks integer)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION copy_activities(regclass,bigint,integer) FROM PUBLIC;
COMMENT ON FUNCTION copy_activities(regclass,bigint,integer) IS 'Copies what the blocks of a part have and the copy has not, and says how many.';

CREATE OR REPLACE FUNCTION public.copy_written_activities()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION copy_written_activities() FROM PUBLIC;
COMMENT ON FUNCTION copy_written_activities() IS 'Does to the copy what is done to agent_activities, while that is being moved.';

CREATE OR REPLACE FUNCTION public.count_activities_deleted()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    INSERT INTO public.count_delta (activities)
    SELECT -count(*)
    FROM old_rows;
    IF random() < 0.00025 THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION count_activities_deleted() FROM PUBLIC;
COMMENT ON FUNCTION count_activities_deleted() IS NULL;

CREATE OR REPLACE FUNCTION public.count_activities_inserted()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    INSERT INTO public.count_delta (activities)
    SELECT count(*)
    FROM new_rows;
    IF random() < 0.00025 THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION count_activities_inserted() FROM PUBLIC;
COMMENT ON FUNCTION count_activities_inserted() IS NULL;

CREATE OR REPLACE FUNCTION public.count_project_updated()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    INSERT INTO public.count_delta (active_projects)
    VALUES (CASE WHEN NEW.active THEN 1 ELSE -1 END);
    IF random() < 0.00025 THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION count_project_updated() FROM PUBLIC;
COMMENT ON FUNCTION count_project_updated() IS NULL;

CREATE OR REPLACE FUNCTION public.count_projects_deleted()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    INSERT INTO public.count_delta (projects, active_projects)
    SELECT -count(*), -count(*) FILTER (WHERE o.active)
    FROM old_rows o;
    IF random() < 0.00025 THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION count_projects_deleted() FROM PUBLIC;
COMMENT ON FUNCTION count_projects_deleted() IS NULL;

CREATE OR REPLACE FUNCTION public.count_projects_inserted()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    INSERT INTO public.count_delta (projects, active_projects)
    SELECT count(*), count(*) FILTER (WHERE n.active)
    FROM new_rows n;
    IF random() < 0.00025 THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION count_projects_inserted() FROM PUBLIC;
COMMENT ON FUNCTION count_projects_inserted() IS NULL;

CREATE OR REPLACE FUNCTION public.count_replicated_activity()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    INSERT INTO public.count_delta (activities) VALUES (CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END);
    IF random() < 0.00025 THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION count_replicated_activity() FROM PUBLIC;
COMMENT ON FUNCTION count_replicated_activity() IS 'What count_activities_inserted() and count_activities_deleted() tell, a row each.';

CREATE OR REPLACE FUNCTION public.count_replicated_project()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION count_replicated_project() FROM PUBLIC;
COMMENT ON FUNCTION count_replicated_project() IS 'What count_projects_inserted() and count_projects_deleted() tell, a row each.';

CREATE OR REPLACE FUNCTION public.count_replicated_worktree()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION count_replicated_worktree() FROM PUBLIC;
COMMENT ON FUNCTION count_replicated_worktree() IS 'What count_worktrees_inserted() and count_worktrees_deleted() tell, a row each.';

CREATE OR REPLACE FUNCTION public.count_truncated()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    INSERT INTO public.count_delta (is_all_stale) VALUES (true);
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION count_truncated() FROM PUBLIC;
COMMENT ON FUNCTION count_truncated() IS NULL;

CREATE OR REPLACE FUNCTION public.count_worktree_updated()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF NEW.project_id = OLD.project_id THEN
        INSERT INTO public.count_delta (
            project_id, active_worktrees, uncommitted_worktrees, in_flight_worktrees, last_worktree_at, is_stale
        )
        VALUES (
            NEW.project_id,
            NEW.active::integer - OLD.active::integer,
            (NEW.active AND NEW.has_uncommitted_changes)::integer
                - (OLD.active AND OLD.has_uncommitted_changes)::integer,
            public.is_in_flight(
                NEW.active, NEW.merged_at, NEW.has_uncommitted_changes, NEW.ahead_of_trunk, NEW.behind_trunk
            )::integer - public.is_in_flight(
                OLD.active, OLD.merged_at, OLD.has_uncommitted_changes, OLD.ahead_of_trunk, OLD.behind_trunk
            )::integer,
            NEW.updated_at,
            NEW.updated_at < OLD.updated_at
        );
    ELSE
        INSERT INTO public.count_delta (
            project_id, active_worktrees, uncommitted_worktrees, in_flight_worktrees, last_worktree_at, is_stale
        )
        VALUES
            (
                OLD.project_id,
                - OLD.active::integer,
                - (OLD.active AND OLD.has_uncommitted_changes)::integer,
                - public.is_in_flight(
                    OLD.active, OLD.merged_at, OLD.has_uncommitted_changes, OLD.ahead_of_trunk, OLD.behind_trunk
                )::integer,
                NULL,
                true
            ),
            (
                NEW.project_id,
                NEW.active::integer,
                (NEW.active AND NEW.has_uncommitted_changes)::integer,
                public.is_in_flight(
                    NEW.active, NEW.merged_at, NEW.has_uncommitted_changes, NEW.ahead_of_trunk, NEW.behind_trunk
                )::integer,
                NEW.updated_at,
                false
            );
    END IF;
    IF random() < 0.00025 THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION count_worktree_updated() FROM PUBLIC;
COMMENT ON FUNCTION count_worktree_updated() IS NULL;

CREATE OR REPLACE FUNCTION public.count_worktrees_deleted()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    appended bigint;
BEGIN
    INSERT INTO public.count_delta (
        project_id, worktrees, active_worktrees, uncommitted_worktrees, in_flight_worktrees, is_stale
    )
    SELECT
        o.project_id,
        -count(*),
        -count(*) FILTER (WHERE o.active),
        -count(*) FILTER (WHERE o.active AND o.has_uncommitted_changes),
        -count(*) FILTER (
            WHERE public.is_in_flight(o.active, o.merged_at, o.has_uncommitted_changes, o.ahead_of_trunk, o.behind_trunk)
        ),
        true
    FROM old_rows o
    GROUP BY o.project_id;
    GET DIAGNOSTICS appended = ROW_COUNT;
    IF random() < 0.00025 * appended THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION count_worktrees_deleted() FROM PUBLIC;
COMMENT ON FUNCTION count_worktrees_deleted() IS NULL;

CREATE OR REPLACE FUNCTION public.count_worktrees_inserted()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    appended bigint;
BEGIN
    INSERT INTO public.count_delta (
        project_id, worktrees, active_worktrees, uncommitted_worktrees, in_flight_worktrees, last_worktree_at
    )
    SELECT
        n.project_id,
        count(*),
        count(*) FILTER (WHERE n.active),
        count(*) FILTER (WHERE n.active AND n.has_uncommitted_changes),
        count(*) FILTER (
            WHERE public.is_in_flight(n.active, n.merged_at, n.has_uncommitted_changes, n.ahead_of_trunk, n.behind_trunk)
        ),
        max(n.updated_at)
    FROM new_rows n
    GROUP BY n.project_id;
    GET DIAGNOSTICS appended = ROW_COUNT;
    IF random() < 0.00025 * appended THEN
        CALL public.fold_counts();
    END IF;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION count_worktrees_inserted() FROM PUBLIC;
COMMENT ON FUNCTION count_worktrees_inserted() IS NULL;

CREATE OR REPLACE FUNCTION public.counted_totals()
 RETURNS SETOF registry_counts
 LANGUAGE sql
 STABLE ROWS 1
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT true, p.projects, p.active_projects, w.worktrees, w.active_worktrees, w.in_flight_worktrees, a.activities
    FROM (
        SELECT count(*) AS projects, count(*) FILTER (WHERE active) AS active_projects FROM public.projects
    ) p
    CROSS JOIN (
        SELECT
            count(*) AS worktrees,
            count(*) FILTER (WHERE active) AS active_worktrees,
            count(*) FILTER (
                WHERE public.is_in_flight(active, merged_at, has_uncommitted_changes, ahead_of_trunk, behind_trunk)
            ) AS in_flight_worktrees
        FROM public.worktrees
    ) w
    CROSS JOIN (SELECT count(*) AS activities FROM public.agent_activities) a
$function$;
COMMENT ON FUNCTION counted_totals() IS 'What registry_counts should be: everything counted, row by row.';

CREATE OR REPLACE FUNCTION public.current_project_id(p_project_id uuid)
 RETURNS uuid
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT coalesce(
        (
            SELECT a.project_id
            FROM public.project_aliases a
            WHERE a.id = p_project_id AND NOT EXISTS (SELECT FROM public.projects p WHERE p.id = p_project_id)
        ),
        p_project_id
    )
$function$;
COMMENT ON FUNCTION current_project_id(uuid) IS 'The id under which the project goes on that was, or is, called so; the same one for what is no alias.';

CREATE OR REPLACE FUNCTION public.days_ago(p_days integer)
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN (now() - ((LEAST(p_days, 700000))::double precision * '24:00:00'::interval));
COMMENT ON FUNCTION days_ago(integer) IS 'The time so many days of 24 hours ago; at most 700,000, which is before everything.';

CREATE OR REPLACE FUNCTION public.deactivate_project(p_project_id uuid)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    p_project_id := public.current_project_id(p_project_id);
    UPDATE public.projects SET active = false WHERE id = p_project_id AND active;    -- a trigger takes the worktrees along
    IF NOT FOUND THEN    -- merged while this waited, or inactive, or none
        p_project_id := public.current_project_id(p_project_id);
        UPDATE public.projects SET active = false WHERE id = p_project_id AND active;
    END IF;
    IF NOT FOUND AND NOT EXISTS (SELECT FROM public.projects WHERE id = p_project_id) THEN
        RAISE EXCEPTION 'deactivate_project: p_project_id % is no project', coalesce(p_project_id::text, 'NULL')
            USING ERRCODE = 'P0002';
    END IF;
END;
$function$;
COMMENT ON FUNCTION deactivate_project(uuid) IS 'Soft delete of a project and its worktrees; does nothing when it is inactive already.';

CREATE OR REPLACE FUNCTION public.deactivate_worktrees()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    UPDATE public.worktrees SET active = false WHERE project_id = NEW.id AND active;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION deactivate_worktrees() FROM PUBLIC;
COMMENT ON FUNCTION deactivate_worktrees() IS NULL;

CREATE OR REPLACE FUNCTION public.default_host_id()
 RETURNS uuid
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN '00000000-0000-0000-0000-000000000000'::uuid;
COMMENT ON FUNCTION default_host_id() IS 'The host of whoever names none, and of all that is older than hosts.';

CREATE OR REPLACE FUNCTION public.deleted_worktree(p_worktree_id uuid)
 RETURNS SETOF deleted_worktrees
 LANGUAGE sql
 STABLE SECURITY DEFINER ROWS 1
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT * FROM public.deleted_worktrees d WHERE d.id = p_worktree_id
$function$;
COMMENT ON FUNCTION deleted_worktree(uuid) IS 'What a deleted worktree was called; no row while it exists.';

CREATE OR REPLACE FUNCTION public.derive_project_ids(p_by_default boolean)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF p_by_default IS NULL THEN
        RAISE EXCEPTION 'derive_project_ids: p_by_default is NULL; it must be true or false' USING ERRCODE = '22004';
    END IF;
    UPDATE public.registry_metadata m SET derived_ids = p_by_default WHERE m.derived_ids <> p_by_default;
END;
$function$;
REVOKE EXECUTE ON FUNCTION derive_project_ids(boolean) FROM PUBLIC;
COMMENT ON FUNCTION derive_project_ids(boolean) IS 'Sets whether new projects get derived ids in this registry. Those that are there keep theirs: adopt_project_id().';

CREATE OR REPLACE FUNCTION public.derived_project_id(p_remote_origin text)
 RETURNS uuid
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE STRICT
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    -- UUIDv5 of "urn:imi:project" in the namespace of URLs. It never changes: registry/origin.py has the same one.
    namespace CONSTANT uuid := '5128c89b-5812-5ac4-a011-e7a33083f9cd';
    origin CONSTANT text := public.normalize_remote_origin(p_remote_origin);
    hash bytea;
BEGIN
    IF origin IS NULL THEN
        RETURN NULL;
    END IF;
    hash := substr(public.sha1_of(uuid_send(namespace) || convert_to(origin, 'UTF8')), 1, 16);
    hash := set_byte(hash, 6, (get_byte(hash, 6) & 15) | 80);     -- version 5
    hash := set_byte(hash, 8, (get_byte(hash, 8) & 63) | 128);    -- variant of RFC 9562
    RETURN encode(hash, 'hex')::uuid;
END;
$function$;
COMMENT ON FUNCTION derived_project_id(text) IS 'The UUIDv5 of an origin, in any form, in the namespace 5128c89b-5812-5ac4-a011-e7a33083f9cd; NULL when it is no GitHub repository.';

CREATE OR REPLACE FUNCTION public.differing_counts()
 RETURNS TABLE(what text, kept bigint, counted bigint)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT f.what, f.kept, f.counted
    FROM public.kept_totals() k
    CROSS JOIN public.counted_totals() n
    CROSS JOIN LATERAL (
        VALUES
            ('projects', k.projects, n.projects),
            ('active projects', k.active_projects, n.active_projects),
            ('worktrees', k.worktrees, n.worktrees),
            ('active worktrees', k.active_worktrees, n.active_worktrees),
            ('worktrees in flight', k.in_flight_worktrees, n.in_flight_worktrees),
            ('activities', k.activities, n.activities)
    ) AS f (what, kept, counted)
    WHERE f.kept <> f.counted
        AND NOT EXISTS (SELECT FROM public.count_delta WHERE is_all_stale)
$function$;
COMMENT ON FUNCTION differing_counts() IS 'Which counts that are kept are wrong; none while everything is to be counted anew. It counts everything.';

CREATE OR REPLACE FUNCTION public.displace_deleted_projects()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    DELETE FROM public.project_hosts h USING old_rows o WHERE h.project_id = o.id;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION displace_deleted_projects() FROM PUBLIC;
COMMENT ON FUNCTION displace_deleted_projects() IS NULL;

CREATE OR REPLACE FUNCTION public.displace_project(p_project_id uuid, p_host_id uuid)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    p_project_id := public.current_project_id(p_project_id);
    DELETE FROM public.project_hosts h
    WHERE h.project_id = p_project_id AND h.host_id = p_host_id AND h.trunk_path IS NOT NULL;
    IF NOT FOUND AND public.project_trunk(p_project_id, p_host_id) IS NOT NULL THEN
        RAISE EXCEPTION 'displace_project: p_host_id % is the home of the project, where it stays', p_host_id
            USING ERRCODE = '55000';
    END IF;
END;
$function$;
COMMENT ON FUNCTION displace_project(uuid,uuid) IS 'Forgets that a project is on a host; 55000 for its home. Its worktrees there are no matter of this.';

CREATE OR REPLACE FUNCTION public.displace_truncated_projects()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    DELETE FROM public.project_hosts;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION displace_truncated_projects() FROM PUBLIC;
COMMENT ON FUNCTION displace_truncated_projects() IS NULL;

CREATE OR REPLACE FUNCTION public.drop_activity_month(p_name text)
 RETURNS bigint
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT public.drop_activity_months(ARRAY[p_name])
$function$;
REVOKE EXECUTE ON FUNCTION drop_activity_month(text) FROM PUBLIC;
COMMENT ON FUNCTION drop_activity_month(text) IS 'Drops a month with all its activities, and says how many. 55P03 where a lock is not to be had in half a second.';

CREATE OR REPLACE FUNCTION public.drop_activity_months(p_names text[])
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '500ms'
AS $function$
DECLARE
    month text;
    part text;
    gone bigint;
    removed bigint := 0;
BEGIN
    FOREACH month IN ARRAY p_names LOOP
        IF NOT EXISTS (SELECT FROM public.activity_months() m WHERE m.name = month AND m.ends_at IS NOT NULL) THEN
            RAISE EXCEPTION 'drop_activity_month: p_name % is no month of agent_activities', public.quote_for_message(month)
                USING ERRCODE = 'P0002';
        END IF;
    END LOOP;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'drop_activity_month: it takes a transaction that is READ COMMITTED, this one is %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = '25001';
    END IF;
    IF to_regclass('public.agent_activities_next') IS NOT NULL THEN
        RAISE EXCEPTION 'drop_activity_month: activities are being moved' USING ERRCODE = '55000';
    END IF;
    PERFORM FROM public.registry_counts FOR UPDATE;    -- of who folds or counts anew
    FOREACH month IN ARRAY p_names LOOP
        EXECUTE format('LOCK TABLE public.%I IN SHARE MODE', month);
        EXECUTE format('SELECT count(*) FROM public.%I', month) INTO gone;
        INSERT INTO public.count_delta (activities) VALUES (-gone);
        removed := removed + gone;
    END LOOP;
    -- From here on everybody waits. Who has the first lock keeps all others out of the rest, but for a vacuum: it is not waited for.
    LOCK TABLE ONLY public.agent_activities IN ACCESS EXCLUSIVE MODE;
    FOR part IN SELECT m.name FROM public.activity_months() m WHERE m.name = ANY (p_names) OR m.ends_at IS NULL LOOP
        EXECUTE format('LOCK TABLE public.%I IN ACCESS EXCLUSIVE MODE NOWAIT', part);
    END LOOP;
    FOREACH month IN ARRAY p_names LOOP
        EXECUTE format('DROP TABLE public.%I', month);
    END LOOP;
    RETURN removed;
END;
$function$;
REVOKE EXECUTE ON FUNCTION drop_activity_months(text[]) FROM PUBLIC;
COMMENT ON FUNCTION drop_activity_months(text[]) IS 'Drops months with all their activities, all of them or none, and says how many activities; for remove_old_activities(). 55P03 where a lock is not to be had in half a second.';

CREATE OR REPLACE FUNCTION public.enter_command_host(p_type text, p_host text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    host uuid;
BEGIN
    IF p_host IS NULL THEN
        IF public.caller_host_id() IS NOT NULL THEN
            PERFORM set_config('imi.host_id', '', true);
        END IF;
        RETURN;
    END IF;
    IF p_type IN ('project.register', 'worktree.register') THEN
        host := public.register_host(p_host, NULL);
    ELSE
        host := public.host_named(p_host);
    END IF;
    IF host IS NULL THEN
        RAISE EXCEPTION 'host % is no host', public.quote_for_message(p_host) USING ERRCODE = 'P0002';
    END IF;
    PERFORM set_config('imi.host_id', host::text, true);
END;
$function$;
COMMENT ON FUNCTION enter_command_host(text,text) IS 'Carries a command out as on the host that it names, whatever host this session is on; none is the default host.';

CREATE OR REPLACE FUNCTION public.finish_activity_move()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '500ms'
 SET "TimeZone" TO 'UTC'
 SET standard_conforming_strings TO 'on'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION finish_activity_move() FROM PUBLIC;
COMMENT ON FUNCTION finish_activity_move() IS 'Puts the copy into the place of agent_activities, which is dropped. 55P03 where a lock is not to be had in half a second.';

CREATE OR REPLACE PROCEDURE public.fold_counts()
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $procedure$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN;
    END IF;
    PERFORM FROM public.registry_counts FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM public.count_delta WHERE is_all_stale) THEN
        CALL public.recount_registry();
        RETURN;
    END IF;
    WITH told AS (
        DELETE FROM public.count_delta
        WHERE is_all_stale IS NULL
        RETURNING *
    ),
    by_project AS (
        SELECT
            t.project_id,
            coalesce(sum(t.active_worktrees), 0) AS active_worktrees,
            coalesce(sum(t.uncommitted_worktrees), 0) AS uncommitted_worktrees,
            coalesce(sum(t.in_flight_worktrees), 0) AS in_flight_worktrees,
            max(t.last_worktree_at) AS last_worktree_at,
            bool_or(t.is_stale) AS is_stale
        FROM told t
        WHERE t.project_id IS NOT NULL
        GROUP BY t.project_id
    ),
    changed AS (
        SELECT
            t.project_id,
            coalesce(c.active_worktrees, 0) + t.active_worktrees AS active_worktrees,
            coalesce(c.uncommitted_worktrees, 0) + t.uncommitted_worktrees AS uncommitted_worktrees,
            coalesce(c.in_flight_worktrees, 0) + t.in_flight_worktrees AS in_flight_worktrees,
            CASE
                WHEN t.is_stale THEN (
                    SELECT max(w.updated_at) FROM public.worktrees w WHERE w.project_id = t.project_id
                )
                ELSE greatest(c.last_worktree_at, t.last_worktree_at)
            END AS last_worktree_at
        FROM by_project t
        LEFT JOIN public.project_counts c ON c.project_id = t.project_id
    ),
    gone AS (
        DELETE FROM public.project_counts c
        USING changed n
        WHERE c.project_id = n.project_id AND n.last_worktree_at IS NULL
    ),
    kept AS (
        INSERT INTO public.project_counts AS c (
            project_id, active_worktrees, uncommitted_worktrees, in_flight_worktrees, last_worktree_at
        )
        SELECT n.project_id, n.active_worktrees, n.uncommitted_worktrees, n.in_flight_worktrees, n.last_worktree_at
        FROM changed n
        WHERE n.last_worktree_at IS NOT NULL
        ON CONFLICT (project_id) DO UPDATE
        SET active_worktrees = excluded.active_worktrees,
            uncommitted_worktrees = excluded.uncommitted_worktrees,
            in_flight_worktrees = excluded.in_flight_worktrees,
            last_worktree_at = excluded.last_worktree_at
    )
    UPDATE public.registry_counts c
    SET projects = c.projects + n.projects,
        active_projects = c.active_projects + n.active_projects,
        worktrees = c.worktrees + n.worktrees,
        active_worktrees = c.active_worktrees + n.active_worktrees,
        in_flight_worktrees = c.in_flight_worktrees + n.in_flight_worktrees,
        activities = c.activities + n.activities
    FROM (
        SELECT
            coalesce(sum(t.projects), 0) AS projects,
            coalesce(sum(t.active_projects), 0) AS active_projects,
            coalesce(sum(t.worktrees), 0) AS worktrees,
            coalesce(sum(t.active_worktrees), 0) AS active_worktrees,
            coalesce(sum(t.in_flight_worktrees), 0) AS in_flight_worktrees,
            coalesce(sum(t.activities), 0) AS activities
        FROM told t
    ) n;
END;
$procedure$;
REVOKE EXECUTE ON PROCEDURE fold_counts() FROM PUBLIC;
COMMENT ON PROCEDURE fold_counts() IS 'Adds what lies in count_delta to the counts, unless somebody else is about to; writers call it, one in four thousand.';

CREATE OR REPLACE FUNCTION public.forget_deleted_worktrees(p_horizon timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
COMMENT ON FUNCTION forget_deleted_worktrees(timestamp with time zone) IS 'Removes the names of worktrees that were deleted before this time and have no activities since; 42501 for who may not remove activities.';

CREATE OR REPLACE FUNCTION public.forget_published(p_keep interval, p_most integer, OUT events bigint, OUT batches bigint)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    first_recorded bigint;
    withheld_events bigint;
BEGIN
    WITH oldest AS (
        SELECT
            batch.stream,
            batch.last_sequence,
            batch.ids,
            sum(size.events) OVER (PARTITION BY batch.stream ORDER BY batch.last_sequence) - size.events AS events_before,
            bool_and(is_done.removable) OVER (PARTITION BY batch.stream ORDER BY batch.last_sequence) AS removable
        FROM public.publisher_cursor AS cursor
        CROSS JOIN LATERAL (
            SELECT *
            FROM public.published_batch
            WHERE published_batch.stream = cursor.stream
            ORDER BY last_sequence
            LIMIT p_most
        ) batch
        CROSS JOIN LATERAL (
            SELECT sum(upper(part) - lower(part)) AS events FROM unnest(batch.ids) AS part
        ) size
        CROSS JOIN LATERAL (
            SELECT
                batch.published_at < now() - p_keep
                AND NOT EXISTS (
                    SELECT
                    FROM public.publisher_cursor AS other
                    WHERE NOT other.published @> (SELECT range_agg(part) FROM unnest(batch.ids) AS part)
                ) AS removable
        ) is_done
    ), chosen AS (
        SELECT oldest.stream, oldest.last_sequence, oldest.ids
        FROM oldest
        WHERE oldest.removable AND oldest.events_before < p_most
    ), forgotten AS (
        DELETE FROM public.published_batch AS batch
        USING chosen
        WHERE batch.stream = chosen.stream AND batch.last_sequence = chosen.last_sequence
    ), marked AS (
        UPDATE public.publisher_cursor AS cursor
        SET forgotten_sequence = greatest(cursor.forgotten_sequence, latest.last_sequence)
        FROM (SELECT stream, max(last_sequence) AS last_sequence FROM chosen GROUP BY stream) AS latest
        WHERE cursor.stream = latest.stream
    ), removed AS (
        DELETE FROM public.outbox
        WHERE outbox.id IN (
            SELECT generate_series(lower(part), upper(part) - 1)
            FROM chosen
            CROSS JOIN LATERAL unnest(chosen.ids) AS part
        )
        RETURNING outbox.id
    )
    SELECT (SELECT count(*) FROM removed), (SELECT count(*) FROM chosen)
    INTO events, batches;

    -- What no stream got is in no batch. It is as old as what was published before and behind it, so it goes when its
    -- time is over and every batch that is left tells of later events alone.
    IF EXISTS (SELECT FROM public.publisher_cursor WHERE withheld > 0) THEN
        SELECT min(lower(part)) INTO first_recorded
        FROM public.published_batch AS batch
        CROSS JOIN LATERAL unnest(batch.ids) AS part;

        WITH passed AS (
            SELECT event.id
            FROM public.outbox AS event
            WHERE (first_recorded IS NULL OR event.id < first_recorded)
                AND event.occurred_at < now() - p_keep
                AND NOT EXISTS (
                    SELECT FROM public.publisher_cursor AS other WHERE NOT other.published @> event.id
                )
            ORDER BY event.id
            LIMIT p_most
        ), removed AS (
            DELETE FROM public.outbox
            USING passed
            WHERE outbox.id = passed.id
            RETURNING outbox.id
        )
        SELECT count(*) INTO withheld_events FROM removed;
        events := events + withheld_events;
    END IF;
END;
$function$;
REVOKE EXECUTE ON FUNCTION forget_published(interval,integer) FROM PUBLIC;
COMMENT ON FUNCTION forget_published(interval,integer) IS 'Removes the oldest events that were published longer ago than this, or that no stream got and are older, about so many at once of each, and says how many, and of how many batches.';

CREATE OR REPLACE FUNCTION public.get_agent_recent_work(p_agent_id text, p_limit integer DEFAULT 50)
 RETURNS TABLE(activity_id uuid, activity_type text, description text, file_path text, created_at timestamp with time zone, worktree_name text, project_name text, worktree_type text)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_sort TO 'off'
 SET jit TO 'off'
AS $function$
BEGIN
    PERFORM public.require_not_negative('get_agent_recent_work', 'p_limit', coalesce(p_limit, 50));
    RETURN QUERY
    SELECT
        latest.id, latest.activity_type, latest.description, latest.file_path, latest.created_at,
        coalesce(w.name, d.name), coalesce(p.name, d.project_name), coalesce(t.name, d.type_name)
    FROM (    -- names are joined to these alone, not to all that the agent ever did
        SELECT a.*
        FROM public.agent_activities a
        WHERE a.agent_id = p_agent_id
        ORDER BY a.created_at DESC, a.id
        LIMIT coalesce(p_limit, 50)
    ) latest
    LEFT JOIN public.worktrees w ON w.id = latest.worktree_id
    LEFT JOIN public.projects p ON p.id = w.project_id
    LEFT JOIN public.worktree_types t ON t.id = w.type_id
    LEFT JOIN LATERAL (    -- OFFSET 0: the condition is looked at before the function is called, not after
        SELECT gone.* FROM public.deleted_worktree(latest.worktree_id) gone WHERE w.id IS NULL OFFSET 0
    ) d ON true
    ORDER BY latest.created_at DESC, latest.id;
END;
$function$;
COMMENT ON FUNCTION get_agent_recent_work(text,integer) IS 'An agent''s latest activities, newest first, also those in worktrees that were deleted.';

CREATE OR REPLACE FUNCTION public.get_inflight_work(p_project_id uuid DEFAULT NULL::uuid)
 RETURNS TABLE(worktree_id uuid, worktree_name text, branch_name text, status text, uncommitted_count integer, ahead integer, behind integer, agent_id text, last_activity timestamp with time zone)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    projects uuid[];
BEGIN
    IF p_project_id IS NOT NULL THEN
        p_project_id := public.current_project_id(p_project_id);
        IF NOT EXISTS (SELECT FROM public.projects p WHERE p.id = p_project_id) THEN
            RAISE EXCEPTION 'get_inflight_work: p_project_id % is no project', p_project_id USING ERRCODE = 'P0002';
        END IF;
        projects := ARRAY[p_project_id];
    ELSIF public.may_use_counts() THEN
        projects := ARRAY(
            SELECT c.project_id FROM public.project_counts c WHERE c.in_flight_worktrees > 0
            UNION
            SELECT d.project_id FROM public.count_delta d WHERE d.in_flight_worktrees > 0
        );
    END IF;
    RETURN QUERY
    SELECT
        w.id, w.name, w.branch_name,
        public.worktree_status(w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk),
        w.uncommitted_files_count, w.ahead_of_trunk, w.behind_trunk, w.agent_id, w.updated_at
    FROM public.worktrees w
    WHERE public.is_in_flight(w.active, w.merged_at, w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk)
        AND (projects IS NULL OR w.project_id = ANY (projects))
    ORDER BY w.updated_at DESC, w.id;
END;
$function$;
COMMENT ON FUNCTION get_inflight_work(uuid) IS 'Worktrees with uncommitted or unmerged work, latest first; of all projects when no id is given.';

CREATE OR REPLACE FUNCTION public.get_project_by_origin(p_remote_origin text)
 RETURNS TABLE(id uuid, name text, remote_origin text, default_branch text, trunk_path text, active boolean, created_at timestamp with time zone, updated_at timestamp with time zone)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT p.id, p.name, p.remote_origin, p.default_branch, public.trunk_for_caller(p.id, p.trunk_path), p.active, p.created_at, p.updated_at
    FROM public.projects p
    WHERE p.remote_origin = public.normalize_remote_origin(p_remote_origin) AND p.active
$function$;
COMMENT ON FUNCTION get_project_by_origin(text) IS 'The active project of this origin, given in any form and case; no row when there is none.';

CREATE OR REPLACE FUNCTION public.get_project_working_path(p_project_id uuid, p_worktree_name text DEFAULT NULL::text)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    project public.projects;
    caller CONSTANT uuid := public.caller_host_id();
    trunk_directory text;
    parent text;
BEGIN
    p_project_id := public.current_project_id(p_project_id);
    SELECT * INTO project FROM public.projects p WHERE p.id = p_project_id AND p.active;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'get_project_working_path: p_project_id % is no active project', coalesce(p_project_id::text, 'NULL')
            USING ERRCODE = 'P0002';
    END IF;
    project.trunk_path := CASE
        WHEN caller IS NULL THEN public.trunk_for_caller(project.id, project.trunk_path)
        ELSE public.project_trunk(project.id, caller)
    END;
    IF project.trunk_path IS NULL THEN
        RAISE EXCEPTION 'get_project_working_path: p_project_id % is project %, which is not on the host of imi.host_id, %; register it from there',
            project.id, public.quote_for_message(project.name), caller
            USING ERRCODE = 'P0002';
    END IF;
    IF p_worktree_name IS NULL THEN
        RETURN project.trunk_path;
    END IF;
    IF p_worktree_name !~ ('[^[:space:]]' COLLATE "C") OR p_worktree_name ~ ('((^|/)[.]{0,2}(/|$)|[[:cntrl:]])' COLLATE "C") THEN
        RAISE EXCEPTION 'get_project_working_path: p_worktree_name % is no worktree name; it must not be blank, and have no empty, "." or ".." part',
            public.quote_for_message(p_worktree_name)
            USING ERRCODE = '22023';
    END IF;

    -- The trunk's directory has two parts when the branch has a slash: .../trunk-release/1.0
    trunk_directory := 'trunk-' || project.default_branch;
    IF right('/' || project.trunk_path, length(trunk_directory) + 1) = '/' || trunk_directory THEN
        parent := left(project.trunk_path, -length(trunk_directory));
    ELSE
        parent := regexp_replace(project.trunk_path, '[^/]+$', '');
    END IF;
    RETURN parent || replace(public.worktree_called_here(p_worktree_name), '/', '-');
END;
$function$;
COMMENT ON FUNCTION get_project_working_path(uuid,text) IS 'The trunk path on the caller''s host, or the sibling directory of it for a worktree; a slash in the name becomes a dash, as in directory names of branches. P0002 when the project is not on that host.';

CREATE OR REPLACE FUNCTION public.get_registry_stats()
 RETURNS TABLE(total_projects bigint, active_projects bigint, total_worktrees bigint, active_worktrees bigint, in_flight_worktrees bigint, total_activities bigint, activities_last_24h bigint)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    found public.registry_counts;
BEGIN
    IF public.may_use_counts() THEN
        SELECT * INTO found FROM public.kept_totals();
    ELSE
        SELECT * INTO found FROM public.counted_totals();
    END IF;
    RETURN QUERY
    SELECT
        found.projects, found.active_projects, found.worktrees, found.active_worktrees, found.in_flight_worktrees,
        found.activities, count(*)
    FROM public.agent_activities a
    WHERE a.created_at > now() - interval '24 hours';
END;
$function$;
COMMENT ON FUNCTION get_registry_stats() IS 'One row of counts; in flight means the rows of v_inflight_work.';

CREATE OR REPLACE FUNCTION public.get_worktree_by_path(p_path text)
 RETURNS TABLE(id uuid, project_id uuid, project_name text, worktree_name text, branch_name text, type_name text, agent_id text, active boolean)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT w.id, w.project_id, p.name, w.name, w.branch_name, t.name, w.agent_id, w.active
    FROM public.worktrees w
    JOIN public.projects p ON p.id = w.project_id
    JOIN public.worktree_types t ON t.id = w.type_id
    WHERE w.id = public.worktree_at(p_path)
$function$;
COMMENT ON FUNCTION get_worktree_by_path(text) IS 'The active worktree at exactly this path on the caller''s host; no row when there is none.';

CREATE OR REPLACE FUNCTION public.grant_role_rights()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    is_closed boolean := NOT has_database_privilege('public', current_database(), 'CONNECT');
    removing CONSTANT text := 'remove_old_activities(timestamptz)';
    is_withheld boolean;
    role record;
    wanted record;
BEGIN
    FOR role IN
        SELECT
            r.oid,
            r.rolname AS name,
            r.rolcanlogin OR EXISTS (
                -- From PostgreSQL 16 on, who makes a role may administer it, and is no member for that.
                SELECT
                FROM pg_auth_members m
                WHERE m.roleid = r.oid
                    AND coalesce(
                        (to_jsonb(m) ->> 'inherit_option')::boolean OR (to_jsonb(m) ->> 'set_option')::boolean, true
                    )
            ) AS has_members,
            EXISTS (
                SELECT
                FROM pg_shdepend d
                JOIN pg_database b ON b.oid = d.dbid
                WHERE d.refclassid = 'pg_authid'::regclass
                    AND d.refobjid = r.oid
                    AND d.deptype = 'a'
                    AND b.datname = current_database()
            ) AS has_rights
        FROM pg_roles r
        WHERE r.rolname IN (SELECT role_name FROM public.role_rights())
        ORDER BY r.rolname
    LOOP
        IF role.has_members AND NOT role.has_rights AND NOT is_closed THEN
            RAISE NOTICE 'role % has members and gets no rights in database %, to which anybody may connect; run: imi-registry roles',
                role.name, current_database();
            CONTINUE;
        END IF;
        is_withheld := has_table_privilege(role.oid, 'public.agent_activities', 'INSERT')
            AND NOT has_function_privilege(role.oid, 'public.' || removing, 'EXECUTE');
        IF NOT has_schema_privilege(role.oid, 'public', 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', role.name);
        END IF;
        FOR wanted IN
            SELECT DISTINCT r.kind, r.object_name
            FROM public.role_rights() r
            WHERE r.object_name <> 'schema_migrations' OR to_regclass('public.schema_migrations') IS NOT NULL
        LOOP
            EXECUTE format('REVOKE ALL ON %s public.%s FROM %I', wanted.kind, wanted.object_name, role.name);
        END LOOP;
        FOR wanted IN
            SELECT r.kind, r.object_name, r.rights
            FROM public.role_rights() r
            WHERE r.role_name = role.name
                AND (r.object_name <> removing OR NOT is_withheld)
                AND (r.object_name <> 'schema_migrations' OR to_regclass('public.schema_migrations') IS NOT NULL)
        LOOP
            EXECUTE format('GRANT %s ON %s public.%s TO %I', wanted.rights, wanted.kind, wanted.object_name, role.name);
        END LOOP;
    END LOOP;
END;
$function$;
REVOKE EXECUTE ON FUNCTION grant_role_rights() FROM PUBLIC;
COMMENT ON FUNCTION grant_role_rights() IS 'Gives the roles that are there their rights in this database, and takes what they have beyond them; what was taken of removing activities stays so. A role with members gets none where anybody may connect, unless it has some already.';

CREATE OR REPLACE FUNCTION public.guard_activity_log()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('imi.activity_retention', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'cannot % agent_activities: the log is append-only; cleanup_old_activities() removes old rows',
        lower(TG_OP)
        USING ERRCODE = '55000', TABLE = TG_TABLE_NAME;
END;
$function$;
COMMENT ON FUNCTION guard_activity_log() IS NULL;

CREATE OR REPLACE FUNCTION public.guard_activity_worktree()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    PERFORM FROM public.worktrees WHERE id = NEW.worktree_id FOR KEY SHARE;
    IF NOT FOUND AND NEW.worktree_id IS NOT NULL THEN
        RAISE EXCEPTION 'activity of agent %: worktree_id % is no worktree', public.quote_for_message(NEW.agent_id), NEW.worktree_id
            USING ERRCODE = '23503', TABLE = 'agent_activities', COLUMN = 'worktree_id',
                CONSTRAINT = 'agent_activities_worktree_id_fkey';
    END IF;
    RETURN NEW;
END;
$function$;
REVOKE EXECUTE ON FUNCTION guard_activity_worktree() FROM PUBLIC;
COMMENT ON FUNCTION guard_activity_worktree() IS NULL;

CREATE OR REPLACE FUNCTION public.guard_builtin_worktree_type()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RAISE EXCEPTION 'cannot % worktree type %: it is built in%', lower(TG_OP), public.quote_for_message(OLD.name),
        CASE TG_OP WHEN 'UPDATE' THEN '; only description, color, icon and metadata may change' ELSE '' END
        USING ERRCODE = '55000', TABLE = TG_TABLE_NAME;
END;
$function$;
COMMENT ON FUNCTION guard_builtin_worktree_type() IS NULL;

CREATE OR REPLACE FUNCTION public.guard_host()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.id = public.default_host_id() THEN
            RAISE EXCEPTION 'cannot remove host %: it is the default host', public.quote_for_message(OLD.name)
                USING ERRCODE = '55000', TABLE = TG_TABLE_NAME;
        END IF;
        IF EXISTS (SELECT FROM public.worktrees w WHERE w.host_id = OLD.id)
            OR EXISTS (SELECT FROM public.project_hosts p WHERE p.host_id = OLD.id) THEN
            RAISE EXCEPTION 'cannot remove host %: % worktrees and % projects are on it', public.quote_for_message(OLD.name),
                (SELECT count(*) FROM public.worktrees w WHERE w.host_id = OLD.id),
                (SELECT count(*) FROM public.project_hosts p WHERE p.host_id = OLD.id)
                USING ERRCODE = '23503', TABLE = TG_TABLE_NAME, CONSTRAINT = 'worktrees_host_id_fkey';
        END IF;
        RETURN OLD;
    END IF;
    NEW.name := lower(NEW.name COLLATE "C");
    IF TG_OP = 'UPDATE' AND NEW.name <> OLD.name THEN
        NEW.former_names := array_append(array_remove(array_remove(NEW.former_names, NEW.name), OLD.name), OLD.name);
    END IF;
    RETURN NEW;
END;
$function$;
REVOKE EXECUTE ON FUNCTION guard_host() FROM PUBLIC;
COMMENT ON FUNCTION guard_host() IS NULL;

CREATE OR REPLACE FUNCTION public.guard_metadata()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    named CONSTANT text := CASE WHEN starts_with(TG_TABLE_NAME, 'agent_activities_') THEN 'agent_activities' ELSE TG_TABLE_NAME END;
BEGIN
    PERFORM public.require_object(named, 'metadata', NEW.metadata, named || '_metadata_check');
    RETURN NEW;
END;
$function$;
COMMENT ON FUNCTION guard_metadata() IS NULL;

CREATE OR REPLACE FUNCTION public.guard_primary_key()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RAISE EXCEPTION 'cannot change %.id from % to %: a primary key is immutable', TG_TABLE_NAME, OLD.id, NEW.id
        USING ERRCODE = '55000', TABLE = TG_TABLE_NAME, COLUMN = 'id';
END;
$function$;
COMMENT ON FUNCTION guard_primary_key() IS NULL;

CREATE OR REPLACE FUNCTION public.guard_project()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    origin text := public.normalize_remote_origin(NEW.remote_origin);
BEGIN
    IF origin IS NULL AND NEW.remote_origin IS NOT NULL THEN
        RAISE EXCEPTION 'remote_origin % is not owner/repo on GitHub; expected git@github.com:owner/repo.git',
            public.quote_origin(NEW.remote_origin)
            USING ERRCODE = '22023', TABLE = TG_TABLE_NAME, COLUMN = 'remote_origin';
    END IF;
    NEW.remote_origin := origin;
    NEW.trunk_path := public.normalize_path(NEW.trunk_path);
    RETURN NEW;
END;
$function$;
COMMENT ON FUNCTION guard_project() IS NULL;

CREATE OR REPLACE FUNCTION public.guard_project_host()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.project_id, NEW.host_id) IS DISTINCT FROM (OLD.project_id, OLD.host_id) THEN
        RAISE EXCEPTION 'cannot change the primary key of project_hosts: remove the row and add another'
            USING ERRCODE = '55000', TABLE = TG_TABLE_NAME;
    END IF;
    IF TG_OP = 'UPDATE' AND (NEW.trunk_path IS NULL) <> (OLD.trunk_path IS NULL) THEN
        RAISE EXCEPTION 'cannot change the home of project %: it is the host that registered it', OLD.project_id
            USING ERRCODE = '55000', TABLE = TG_TABLE_NAME, COLUMN = 'trunk_path';
    END IF;
    IF TG_OP = 'INSERT' THEN
        PERFORM FROM public.projects WHERE id = NEW.project_id FOR KEY SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'project_hosts: project_id % is no project', NEW.project_id
                USING ERRCODE = '23503', TABLE = TG_TABLE_NAME, COLUMN = 'project_id', CONSTRAINT = 'project_hosts_project_id_fkey';
        END IF;
    END IF;
    NEW.trunk_path := public.normalize_path(NEW.trunk_path);
    RETURN NEW;
END;
$function$;
REVOKE EXECUTE ON FUNCTION guard_project_host() FROM PUBLIC;
COMMENT ON FUNCTION guard_project_host() IS NULL;

CREATE OR REPLACE FUNCTION public.guard_project_id()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF NOT EXISTS (SELECT FROM public.project_aliases a WHERE a.id = OLD.id AND a.project_id = NEW.id) THEN
        RAISE EXCEPTION 'cannot change %.id from % to %: a primary key is immutable', TG_TABLE_NAME, OLD.id, NEW.id
            USING ERRCODE = '55000', TABLE = TG_TABLE_NAME, COLUMN = 'id';
    END IF;
    RETURN NEW;
END;
$function$;
REVOKE EXECUTE ON FUNCTION guard_project_id() FROM PUBLIC;
COMMENT ON FUNCTION guard_project_id() IS NULL;

CREATE OR REPLACE FUNCTION public.guard_worktree()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    project public.projects;
BEGIN
    NEW.path := public.normalize_path(NEW.path);
    NEW.ahead_of_trunk := coalesce(NEW.ahead_of_trunk, 0);
    NEW.behind_trunk := coalesce(NEW.behind_trunk, 0);

    IF NEW.active AND NEW.merged_at IS NOT NULL THEN
        IF TG_OP = 'UPDATE' AND NOT OLD.active AND NEW.merged_at = OLD.merged_at THEN
            NEW.merged_at := NULL;    -- taken up again
            NEW.merged_by := NULL;
            NEW.merge_commit_hash := NULL;
        ELSE
            NEW.active := false;
        END IF;
    END IF;

    IF NEW.host_id <> public.default_host_id() AND (TG_OP = 'INSERT' OR NEW.host_id <> OLD.host_id) THEN
        PERFORM FROM public.hosts WHERE id = NEW.host_id FOR KEY SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'worktree %: host_id % is no host', public.quote_for_message(NEW.name), NEW.host_id
                USING ERRCODE = '23503', TABLE = TG_TABLE_NAME, COLUMN = 'host_id', CONSTRAINT = 'worktrees_host_id_fkey';
        END IF;
    END IF;

    IF TG_OP = 'UPDATE' THEN
        IF NOT NEW.active OR (OLD.active AND NEW.project_id = OLD.project_id) THEN
            RETURN NEW;
        END IF;
    END IF;
    SELECT * INTO project FROM public.projects WHERE id = NEW.project_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN    -- perhaps it goes on under another id
        NEW.project_id := public.current_project_id(NEW.project_id);
        SELECT * INTO project FROM public.projects WHERE id = NEW.project_id FOR NO KEY UPDATE;
    END IF;
    IF TG_OP = 'INSERT' AND current_setting('imi.host_id', true) <> '' THEN
        NEW.name := public.worktree_name_on(NEW.project_id, NEW.name, NEW.host_id);
    END IF;
    IF NEW.active AND NOT project.active THEN
        RAISE EXCEPTION 'worktree % cannot be active: project % (%) is inactive; register the project again first',
            public.quote_for_message(NEW.name), public.quote_for_message(project.name), project.id
            USING ERRCODE = '55000', TABLE = TG_TABLE_NAME, COLUMN = 'active';
    END IF;
    RETURN NEW;
END;
$function$;
REVOKE EXECUTE ON FUNCTION guard_worktree() FROM PUBLIC;
COMMENT ON FUNCTION guard_worktree() IS NULL;

CREATE OR REPLACE FUNCTION public.host_named(p_name text)
 RETURNS uuid
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT h.id
    FROM public.hosts h
    WHERE h.name = lower(p_name COLLATE "C") OR lower(p_name COLLATE "C") = ANY (h.former_names)
    ORDER BY h.name = lower(p_name COLLATE "C") DESC, h.updated_at DESC, h.id
    LIMIT 1
$function$;
COMMENT ON FUNCTION host_named(text) IS 'Id of the host that has this name, or had it before; NULL when there is none.';

CREATE OR REPLACE FUNCTION public.id_for_new_project(p_remote_origin text)
 RETURNS uuid
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    asked text := coalesce(current_setting('imi.project_id', true), '');
    wanted uuid;
BEGIN
    IF asked = '' THEN
        asked := (SELECT CASE WHEN m.derived_ids THEN 'derived' ELSE 'random' END FROM public.registry_metadata m);
    END IF;
    IF asked = 'random' OR asked IS NULL THEN
        RETURN NULL;
    END IF;
    BEGIN
        wanted := CASE asked WHEN 'derived' THEN public.derived_project_id(p_remote_origin) ELSE asked::uuid END;
    EXCEPTION
        WHEN invalid_text_representation THEN
            RAISE EXCEPTION 'setting imi.project_id is %; it must be derived, random or an id', public.quote_for_message(asked)
                USING ERRCODE = '22023';
    END;
    -- What means a project already goes on to mean it.
    IF EXISTS (SELECT FROM public.projects p WHERE p.id = public.current_project_id(wanted)) THEN
        RETURN NULL;
    END IF;
    RETURN wanted;
END;
$function$;
COMMENT ON FUNCTION id_for_new_project(text) IS 'The id that register_project() gives a new project of this origin: what the setting imi.project_id says (derived, random, or an id), or derive_project_ids() has set; NULL is a random one, also where the id is taken.';

CREATE OR REPLACE FUNCTION public.is_in_flight(p_active boolean, p_merged_at timestamp with time zone, p_has_uncommitted boolean, p_ahead integer, p_behind integer)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN (p_active AND (p_merged_at IS NULL) AND (p_has_uncommitted OR (p_ahead > 0) OR (p_behind > 0)));
COMMENT ON FUNCTION is_in_flight(boolean,timestamp with time zone,boolean,integer,integer) IS 'Whether a worktree has uncommitted or unmerged work.';

CREATE OR REPLACE FUNCTION public.is_remote_origin(p_remote_origin text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN ((p_remote_origin ~ ('^git@github[.]com:[a-z0-9][a-z0-9_-]*/[a-z0-9._-]+[.]git$'::text COLLATE "C")) AND (p_remote_origin !~ ('([.][.]|/[.]git$|[.]git[.]git$)'::text COLLATE "C")) AND (length(p_remote_origin) <= 160));
COMMENT ON FUNCTION is_remote_origin(text) IS 'Whether this is an origin in the form the registry stores: git@github.com:owner/repo.git, lower case.';

CREATE OR REPLACE FUNCTION public.kept_totals()
 RETURNS SETOF registry_counts
 LANGUAGE sql
 STABLE ROWS 1
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT
        true,
        (c.projects + coalesce(d.projects, 0))::bigint,
        (c.active_projects + coalesce(d.active_projects, 0))::bigint,
        (c.worktrees + coalesce(d.worktrees, 0))::bigint,
        (c.active_worktrees + coalesce(d.active_worktrees, 0))::bigint,
        (c.in_flight_worktrees + coalesce(d.in_flight_worktrees, 0))::bigint,
        (c.activities + coalesce(d.activities, 0))::bigint
    FROM public.registry_counts c
    CROSS JOIN (
        SELECT
            sum(projects) AS projects,
            sum(active_projects) AS active_projects,
            sum(worktrees) AS worktrees,
            sum(active_worktrees) AS active_worktrees,
            sum(in_flight_worktrees) AS in_flight_worktrees,
            sum(activities) AS activities
        FROM public.count_delta
    ) d
$function$;
COMMENT ON FUNCTION kept_totals() IS 'The counts that are kept, with what is still to be folded.';

CREATE OR REPLACE FUNCTION public.lock_projects(p_function text, p_ids uuid[])
 RETURNS uuid[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    current uuid[];
    missing uuid;
BEGIN
    -- One merge at a time: what an id means changes by merges alone, and two of them crosswise would wait for each other.
    -- Not an advisory lock: whoever may connect could keep that.
    PERFORM FROM public.registry_metadata FOR NO KEY UPDATE;
    current := ARRAY(SELECT public.current_project_id(asked) FROM unnest(p_ids) WITH ORDINALITY AS i (asked, place) ORDER BY place);
    PERFORM FROM public.projects p WHERE p.id = ANY (current) ORDER BY p.id FOR UPDATE;
    SELECT i.asked INTO missing
    FROM unnest(p_ids, current) WITH ORDINALITY AS i (asked, now, place)
    WHERE NOT EXISTS (SELECT FROM public.projects p WHERE p.id = i.now)
    ORDER BY i.place
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%: % is no project', p_function, coalesce(missing::text, 'NULL') USING ERRCODE = 'P0002';
    END IF;
    RETURN current;
END;
$function$;
REVOKE EXECUTE ON FUNCTION lock_projects(text,uuid[]) FROM PUBLIC;
COMMENT ON FUNCTION lock_projects(text,uuid[]) IS 'Locks projects against everybody, and all others against merges, until the transaction ends; returns the ids under which they go on. P0002 for what is none.';

CREATE OR REPLACE FUNCTION public.log_activity(p_agent_id text, p_worktree_id uuid, p_activity_type text, p_description text, p_file_path text DEFAULT NULL::text, p_metadata jsonb DEFAULT '{}'::jsonb)
 RETURNS uuid
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    activity_id uuid;
BEGIN
    PERFORM public.require_name('log_activity', 'p_agent_id', p_agent_id);
    PERFORM public.require_text('log_activity', 'p_activity_type', p_activity_type);
    PERFORM public.require_object('log_activity', 'p_metadata', p_metadata);
    PERFORM public.require_activity_type(
        'log_activity', 'p_activity_type', p_activity_type, 'agent_activities_activity_type_check'
    );
    PERFORM public.require_text('log_activity', 'p_description', p_description);

    UPDATE public.worktrees w SET updated_at = now() WHERE w.id = p_worktree_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'log_activity: p_worktree_id % is no worktree', coalesce(p_worktree_id::text, 'NULL')
            USING ERRCODE = 'P0002';
    END IF;
    INSERT INTO public.agent_activities (agent_id, worktree_id, activity_type, description, file_path, metadata)
    VALUES (p_agent_id, p_worktree_id, p_activity_type, p_description, p_file_path, coalesce(p_metadata, '{}'))
    RETURNING id INTO activity_id;
    RETURN activity_id;
END;
$function$;
COMMENT ON FUNCTION log_activity(text,uuid,text,text,text,jsonb) IS 'Appends to the audit log and marks the worktree as touched.';

CREATE OR REPLACE FUNCTION public.lower_case(p_text text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN lower((lower((p_text COLLATE "C")) COLLATE "default"));
COMMENT ON FUNCTION lower_case(text) IS 'The text in lower case, A to Z the same way in every locale.';

CREATE OR REPLACE FUNCTION public.maintenance_vacuum()
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    caller CONSTANT text := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    IF NOT has_any_column_privilege(caller, 'public.worktrees', 'INSERT, UPDATE')
        AND NOT has_table_privilege(caller, 'public.worktrees', 'DELETE')
    THEN
        RAISE EXCEPTION 'maintenance_vacuum: % may not write worktrees', quote_ident(caller) USING ERRCODE = '42501';
    END IF;
    ANALYZE public.projects, public.worktrees, public.worktree_types, public.agent_activities, public.deleted_worktrees;
END;
$function$;
COMMENT ON FUNCTION maintenance_vacuum() IS 'Refreshes planner statistics of all registry tables; 42501 for who may not write. VACUUM itself cannot run inside a function.';

CREATE OR REPLACE FUNCTION public.make_activity_months(p_ahead integer DEFAULT 3)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '500ms'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION make_activity_months(integer) FROM PUBLIC;
COMMENT ON FUNCTION make_activity_months(integer) IS 'Makes this month and so many after it, as far as they are not there, and says how many; 0 where activities are not kept by month. 55P03 where a lock is not to be had in half a second.';

CREATE OR REPLACE FUNCTION public.mark_worktree_merged(p_worktree_id uuid, p_merged_by text, p_merge_commit_hash text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    worktree public.worktrees;
BEGIN
    PERFORM public.require_name('mark_worktree_merged', 'p_merged_by', coalesce(p_merged_by, 'unknown'));
    PERFORM public.require_commit('mark_worktree_merged', 'p_merge_commit_hash', coalesce(p_merge_commit_hash, 'unknown'));
    SELECT * INTO worktree FROM public.worktrees w WHERE w.id = p_worktree_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'mark_worktree_merged: p_worktree_id % is no worktree', coalesce(p_worktree_id::text, 'NULL')
            USING ERRCODE = 'P0002';
    END IF;
    IF worktree.merged_at IS NULL THEN
        UPDATE public.worktrees w
        SET merged_at = now(), merged_by = p_merged_by, merge_commit_hash = p_merge_commit_hash, active = false
        WHERE w.id = p_worktree_id;
    ELSIF (worktree.merged_by, worktree.merge_commit_hash) IS DISTINCT FROM (p_merged_by, p_merge_commit_hash) THEN
        RAISE EXCEPTION 'mark_worktree_merged: worktree % (%) was merged by % as %; register it again before another merge',
            public.quote_for_message(worktree.name), worktree.id,
            coalesce(public.without_credentials(worktree.merged_by), 'an unknown agent'), coalesce(worktree.merge_commit_hash, 'an unknown commit')
            USING ERRCODE = '55000';
    END IF;
END;
$function$;
COMMENT ON FUNCTION mark_worktree_merged(uuid,text,text) IS 'Records the merge and deactivates the worktree; the same merge again changes nothing.';

CREATE OR REPLACE FUNCTION public.may_use_counts()
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF NOT (
        has_table_privilege('public.projects', 'SELECT')
        AND has_table_privilege('public.worktrees', 'SELECT')
        AND has_table_privilege('public.agent_activities', 'SELECT')
        AND has_table_privilege('public.registry_counts', 'SELECT')
        AND has_table_privilege('public.project_counts', 'SELECT')
        AND has_table_privilege('public.count_delta', 'SELECT')
    ) THEN
        RETURN false;
    END IF;
    IF row_security_active('public.projects')
        OR row_security_active('public.worktrees')
        OR row_security_active('public.agent_activities')
    THEN
        RETURN false;
    END IF;
    RETURN NOT EXISTS (SELECT FROM public.count_delta WHERE is_all_stale);
END;
$function$;
COMMENT ON FUNCTION may_use_counts() IS 'Whether the caller may see the counts that are kept, and sees all rows that are counted, and everything was counted since a table was truncated. Who does not is answered by counting.';

CREATE OR REPLACE FUNCTION public.merge_projects(p_loser uuid, p_winner uuid)
 RETURNS uuid
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
DECLARE
    ids CONSTANT uuid[] := public.lock_projects('merge_projects', ARRAY[p_loser, p_winner]);
    loser public.projects;
    winner public.projects;
    origins jsonb;
    same_name public.worktrees;
BEGIN
    IF ids[1] = ids[2] THEN
        RETURN ids[2];
    END IF;
    SELECT * INTO STRICT loser FROM public.projects p WHERE p.id = ids[1];
    SELECT * INTO STRICT winner FROM public.projects p WHERE p.id = ids[2];
    SELECT coalesce(jsonb_agg(DISTINCT origin), '[]') INTO origins
    FROM (
        SELECT former.origin
        FROM (VALUES (loser.metadata), (winner.metadata)) AS m (metadata)
        CROSS JOIN jsonb_array_elements(
            CASE WHEN jsonb_typeof(m.metadata -> 'former_origins') = 'array' THEN m.metadata -> 'former_origins' ELSE '[]' END
        ) AS former (origin)
        UNION ALL
        SELECT to_jsonb(loser.remote_origin)
    ) every
    WHERE origin <> to_jsonb(winner.remote_origin);

    UPDATE public.projects p
    SET active = p.active OR loser.active,
        description = coalesce(p.description, loser.description),
        metadata = loser.metadata || p.metadata || jsonb_build_object('former_origins', origins)
    WHERE p.id = winner.id
    RETURNING * INTO winner;
    PERFORM public.tell_project_merged(winner, loser);

    PERFORM FROM public.worktrees w WHERE w.project_id = loser.id ORDER BY w.id FOR UPDATE;
    UPDATE public.worktrees w
    SET project_id = winner.id
    WHERE w.project_id = loser.id
        AND NOT EXISTS (SELECT FROM public.worktrees o WHERE o.project_id = winner.id AND o.name = w.name);
    FOR same_name IN SELECT * FROM public.worktrees w WHERE w.project_id = loser.id ORDER BY w.id LOOP
        UPDATE public.worktrees w
        SET project_id = winner.id, name = public.name_of_merged_worktree(same_name, winner.id)
        WHERE w.id = same_name.id;
    END LOOP;
    UPDATE public.deleted_worktrees d SET project_id = winner.id WHERE d.project_id = loser.id;

    -- Where the loser is and the winner is not. Where both are, the winner's path stays; the event tells the other one.
    INSERT INTO public.project_hosts (project_id, host_id, trunk_path)
    SELECT winner.id, place.host_id, place.trunk_path
    FROM (
        SELECT h.host_id, coalesce(h.trunk_path, loser.trunk_path) AS trunk_path
        FROM public.project_hosts h
        WHERE h.project_id = loser.id
        UNION ALL
        SELECT public.default_host_id(), loser.trunk_path
        WHERE NOT EXISTS (SELECT FROM public.project_hosts h WHERE h.project_id = loser.id AND h.trunk_path IS NULL)
    ) place
    WHERE public.project_trunk(winner.id, place.host_id) IS NULL
    ORDER BY place.host_id;

    PERFORM public.call_project(loser.id, winner.id);
    DELETE FROM public.projects p WHERE p.id = loser.id;
    RETURN winner.id;
END;
$function$;
REVOKE EXECUTE ON FUNCTION merge_projects(uuid,uuid) FROM PUBLIC;
COMMENT ON FUNCTION merge_projects(uuid,uuid) IS 'Makes two projects one: all that is of the loser is of the winner from then on, and its id means the winner. Again, it changes nothing. P0002 for what is no project.';

CREATE OR REPLACE FUNCTION public.mirror_event_applied(p_event jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION mirror_event_applied(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION mirror_event_applied(jsonb) IS 'Applies one event; what is no matter of the tables changes nothing.';

CREATE OR REPLACE FUNCTION public.mirror_host_event(p_action text, p_data jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    host CONSTANT public.hosts := jsonb_populate_record(
        NULL::public.hosts, (p_data - 'machine') || jsonb_build_object('id', p_data -> 'host_id')
    );
BEGIN
    IF p_action = 'removed' THEN
        DELETE FROM public.hosts h WHERE h.id = host.id;
        RETURN;
    END IF;
    INSERT INTO public.hosts AS h SELECT (host).*
    ON CONFLICT (id) DO UPDATE
    SET (name, former_names, description, created_at, updated_at)
        = (excluded.name, excluded.former_names, excluded.description, excluded.created_at, excluded.updated_at);
END;
$function$;
REVOKE EXECUTE ON FUNCTION mirror_host_event(text,jsonb) FROM PUBLIC;
COMMENT ON FUNCTION mirror_host_event(text,jsonb) IS 'Applies an event of a host.';

CREATE OR REPLACE FUNCTION public.mirror_merged(p_data jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    winner CONSTANT uuid := p_data ->> 'project_id';
    loser CONSTANT uuid := p_data -> 'loser' ->> 'project_id';
BEGIN
    PERFORM public.call_project(loser, winner);
    IF NOT EXISTS (SELECT FROM public.projects p WHERE p.id = winner) THEN    -- it goes on under an id that is new
        PERFORM public.change_project_id(loser, winner);
    END IF;
    UPDATE public.deleted_worktrees d SET project_id = winner WHERE d.project_id = loser;
    PERFORM public.mirror_project(
        jsonb_populate_record(NULL::public.projects, p_data || jsonb_build_object('id', winner))
    );
END;
$function$;
REVOKE EXECUTE ON FUNCTION mirror_merged(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION mirror_merged(jsonb) IS 'Applies project.merged; the events of worktrees and places follow it.';

CREATE OR REPLACE FUNCTION public.mirror_place_event(p_action text, p_data jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    place CONSTANT public.project_hosts := jsonb_populate_record(
        NULL::public.project_hosts,
        p_data || CASE WHEN (p_data ->> 'is_home')::boolean THEN '{"trunk_path": null}' ELSE '{}' END::jsonb
    );
BEGIN
    IF p_action = 'removed' THEN
        DELETE FROM public.project_hosts h WHERE h.project_id = place.project_id AND h.host_id = place.host_id;
        RETURN;
    END IF;
    INSERT INTO public.project_hosts AS h SELECT (place).*
    ON CONFLICT (project_id, host_id) DO UPDATE
    SET (trunk_path, created_at, updated_at) = (excluded.trunk_path, excluded.created_at, excluded.updated_at);
END;
$function$;
REVOKE EXECUTE ON FUNCTION mirror_place_event(text,jsonb) FROM PUBLIC;
COMMENT ON FUNCTION mirror_place_event(text,jsonb) IS 'Applies an event of where a project is.';

CREATE OR REPLACE FUNCTION public.mirror_project(p_row projects)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    INSERT INTO public.projects AS p SELECT (p_row).*
    ON CONFLICT (id) DO UPDATE
    SET (
        name, remote_origin, default_branch, trunk_path, description, metadata, created_at, updated_at, active
    ) = (
        excluded.name, excluded.remote_origin, excluded.default_branch, excluded.trunk_path, excluded.description,
        excluded.metadata, excluded.created_at, excluded.updated_at, excluded.active
    )
    WHERE p *<> excluded
$function$;
REVOKE EXECUTE ON FUNCTION mirror_project(projects) FROM PUBLIC;
COMMENT ON FUNCTION mirror_project(projects) IS 'Writes a row as the source has it.';

CREATE OR REPLACE FUNCTION public.mirror_tables()
 RETURNS SETOF text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT unnest(ARRAY[
        'hosts', 'worktree_types', 'projects', 'project_hosts', 'worktrees', 'agent_activities', 'deleted_worktrees',
        'project_aliases',
        'command_ledger', 'outbox', 'outbox_backlog'
    ])
$function$;
COMMENT ON FUNCTION mirror_tables() IS 'What nobody writes in a mirror.';

CREATE OR REPLACE FUNCTION public.mirror_truncated(p_table text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF p_table IN ('projects', 'worktrees', 'worktree_types') THEN
        DELETE FROM public.worktrees;
        TRUNCATE public.agent_activities, public.deleted_worktrees;
    END IF;
    CASE p_table
        WHEN 'projects' THEN
            DELETE FROM public.project_hosts;
            DELETE FROM public.projects;
        WHEN 'worktree_types' THEN
            DELETE FROM public.worktree_types;
        WHEN 'agent_activities' THEN
            TRUNCATE public.agent_activities;
        ELSE NULL;
    END CASE;
END;
$function$;
REVOKE EXECUTE ON FUNCTION mirror_truncated(text) FROM PUBLIC;
COMMENT ON FUNCTION mirror_truncated(text) IS 'Empties a table that the source truncated, with what depends on it.';

CREATE OR REPLACE FUNCTION public.mirror_type_event(p_action text, p_data jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    type CONSTANT public.worktree_types := jsonb_populate_record(
        NULL::public.worktree_types, p_data || jsonb_build_object('id', p_data -> 'type_id')
    );
BEGIN
    IF p_action = 'removed' THEN
        DELETE FROM public.worktree_types t WHERE t.id = type.id;
        RETURN;
    END IF;
    INSERT INTO public.worktree_types AS t SELECT (type).*
    ON CONFLICT (id) DO UPDATE
    SET (name, branch_prefix, worktree_prefix, description, is_builtin, color, icon, metadata, created_at)
        = (excluded.name, excluded.branch_prefix, excluded.worktree_prefix, excluded.description, excluded.is_builtin,
            excluded.color, excluded.icon, excluded.metadata, excluded.created_at);
END;
$function$;
REVOKE EXECUTE ON FUNCTION mirror_type_event(text,jsonb) FROM PUBLIC;
COMMENT ON FUNCTION mirror_type_event(text,jsonb) IS 'Applies an event of a type of worktrees.';

CREATE OR REPLACE FUNCTION public.mirror_worktree(p_row worktrees)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    INSERT INTO public.worktrees AS w SELECT (p_row).*
    ON CONFLICT (id) DO UPDATE
    SET (
        project_id, type_id, name, branch_name, path, agent_id, has_uncommitted_changes, uncommitted_files_count,
        ahead_of_trunk, behind_trunk, last_commit_hash, last_commit_message, last_sync_at, merged_at, merged_by,
        merge_commit_hash, metadata, created_at, updated_at, active, host_id
    ) = (
        excluded.project_id, excluded.type_id, excluded.name, excluded.branch_name, excluded.path, excluded.agent_id,
        excluded.has_uncommitted_changes, excluded.uncommitted_files_count, excluded.ahead_of_trunk,
        excluded.behind_trunk, excluded.last_commit_hash, excluded.last_commit_message, excluded.last_sync_at,
        excluded.merged_at, excluded.merged_by, excluded.merge_commit_hash, excluded.metadata, excluded.created_at,
        excluded.updated_at, excluded.active, excluded.host_id
    )
    WHERE w *<> excluded
$function$;
REVOKE EXECUTE ON FUNCTION mirror_worktree(worktrees) FROM PUBLIC;
COMMENT ON FUNCTION mirror_worktree(worktrees) IS 'Writes a row as the source has it.';

CREATE OR REPLACE FUNCTION public.mirror_worktree_event(p_action text, p_data jsonb, p_at timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    worktree CONSTANT public.worktrees := jsonb_populate_record(
        NULL::public.worktrees,
        jsonb_build_object('host_id', public.default_host_id()) || p_data || jsonb_build_object('id', p_data -> 'worktree_id')
    );
BEGIN
    IF p_action <> 'deleted' THEN
        PERFORM public.mirror_worktree(worktree);
        RETURN;
    END IF;
    INSERT INTO public.deleted_worktrees (
        id, project_id, project_name, remote_origin, type_name, name, branch_name, path, host_id, deleted_at
    )
    VALUES (
        worktree.id, worktree.project_id, p_data ->> 'project_name', p_data ->> 'remote_origin', p_data ->> 'type',
        worktree.name, worktree.branch_name, worktree.path, worktree.host_id, p_at
    )
    ON CONFLICT (id) DO NOTHING;
    DELETE FROM public.worktrees w WHERE w.id = worktree.id;
END;
$function$;
REVOKE EXECUTE ON FUNCTION mirror_worktree_event(text,jsonb,timestamp with time zone) FROM PUBLIC;
COMMENT ON FUNCTION mirror_worktree_event(text,jsonb,timestamp with time zone) IS 'Applies an event of a worktree.';

CREATE OR REPLACE FUNCTION public.missed_by_activity_move()
 RETURNS SETOF uuid
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RETURN QUERY
    SELECT coalesce(t.id, n.id)
    FROM public.agent_activities t
    FULL JOIN public.agent_activities_next n ON n.id = t.id AND n.created_at = t.created_at
    WHERE t.id IS NULL OR n.id IS NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION missed_by_activity_move() FROM PUBLIC;
COMMENT ON FUNCTION missed_by_activity_move() IS 'Activities that only the table has, or only its copy: none once all are copied, whoever writes meanwhile.';

CREATE OR REPLACE FUNCTION public.move_worktree(p_worktree_id uuid, p_host_id uuid)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    worktree public.worktrees;
    other record;
BEGIN
    SELECT * INTO worktree FROM public.worktrees w WHERE w.id = p_worktree_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'move_worktree: p_worktree_id % is no worktree', coalesce(p_worktree_id::text, 'NULL')
            USING ERRCODE = 'P0002';
    END IF;
    IF NOT EXISTS (SELECT FROM public.hosts h WHERE h.id = p_host_id) THEN
        RAISE EXCEPTION 'move_worktree: p_host_id % is no host', coalesce(p_host_id::text, 'NULL') USING ERRCODE = 'P0002';
    END IF;
    -- For the message. The index is what holds against a concurrent writer.
    SELECT w.name AS worktree_name, p.name AS project_name INTO other
    FROM public.worktrees w
    JOIN public.projects p ON p.id = w.project_id
    WHERE w.path = worktree.path AND w.host_id = p_host_id AND w.active AND worktree.active AND w.id <> p_worktree_id;
    IF FOUND THEN
        RAISE EXCEPTION 'move_worktree: path % is taken on that host by the active worktree % of project %',
            public.quote_for_message(worktree.path), public.quote_for_message(other.worktree_name), public.quote_for_message(other.project_name)
            USING ERRCODE = '23505', CONSTRAINT = 'worktrees_unique_active_path';
    END IF;
    UPDATE public.worktrees w SET host_id = p_host_id WHERE w.id = p_worktree_id AND w.host_id <> p_host_id;
END;
$function$;
COMMENT ON FUNCTION move_worktree(uuid,uuid) IS 'Says that a worktree, with its path, is on another host than was known.';

CREATE OR REPLACE FUNCTION public.name_of_merged_worktree(p_worktree worktrees, p_winner uuid)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION name_of_merged_worktree(worktrees,uuid) FROM PUBLIC;
COMMENT ON FUNCTION name_of_merged_worktree(worktrees,uuid) IS 'What a worktree is called in a project that has one of its name: name@host where that one is on another host, else name@ and the first digits of the id of its former project.';

CREATE OR REPLACE FUNCTION public.near_projects(p_query text)
 RETURNS TABLE(id uuid, relevance real)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET gin_fuzzy_search_limit TO '0'
 SET enable_seqscan TO 'off'
 SET enable_indexscan TO 'off'
 SET max_parallel_workers_per_gather TO '0'
 SET jit TO 'off'
AS $function$
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
$function$;
COMMENT ON FUNCTION near_projects(text) IS 'The projects that search_projects() returns, in its order.';

CREATE OR REPLACE FUNCTION public.normalize_path(p_path text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN regexp_replace(regexp_replace(p_path, '/{2,}'::text, '/'::text, 'g'::text), '(.)/$'::text, '\1'::text);
COMMENT ON FUNCTION normalize_path(text) IS 'The path without doubled and trailing slashes.';

CREATE OR REPLACE FUNCTION public.normalize_remote_origin(p_remote_origin text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN is_remote_origin(p_remote_origin) THEN p_remote_origin ELSE (SELECT o.origin FROM (SELECT (('git@github.com:'::text || ("substring"(regexp_replace(lower((normalize_remote_origin.p_remote_origin COLLATE "C")), '([.]git)?/?$'::text, ''::text), ('^(?:(?:https?|git|ssh|git[+]ssh)://(?:[^/@[:space:]]+@)?(?:www[.]|ssh[.])?github[.]com(?::[0-9]+)?/'::text || '|(?:[^/@:[:space:]]+@)?github[.]com:/?)([^/[:space:]]+/[^/[:space:]]+)$'::text)) COLLATE "default")) || '.git'::text) AS origin) o WHERE is_remote_origin(o.origin)) END;
COMMENT ON FUNCTION normalize_remote_origin(text) IS 'git@github.com:owner/repo.git in lower case, from any ssh, https or git form; NULL when it is no GitHub repository.';

CREATE OR REPLACE FUNCTION public.note_schema_version(p_migration integer)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    UPDATE public.registry_metadata
    SET migration = p_migration, upgraded_at = clock_timestamp()
    WHERE migration < p_migration
$function$;
REVOKE EXECUTE ON FUNCTION note_schema_version(integer) FROM PUBLIC;
COMMENT ON FUNCTION note_schema_version(integer) IS 'Puts down the number of a migration that was applied; a way back sets it by hand.';

CREATE OR REPLACE FUNCTION public.outbox_activity_data(a agent_activities, p_project_id uuid, p_project_name text, p_worktree_name text)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
    SELECT pg_catalog.to_jsonb(ROW(
        '{}',
        a.agent_id,
        a.metadata,
        a.file_path,
        a.created_at,
        p_project_id,
        a.id,
        a.description,
        a.worktree_id,
        p_project_name,
        a.activity_type,
        p_worktree_name
    )::public.outbox_activity)
$function$;
COMMENT ON FUNCTION outbox_activity_data(agent_activities,uuid,text,text) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_activity_inserted()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
BEGIN
    INSERT INTO public.outbox (entity, action, project_id, entity_id, host_id, data)
    SELECT 'activity', 'logged', w.project_id, n.id, nullif(w.host_id, public.default_host_id()), public.outbox_activity_data(
        ROW(n.*)::public.agent_activities, w.project_id, p.name, w.name
    )
    FROM new_rows n
    LEFT JOIN LATERAL (SELECT name, project_id, host_id FROM public.worktrees WHERE id = n.worktree_id OFFSET 0) w ON true
    LEFT JOIN LATERAL (SELECT name FROM public.projects WHERE id = w.project_id OFFSET 0) p ON true;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION outbox_activity_inserted() FROM PUBLIC;
COMMENT ON FUNCTION outbox_activity_inserted() IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_actor_is_verified()
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
COMMENT ON FUNCTION outbox_actor_is_verified() IS 'Whether this session may say that the actor of a change was verified.';

CREATE OR REPLACE FUNCTION public.outbox_change(p_column text, p_old anyelement, p_new anyelement)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
    SELECT CASE
        WHEN p_old IS DISTINCT FROM p_new THEN pg_catalog.jsonb_build_object(p_column, p_old) ELSE '{}'
    END
$function$;
COMMENT ON FUNCTION outbox_change(text,anyelement,anyelement) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_change(p_column text, p_old boolean, p_new boolean)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
RETURN CASE WHEN (p_old IS DISTINCT FROM p_new) THEN jsonb_build_object(p_column, p_old) ELSE '{}'::jsonb END;
COMMENT ON FUNCTION outbox_change(text,boolean,boolean) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_change(p_column text, p_old integer, p_new integer)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
RETURN CASE WHEN (p_old IS DISTINCT FROM p_new) THEN jsonb_build_object(p_column, p_old) ELSE '{}'::jsonb END;
COMMENT ON FUNCTION outbox_change(text,integer,integer) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_change(p_column text, p_old jsonb, p_new jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
RETURN CASE WHEN (p_old IS DISTINCT FROM p_new) THEN jsonb_build_object(p_column, p_old) ELSE '{}'::jsonb END;
COMMENT ON FUNCTION outbox_change(text,jsonb,jsonb) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_change(p_column text, p_old text, p_new text)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
RETURN CASE WHEN (p_old IS DISTINCT FROM p_new) THEN jsonb_build_object(p_column, p_old) ELSE '{}'::jsonb END;
COMMENT ON FUNCTION outbox_change(text,text,text) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_change(p_column text, p_old text[], p_new text[])
 RETURNS jsonb
 LANGUAGE sql
 STABLE
RETURN CASE WHEN (p_old IS DISTINCT FROM p_new) THEN jsonb_build_object(p_column, p_old) ELSE '{}'::jsonb END;
COMMENT ON FUNCTION outbox_change(text,text[],text[]) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_change(p_column text, p_old timestamp with time zone, p_new timestamp with time zone)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
RETURN CASE WHEN (p_old IS DISTINCT FROM p_new) THEN jsonb_build_object(p_column, p_old) ELSE '{}'::jsonb END;
COMMENT ON FUNCTION outbox_change(text,timestamp with time zone,timestamp with time zone) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_change(p_column text, p_old uuid, p_new uuid)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
RETURN CASE WHEN (p_old IS DISTINCT FROM p_new) THEN jsonb_build_object(p_column, p_old) ELSE '{}'::jsonb END;
COMMENT ON FUNCTION outbox_change(text,uuid,uuid) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_command_recorded()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET jit TO 'off'
AS $function$
BEGIN
    INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
    VALUES (
        'command',
        CASE NEW.verdict WHEN 'rejected' THEN 'rejected' ELSE 'applied' END,
        NEW.project_id,
        NEW.command_id,
        jsonb_build_object(
            'command_id', NEW.command_id,
            'type', NEW.type,
            'verdict', NEW.verdict,
            'code', NEW.code,
            'message', NEW.message,
            'result', NEW.result,
            'idempotency_key', coalesce(
                NEW.idempotency_key, nullif(current_setting('imi.idempotency_key', true), '')
            ),
            'project_id', NEW.project_id,
            'changed', '{}'::jsonb
        )
    );
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION outbox_command_recorded() FROM PUBLIC;
COMMENT ON FUNCTION outbox_command_recorded() IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_host_changed()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
DECLARE
    host CONSTANT public.hosts := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    changed jsonb := '{}';
BEGIN
    IF TG_OP = 'UPDATE' THEN
        changed := public.outbox_change('name', OLD.name, NEW.name)
            || public.outbox_change('created_at', OLD.created_at, NEW.created_at)
            || public.outbox_change('description', OLD.description, NEW.description)
            || public.outbox_change('former_names', OLD.former_names, NEW.former_names);
        IF changed = '{}' THEN    -- what machine it is, is nobody's business
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO public.outbox (entity, action, entity_id, host_id, data)
    VALUES (
        'host',
        CASE TG_OP WHEN 'INSERT' THEN 'registered' WHEN 'UPDATE' THEN 'updated' ELSE 'removed' END,
        host.id,
        nullif(host.id, public.default_host_id()),
        jsonb_build_object(
            'host_id', host.id,
            'name', host.name,
            'former_names', host.former_names,
            'description', host.description,
            'created_at', host.created_at,
            'updated_at', host.updated_at,
            'changed', changed
        )
    );
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION outbox_host_changed() FROM PUBLIC;
COMMENT ON FUNCTION outbox_host_changed() IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_project_changes(o projects, n projects)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
    SELECT public.outbox_change('name', o.name, n.name)
    || public.outbox_change('metadata', o.metadata, n.metadata)
    || public.outbox_change('created_at', o.created_at, n.created_at)
    || public.outbox_change('trunk_path', o.trunk_path, n.trunk_path)
    || public.outbox_change('description', o.description, n.description)
    || public.outbox_change('remote_origin', o.remote_origin, n.remote_origin)
    || public.outbox_change('default_branch', o.default_branch, n.default_branch)
$function$;
COMMENT ON FUNCTION outbox_project_changes(projects,projects) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_project_data(p projects, p_changed jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
    SELECT pg_catalog.to_jsonb(ROW(
        p.name,
        p.active,
        p_changed,
        p.metadata,
        p.created_at,
        p.id,
        p.trunk_path,
        p.updated_at,
        p.description,
        p.name,
        p.remote_origin,
        p.default_branch
    )::public.outbox_project)
$function$;
COMMENT ON FUNCTION outbox_project_data(projects,jsonb) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_project_data(p projects, p_changed text)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
RETURN outbox_project_data(p, (p_changed)::jsonb);
COMMENT ON FUNCTION outbox_project_data(projects,text) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_project_deleted()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET jit TO 'off'
AS $function$
BEGIN
    INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
    SELECT 'project', 'deleted', o.id, o.id, public.outbox_project_data(ROW(o.*)::public.projects, '{}')
    FROM old_rows o;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION outbox_project_deleted() FROM PUBLIC;
COMMENT ON FUNCTION outbox_project_deleted() IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_project_host_changed()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
DECLARE
    place CONSTANT public.project_hosts := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    changed jsonb := '{}';
BEGIN
    IF TG_OP = 'UPDATE' THEN
        changed := public.outbox_change('created_at', OLD.created_at, NEW.created_at)
            || public.outbox_change('trunk_path', OLD.trunk_path, NEW.trunk_path);
        IF changed = '{}' THEN
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO public.outbox (entity, action, project_id, entity_id, host_id, data)
    SELECT
        'project_host',
        CASE TG_OP WHEN 'INSERT' THEN 'added' WHEN 'UPDATE' THEN 'updated' ELSE 'removed' END,
        p.id,
        p.id,
        nullif(place.host_id, public.default_host_id()),
        public.outbox_project_host_data(place, p, changed)
    FROM public.projects p
    WHERE p.id = place.project_id;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION outbox_project_host_changed() FROM PUBLIC;
COMMENT ON FUNCTION outbox_project_host_changed() IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_project_host_data(place project_hosts, p projects, p_changed jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT jsonb_build_object(
        'project_id', p.id,
        'project_name', p.name,
        'remote_origin', p.remote_origin,
        'host_id', place.host_id,
        'host', (SELECT h.name FROM public.hosts h WHERE h.id = place.host_id),
        'trunk_path', coalesce(place.trunk_path, p.trunk_path),
        'is_home', place.trunk_path IS NULL,
        'created_at', place.created_at,
        'updated_at', place.updated_at,
        'changed', p_changed
    )
$function$;
COMMENT ON FUNCTION outbox_project_host_data(project_hosts,projects,jsonb) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_project_inserted()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET jit TO 'off'
AS $function$
BEGIN
    INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
    SELECT 'project', 'registered', n.id, n.id, public.outbox_project_data(ROW(n.*)::public.projects, '{}')
    FROM new_rows n;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION outbox_project_inserted() FROM PUBLIC;
COMMENT ON FUNCTION outbox_project_inserted() IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_project_updated()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
DECLARE
    actions CONSTANT text[] := '{reactivated, updated, deactivated}';
    changes CONSTANT jsonb[] := ARRAY[
        CASE WHEN NEW.active AND NOT OLD.active THEN '{"active": false}'::jsonb ELSE '{}' END,
        public.outbox_project_changes(OLD, NEW),
        CASE WHEN OLD.active AND NOT NEW.active THEN '{"active": true}'::jsonb ELSE '{}' END
    ];
    stamps jsonb := public.outbox_change('updated_at', OLD.updated_at, NEW.updated_at);
BEGIN
    FOR event IN 1 .. 3 LOOP
        CONTINUE WHEN changes[event] = '{}';
        INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
        VALUES (
            'project', actions[event], NEW.id, NEW.id, public.outbox_project_data(NEW, changes[event] || stamps)
        );
        stamps := '{}';
    END LOOP;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION outbox_project_updated() FROM PUBLIC;
COMMENT ON FUNCTION outbox_project_updated() IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_refuse_rewrite()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RAISE EXCEPTION 'cannot % the outbox: it is append-only; old rows are removed by retention', lower(TG_OP)
        USING ERRCODE = '55000';
END;
$function$;
COMMENT ON FUNCTION outbox_refuse_rewrite() IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_ring()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF current_setting('imi.doorbell', true) IS DISTINCT FROM 'off' AND pg_notification_queue_usage() < 0.5 THEN
        PERFORM pg_notify('imi_outbox', '');
    END IF;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION outbox_ring() FROM PUBLIC;
COMMENT ON FUNCTION outbox_ring() IS 'Wakes a sleeping publisher. A transaction that is to be prepared (two-phase commit) may not notify: it sets imi.doorbell to off, and its events wait for the next poll. So do those of others while the queue of notifications is half full: a full one fails the commit of whoever notifies.';

CREATE OR REPLACE FUNCTION public.outbox_truncated()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    INSERT INTO public.outbox (entity, action, data)
    VALUES ('registry', 'truncated', jsonb_build_object('table', TG_TABLE_NAME));
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION outbox_truncated() FROM PUBLIC;
COMMENT ON FUNCTION outbox_truncated() IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_uuid_setting(p_setting text)
 RETURNS uuid
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RETURN current_setting(p_setting)::uuid;
EXCEPTION
    WHEN invalid_text_representation THEN
        RAISE EXCEPTION 'setting %: "%" is not a UUID', p_setting, public.without_credentials(current_setting(p_setting))
            USING ERRCODE = '22023';
END;
$function$;
COMMENT ON FUNCTION outbox_uuid_setting(text) IS 'A UUID given by the writer in a transaction setting; 22023 names a setting that is none.';

CREATE OR REPLACE FUNCTION public.outbox_worktree_changes(o worktrees, n worktrees)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
    SELECT public.outbox_change('name', o.name, n.name)
    || public.outbox_change('path', o.path, n.path)
    || public.outbox_change('host_id', o.host_id, n.host_id)
    || public.outbox_change('type_id', o.type_id, n.type_id)
    || public.outbox_change('metadata', o.metadata, n.metadata)
    || public.outbox_change('created_at', o.created_at, n.created_at)
    || public.outbox_change('project_id', o.project_id, n.project_id)
    || public.outbox_change('branch_name', o.branch_name, n.branch_name)
$function$;
COMMENT ON FUNCTION outbox_worktree_changes(worktrees,worktrees) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_worktree_data(w worktrees, p_project_name text, p_remote_origin text, p_type text, p_changed jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
    SELECT pg_catalog.to_jsonb(ROW(
        w.name,
        w.path,
        p_type,
        w.active,
        public.worktree_status(w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk),
        p_changed,
        w.type_id,
        w.agent_id,
        w.metadata,
        w.merged_at,
        w.merged_by,
        w.created_at,
        w.project_id,
        w.updated_at,
        w.branch_name,
        w.id,
        w.behind_trunk,
        w.last_sync_at,
        p_project_name,
        p_remote_origin,
        w.ahead_of_trunk,
        w.last_commit_hash,
        w.merge_commit_hash,
        w.last_commit_message,
        w.has_uncommitted_changes,
        w.uncommitted_files_count
    )::public.outbox_worktree) || CASE
        WHEN w.host_id OPERATOR(pg_catalog.<>) public.default_host_id()
        THEN pg_catalog.jsonb_build_object('host_id', w.host_id)
        ELSE '{}'
    END
$function$;
COMMENT ON FUNCTION outbox_worktree_data(worktrees,text,text,text,jsonb) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_worktree_data(w worktrees, p_project_name text, p_remote_origin text, p_type text, p_changed text)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
RETURN outbox_worktree_data(w, p_project_name, p_remote_origin, p_type, (p_changed)::jsonb);
COMMENT ON FUNCTION outbox_worktree_data(worktrees,text,text,text,text) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_worktree_deleted()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
BEGIN
    INSERT INTO public.outbox (entity, action, project_id, entity_id, host_id, data)
    SELECT 'worktree', 'deleted', o.project_id, o.id, nullif(o.host_id, public.default_host_id()), public.outbox_worktree_data(
        ROW(o.*)::public.worktrees,
        coalesce(p.name, d.project_name),
        coalesce(p.remote_origin, d.remote_origin),
        t.name,
        '{}'
    )
    FROM old_rows o
    LEFT JOIN LATERAL (SELECT name, remote_origin FROM public.projects WHERE id = o.project_id OFFSET 0) p ON true
    LEFT JOIN LATERAL (SELECT name FROM public.worktree_types WHERE id = o.type_id OFFSET 0) t ON true
    LEFT JOIN LATERAL (
        SELECT project_name, remote_origin FROM public.deleted_worktrees WHERE id = o.id OFFSET 0
    ) d ON true;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION outbox_worktree_deleted() FROM PUBLIC;
COMMENT ON FUNCTION outbox_worktree_deleted() IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_worktree_git_changes(o worktrees, n worktrees)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
    SELECT public.outbox_change('behind_trunk', o.behind_trunk, n.behind_trunk)
    || public.outbox_change('ahead_of_trunk', o.ahead_of_trunk, n.ahead_of_trunk)
    || public.outbox_change('last_commit_hash', o.last_commit_hash, n.last_commit_hash)
    || public.outbox_change('last_commit_message', o.last_commit_message, n.last_commit_message)
    || public.outbox_change('has_uncommitted_changes', o.has_uncommitted_changes, n.has_uncommitted_changes)
    || public.outbox_change('uncommitted_files_count', o.uncommitted_files_count, n.uncommitted_files_count)
$function$;
COMMENT ON FUNCTION outbox_worktree_git_changes(worktrees,worktrees) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_worktree_inserted()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
BEGIN
    INSERT INTO public.outbox (entity, action, project_id, entity_id, host_id, data)
    SELECT 'worktree', 'created', n.project_id, n.id, nullif(n.host_id, public.default_host_id()), public.outbox_worktree_data(
        ROW(n.*)::public.worktrees, p.name, p.remote_origin, t.name, '{}'
    )
    FROM new_rows n
    LEFT JOIN LATERAL (SELECT name, remote_origin FROM public.projects WHERE id = n.project_id OFFSET 0) p ON true
    LEFT JOIN LATERAL (SELECT name FROM public.worktree_types WHERE id = n.type_id OFFSET 0) t ON true;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION outbox_worktree_inserted() FROM PUBLIC;
COMMENT ON FUNCTION outbox_worktree_inserted() IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_worktree_merge_changes(o worktrees, n worktrees)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
    SELECT public.outbox_change('merged_at', o.merged_at, n.merged_at)
    || public.outbox_change('merged_by', o.merged_by, n.merged_by)
    || public.outbox_change('merge_commit_hash', o.merge_commit_hash, n.merge_commit_hash)
$function$;
COMMENT ON FUNCTION outbox_worktree_merge_changes(worktrees,worktrees) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_worktree_type_changes(o worktree_types, n worktree_types)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
    SELECT public.outbox_change('icon', o.icon, n.icon)
    || public.outbox_change('name', o.name, n.name)
    || public.outbox_change('color', o.color, n.color)
    || public.outbox_change('metadata', o.metadata, n.metadata)
    || public.outbox_change('created_at', o.created_at, n.created_at)
    || public.outbox_change('is_builtin', o.is_builtin, n.is_builtin)
    || public.outbox_change('description', o.description, n.description)
    || public.outbox_change('branch_prefix', o.branch_prefix, n.branch_prefix)
    || public.outbox_change('worktree_prefix', o.worktree_prefix, n.worktree_prefix)
$function$;
COMMENT ON FUNCTION outbox_worktree_type_changes(worktree_types,worktree_types) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_worktree_type_data(t worktree_types, p_changed jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
    SELECT pg_catalog.to_jsonb(ROW(
        t.icon,
        t.name,
        t.color,
        p_changed,
        t.id,
        t.metadata,
        t.created_at,
        t.is_builtin,
        t.description,
        t.branch_prefix,
        t.worktree_prefix
    )::public.outbox_worktree_type)
$function$;
COMMENT ON FUNCTION outbox_worktree_type_data(worktree_types,jsonb) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_worktree_type_data(t worktree_types, p_changed text)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
RETURN outbox_worktree_type_data(t, (p_changed)::jsonb);
COMMENT ON FUNCTION outbox_worktree_type_data(worktree_types,text) IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_worktree_type_deleted()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET jit TO 'off'
AS $function$
BEGIN
    INSERT INTO public.outbox (entity, action, data)
    SELECT 'worktree_type', 'removed', public.outbox_worktree_type_data(ROW(o.*)::public.worktree_types, '{}')
    FROM old_rows o;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION outbox_worktree_type_deleted() FROM PUBLIC;
COMMENT ON FUNCTION outbox_worktree_type_deleted() IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_worktree_type_inserted()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET jit TO 'off'
AS $function$
BEGIN
    INSERT INTO public.outbox (entity, action, data)
    SELECT 'worktree_type', 'added', public.outbox_worktree_type_data(ROW(n.*)::public.worktree_types, '{}')
    FROM new_rows n;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION outbox_worktree_type_inserted() FROM PUBLIC;
COMMENT ON FUNCTION outbox_worktree_type_inserted() IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_worktree_type_updated()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
DECLARE
    changed CONSTANT jsonb := public.outbox_worktree_type_changes(OLD, NEW);
BEGIN
    IF changed <> '{}' THEN
        INSERT INTO public.outbox (entity, action, data)
        VALUES ('worktree_type', 'updated', public.outbox_worktree_type_data(NEW, changed));
    END IF;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION outbox_worktree_type_updated() FROM PUBLIC;
COMMENT ON FUNCTION outbox_worktree_type_updated() IS NULL;

CREATE OR REPLACE FUNCTION public.outbox_worktree_updated()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET enable_seqscan TO 'off'
AS $function$
DECLARE
    is_merged CONSTANT boolean := OLD.merged_at IS NULL AND NEW.merged_at IS NOT NULL;
    is_reactivated CONSTANT boolean := NEW.active AND NOT OLD.active;
    is_closed CONSTANT boolean := OLD.active AND NOT NEW.active;
    merging CONSTANT jsonb := public.outbox_worktree_merge_changes(OLD, NEW);
    git CONSTANT jsonb := public.outbox_worktree_git_changes(OLD, NEW);
    synced CONSTANT jsonb := public.outbox_change('last_sync_at', OLD.last_sync_at, NEW.last_sync_at);
    actions CONSTANT text[] := ARRAY[
        'reactivated', 'updated', CASE WHEN NEW.agent_id IS NULL THEN 'released' ELSE 'claimed' END,
        'git_state_updated', 'merged', 'removed'
    ];
    changes CONSTANT jsonb[] := ARRAY[
        CASE WHEN is_reactivated THEN merging || '{"active": false}' ELSE '{}' END,
        public.outbox_worktree_changes(OLD, NEW) || CASE WHEN is_merged OR is_reactivated THEN '{}' ELSE merging END,
        public.outbox_change('agent_id', OLD.agent_id, NEW.agent_id),
        CASE WHEN git = '{}' THEN git ELSE git || synced END,
        CASE WHEN is_merged THEN merging || CASE WHEN is_closed THEN '{"active": true}'::jsonb ELSE '{}' END ELSE '{}' END,
        CASE WHEN is_closed AND NOT is_merged THEN '{"active": true}'::jsonb ELSE '{}' END
    ];
    stamps jsonb := public.outbox_change('updated_at', OLD.updated_at, NEW.updated_at)
        || CASE WHEN git = '{}' THEN synced ELSE '{}' END;
BEGIN
    FOR event IN 1 .. 6 LOOP
        CONTINUE WHEN changes[event] = '{}';
        INSERT INTO public.outbox (entity, action, project_id, entity_id, host_id, data)
        SELECT 'worktree', actions[event], NEW.project_id, NEW.id, nullif(NEW.host_id, public.default_host_id()),
            public.outbox_worktree_data(NEW, p.name, p.remote_origin, t.name, changes[event] || stamps)
        FROM (SELECT) one
        LEFT JOIN public.projects p ON p.id = NEW.project_id
        LEFT JOIN public.worktree_types t ON t.id = NEW.type_id;
        stamps := '{}';
    END LOOP;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION outbox_worktree_updated() FROM PUBLIC;
COMMENT ON FUNCTION outbox_worktree_updated() IS NULL;

CREATE OR REPLACE FUNCTION public.place_new_projects()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF public.caller_host_id() <> public.default_host_id() THEN
        INSERT INTO public.project_hosts (project_id, host_id)
        SELECT n.id, public.caller_host_id()
        FROM new_rows n;
    END IF;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION place_new_projects() FROM PUBLIC;
COMMENT ON FUNCTION place_new_projects() IS NULL;

CREATE OR REPLACE FUNCTION public.place_project(p_project_id uuid, p_host_id uuid, p_trunk_path text, p_may_move boolean DEFAULT false)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    trunk CONSTANT text := public.normalize_path(p_trunk_path);
    is_there text;
BEGIN
    p_project_id := public.current_project_id(p_project_id);
    is_there := public.project_trunk(p_project_id, p_host_id);
    PERFORM public.require_path('place_project', 'p_trunk_path', trunk);
    IF is_there IS NULL THEN
        INSERT INTO public.project_hosts (project_id, host_id, trunk_path)
        VALUES (p_project_id, p_host_id, trunk)
        ON CONFLICT (project_id, host_id) DO NOTHING;
    END IF;
    IF NOT p_may_move THEN
        RETURN;
    END IF;
    UPDATE public.project_hosts h
    SET trunk_path = trunk
    WHERE h.project_id = p_project_id AND h.host_id = p_host_id AND h.trunk_path IS NOT NULL AND h.trunk_path <> trunk;
    UPDATE public.projects p
    SET trunk_path = trunk
    WHERE p.id = p_project_id
        AND p.trunk_path <> trunk
        AND NOT EXISTS (
            SELECT
            FROM public.project_hosts h
            WHERE h.project_id = p_project_id AND h.host_id = p_host_id AND h.trunk_path IS NOT NULL
        );
END;
$function$;
COMMENT ON FUNCTION place_project(uuid,uuid,text,boolean) IS 'Says where the trunk of a project is on a host. A path that is known stays, unless p_may_move.';

CREATE OR REPLACE FUNCTION public.project_search_text(p_name text, p_remote_origin text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN (' '::text || translate(((lower_case(p_name) || ' '::text) || "left"(substr(p_remote_origin, 16), '-4'::integer)), '-/.'::text, '   '::text));
COMMENT ON FUNCTION project_search_text(text,text) IS 'What search_projects looks in: name and owner/repo in lower case, a blank before each word.';

CREATE OR REPLACE FUNCTION public.project_trunk(p_project_id uuid, p_host_id uuid)
 RETURNS text
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE
        WHEN here.project_id IS NOT NULL THEN coalesce(here.trunk_path, p.trunk_path)
        WHEN p_host_id = public.default_host_id() AND NOT EXISTS (
            SELECT FROM public.project_hosts home WHERE home.project_id = p.id AND home.trunk_path IS NULL
        ) THEN p.trunk_path
    END
    FROM public.projects p
    LEFT JOIN public.project_hosts here ON here.project_id = p.id AND here.host_id = p_host_id
    WHERE p.id = p_project_id
$function$;
COMMENT ON FUNCTION project_trunk(uuid,uuid) IS 'Where the trunk of a project is on a host; NULL when it is not there.';

CREATE OR REPLACE FUNCTION public.promote_mirror()
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION promote_mirror() FROM PUBLIC;
COMMENT ON FUNCTION promote_mirror() IS 'Makes a mirror a registry of its own, and returns its epoch; only its owner may. Rows keep their ids, and get an event each of backfill_outbox().';

CREATE OR REPLACE FUNCTION public.promote_replica()
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION promote_replica() FROM PUBLIC;
COMMENT ON FUNCTION promote_replica() IS 'Makes a replica whose subscription is gone a registry that takes writes, and returns its epoch; only its owner may.';

CREATE OR REPLACE FUNCTION public.prune_inactive_worktrees(p_inactive_days integer DEFAULT 30)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    removed integer;
    horizon timestamptz;
BEGIN
    PERFORM public.require_not_negative('prune_inactive_worktrees', 'p_inactive_days', p_inactive_days);
    horizon := public.days_ago(p_inactive_days);    -- in the condition it would be worked out for each row
    DELETE FROM public.worktrees w
    WHERE NOT w.active AND w.updated_at < horizon;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END;
$function$;
COMMENT ON FUNCTION prune_inactive_worktrees(integer) IS 'Deletes worktrees inactive and untouched for so many days, and says how many; their activities stay.';

CREATE OR REPLACE FUNCTION public.published_ids(p_cursor publisher_cursor)
 RETURNS int8multirange
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT p_cursor.published + coalesce(range_agg(part), '{}')
    FROM public.published_batch AS batch
    CROSS JOIN LATERAL unnest(batch.ids) AS part
    WHERE batch.stream = p_cursor.stream
        AND batch.last_sequence > p_cursor.complete_sequence
        AND batch.last_sequence <= p_cursor.stream_sequence
$function$;
COMMENT ON FUNCTION published_ids(publisher_cursor) IS 'Outbox ids that are in the stream of this cursor, or are known never to appear.';

CREATE OR REPLACE FUNCTION public.quote_for_message(p_value text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN COALESCE((to_json("left"(without_credentials(p_value), 120)))::text, 'NULL'::text);
COMMENT ON FUNCTION quote_for_message(text) IS 'A value for an error message: in quotes, on one line, not endless, and without credentials.';

CREATE OR REPLACE FUNCTION public.quote_origin(p_remote_origin text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE
        WHEN o.shown ~ ('^([A-Za-z+]+://|git@|github[.]com:)?([*]{3}@)?[^:@]*(:[0-9]+)?(/[^:@]*)?$' COLLATE "C")
            OR o.shown ~ ('^git@[^:@]+:[^:@]*$' COLLATE "C")
            OR o.shown IS NULL
        THEN public.quote_for_message(o.shown)
        ELSE '(not shown, since it may have a password in it)'
    END
    FROM (
        SELECT regexp_replace(
            CASE
                WHEN p_remote_origin ~ ('^git@[^@]*$' COLLATE "C") THEN p_remote_origin
                ELSE regexp_replace(p_remote_origin, '^([A-Za-z+]+://)?.*@' COLLATE "C", E'\\1***@')
            END,
            '[?#].*$', '?***'
        ) AS shown
    ) o
$function$;
COMMENT ON FUNCTION quote_origin(text) IS 'An origin for an error message, without user, password and token.';

CREATE OR REPLACE PROCEDURE public.recount_registry()
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $procedure$
BEGIN
    PERFORM FROM public.registry_counts FOR UPDATE;
    WITH told AS (
        DELETE FROM public.count_delta
    ),
    counted AS (
        SELECT
            w.project_id,
            count(*) FILTER (WHERE w.active) AS active_worktrees,
            count(*) FILTER (WHERE w.active AND w.has_uncommitted_changes) AS uncommitted_worktrees,
            count(*) FILTER (
                WHERE public.is_in_flight(w.active, w.merged_at, w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk)
            ) AS in_flight_worktrees,
            max(w.updated_at) AS last_worktree_at
        FROM public.worktrees w
        GROUP BY w.project_id
    ),
    gone AS (
        DELETE FROM public.project_counts c
        WHERE NOT EXISTS (SELECT FROM counted n WHERE n.project_id = c.project_id)
    ),
    kept AS (
        INSERT INTO public.project_counts AS c (
            project_id, active_worktrees, uncommitted_worktrees, in_flight_worktrees, last_worktree_at
        )
        SELECT n.project_id, n.active_worktrees, n.uncommitted_worktrees, n.in_flight_worktrees, n.last_worktree_at
        FROM counted n
        ON CONFLICT (project_id) DO UPDATE
        SET active_worktrees = excluded.active_worktrees,
            uncommitted_worktrees = excluded.uncommitted_worktrees,
            in_flight_worktrees = excluded.in_flight_worktrees,
            last_worktree_at = excluded.last_worktree_at
    )
    UPDATE public.registry_counts c
    SET projects = n.projects,
        active_projects = n.active_projects,
        worktrees = n.worktrees,
        active_worktrees = n.active_worktrees,
        in_flight_worktrees = n.in_flight_worktrees,
        activities = n.activities
    FROM public.counted_totals() n;
END;
$procedure$;
REVOKE EXECUTE ON PROCEDURE recount_registry() FROM PUBLIC;
COMMENT ON PROCEDURE recount_registry() IS 'Counts everything anew, while others write: after rows were written with triggers off, or a restore of data alone.';

CREATE OR REPLACE FUNCTION public.refuse_direct_month()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF current_setting('imi.activity_retention', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'cannot % %: it is a part of agent_activities; write there, else no event tells of it', lower(TG_OP), TG_TABLE_NAME
        USING ERRCODE = '55000', TABLE = TG_TABLE_NAME;
END;
$function$;
REVOKE EXECUTE ON FUNCTION refuse_direct_month() FROM PUBLIC;
COMMENT ON FUNCTION refuse_direct_month() IS 'Refuses what names a month instead of agent_activities, whose triggers would not see it.';

CREATE OR REPLACE FUNCTION public.refuse_on_mirror()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    caller CONSTANT text := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    IF current_setting('imi.mirror', true) = 'applies'
        AND pg_has_role(current_user, (SELECT c.relowner FROM pg_class c WHERE c.oid = TG_RELID), 'USAGE')
        AND has_function_privilege(caller, 'public.apply_mirrored(text, text, boolean, bigint[], text[])', 'EXECUTE')
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
$function$;
COMMENT ON FUNCTION refuse_on_mirror() IS 'Refuses what anybody but the source writes into a mirror, or a replica.';

CREATE OR REPLACE FUNCTION public.refuse_times(p_table text, p_columns text[], p_values timestamp with time zone[])
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
DECLARE
    refused record;
BEGIN
    SELECT field, value INTO STRICT refused
    FROM unnest(p_columns, p_values) AS given (field, value)
    WHERE value < '0001-01-01 00:00:00+00' OR value >= '10000-01-01 00:00:00+00'
    LIMIT 1;
    PERFORM public.refuse_value(
        p_table, refused.field, 'is ' || to_jsonb(refused.value)::text, 'be within the years 1 to 9999',
        p_table || '_times_check'
    );
END;
$function$;
COMMENT ON FUNCTION refuse_times(text,text[],timestamp with time zone[]) IS NULL;

CREATE OR REPLACE FUNCTION public.refuse_truncate_of_hosts()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RAISE EXCEPTION 'cannot truncate hosts: worktrees are on them; remove_host() removes one that nothing is on'
        USING ERRCODE = '55000', TABLE = TG_TABLE_NAME;
END;
$function$;
COMMENT ON FUNCTION refuse_truncate_of_hosts() IS NULL;

CREATE OR REPLACE FUNCTION public.refuse_value(p_place text, p_field text, p_found text, p_rule text, p_constraint text DEFAULT NULL::text)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF p_constraint IS NULL THEN
        RAISE EXCEPTION '%: % %; it must %', p_place, p_field, p_found, p_rule USING ERRCODE = '22023';
    END IF;
    RAISE EXCEPTION '%: % %; it must %', p_place, p_field, p_found, p_rule
        USING ERRCODE = '23514', SCHEMA = 'public', TABLE = p_place, COLUMN = p_field, CONSTRAINT = p_constraint,
            DETAIL = 'This is the constraint ' || p_constraint || '.';
END;
$function$;
COMMENT ON FUNCTION refuse_value(text,text,text,text,text) IS 'Raises 22023 for a parameter, 23514 for a column.';

CREATE OR REPLACE FUNCTION public.register_host(p_name text, p_machine text DEFAULT NULL::text)
 RETURNS uuid
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    known public.hosts;
BEGIN
    PERFORM public.require_host_name('register_host', 'p_name', p_name);
    PERFORM public.require_name('register_host', 'p_machine', coalesce(p_machine, 'unknown'));
    LOOP
        SELECT * INTO known FROM public.hosts h WHERE h.id = public.host_named(p_name);
        EXIT WHEN FOUND;
        INSERT INTO public.hosts (name, machine) VALUES (p_name, p_machine)
        ON CONFLICT (name) DO NOTHING;    -- registered meanwhile: look again
    END LOOP;
    IF known.machine IS NULL AND p_machine IS NOT NULL THEN
        UPDATE public.hosts h SET machine = p_machine WHERE h.id = known.id AND h.machine IS NULL;
        SELECT * INTO known FROM public.hosts h WHERE h.id = known.id;
    END IF;
    IF known.machine <> p_machine THEN
        RAISE EXCEPTION 'register_host: p_name % is another machine; give this one another name, or, where it replaces that one, make the host forget its machine first',
            public.quote_for_message(p_name)
            USING ERRCODE = '55000';
    END IF;
    RETURN known.id;
END;
$function$;
COMMENT ON FUNCTION register_host(text,text) IS 'Id of the host of this name, added when there is none. 55000 when it is known as another machine than p_machine, which its first caller gives.';

CREATE OR REPLACE FUNCTION public.register_project(p_name text, p_remote_origin text, p_default_branch text DEFAULT 'main'::text, p_trunk_path text DEFAULT NULL::text, p_metadata jsonb DEFAULT '{}'::jsonb)
 RETURNS uuid
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    given uuid;
    origin text := public.normalize_remote_origin(p_remote_origin);
    branch text := coalesce(p_default_branch, 'main');
    trunk text := public.normalize_path(p_trunk_path);
    project_id uuid;
BEGIN
    PERFORM public.require_name('register_project', 'p_name', p_name);
    PERFORM public.require_word('register_project', 'p_default_branch', branch);
    PERFORM public.require_object('register_project', 'p_metadata', p_metadata);
    IF origin IS NULL THEN
        RAISE EXCEPTION 'register_project: p_remote_origin % is not owner/repo on GitHub; expected git@github.com:owner/repo.git',
            public.quote_origin(p_remote_origin)
            USING ERRCODE = '22023';
    END IF;
    IF trunk IS NOT NULL THEN
        PERFORM public.require_path('register_project', 'p_trunk_path', trunk);
    ELSIF p_name ~ '(/|^[.][.]?$)' THEN
        RAISE EXCEPTION 'register_project: p_name % is no directory name; give p_trunk_path, or a name without "/"',
            public.quote_for_message(p_name)
            USING ERRCODE = '22023';
    ELSE
        trunk := format(
            '%s/code/%s/trunk-%s',
            coalesce(nullif(current_setting('imi.home_dir', true), ''), '/home/' || current_user),
            p_name,
            replace(branch, '/', '-')
        );
    END IF;

    -- In a statement of its own: with the id in the one below, two that register one origin at once could meet at the
    -- primary key, of which ON CONFLICT (remote_origin) knows nothing. An id that another origin has is left to it.
    given := public.id_for_new_project(origin);
    IF given IS NOT NULL THEN
        INSERT INTO public.projects (id, name, remote_origin, default_branch, trunk_path, metadata)
        VALUES (given, p_name, origin, branch, trunk, coalesce(p_metadata, '{}'))
        ON CONFLICT DO NOTHING;
    END IF;

    -- Name, branch and path of a project that is known stay: the second host that registers it has others.
    INSERT INTO public.projects AS p (name, remote_origin, default_branch, trunk_path, metadata)
    VALUES (p_name, origin, branch, trunk, coalesce(p_metadata, '{}'))
    ON CONFLICT (remote_origin) DO UPDATE
    SET metadata = p.metadata || excluded.metadata,
        active = true
    WHERE NOT p.active
        OR p.metadata <> p.metadata || excluded.metadata
    RETURNING p.id INTO project_id;

    IF project_id IS NULL THEN    -- it is registered, and nothing is new
        SELECT p.id INTO STRICT project_id FROM public.projects p WHERE p.remote_origin = origin;
    END IF;
    IF public.caller_host_id() IS NOT NULL THEN
        PERFORM public.place_project(project_id, public.caller_host_id(), trunk);
    END IF;
    RETURN project_id;
END;
$function$;
COMMENT ON FUNCTION register_project(text,text,text,text,jsonb) IS 'Id of the project of this origin: created, or as it is known, reactivated and with its metadata merged. update_project() changes the rest. From another host than its home, its trunk is there, too, from now on.';

CREATE OR REPLACE FUNCTION public.register_worktree(p_project_id uuid, p_type_name text, p_name text, p_branch_name text, p_path text, p_agent_id text DEFAULT NULL::text, p_metadata jsonb DEFAULT '{}'::jsonb)
 RETURNS uuid
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    project public.projects;
    other record;
    worktree_type_id integer := public.resolve_worktree_type(p_type_name);
    caller CONSTANT uuid := public.caller_host_id();
    own_name text := p_name;
    own_host uuid := caller;
    worktree_id uuid;
BEGIN
    p_project_id := public.current_project_id(p_project_id);
    PERFORM public.require_name('register_worktree', 'p_name', p_name);
    PERFORM public.require_word('register_worktree', 'p_branch_name', p_branch_name);
    PERFORM public.require_path('register_worktree', 'p_path', p_path);
    PERFORM public.require_name('register_worktree', 'p_agent_id', coalesce(p_agent_id, 'nobody'));
    PERFORM public.require_object('register_worktree', 'p_metadata', p_metadata);

    SELECT * INTO project FROM public.projects p WHERE p.id = p_project_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'register_worktree: p_project_id % is no project', coalesce(p_project_id::text, 'NULL')
            USING ERRCODE = 'P0002';
    END IF;
    IF worktree_type_id IS NULL THEN
        RAISE EXCEPTION 'register_worktree: p_type_name % is no worktree type; there are %',
            public.quote_for_message(p_type_name), (SELECT string_agg(t.name, ', ' ORDER BY t.id) FROM public.worktree_types t)
            USING ERRCODE = 'P0002';
    END IF;
    IF NOT project.active THEN
        RAISE EXCEPTION 'register_worktree: p_project_id % is project %, which is inactive; register it again first',
            project.id, public.quote_for_message(project.name)
            USING ERRCODE = '55000';
    END IF;

    -- Who names no host means the worktree of this name, wherever it is.
    IF caller IS NULL THEN
        SELECT w.host_id INTO own_host FROM public.worktrees w WHERE w.project_id = p_project_id AND w.name = p_name;
        own_host := coalesce(own_host, public.default_host_id());
    ELSE
        own_name := public.worktree_name_on(p_project_id, p_name, caller);
    END IF;

    -- For the message. The index worktrees_unique_active_path is what holds against a concurrent writer.
    SELECT w.name AS worktree_name, p.name AS project_name INTO other
    FROM public.worktrees w
    JOIN public.projects p ON p.id = w.project_id
    WHERE w.path = public.normalize_path(p_path)
        AND w.host_id = own_host
        AND w.active
        AND (w.project_id, w.name) <> (p_project_id, own_name);
    IF FOUND THEN
        RAISE EXCEPTION 'register_worktree: p_path % is taken by the active worktree % of project %',
            public.quote_for_message(p_path), public.quote_for_message(other.worktree_name), public.quote_for_message(other.project_name)
            USING ERRCODE = '23505', CONSTRAINT = 'worktrees_unique_active_path';
    END IF;

    INSERT INTO public.worktrees AS w (project_id, type_id, name, branch_name, path, agent_id, metadata)
    VALUES (p_project_id, worktree_type_id, p_name, p_branch_name, p_path, p_agent_id, coalesce(p_metadata, '{}'))
    ON CONFLICT (project_id, name) DO UPDATE
    SET type_id = excluded.type_id,
        branch_name = excluded.branch_name,
        path = excluded.path,
        agent_id = coalesce(excluded.agent_id, w.agent_id),
        metadata = w.metadata || excluded.metadata,
        active = true
    WHERE NOT w.active
        OR w.type_id <> excluded.type_id
        OR w.branch_name <> excluded.branch_name
        OR w.path <> excluded.path
        OR w.agent_id IS DISTINCT FROM coalesce(excluded.agent_id, w.agent_id)
        OR w.metadata <> w.metadata || excluded.metadata
    RETURNING w.id INTO worktree_id;

    IF worktree_id IS NULL THEN    -- it is registered exactly so
        p_project_id := public.current_project_id(p_project_id);    -- merged while this waited
        IF caller IS NOT NULL THEN    -- the name that the insert found, after it had waited for others
            own_name := public.worktree_name_on(p_project_id, p_name, caller);
        END IF;
        SELECT w.id INTO STRICT worktree_id
        FROM public.worktrees w
        WHERE w.project_id = p_project_id AND w.name = own_name;
    END IF;
    RETURN worktree_id;
END;
$function$;
COMMENT ON FUNCTION register_worktree(uuid,text,text,text,text,text,jsonb) IS 'Id of the worktree of this project and name on the caller''s host: created, taken up again or updated as needed. Where another host has the name it is name@host.';

CREATE OR REPLACE FUNCTION public.registry_epoch()
 RETURNS bigint
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT greatest(
        1,
        (SELECT m.epoch + CASE WHEN m.promoted_at IS NULL THEN 0 ELSE 1 END FROM public.mirror_source m),
        (SELECT r.epoch + CASE WHEN r.promoted_at IS NULL THEN 0 ELSE 1 END FROM public.replica_source r)
    )
$function$;
COMMENT ON FUNCTION registry_epoch() IS 'How often a mirror or a replica took over in the line of this registry, and one: of two that take writes the higher one counts.';

CREATE OR REPLACE FUNCTION public.registry_health()
 RETURNS TABLE(name text, state text, what text, hint text)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '2s'
 SET "DateStyle" TO 'ISO, YMD'
 SET "TimeZone" TO 'UTC'
 SET "IntervalStyle" TO 'postgres'
AS $function$
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
$function$;
COMMENT ON FUNCTION registry_health() IS 'How the registry is, a row for each thing that was looked at: ok, warn, bad, or unknown; and what to do where it is not ok.';

CREATE OR REPLACE FUNCTION public.registry_heartbeat(p_service text, OUT outbox_id bigint, OUT event_id uuid)
 RETURNS record
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    INSERT INTO public.outbox (entity, action, data)
    VALUES ('registry', 'heartbeat', jsonb_build_object('service', left(p_service, 200)))
    RETURNING id, event_id
$function$;
REVOKE EXECUTE ON FUNCTION registry_heartbeat(text) FROM PUBLIC;
COMMENT ON FUNCTION registry_heartbeat(text) IS 'An event that changes nothing: a service writes it and looks whether it comes out of the stream.';

CREATE OR REPLACE FUNCTION public.registry_life()
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT (pg_control_system()).system_identifier || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
        || '/' || (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
        || '/' || 'public.outbox'::regclass::oid
$function$;
COMMENT ON FUNCTION registry_life() IS 'Another text after the database was restored from a backup or a dump, or a standby was promoted: what was published before may be lost.';

CREATE OR REPLACE FUNCTION public.registry_slow_queries(p_limit integer DEFAULT 20)
 RETURNS TABLE(calls bigint, mean_ms double precision, max_ms double precision, total_ms double precision, rows_per_call double precision, hit_ratio double precision, user_name text, query text)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
COMMENT ON FUNCTION registry_slow_queries(integer) IS 'Statements of the registry in this database, by the time that they took in all, out of pg_stat_statements; 55000 where that is not there.';

CREATE OR REPLACE FUNCTION public.release_worktree(p_worktree_id uuid, p_agent_id text DEFAULT NULL::text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    worktree public.worktrees;
BEGIN
    PERFORM public.require_name('release_worktree', 'p_agent_id', coalesce(p_agent_id, 'whoever it is'));
    SELECT * INTO worktree FROM public.worktrees w WHERE w.id = p_worktree_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'release_worktree: p_worktree_id % is no worktree', coalesce(p_worktree_id::text, 'NULL')
            USING ERRCODE = 'P0002';
    END IF;
    IF worktree.agent_id <> p_agent_id THEN
        RAISE EXCEPTION 'release_worktree: worktree % (%) is held by agent %, not by %',
            public.quote_for_message(worktree.name), worktree.id,
            public.quote_for_message(worktree.agent_id), public.quote_for_message(p_agent_id)
            USING ERRCODE = '55000';
    END IF;
    IF worktree.agent_id IS NOT NULL THEN
        UPDATE public.worktrees w SET agent_id = NULL WHERE w.id = p_worktree_id;
    END IF;
END;
$function$;
COMMENT ON FUNCTION release_worktree(uuid,text) IS 'Takes a worktree from its agent; 55000 when p_agent_id is given and another agent holds it.';

CREATE OR REPLACE FUNCTION public.remember_worktrees()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    INSERT INTO public.deleted_worktrees (
        id, project_id, project_name, remote_origin, type_name, name, branch_name, path, host_id
    )
    SELECT o.id, o.project_id, p.name, p.remote_origin, t.name, o.name, o.branch_name, o.path, o.host_id
    FROM old_rows o
    LEFT JOIN public.projects p ON p.id = o.project_id
    LEFT JOIN public.worktree_types t ON t.id = o.type_id
    ON CONFLICT (id) DO NOTHING;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION remember_worktrees() FROM PUBLIC;
COMMENT ON FUNCTION remember_worktrees() IS NULL;

CREATE OR REPLACE FUNCTION public.remember_worktrees_of_project()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    INSERT INTO public.deleted_worktrees (
        id, project_id, project_name, remote_origin, type_name, name, branch_name, path, host_id
    )
    SELECT w.id, OLD.id, OLD.name, OLD.remote_origin, t.name, w.name, w.branch_name, w.path, w.host_id
    FROM public.worktrees w
    JOIN public.worktree_types t ON t.id = w.type_id
    WHERE w.project_id = OLD.id
    ON CONFLICT (id) DO NOTHING;
    RETURN OLD;
END;
$function$;
REVOKE EXECUTE ON FUNCTION remember_worktrees_of_project() FROM PUBLIC;
COMMENT ON FUNCTION remember_worktrees_of_project() IS NULL;

CREATE OR REPLACE FUNCTION public.remove_host(p_host_id uuid)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    DELETE FROM public.hosts h WHERE h.id = p_host_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'remove_host: p_host_id % is no host', coalesce(p_host_id::text, 'NULL') USING ERRCODE = 'P0002';
    END IF;
END;
$function$;
COMMENT ON FUNCTION remove_host(uuid) IS 'Removes a host that nothing is on; 23503 when worktrees or projects are, 55000 for the default host.';

CREATE OR REPLACE FUNCTION public.remove_old_activities(p_horizon timestamp with time zone)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET "DateStyle" TO 'ISO, YMD'
AS $function$
DECLARE
    month record;
    months CONSTANT text[] := ARRAY(SELECT m.name FROM public.activity_months() m WHERE m.ends_at <= p_horizon);
    rest text := format('DELETE FROM public.agent_activities a WHERE a.created_at < %L', p_horizon);
    removed bigint := 0;
    gone bigint;
BEGIN
    FOR month IN SELECT * FROM public.activity_months() m WHERE m.name = ANY (months) LOOP
        rest := rest || format(' AND (a.created_at < %L OR a.created_at >= %L)', month.begins_at, month.ends_at);
    END LOOP;
    PERFORM set_config('imi.activity_retention', 'on', true);
    EXECUTE rest;
    GET DIAGNOSTICS removed = ROW_COUNT;
    IF months <> '{}' THEN
        FOR attempt IN 1..3 LOOP
            BEGIN
                gone := public.drop_activity_months(months);
                EXIT;
            EXCEPTION
                WHEN lock_not_available OR deadlock_detected THEN
                    PERFORM pg_sleep(0.5);
                WHEN object_in_use OR active_sql_transaction OR no_data_found OR object_not_in_prerequisite_state THEN
                    EXIT;
            END;
        END LOOP;
        IF gone IS NULL THEN
            DELETE FROM public.agent_activities a WHERE a.created_at < p_horizon;
            GET DIAGNOSTICS gone = ROW_COUNT;
        END IF;
        removed := removed + gone;
    END IF;
    PERFORM set_config('imi.activity_retention', 'off', true);
    RETURN removed;
END;
$function$;
REVOKE EXECUTE ON FUNCTION remove_old_activities(timestamp with time zone) FROM PUBLIC;
COMMENT ON FUNCTION remove_old_activities(timestamp with time zone) IS 'Removes all activities older than this, and says how many; for cleanup_old_activities().';

CREATE OR REPLACE FUNCTION public.remove_worktree(p_worktree_id uuid)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    UPDATE public.worktrees w SET active = false WHERE w.id = p_worktree_id AND w.active;
    IF NOT FOUND AND NOT EXISTS (SELECT FROM public.worktrees w WHERE w.id = p_worktree_id) THEN
        RAISE EXCEPTION 'remove_worktree: p_worktree_id % is no worktree', coalesce(p_worktree_id::text, 'NULL')
            USING ERRCODE = 'P0002';
    END IF;
END;
$function$;
COMMENT ON FUNCTION remove_worktree(uuid) IS 'Soft delete of a worktree; does nothing when it is inactive already.';

CREATE OR REPLACE FUNCTION public.remove_worktree_type(p_name text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    DELETE FROM public.worktree_types t WHERE t.name = p_name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'remove_worktree_type: p_name % is no worktree type; there are %',
            public.quote_for_message(p_name), (SELECT string_agg(t.name, ', ' ORDER BY t.id) FROM public.worktree_types t)
            USING ERRCODE = 'P0002';
    END IF;
EXCEPTION
    WHEN foreign_key_violation THEN
        RAISE EXCEPTION 'remove_worktree_type: worktrees have the type %; give them another one first',
            public.quote_for_message(p_name)
            USING ERRCODE = '23503', CONSTRAINT = 'worktrees_type_id_fkey';
END;
$function$;
COMMENT ON FUNCTION remove_worktree_type(text) IS 'Removes a worktree type that is not built in and that no worktree has.';

CREATE OR REPLACE FUNCTION public.replace_mirrored(p_before text, p_after text, p_sequence bigint, p_event_id uuid, p_registry_id uuid, p_life text, p_epoch bigint, p_outbox_id bigint, p_reason text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET "DateStyle" TO 'ISO, YMD'
 SET jit TO 'off'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION replace_mirrored(text,text,bigint,uuid,uuid,text,bigint,bigint,text) FROM PUBLIC;
COMMENT ON FUNCTION replace_mirrored(text,text,bigint,uuid,uuid,text,bigint,bigint,text) IS 'Makes the tables those of the snapshot in mirror_row, which it empties, and moves the position there. 55000 when the mirror is elsewhere.';

CREATE OR REPLACE FUNCTION public.replica_tables()
 RETURNS SETOF text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT t.name
    FROM unnest(ARRAY[
        'hosts', 'worktree_types', 'projects', 'project_aliases', 'project_hosts', 'worktrees', 'agent_activities',
        'deleted_worktrees', 'command_ledger', 'outbox', 'outbox_backlog', 'outbox_fault', 'publisher_cursor', 'published_batch'
    ]) WITH ORDINALITY AS t (name, place)
    WHERE to_regclass('public.' || t.name) IS NOT NULL
    ORDER BY t.place
$function$;
COMMENT ON FUNCTION replica_tables() IS 'What a replica has of its source: all but the record of the schema, and the counts, which it makes itself.';

CREATE OR REPLACE FUNCTION public.require_activity_type(p_place text, p_field text, p_value text, p_constraint text)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    types CONSTANT text[] := '{created, modified, deleted, committed, pushed, merged, synced, claimed, released, other}';
BEGIN
    IF NOT p_value = ANY (types) THEN
        RAISE EXCEPTION '%: % % is no type of activity; there are %',
            p_place, p_field, public.quote_for_message(p_value), array_to_string(types, ', ')
            USING ERRCODE = '23514', CONSTRAINT = p_constraint;
    END IF;
    RETURN true;
END;
$function$;
COMMENT ON FUNCTION require_activity_type(text,text,text,text) IS NULL;

CREATE OR REPLACE FUNCTION public.require_color(p_place text, p_field text, p_value text, p_constraint text DEFAULT NULL::text)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF p_value !~ ('^#([0-9A-Fa-f]{3}){1,2}$' COLLATE "C") THEN
        PERFORM public.refuse_value(p_place, p_field, 'is ' || public.quote_for_message(p_value), 'be a colour such as #10B981', p_constraint);
    END IF;
    RETURN true;
END;
$function$;
COMMENT ON FUNCTION require_color(text,text,text,text) IS NULL;

CREATE OR REPLACE FUNCTION public.require_commit(p_place text, p_field text, p_value text, p_constraint text DEFAULT NULL::text)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    PERFORM public.require_text(p_place, p_field, p_value, p_constraint);
    IF p_value !~ ('^[0-9A-Za-z]{1,128}$' COLLATE "C") THEN
        PERFORM public.refuse_value(
            p_place, p_field, 'is ' || public.quote_for_message(p_value), 'be the hash of a commit: 1 to 128 letters and digits', p_constraint
        );
    END IF;
    RETURN true;
END;
$function$;
COMMENT ON FUNCTION require_commit(text,text,text,text) IS NULL;

CREATE OR REPLACE FUNCTION public.require_host_name(p_place text, p_field text, p_value text, p_constraint text DEFAULT NULL::text)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    PERFORM public.require_text(p_place, p_field, p_value, p_constraint, 253);
    IF p_value !~ ('^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$' COLLATE "C") THEN
        PERFORM public.refuse_value(
            p_place, p_field, 'is ' || public.quote_for_message(p_value),
            'have letters, digits, ".", "-" and "_" alone, and begin and end with a letter or digit', p_constraint
        );
    END IF;
    IF p_value ~ ('^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$' COLLATE "C") THEN
        PERFORM public.refuse_value(
            p_place, p_field, 'is ' || public.quote_for_message(p_value), 'not look like an id', p_constraint
        );
    END IF;
    RETURN true;
END;
$function$;
COMMENT ON FUNCTION require_host_name(text,text,text,text) IS NULL;

CREATE OR REPLACE FUNCTION public.require_name(p_place text, p_field text, p_value text, p_constraint text DEFAULT NULL::text)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RETURN public.require_text(p_place, p_field, p_value, p_constraint, 512);
END;
$function$;
COMMENT ON FUNCTION require_name(text,text,text,text) IS NULL;

CREATE OR REPLACE FUNCTION public.require_not_negative(p_function text, p_parameter text, p_value integer)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF p_value IS NULL OR p_value < 0 THEN
        RAISE EXCEPTION '%: % is %; it must be 0 or more', p_function, p_parameter, coalesce(p_value::text, 'NULL')
            USING ERRCODE = '22023';
    END IF;
END;
$function$;
COMMENT ON FUNCTION require_not_negative(text,text,integer) IS NULL;

CREATE OR REPLACE FUNCTION public.require_object(p_place text, p_field text, p_value jsonb, p_constraint text DEFAULT NULL::text)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    huge text;
BEGIN
    IF jsonb_typeof(p_value) <> 'object' THEN
        PERFORM public.refuse_value(
            p_place, p_field, format('is the JSON %s %s', jsonb_typeof(p_value), left(public.without_credentials(p_value::text), 120)),
            'be a JSON object', p_constraint
        );
    END IF;
    -- Readers of JSON have limits of their own, the strictest we know 200: the event about it could not be read.
    IF jsonb_path_exists(p_value, 'strict $.**{100} ? (@.type() == "object" || @.type() == "array")') THEN
        PERFORM public.refuse_value(p_place, p_field, 'is nested too deep', 'not be deeper than 100 levels', p_constraint);
    END IF;
    huge := jsonb_path_query_first(
        p_value,
        'strict $.** ? (@.type() == "number" && (@ > 1.7976931348623157e308 || @ < -1.7976931348623157e308))'
    )::text;
    IF huge IS NOT NULL THEN
        PERFORM public.refuse_value(
            p_place, p_field, format('has the number %s… (%s characters)', left(huge, 20), length(huge)),
            'have none beyond 1.7976931348623157e308', p_constraint
        );
    END IF;
    RETURN true;
END;
$function$;
COMMENT ON FUNCTION require_object(text,text,jsonb,text) IS NULL;

CREATE OR REPLACE FUNCTION public.require_path(p_place text, p_field text, p_value text, p_constraint text DEFAULT NULL::text)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    PERFORM public.require_text(p_place, p_field, p_value, p_constraint, 2048);
    IF left(p_value, 1) NOT IN ('/', '~') OR p_value ~ ('(^|/)[.][.](/|$)' COLLATE "C") THEN
        PERFORM public.refuse_value(
            p_place, p_field, 'is ' || public.quote_for_message(p_value), 'begin with "/" or "~" and have no ".." part', p_constraint
        );
    END IF;
    RETURN true;
END;
$function$;
COMMENT ON FUNCTION require_path(text,text,text,text) IS NULL;

CREATE OR REPLACE FUNCTION public.require_text(p_place text, p_field text, p_value text, p_constraint text DEFAULT NULL::text, p_bytes integer DEFAULT NULL::integer)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF p_value IS NULL OR p_value !~ (
        E'[^[:space:]\u0085\u00a0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u3000\ufeff]' COLLATE "C"
    ) THEN
        PERFORM public.refuse_value(p_place, p_field, 'is ' || public.quote_for_message(p_value), 'not be blank', p_constraint);
    END IF;
    IF octet_length(p_value) > p_bytes THEN
        PERFORM public.refuse_value(
            p_place, p_field, format('is %s … (%s bytes)', public.quote_for_message(p_value), octet_length(p_value)),
            format('have at most %s bytes', p_bytes), p_constraint
        );
    END IF;
    RETURN true;
END;
$function$;
COMMENT ON FUNCTION require_text(text,text,text,text,integer) IS NULL;

CREATE OR REPLACE FUNCTION public.require_word(p_place text, p_field text, p_value text, p_constraint text DEFAULT NULL::text)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    PERFORM public.require_text(p_place, p_field, p_value, p_constraint, 1024);
    IF p_value ~ ('[[:space:]]' COLLATE "C") THEN
        PERFORM public.refuse_value(p_place, p_field, public.quote_for_message(p_value) || ' has a blank in it', 'be one word', p_constraint);
    END IF;
    RETURN true;
END;
$function$;
COMMENT ON FUNCTION require_word(text,text,text,text) IS NULL;

CREATE OR REPLACE FUNCTION public.resolve_worktree_type(p_type_name text)
 RETURNS integer
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT t.id
    FROM public.worktree_types t
    WHERE t.name = p_type_name OR (p_type_name = 'pr' AND t.name = 'review')
    ORDER BY t.name = p_type_name DESC
    LIMIT 1
$function$;
COMMENT ON FUNCTION resolve_worktree_type(text) IS 'Id of a worktree type; "pr" means review unless a type has that name. NULL when unknown.';

CREATE OR REPLACE FUNCTION public.restore_builtin_worktree_types()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    PERFORM public.seed_worktree_types();
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION restore_builtin_worktree_types() FROM PUBLIC;
COMMENT ON FUNCTION restore_builtin_worktree_types() IS NULL;

CREATE OR REPLACE FUNCTION public.role_rights()
 RETURNS TABLE(role_name text, kind text, object_name text, rights text)
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
COMMENT ON FUNCTION role_rights() IS 'What each role of the registry is granted; imi_owner owns everything, and is granted nothing.';

CREATE OR REPLACE FUNCTION public.run_command(p_type text, p_data jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    target uuid;
    activity uuid;
    d jsonb := p_data;
    metadata jsonb := nullif(p_data -> 'metadata', 'null');
BEGIN
    PERFORM public.enter_command_host(p_type, d ->> 'host');
    CASE p_type
        WHEN 'project.register' THEN
            PERFORM set_config(
                'imi.project_id', CASE d ->> 'derived_id' WHEN 'true' THEN 'derived' WHEN 'false' THEN 'random' ELSE '' END, true
            );
            RETURN jsonb_build_object('project_id', public.register_project(
                d ->> 'name', d ->> 'remote_origin', d ->> 'default_branch', d ->> 'trunk_path', metadata
            ));
        WHEN 'project.update' THEN
            target := public.command_project(d);
            PERFORM public.update_project(
                target, d ->> 'name', d ->> 'default_branch', d ->> 'trunk_path', d ->> 'description', metadata
            );
            RETURN jsonb_build_object('project_id', target);
        WHEN 'project.deactivate' THEN
            target := public.command_project(d);
            PERFORM public.deactivate_project(target);
            RETURN jsonb_build_object('project_id', target);
        WHEN 'worktree.register' THEN
            target := public.command_project(d);
            RETURN jsonb_build_object('project_id', target, 'worktree_id', public.register_worktree(
                target, d ->> 'type_name', d ->> 'name', d ->> 'branch_name', d ->> 'path', d ->> 'agent_id', metadata
            ));
        WHEN 'worktree_type.add' THEN
            RETURN jsonb_build_object('type_id', public.add_worktree_type(
                d ->> 'name', d ->> 'branch_prefix', d ->> 'worktree_prefix', d ->> 'description', d ->> 'color',
                d ->> 'icon', metadata
            ));
        WHEN 'worktree_type.remove' THEN
            PERFORM public.remove_worktree_type(d ->> 'name');
            RETURN '{}'::jsonb;
        WHEN 'activity.log' THEN
            target := public.command_worktree(d);
            activity := public.log_activity(
                d ->> 'agent_id', target, d ->> 'activity_type', d ->> 'description', d ->> 'file_path', metadata
            );
            RETURN jsonb_build_object('worktree_id', target, 'activity_id', activity);
        ELSE
            target := public.command_worktree(d);
    END CASE;
    CASE p_type
        WHEN 'worktree.update' THEN
            PERFORM public.update_worktree(
                target, d ->> 'name', d ->> 'branch_name', d ->> 'new_path', d ->> 'type_name', metadata
            );
        WHEN 'worktree.update_git_state' THEN
            PERFORM public.update_worktree_git_state(
                target, (d ->> 'has_uncommitted')::boolean, (d ->> 'uncommitted_count')::integer,
                (d ->> 'ahead')::integer, (d ->> 'behind')::integer, d ->> 'last_commit_hash',
                d ->> 'last_commit_message'
            );
        WHEN 'worktree.claim' THEN
            PERFORM public.claim_worktree(target, d ->> 'agent_id');
        WHEN 'worktree.release' THEN
            PERFORM public.release_worktree(target, d ->> 'agent_id');
        WHEN 'worktree.merge' THEN
            PERFORM public.mark_worktree_merged(target, d ->> 'merged_by', d ->> 'merge_commit_hash');
        WHEN 'worktree.remove' THEN
            PERFORM public.remove_worktree(target);
    END CASE;
    RETURN jsonb_build_object('worktree_id', target);
END;
$function$;
COMMENT ON FUNCTION run_command(text,jsonb) IS 'Makes the change a command asks for; returns the ids of what it was applied to.';

CREATE OR REPLACE FUNCTION public.search_activities(p_exact tsquery, p_query tsquery, p_patterns text[], p_newest uuid[])
 RETURNS uuid[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET work_mem TO '32MB'
 SET gin_fuzzy_search_limit TO '20000'
 SET max_parallel_workers_per_gather TO '0'
 SET jit TO 'off'
AS $function$
DECLARE
    enough CONSTANT integer := 20;
    newest_ones CONSTANT integer := 1000;
    has_choice CONSTANT boolean := p_query::text ~ '[|!]';
    is_short CONSTANT boolean := p_query::text ~ '^''.{2,3}'':[*]$';
    is_deep boolean := false;
    newest text[];
    found_ids uuid[] := p_newest;
    by_index uuid[];
    hits bigint := 0;
    query tsquery;
    asked tsquery;
    side_by_side text;
    is_coarse boolean;
    many integer;
    looked_at integer;
BEGIN
    IF cardinality(found_ids) < enough AND (is_short OR cardinality(found_ids) >= enough / 5) THEN
        found_ids := public.search_newest_activities(p_query, p_patterns, 4 * newest_ones, enough);
        is_deep := true;
    END IF;
    FOREACH query IN ARRAY CASE WHEN p_exact::text = p_query::text THEN ARRAY[p_query] ELSE ARRAY[p_exact, p_query] END LOOP
        EXIT WHEN cardinality(found_ids) >= enough
            OR query::text <> p_exact::text AND (is_short OR cardinality(found_ids) >= enough / 5);
        IF newest IS NULL AND numnode(query) > 1 THEN
            newest := ARRAY(
                SELECT lower(concat_ws(' ', a.description, a.file_path) COLLATE "C")
                FROM (SELECT l.* FROM public.agent_activities l ORDER BY l.created_at DESC LIMIT newest_ones / 4) a
            );
        END IF;
        asked := public.search_rare_words(query, newest);
        is_coarse := asked::text <> query::text;
        side_by_side := CASE WHEN is_coarse THEN public.search_side_by_side(query) END;
        many := CASE WHEN is_coarse THEN 2 * enough ELSE 200 END;
        looked_at := CASE WHEN is_coarse THEN 500 ELSE many END;
        PERFORM set_config('gin_fuzzy_search_limit', CASE WHEN asked::text ~ '&' THEN '20000' ELSE '2000' END, true);
        SELECT coalesce(max(best.hits), 0), coalesce(array_agg(best.id), '{}') INTO hits, by_index
        FROM (
            SELECT hit.id, count(*) OVER () AS hits
            FROM (
                SELECT near.id, near.created_at
                FROM (
                    SELECT a.id, a.description, a.file_path, a.created_at
                    FROM public.agent_activities a
                    WHERE public.search_words_of_activity(a.description, a.file_path) @@ asked
                    LIMIT looked_at
                ) near
                CROSS JOIN LATERAL (
                    SELECT lower(concat_ws(' ', near.description, near.file_path) COLLATE "C") AS whole
                ) said
                WHERE CASE
                    WHEN is_coarse THEN
                        (has_choice OR said.whole LIKE ALL (p_patterns))
                        AND said.whole ~ side_by_side
                        AND public.search_words_of_activity(near.description, near.file_path) @@ query
                    ELSE true
                END
                LIMIT many
            ) hit
            ORDER BY hit.created_at DESC
            LIMIT enough
        ) best;
        IF hits = many AND NOT is_deep THEN
            found_ids := public.search_newest_activities(p_query, p_patterns, 4 * newest_ones, enough);
            is_deep := true;
        END IF;
        found_ids := found_ids || by_index;
    END LOOP;
    RETURN found_ids;
END;
$function$;
COMMENT ON FUNCTION search_activities(tsquery,tsquery,text[],uuid[]) IS 'Activities that have the words, of which search_registry() takes the best.';

CREATE OR REPLACE FUNCTION public.search_all_words(p_query tsquery)
 RETURNS tsquery
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT regexp_replace(p_query::text, '<(-|[0-9]+)>', '&', 'g')::tsquery
$function$;
COMMENT ON FUNCTION search_all_words(tsquery) IS 'The query without the order of its words: what the index can be asked for.';

CREATE OR REPLACE FUNCTION public.search_busy_worktrees()
 RETURNS uuid[]
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
    SELECT coalesce(array_agg(DISTINCT newest.worktree_id), '{}')
    FROM (SELECT a.worktree_id FROM public.agent_activities a ORDER BY a.created_at DESC LIMIT 200) newest
$function$;
COMMENT ON FUNCTION search_busy_worktrees() IS 'Worktrees that the newest activities are of.';

CREATE OR REPLACE FUNCTION public.search_described_projects(p_exact tsquery, p_query tsquery)
 RETURNS uuid[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET work_mem TO '32MB'
 SET gin_fuzzy_search_limit TO '20000'
 SET max_parallel_workers_per_gather TO '0'
 SET jit TO 'off'
AS $function$
DECLARE
    enough CONSTANT integer := 20;
    is_phrase CONSTANT boolean := p_exact::text ~ '<';
    many CONSTANT integer := CASE WHEN is_phrase THEN 2 * enough ELSE 200 END;
    looked_at CONSTANT integer := CASE WHEN is_phrase THEN 500 ELSE many END;
    found_ids uuid[] := '{}';
    query tsquery;
    asked tsquery;
    side_by_side text;
BEGIN
    FOREACH query IN ARRAY CASE WHEN p_exact::text = p_query::text THEN ARRAY[p_query] ELSE ARRAY[p_exact, p_query] END LOOP
        EXIT WHEN cardinality(found_ids) >= enough;
        asked := public.search_all_words(query);
        side_by_side := public.search_side_by_side(query);
        found_ids := found_ids || ARRAY(
            SELECT hit.id
            FROM (
                SELECT near.id, near.updated_at
                FROM (
                    SELECT p.id, p.name, p.remote_origin, p.trunk_path, p.description, p.updated_at
                    FROM public.projects p
                    WHERE p.active
                        AND public.search_words_of_project(p.name, p.remote_origin, p.trunk_path, p.description) @@ asked
                    LIMIT looked_at
                ) near
                WHERE CASE
                    WHEN is_phrase THEN
                        lower(
                            concat_ws(' ', near.name, substr(near.remote_origin, 16), near.trunk_path, near.description) COLLATE "C"
                        ) ~ side_by_side
                        AND public.search_words_of_project(near.name, near.remote_origin, near.trunk_path, near.description)
                            @@ query
                    ELSE true
                END
                LIMIT many
            ) hit
            ORDER BY hit.updated_at DESC
            LIMIT enough
        );
    END LOOP;
    RETURN found_ids;
END;
$function$;
COMMENT ON FUNCTION search_described_projects(tsquery,tsquery) IS 'Projects that have the words, of which search_registry() takes the best.';

CREATE OR REPLACE FUNCTION public.search_excerpt(p_text text, p_words text[])
 RETURNS text[]
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
COMMENT ON FUNCTION search_excerpt(text,text[]) IS 'The part of a text that has one of the words first, in pieces: every second one is a word that was looked for; NULL where there is none.';

CREATE OR REPLACE FUNCTION public.search_known_words(p_word text)
 RETURNS SETOF text
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT DISTINCT known.word
    FROM pg_stats s
    CROSS JOIN LATERAL string_to_table(array_to_string(s.most_common_elems, ' '), ' ') AS known (word)
    WHERE s.schemaname = 'public'
        AND s.tablename = ANY (    -- one array, which the catalog is asked for by its index
            ARRAY['idx_projects_words', 'idx_worktrees_words', 'idx_agent_activities_words']::name[] || ARRAY(
                SELECT c.relname
                FROM pg_inherits i
                JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = to_regclass('public.idx_agent_activities_words')
            )
        )
        AND left(known.word, 1) IN (left(p_word, 1), substr(p_word, 2, 1))
        AND length(known.word) BETWEEN length(p_word) - 2 AND length(p_word) + 2
$function$;
REVOKE EXECUTE ON FUNCTION search_known_words(text) FROM PUBLIC;
COMMENT ON FUNCTION search_known_words(text) IS 'Words of the registry that ANALYZE met, of about this length and with its first letter; for search_registry().';

CREATE OR REPLACE FUNCTION public.search_newest_activities(p_query tsquery, p_patterns text[], p_depth integer, p_most integer)
 RETURNS uuid[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET max_parallel_workers_per_gather TO '0'
 SET jit TO 'off'
AS $function$
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
$function$;
COMMENT ON FUNCTION search_newest_activities(tsquery,text[],integer,integer) IS 'Those of the newest activities that have the words, newest first.';

CREATE OR REPLACE FUNCTION public.search_newest_worktrees(p_query tsquery, p_patterns text[], p_most integer)
 RETURNS uuid[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET max_parallel_workers_per_gather TO '0'
 SET jit TO 'off'
AS $function$
DECLARE
    has_choice CONSTANT boolean := p_query::text ~ '[|]';
    found_ids uuid[];
    depth integer;
BEGIN
    FOREACH depth IN ARRAY '{100, 500}'::integer[] LOOP
        found_ids := ARRAY(
            SELECT newest.id
            FROM (
                SELECT w.id, w.name, w.branch_name, w.path, w.last_commit_message
                FROM (
                    SELECT DISTINCT a.worktree_id
                    FROM (SELECT l.worktree_id FROM public.agent_activities l ORDER BY l.created_at DESC LIMIT depth) a
                ) busy
                JOIN public.worktrees w ON w.id = busy.worktree_id    -- with = ANY all that are active would be read as well
                ORDER BY w.active DESC, w.updated_at DESC
                OFFSET 0
            ) newest
            CROSS JOIN LATERAL (
                SELECT lower(
                    concat_ws(' ', newest.name, newest.branch_name, newest.path, newest.last_commit_message) COLLATE "C"
                ) AS whole
            ) said
            WHERE CASE WHEN has_choice THEN said.whole LIKE ANY (p_patterns) ELSE said.whole LIKE ALL (p_patterns) END
                AND public.search_words_of_worktree(
                    newest.name, newest.branch_name, newest.path, newest.last_commit_message
                ) @@ p_query
            LIMIT p_most
        );
        -- Few of these have it: the index is as quick, but for a beginning.
        EXIT WHEN cardinality(found_ids) = p_most OR cardinality(found_ids) < p_most / 5 AND p_query::text !~ ':[*]';
    END LOOP;
    RETURN found_ids;
END;
$function$;
COMMENT ON FUNCTION search_newest_worktrees(tsquery,text[],integer) IS 'Those of the worktrees of the newest activities that have the words: active ones first, the newest first.';

CREATE OR REPLACE FUNCTION public.search_projects(p_query text)
 RETURNS TABLE(id uuid, name text, remote_origin text, trunk_path text, relevance real)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT p.id, p.name, p.remote_origin, public.trunk_for_caller(p.id, p.trunk_path), near.relevance
    FROM public.near_projects(left(p_query, 512)) WITH ORDINALITY AS near (id, relevance, place)
    JOIN public.projects p ON p.id = near.id
    ORDER BY near.place
$function$;
COMMENT ON FUNCTION search_projects(text) IS 'Active projects whose name or owner/repo contains or resembles the text: best first, at most 20; relevance is 0 to 1.';

CREATE OR REPLACE FUNCTION public.search_query(p_query text)
 RETURNS tsquery
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT websearch_to_tsquery(
        'pg_catalog.simple',
        translate(
            public.search_text(
                replace(regexp_replace(p_query, '(^|[[:space:]])-+(?=[[:alnum:]"])', E'\\1\u0001', 'g'), '"', E'\u0002')
            ),
            E'\u0001\u0002', '-"'
        )
    )
$function$;
COMMENT ON FUNCTION search_query(text) IS 'What a person typed, as PostgreSQL looks for it.';

CREATE OR REPLACE FUNCTION public.search_query_words(p_query tsquery)
 RETURNS text[]
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT coalesce(array_agg(DISTINCT match[2]), '{}')
    FROM regexp_matches(p_query::text, '(!?) ?''([^'']+)''', 'g') AS match
    WHERE match[1] = ''
$function$;
COMMENT ON FUNCTION search_query_words(tsquery) IS 'The words that may be there, for a coarse look and for marking them.';

CREATE OR REPLACE FUNCTION public.search_rare_words(p_query tsquery, p_texts text[])
 RETURNS tsquery
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE
        WHEN numnode(p_query) = 1 THEN p_query
        WHEN p_query::text ~ '[|!(]' THEN public.search_all_words(p_query)
        ELSE (
            SELECT string_agg(counted.word, ' & ')::tsquery
            FROM (
                SELECT said.word, said.times, said.is_rare, bool_or(said.is_rare) OVER () AS has_rare, min(said.times) OVER () AS fewest
                FROM (
                    SELECT asked.word, having_it.times, having_it.times < 5 AND asked.word !~ '^''.{1,3}'':[*]$' AS is_rare
                    FROM regexp_split_to_table(public.search_all_words(p_query)::text, ' & ') AS asked (word)
                    CROSS JOIN LATERAL (
                        SELECT count(*) AS times
                        FROM unnest(p_texts) AS t (whole)
                        WHERE strpos(t.whole, btrim(asked.word, ''':*')) > 0
                    ) having_it
                ) said
            ) counted
            WHERE CASE WHEN counted.has_rare THEN counted.is_rare ELSE counted.times = counted.fewest END
        )
    END
$function$;
COMMENT ON FUNCTION search_rare_words(tsquery,text[]) IS 'What the index is asked for: the query without the order of its words, and where it has others without those that five of these texts have, and without a beginning of three letters.';

CREATE OR REPLACE FUNCTION public.search_registry(p_query text, p_limit integer DEFAULT 20, p_kinds text[] DEFAULT '{project,worktree,activity}'::text[])
 RETURNS TABLE(kind text, id uuid, name text, project_id uuid, project_name text, worktree_id uuid, place text, excerpt text[], relevance real, active boolean, occurred_at timestamp with time zone)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET max_parallel_workers_per_gather TO '0'
 SET jit TO 'off'
AS $function$
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
    tried tsquery;
    of_name text := public.lower_case(btrim(p_query));
    part_of_name text := '%' || regexp_replace(translate(of_name, '-/.', '   '), E'([\\\\%_])', E'\\\\\\1', 'g') || '%';
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
        -- What an activity says of one word weighs 0.32 at most, a name that has it 0.48 and more; of one of two likely
        -- spellings it is half of that.
        IF 'activity' = ANY (p_kinds) AND (
            numnode(exact) > 1 OR p_limit > (
                SELECT count(*)
                FROM (
                    SELECT p.name || ' ' || substr(p.remote_origin, 16) AS name
                    FROM public.projects p
                    WHERE p.id = ANY (projects_found)
                    UNION ALL
                    SELECT w.name || ' ' || w.branch_name FROM public.worktrees w WHERE w.id = ANY (worktrees_found)
                ) named
                WHERE to_tsvector('simple', public.search_text(named.name)) @@ wanted
            )
        ) THEN
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
        tried := wanted;
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
        EXIT WHEN wanted::text IN (exact::text, tried::text);
        asked := wanted;
        is_last := true;
    END LOOP;
    -- Where no project has the words, one whose name contains the text may be meant, and where nothing has them, one whose
    -- name resembles it. A path is no name of one, and so long a text takes that search long.
    IF 'project' = ANY (p_kinds) AND projects_found = '{}' AND p_query !~ '^[[:space:]]*[/~]' AND length(p_query) <= 80
        AND EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_trgm' AND has_schema_privilege(e.extnamespace, 'USAGE'))
        AND (
            is_last OR cardinality(worktrees_found || activities_found) = 0
            OR 0 < (    -- not EXISTS, for which any index would be read from its beginning
                SELECT count(*)
                FROM (
                    SELECT FROM public.projects p
                    WHERE p.active AND public.project_search_text(p.name, p.remote_origin) LIKE part_of_name
                    LIMIT 500
                ) part
            )
        )
    THEN
        SELECT coalesce(array_agg(s.id), '{}'), coalesce(array_agg(s.relevance), '{}') INTO near_projects, nearness
        FROM public.near_projects(p_query) s;
    END IF;
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
            CASE
                WHEN of_name IN (
                    public.lower_case(p.name),
                    substring(p.remote_origin FROM ':(.*)[.]git$'), substring(p.remote_origin FROM '/(.*)[.]git$')
                ) THEN 1
                ELSE ts_rank(
                    weights,
                    setweight(to_tsvector('simple', public.search_text(p.name || ' ' || substr(p.remote_origin, 16))), 'A')
                        || setweight(to_tsvector('simple', coalesce(public.search_text(p.description), '')), 'B')
                        || setweight(to_tsvector('simple', public.search_text(p.trunk_path)), 'C'),
                    ranked
                )
            END, true, p.updated_at
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
$function$;
COMMENT ON FUNCTION search_registry(text,integer,text[]) IS 'Projects, worktrees and activities that have the words, or words that begin so: best first, at most p_limit; every second piece of the excerpt is what was looked for. Syntax as in web searches: "a phrase", or, -not.';

CREATE OR REPLACE FUNCTION public.search_side_by_side(p_query tsquery)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE
        WHEN p_query::text ~ '^''[a-z0-9]+''( <-> ''[a-z0-9]+'')+$'
            THEN replace(replace(p_query::text, ''' <-> ''', '[^a-z0-9]+'), '''', '')
        ELSE ''
    END
$function$;
COMMENT ON FUNCTION search_side_by_side(tsquery) IS 'A pattern for a coarse look whether the words of a phrase follow each other; matches everything where the query is more than one phrase.';

CREATE OR REPLACE FUNCTION public.search_similar_words(p_word text)
 RETURNS text[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
                SELECT translate(string_agg(public.search_text(newest.name), ' '), '!$*^', '    ')    -- as the index has them
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
$function$;
COMMENT ON FUNCTION search_similar_words(text) IS 'Words of the registry that a misspelt one may mean; itself where it is a frequent one, none without pg_trgm.';

CREATE OR REPLACE FUNCTION public.search_text(p_text text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN lower_case(translate("left"(p_text, 4000), '-/_.:@~<>&+=#%?,;()[]{}|\`"'''::text, '                            '::text));
COMMENT ON FUNCTION search_text(text) IS 'A text as it is searched: in lower case, with blanks for the signs of names and paths, at most 4,000 characters.';

CREATE OR REPLACE FUNCTION public.search_unfinished(p_query tsquery)
 RETURNS tsquery
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT regexp_replace(p_query::text, '(^|[&|(] )(''[^'']{2,}'')$', E'\\1\\2:*')::tsquery
$function$;
COMMENT ON FUNCTION search_unfinished(tsquery) IS 'The same query, whose last word may be the beginning of one.';

CREATE OR REPLACE FUNCTION public.search_words_of_activity(p_description text, p_file_path text)
 RETURNS tsvector
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN to_tsvector('simple'::regconfig, (search_text(p_description) || COALESCE((' '::text || search_text(p_file_path)), ''::text)));
COMMENT ON FUNCTION search_words_of_activity(text,text) IS 'What search_registry() finds an activity by.';

CREATE OR REPLACE FUNCTION public.search_words_of_project(p_name text, p_remote_origin text, p_trunk_path text, p_description text)
 RETURNS tsvector
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN to_tsvector('simple'::regconfig, (search_text(((((p_name || ' '::text) || substr(p_remote_origin, 16)) || ' '::text) || p_trunk_path)) || COALESCE((' '::text || search_text(p_description)), ''::text)));
COMMENT ON FUNCTION search_words_of_project(text,text,text,text) IS 'What search_registry() finds a project by.';

CREATE OR REPLACE FUNCTION public.search_words_of_worktree(p_name text, p_branch_name text, p_path text, p_last_commit_message text)
 RETURNS tsvector
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN (to_tsvector('simple'::regconfig, (search_text(((((p_name || ' '::text) || p_branch_name) || ' '::text) || p_path)) || COALESCE((' '::text || search_text(p_last_commit_message)), ''::text))) || array_to_tsvector(ARRAY[('='::text || search_text(p_name)), ('='::text || search_text(p_branch_name))]));
COMMENT ON FUNCTION search_words_of_worktree(text,text,text,text) IS 'What search_registry() finds a worktree by.';

CREATE OR REPLACE FUNCTION public.search_worktrees(p_exact tsquery, p_query tsquery, p_patterns text[], p_named tsquery, p_is_frequent boolean)
 RETURNS uuid[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_custom_plan'
 SET enable_seqscan TO 'off'
 SET work_mem TO '32MB'
 SET gin_fuzzy_search_limit TO '20000'
 SET max_parallel_workers_per_gather TO '0'
 SET jit TO 'off'
AS $function$
DECLARE
    enough CONSTANT integer := 20;
    has_choice CONSTANT boolean := p_query::text ~ '[|!]';
    newest text[];
    found_ids uuid[];
    by_index uuid[];
    query tsquery;
    asked tsquery;
    side_by_side text;
    is_coarse boolean;
    many integer;
    looked_at integer;
BEGIN
    found_ids := ARRAY(
        SELECT w.id
        FROM public.worktrees w
        WHERE public.search_words_of_worktree(w.name, w.branch_name, w.path, w.last_commit_message) @@ p_named
        LIMIT enough
    );
    newest := ARRAY(
        SELECT lower(concat_ws(' ', w.name, w.branch_name, w.path, w.last_commit_message) COLLATE "C")
        FROM (
            SELECT DISTINCT a.worktree_id
            FROM (SELECT l.worktree_id FROM public.agent_activities l ORDER BY l.created_at DESC LIMIT 50) a
        ) busy
        JOIN public.worktrees w ON w.id = busy.worktree_id
    );
    IF p_is_frequent OR EXISTS (
        SELECT FROM unnest(newest) AS t (whole)
        WHERE CASE WHEN has_choice THEN t.whole LIKE ANY (p_patterns) ELSE t.whole LIKE ALL (p_patterns) END
    ) THEN
        found_ids := found_ids || public.search_newest_worktrees(p_query, p_patterns, enough);
    END IF;
    FOREACH query IN ARRAY CASE WHEN p_exact::text = p_query::text THEN ARRAY[p_query] ELSE ARRAY[p_exact, p_query] END LOOP
        EXIT WHEN cardinality(found_ids) >= enough
            OR query::text <> p_exact::text AND cardinality(found_ids) >= enough / 5;
        asked := public.search_rare_words(query, newest);
        is_coarse := asked::text <> query::text;
        side_by_side := CASE WHEN is_coarse THEN public.search_side_by_side(query) END;
        many := CASE WHEN is_coarse THEN 2 * enough ELSE 200 END;
        looked_at := CASE WHEN is_coarse THEN 500 ELSE many END;
        PERFORM set_config('gin_fuzzy_search_limit', CASE WHEN asked::text ~ '&' THEN '20000' ELSE '2000' END, true);
        by_index := ARRAY(
            SELECT hit.id
            FROM (
                SELECT near.id, near.name, near.updated_at
                FROM (
                    SELECT w.id, w.name, w.branch_name, w.path, w.last_commit_message, w.updated_at
                    FROM public.worktrees w
                    WHERE public.search_words_of_worktree(w.name, w.branch_name, w.path, w.last_commit_message) @@ asked
                    LIMIT looked_at
                ) near
                CROSS JOIN LATERAL (
                    SELECT lower(concat_ws(' ', near.name, near.branch_name, near.path, near.last_commit_message) COLLATE "C") AS whole
                ) said
                WHERE CASE
                    WHEN is_coarse THEN
                        (has_choice OR said.whole LIKE ALL (p_patterns))
                        AND said.whole ~ side_by_side
                        AND public.search_words_of_worktree(
                            near.name, near.branch_name, near.path, near.last_commit_message
                        ) @@ query
                    ELSE true
                END
                LIMIT many
            ) hit
            ORDER BY lower(hit.name COLLATE "C") LIKE ALL (p_patterns) DESC, hit.updated_at DESC
            LIMIT enough
        );
        found_ids := found_ids || by_index;
    END LOOP;
    RETURN found_ids;
END;
$function$;
COMMENT ON FUNCTION search_worktrees(tsquery,tsquery,text[],tsquery,boolean) IS 'Worktrees that have the words, of which search_registry() takes the best.';

CREATE OR REPLACE FUNCTION public.seed_worktree_types()
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    INSERT INTO public.worktree_types (name, branch_prefix, worktree_prefix, description, is_builtin, color, icon)
    SELECT b.name, b.branch_prefix, b.worktree_prefix, b.description, true, b.color, b.icon
    FROM (
        VALUES
            (1, 'feat', 'feat/', 'feat-', 'Feature development', '#10B981', '🚀'),
            (2, 'fix', 'fix/', 'fix-', 'Bug fixes', '#EF4444', '🐛'),
            (3, 'aiops', 'aiops/', 'aiops-', 'AI operations (agents, rules, workflows)', '#8B5CF6', '🤖'),
            (4, 'devops', 'devops/', 'devops-', 'DevOps tasks (CI, deploys)', '#3B82F6', '⚙️'),
            (5, 'review', 'pr-review/', 'pr-', 'Pull request reviews', '#F59E0B', '👀'),
            (6, 'trunk', '', 'trunk-', 'Main branch worktree', '#6B7280', '🌳')
    ) AS b (position, name, branch_prefix, worktree_prefix, description, color, icon)
    WHERE NOT EXISTS (SELECT FROM public.worktree_types t WHERE t.name = b.name)
    ORDER BY b.position
$function$;
COMMENT ON FUNCTION seed_worktree_types() IS 'Adds the built-in worktree types that are missing; changes nothing that is there.';

CREATE OR REPLACE FUNCTION public.sha1_of(p_bytes bytea)
 RETURNS bytea
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE STRICT
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET standard_conforming_strings TO 'on'
AS $function$
DECLARE
    word CONSTANT bigint := 4294967295;    -- 32 bits, in the 64 of a bigint
    padded CONSTANT bytea := p_bytes || '\x80'::bytea
        || decode(repeat('00', (119 - length(p_bytes) % 64) % 64), 'hex') || int8send(length(p_bytes) * 8::bigint);
    h bigint[] := ARRAY[1732584193, 4023233417, 2562383102, 271733878, 3285377520];
    w bigint[];
    a bigint;
    b bigint;
    c bigint;
    d bigint;
    e bigint;
    f bigint;
    k bigint;
    x bigint;
BEGIN
    FOR block IN 0 .. length(padded) / 64 - 1 LOOP
        w := '{}';
        FOR t IN 0 .. 79 LOOP
            IF t < 16 THEN
                x := 0;
                FOR byte IN 0 .. 3 LOOP
                    x := (x << 8) | get_byte(padded, block * 64 + t * 4 + byte);
                END LOOP;
            ELSE
                x := w[t - 2] # w[t - 7] # w[t - 13] # w[t - 15];
                x := ((x << 1) | (x >> 31)) & word;
            END IF;
            w[t + 1] := x;
        END LOOP;
        a := h[1];
        b := h[2];
        c := h[3];
        d := h[4];
        e := h[5];
        FOR t IN 0 .. 79 LOOP
            CASE t / 20
                WHEN 0 THEN
                    f := (b & c) | ((b # word) & d);
                    k := 1518500249;
                WHEN 1 THEN
                    f := b # c # d;
                    k := 1859775393;
                WHEN 2 THEN
                    f := (b & c) | (b & d) | (c & d);
                    k := 2400959708;
                ELSE
                    f := b # c # d;
                    k := 3395469782;
            END CASE;
            x := ((((a << 5) | (a >> 27)) & word) + f + e + k + w[t + 1]) & word;
            e := d;
            d := c;
            c := ((b << 30) | (b >> 2)) & word;
            b := a;
            a := x;
        END LOOP;
        h := ARRAY[(h[1] + a) & word, (h[2] + b) & word, (h[3] + c) & word, (h[4] + d) & word, (h[5] + e) & word];
    END LOOP;
    RETURN (SELECT string_agg(substr(int8send(part), 5), ''::bytea ORDER BY place) FROM unnest(h) WITH ORDINALITY AS p (part, place));
END;
$function$;
COMMENT ON FUNCTION sha1_of(bytea) IS 'SHA-1 (FIPS 180-4), for ids derived from names; not for anything that must stay secret.';

CREATE OR REPLACE FUNCTION public.stop_replica()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    PERFORM FROM public.replica_source r WHERE r.promoted_at IS NULL AND r.stopped_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'stop_replica: this registry is no replica that follows' USING ERRCODE = '55000';
    END IF;
    PERFORM public.uncount_replica();
    PERFORM public.advance_replica_sequences();
    UPDATE public.replica_source SET stopped_at = clock_timestamp();
END;
$function$;
REVOKE EXECUTE ON FUNCTION stop_replica() FROM PUBLIC;
COMMENT ON FUNCTION stop_replica() IS 'Notes that a replica follows no longer: it stays as it is, and read-only; only its owner may.';

CREATE OR REPLACE FUNCTION public.storage_of(p_table regclass)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT coalesce(' WITH (' || string_agg(format('%s%I = %L', o.prefix, o.option_name, o.option_value), ', ') || ')', '')
    FROM pg_class c
    LEFT JOIN pg_class toast ON toast.oid = c.reltoastrelid
    CROSS JOIN LATERAL (
        SELECT '' AS prefix, own.* FROM pg_options_to_table(c.reloptions) own
        UNION ALL
        SELECT 'toast.', beside.* FROM pg_options_to_table(toast.reloptions) beside
    ) o
    WHERE c.oid = p_table
$function$;
REVOKE EXECUTE ON FUNCTION storage_of(regclass) FROM PUBLIC;
COMMENT ON FUNCTION storage_of(regclass) IS 'The storage parameters of a table, as CREATE TABLE takes them; empty where it has none.';

CREATE OR REPLACE FUNCTION public.sync_uncommitted_changes()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    flag boolean := NEW.has_uncommitted_changes;
    files integer := NEW.uncommitted_files_count;
BEGIN
    IF files IS NULL THEN
        files := CASE WHEN flag THEN 1 ELSE 0 END;
    END IF;
    IF flag IS NULL THEN
        flag := files > 0;
    END IF;

    IF flag <> (files > 0) THEN
        IF TG_OP = 'INSERT' THEN
            files := greatest(files, 1);
            flag := true;
        ELSIF flag = OLD.has_uncommitted_changes THEN
            flag := files > 0;
        ELSIF files = OLD.uncommitted_files_count THEN
            files := CASE WHEN flag THEN 1 ELSE 0 END;
        ELSE
            RAISE EXCEPTION 'worktree %: has_uncommitted_changes % contradicts uncommitted_files_count %',
                public.quote_for_message(NEW.name), flag, files
                USING ERRCODE = '22023', TABLE = TG_TABLE_NAME, COLUMN = 'has_uncommitted_changes';
        END IF;
    END IF;
    NEW.has_uncommitted_changes := flag;
    NEW.uncommitted_files_count := files;
    RETURN NEW;
END;
$function$;
COMMENT ON FUNCTION sync_uncommitted_changes() IS NULL;

CREATE OR REPLACE FUNCTION public.take_surplus_rights(p_table regclass)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION take_surplus_rights(regclass) FROM PUBLIC;
COMMENT ON FUNCTION take_surplus_rights(regclass) IS 'Takes from everybody but the owner what he may do with a table, as by ALTER DEFAULT PRIVILEGES, and not with agent_activities.';

CREATE OR REPLACE FUNCTION public.tell_project_merged(p_winner projects, p_loser projects)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
    VALUES (
        'project', 'merged', p_winner.id, p_winner.id,
        public.outbox_project_data(p_winner, '{}')
            || jsonb_build_object('loser', public.outbox_project_data(p_loser, '{}') - 'changed')
    )
$function$;
REVOKE EXECUTE ON FUNCTION tell_project_merged(projects,projects) FROM PUBLIC;
COMMENT ON FUNCTION tell_project_merged(projects,projects) IS NULL;

CREATE OR REPLACE FUNCTION public.truncate_activities()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    BEGIN
        TRUNCATE public.agent_activities, public.deleted_worktrees;
    EXCEPTION
        WHEN object_in_use THEN    -- named in the same TRUNCATE: PostgreSQL refuses a second one
            PERFORM set_config('imi.activity_retention', 'on', true);
            DELETE FROM public.agent_activities;
            PERFORM set_config('imi.activity_retention', 'off', true);
            DELETE FROM public.deleted_worktrees;
    END;
    RETURN NULL;
END;
$function$;
REVOKE EXECUTE ON FUNCTION truncate_activities() FROM PUBLIC;
COMMENT ON FUNCTION truncate_activities() IS NULL;

CREATE OR REPLACE FUNCTION public.trunk_for_caller(p_project_id uuid, p_trunk_path text)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT coalesce(
        public.project_trunk(p_project_id, coalesce(public.caller_host_id(), public.default_host_id())), p_trunk_path
    )
$function$;
COMMENT ON FUNCTION trunk_for_caller(uuid,text) IS 'Where the trunk is on the caller''s host, or else p_trunk_path, where it is at home.';

CREATE OR REPLACE FUNCTION public.uncount_replica()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET standard_conforming_strings TO 'on'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION uncount_replica() FROM PUBLIC;
COMMENT ON FUNCTION uncount_replica() IS 'Lets counts be made by the triggers of an ordinary registry again.';

CREATE OR REPLACE FUNCTION public.update_host(p_host_id uuid, p_name text DEFAULT NULL::text, p_description text DEFAULT NULL::text, p_machine text DEFAULT NULL::text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    known public.hosts;
BEGIN
    PERFORM public.require_host_name('update_host', 'p_name', coalesce(p_name, 'as-it-is'));
    PERFORM public.require_text('update_host', 'p_description', coalesce(p_description, 'as it is'));
    PERFORM public.require_name('update_host', 'p_machine', coalesce(nullif(p_machine, ''), 'as it is'));
    SELECT * INTO known FROM public.hosts h WHERE h.id = p_host_id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'update_host: p_host_id % is no host', coalesce(p_host_id::text, 'NULL') USING ERRCODE = 'P0002';
    END IF;
    -- For the message. The constraint is what holds against a concurrent writer.
    IF EXISTS (SELECT FROM public.hosts h WHERE h.name = lower(p_name COLLATE "C") AND h.id <> p_host_id) THEN
        RAISE EXCEPTION 'update_host: p_name % is the name of another host', public.quote_for_message(p_name)
            USING ERRCODE = '23505', CONSTRAINT = 'hosts_name_key';
    END IF;
    UPDATE public.hosts h
    SET name = coalesce(lower(p_name COLLATE "C"), h.name),
        description = coalesce(p_description, h.description),
        machine = CASE WHEN p_machine IS NULL THEN h.machine ELSE nullif(p_machine, '') END
    WHERE h.id = p_host_id
        AND (h.name, h.description, h.machine) IS DISTINCT FROM (
            coalesce(lower(p_name COLLATE "C"), h.name),
            coalesce(p_description, h.description),
            CASE WHEN p_machine IS NULL THEN h.machine ELSE nullif(p_machine, '') END
        );
END;
$function$;
COMMENT ON FUNCTION update_host(uuid,text,text,text) IS 'Changes what is given of a host: NULL keeps the value, an empty p_machine forgets it. A name before becomes a former one.';

CREATE OR REPLACE FUNCTION public.update_project(p_project_id uuid, p_name text DEFAULT NULL::text, p_default_branch text DEFAULT NULL::text, p_trunk_path text DEFAULT NULL::text, p_description text DEFAULT NULL::text, p_metadata jsonb DEFAULT NULL::jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    project public.projects;
BEGIN
    PERFORM public.require_name('update_project', 'p_name', coalesce(p_name, 'as it is'));
    PERFORM public.require_word('update_project', 'p_default_branch', coalesce(p_default_branch, 'as-it-is'));
    PERFORM public.require_path('update_project', 'p_trunk_path', coalesce(p_trunk_path, '/as/it/is'));
    PERFORM public.require_text('update_project', 'p_description', coalesce(p_description, 'as it is'));
    PERFORM public.require_object('update_project', 'p_metadata', p_metadata);
    p_project_id := public.current_project_id(p_project_id);
    SELECT * INTO project FROM public.projects p WHERE p.id = p_project_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN    -- merged while this waited, if it is there at all
        p_project_id := public.current_project_id(p_project_id);
        SELECT * INTO project FROM public.projects p WHERE p.id = p_project_id FOR NO KEY UPDATE;
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'update_project: p_project_id % is no project', coalesce(p_project_id::text, 'NULL')
            USING ERRCODE = 'P0002';
    END IF;
    IF p_trunk_path IS NOT NULL AND public.caller_host_id() IS NOT NULL THEN
        PERFORM public.place_project(p_project_id, public.caller_host_id(), p_trunk_path, true);
        p_trunk_path := NULL;    -- told already, of the host it is on
    END IF;
    UPDATE public.projects p
    SET name = coalesce(p_name, p.name),
        default_branch = coalesce(p_default_branch, p.default_branch),
        trunk_path = coalesce(public.normalize_path(p_trunk_path), p.trunk_path),
        description = coalesce(p_description, p.description),
        metadata = p.metadata || coalesce(p_metadata, '{}')
    WHERE p.id = p_project_id
        AND (p.name, p.default_branch, p.trunk_path, p.description, p.metadata) IS DISTINCT FROM (
            coalesce(p_name, p.name),
            coalesce(p_default_branch, p.default_branch),
            coalesce(public.normalize_path(p_trunk_path), p.trunk_path),
            coalesce(p_description, p.description),
            p.metadata || coalesce(p_metadata, '{}')
        );
END;
$function$;
COMMENT ON FUNCTION update_project(uuid,text,text,text,text,jsonb) IS 'Changes what is given of a project: NULL keeps the value, metadata is merged by key. The trunk path is that on the caller''s host.';

CREATE OR REPLACE FUNCTION public.update_updated_at_column()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END;
$function$;
COMMENT ON FUNCTION update_updated_at_column() IS NULL;

CREATE OR REPLACE FUNCTION public.update_worktree(p_worktree_id uuid, p_name text DEFAULT NULL::text, p_branch_name text DEFAULT NULL::text, p_path text DEFAULT NULL::text, p_type_name text DEFAULT NULL::text, p_metadata jsonb DEFAULT NULL::jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    worktree_type_id integer := public.resolve_worktree_type(p_type_name);
    worktree public.worktrees;
    other record;
BEGIN
    PERFORM public.require_name('update_worktree', 'p_name', coalesce(p_name, 'as it is'));
    PERFORM public.require_word('update_worktree', 'p_branch_name', coalesce(p_branch_name, 'as-it-is'));
    PERFORM public.require_path('update_worktree', 'p_path', coalesce(p_path, '/as/it/is'));
    PERFORM public.require_object('update_worktree', 'p_metadata', p_metadata);
    IF p_type_name IS NOT NULL AND worktree_type_id IS NULL THEN
        RAISE EXCEPTION 'update_worktree: p_type_name % is no worktree type; there are %',
            public.quote_for_message(p_type_name), (SELECT string_agg(t.name, ', ' ORDER BY t.id) FROM public.worktree_types t)
            USING ERRCODE = 'P0002';
    END IF;
    SELECT * INTO worktree FROM public.worktrees w WHERE w.id = p_worktree_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'update_worktree: p_worktree_id % is no worktree', coalesce(p_worktree_id::text, 'NULL')
            USING ERRCODE = 'P0002';
    END IF;

    -- For the messages. The indexes are what holds against a concurrent writer.
    IF EXISTS (
        SELECT FROM public.worktrees w WHERE w.project_id = worktree.project_id AND w.name = p_name AND w.id <> p_worktree_id
    ) THEN
        RAISE EXCEPTION 'update_worktree: p_name % is taken by another worktree of the project', public.quote_for_message(p_name)
            USING ERRCODE = '23505', CONSTRAINT = 'worktrees_unique_project_name';
    END IF;
    SELECT w.name AS worktree_name, p.name AS project_name INTO other
    FROM public.worktrees w
    JOIN public.projects p ON p.id = w.project_id
    WHERE w.path = public.normalize_path(p_path)
        AND w.host_id = worktree.host_id
        AND w.active
        AND worktree.active
        AND w.id <> p_worktree_id;
    IF FOUND THEN
        RAISE EXCEPTION 'update_worktree: p_path % is taken by the active worktree % of project %',
            public.quote_for_message(p_path), public.quote_for_message(other.worktree_name), public.quote_for_message(other.project_name)
            USING ERRCODE = '23505', CONSTRAINT = 'worktrees_unique_active_path';
    END IF;

    UPDATE public.worktrees w
    SET name = coalesce(p_name, w.name),
        branch_name = coalesce(p_branch_name, w.branch_name),
        path = coalesce(public.normalize_path(p_path), w.path),
        type_id = coalesce(worktree_type_id, w.type_id),
        metadata = w.metadata || coalesce(p_metadata, '{}')
    WHERE w.id = p_worktree_id
        AND (w.name, w.branch_name, w.path, w.type_id, w.metadata) IS DISTINCT FROM (
            coalesce(p_name, w.name),
            coalesce(p_branch_name, w.branch_name),
            coalesce(public.normalize_path(p_path), w.path),
            coalesce(worktree_type_id, w.type_id),
            w.metadata || coalesce(p_metadata, '{}')
        );
END;
$function$;
COMMENT ON FUNCTION update_worktree(uuid,text,text,text,text,jsonb) IS 'Changes what is given of a worktree: NULL keeps the value, metadata is merged by key.';

CREATE OR REPLACE FUNCTION public.update_worktree_git_state(p_worktree_id uuid, p_has_uncommitted boolean DEFAULT NULL::boolean, p_uncommitted_count integer DEFAULT NULL::integer, p_ahead integer DEFAULT NULL::integer, p_behind integer DEFAULT NULL::integer, p_last_commit_hash text DEFAULT NULL::text, p_last_commit_message text DEFAULT NULL::text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    PERFORM public.require_not_negative('update_worktree_git_state', 'p_uncommitted_count', coalesce(p_uncommitted_count, 0));
    PERFORM public.require_not_negative('update_worktree_git_state', 'p_ahead', coalesce(p_ahead, 0));
    PERFORM public.require_not_negative('update_worktree_git_state', 'p_behind', coalesce(p_behind, 0));
    PERFORM public.require_commit(
        'update_worktree_git_state', 'p_last_commit_hash', coalesce(nullif(p_last_commit_hash, ''), 'unknown')
    );
    IF p_has_uncommitted <> (p_uncommitted_count > 0) THEN
        RAISE EXCEPTION 'update_worktree_git_state: p_has_uncommitted % contradicts p_uncommitted_count %; leave one of them out',
            p_has_uncommitted, p_uncommitted_count
            USING ERRCODE = '22023';
    END IF;

    UPDATE public.worktrees w
    SET has_uncommitted_changes = coalesce(p_has_uncommitted, p_uncommitted_count > 0, w.has_uncommitted_changes),
        uncommitted_files_count = CASE
            WHEN p_uncommitted_count IS NOT NULL THEN p_uncommitted_count
            WHEN p_has_uncommitted THEN greatest(w.uncommitted_files_count, 1)
            WHEN NOT p_has_uncommitted THEN 0
            ELSE w.uncommitted_files_count
        END,
        ahead_of_trunk = coalesce(p_ahead, w.ahead_of_trunk),
        behind_trunk = coalesce(p_behind, w.behind_trunk),
        last_commit_hash = nullif(coalesce(p_last_commit_hash, w.last_commit_hash), ''),
        last_commit_message = CASE
            WHEN p_last_commit_hash = '' THEN NULL
            ELSE coalesce(p_last_commit_message, w.last_commit_message)
        END,
        last_sync_at = now()
    WHERE w.id = p_worktree_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'update_worktree_git_state: p_worktree_id % is no worktree', coalesce(p_worktree_id::text, 'NULL')
            USING ERRCODE = 'P0002';
    END IF;
END;
$function$;
COMMENT ON FUNCTION update_worktree_git_state(uuid,boolean,integer,integer,integer,text,text) IS 'Stores what a git sync found; a parameter left out (NULL) keeps its value. An empty p_last_commit_hash says that there is no commit.';

CREATE OR REPLACE FUNCTION public.update_worktree_type(p_name text, p_new_name text DEFAULT NULL::text, p_branch_prefix text DEFAULT NULL::text, p_worktree_prefix text DEFAULT NULL::text, p_description text DEFAULT NULL::text, p_color text DEFAULT NULL::text, p_icon text DEFAULT NULL::text, p_metadata jsonb DEFAULT NULL::jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    found_type public.worktree_types;
    changed public.worktree_types;
BEGIN
    PERFORM public.require_word('update_worktree_type', 'p_new_name', coalesce(p_new_name, 'as-it-is'));
    PERFORM public.require_word('update_worktree_type', 'p_branch_prefix', coalesce(nullif(p_branch_prefix, ''), 'none'));
    PERFORM public.require_name('update_worktree_type', 'p_worktree_prefix', coalesce(p_worktree_prefix, 'as it is'));
    PERFORM public.require_text('update_worktree_type', 'p_description', coalesce(p_description, 'as it is'));
    PERFORM public.require_color('update_worktree_type', 'p_color', p_color);
    PERFORM public.require_name('update_worktree_type', 'p_icon', coalesce(p_icon, 'as it is'));
    PERFORM public.require_object('update_worktree_type', 'p_metadata', p_metadata);
    SELECT * INTO found_type FROM public.worktree_types t WHERE t.name = p_name FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'update_worktree_type: p_name % is no worktree type; there are %',
            public.quote_for_message(p_name), (SELECT string_agg(t.name, ', ' ORDER BY t.id) FROM public.worktree_types t)
            USING ERRCODE = 'P0002';
    END IF;
    -- For the message. The constraint is what holds against a concurrent writer.
    IF EXISTS (SELECT FROM public.worktree_types t WHERE t.name = p_new_name AND t.id <> found_type.id) THEN
        RAISE EXCEPTION 'update_worktree_type: p_new_name % is taken by another worktree type',
            public.quote_for_message(p_new_name)
            USING ERRCODE = '23505', CONSTRAINT = 'worktree_types_name_key';
    END IF;
    changed := found_type;
    changed.name := coalesce(p_new_name, found_type.name);
    changed.branch_prefix := coalesce(p_branch_prefix, found_type.branch_prefix);
    changed.worktree_prefix := coalesce(p_worktree_prefix, found_type.worktree_prefix);
    changed.description := coalesce(p_description, found_type.description);
    changed.color := coalesce(p_color, found_type.color);
    changed.icon := coalesce(p_icon, found_type.icon);
    changed.metadata := found_type.metadata || coalesce(p_metadata, '{}');
    IF changed IS DISTINCT FROM found_type THEN
        UPDATE public.worktree_types t
        SET name = changed.name,
            branch_prefix = changed.branch_prefix,
            worktree_prefix = changed.worktree_prefix,
            description = changed.description,
            color = changed.color,
            icon = changed.icon,
            metadata = changed.metadata
        WHERE t.id = found_type.id;
    END IF;
END;
$function$;
COMMENT ON FUNCTION update_worktree_type(text,text,text,text,text,text,text,jsonb) IS 'Changes what is given of a worktree type: NULL keeps the value, metadata is merged by key. Of a built-in one only description, color, icon and metadata.';

CREATE OR REPLACE FUNCTION public.use_host(p_name text, p_machine text DEFAULT NULL::text, p_is_local boolean DEFAULT false)
 RETURNS uuid
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT set_config('imi.host_id', public.register_host(p_name, p_machine)::text, p_is_local)::uuid
$function$;
COMMENT ON FUNCTION use_host(text,text,boolean) IS 'Registers the host, and says that this session (or transaction) is on it.';

CREATE OR REPLACE FUNCTION public.without_credentials(p_text text, p_is_message boolean DEFAULT false)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN (regexp_replace(regexp_replace(regexp_replace((CASE WHEN (length(p_text) > 4096) THEN ("left"(p_text, 4096) || '@'::text) ELSE p_text END COLLATE "C"), ((('((?<![\w.-])[\w.-]{0,40}(?:passw|passphrase|pwd|secret|token|api_?-?key|access_?-?key|private_?-?key|credential)[\w.-]{0,40}'::text || '(?:\s*=\s*|%(?:25)*3d)'::text) || '|"[\w.-]{0,40}(?:passw|passphrase|pwd|secret|token|api_?-?key|access_?-?key|private_?-?key|credential)[\w.-]{0,40}\\*"\s*:\s*'::text) || '|authorization:\s*\w+\s+|bearer\s+)(\\*"[^"]*"?|''[^'']*''?|[^\s&,;}"'']+)'::text), '\1***'::text, 'gi'::text), '(?<!\w)(?:gh[opsur]_|github_pat_|glpat-|xox[abprs]-)[\w-]{8,}'::text, '***'::text, 'g'::text), ((((('((?://|(?:%(?:25)*2f){2}))'::text || CASE WHEN p_is_message THEN '[^"]'::text ELSE '.'::text END) || '*(?:@|%(?:25)*40)'::text) || '|(?<![^\s/@"''])[^\s/@"'']*(?::(?!//)|%(?:25)*3a(?!%(?:25)*2f))'::text) || CASE WHEN p_is_message THEN '[^[:space:]"]'::text ELSE '.'::text END) || '*(?:@|%(?:25)*40)'::text), '\1***@'::text, 'gi'::text) COLLATE "default");
COMMENT ON FUNCTION without_credentials(text,boolean) IS 'A value, or a message with values in quotes, as it may be told to others: no password, no token.';

CREATE OR REPLACE FUNCTION public.worktree_at(p_path text)
 RETURNS uuid
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    caller CONSTANT uuid := public.caller_host_id();
    ids uuid[];
    first_host uuid;
BEGIN
    SELECT array_agg(w.id ORDER BY w.host_id), (array_agg(w.host_id ORDER BY w.host_id))[1]
    INTO ids, first_host
    FROM public.worktrees w
    WHERE w.path = public.normalize_path(p_path) AND w.active AND (caller IS NULL OR w.host_id = caller);
    IF cardinality(ids) = 1 OR first_host = public.default_host_id() THEN
        RETURN ids[1];
    END IF;
    RETURN NULL;
END;
$function$;
COMMENT ON FUNCTION worktree_at(text) IS 'Id of the active worktree at this path on the caller''s host; of who names none, on the default one, or else on the only one that has it. NULL when there is none, or several.';

CREATE OR REPLACE FUNCTION public.worktree_called_here(p_name text)
 RETURNS text
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT coalesce(
        (
            SELECT left(p_name, -length('@' || called.name))
            FROM public.hosts h
            CROSS JOIN unnest(h.name || h.former_names) AS called (name)
            WHERE h.id = public.caller_host_id() AND p_name LIKE '%_@' || replace(called.name, '_', E'\\_')
            LIMIT 1
        ),
        p_name
    )
$function$;
COMMENT ON FUNCTION worktree_called_here(text) IS 'What a worktree name@host is called on that host, the caller''s: name.';

CREATE OR REPLACE FUNCTION public.worktree_counts(p_project_id uuid)
 RETURNS TABLE(active_worktrees bigint, uncommitted_worktrees bigint, last_worktree_at timestamp with time zone)
 LANGUAGE sql
 STABLE STRICT SECURITY DEFINER COST 1 ROWS 1
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT
        count(*) FILTER (WHERE w.active),
        count(*) FILTER (WHERE w.active AND w.has_uncommitted_changes),
        max(w.updated_at)
    FROM public.worktrees w
    WHERE w.project_id = p_project_id
$function$;
COMMENT ON FUNCTION worktree_counts(uuid) IS 'What project_counts should have of a project: counted.';

CREATE OR REPLACE FUNCTION public.worktree_name_on(p_project_id uuid, p_name text, p_host_id uuid)
 RETURNS text
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    host public.hosts;
    taken_by uuid;
    own text;
BEGIN
    SELECT w.host_id INTO taken_by FROM public.worktrees w WHERE w.project_id = p_project_id AND w.name = p_name;
    IF taken_by = p_host_id THEN
        RETURN p_name;
    END IF;
    SELECT * INTO host FROM public.hosts h WHERE h.id = p_host_id;
    SELECT w.name INTO own
    FROM unnest(host.name || host.former_names) AS called (name)
    JOIN public.worktrees w
        ON w.project_id = p_project_id AND w.name = p_name || '@' || called.name AND w.host_id = p_host_id
    ORDER BY w.active DESC, w.name
    LIMIT 1;
    RETURN coalesce(own, CASE WHEN taken_by IS NOT NULL THEN p_name || '@' || host.name ELSE p_name END);
END;
$function$;
COMMENT ON FUNCTION worktree_name_on(uuid,text,uuid) IS 'Under which name a worktree that is called so on this host is in its project: name@host where another host has that name.';

CREATE OR REPLACE FUNCTION public.worktree_status(p_has_uncommitted boolean, p_ahead integer, p_behind integer)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN p_has_uncommitted THEN 'uncommitted'::text WHEN ((p_ahead > 0) AND (p_behind > 0)) THEN 'diverged'::text WHEN (p_ahead > 0) THEN 'ahead'::text WHEN (p_behind > 0) THEN 'behind'::text ELSE 'clean'::text END;
COMMENT ON FUNCTION worktree_status(boolean,integer,integer) IS 'uncommitted | ahead | behind | diverged | clean; uncommitted wins.';
