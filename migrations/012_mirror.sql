-- 012: a registry may be the mirror of another one: its tables hold what the events of that one tell, and nobody writes them.
-- compatible down to: 010

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';


-- ---------------------------------------------------------------------------------------------------------------
-- What is mirrored, and how far
-- ---------------------------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS mirror_source (
    only_row boolean NOT NULL DEFAULT true,
    name text NOT NULL,
    stream text NOT NULL,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    promoted_at timestamptz,
    registry_id uuid,
    life text,
    epoch bigint NOT NULL DEFAULT 0,
    position text NOT NULL DEFAULT '',
    sequence bigint NOT NULL DEFAULT 0,
    event_id uuid,
    outbox_id bigint NOT NULL DEFAULT 0,
    event_at timestamptz,
    known_at timestamptz,
    events bigint NOT NULL DEFAULT 0,
    snapshots bigint NOT NULL DEFAULT 0,
    snapshot_at timestamptz,
    snapshot_reason text,
    CONSTRAINT mirror_source_pkey PRIMARY KEY (only_row),
    CONSTRAINT mirror_source_only_row_check CHECK (only_row),
    CONSTRAINT mirror_source_name_check CHECK (name <> '')
) WITH (fillfactor = 20);

COMMENT ON TABLE mirror_source IS 'No row: an ordinary registry. Else it is the mirror of another one, or was until promoted_at.';
COMMENT ON COLUMN mirror_source.name IS 'What messages call the source.';
COMMENT ON COLUMN mirror_source.registry_id IS 'Of the source; NULL before the first snapshot.';
COMMENT ON COLUMN mirror_source.life IS 'registry_life() of the source when the last snapshot was taken: another one may have lost what was published.';
COMMENT ON COLUMN mirror_source.epoch IS 'registry_epoch() of the source.';
COMMENT ON COLUMN mirror_source.position IS 'Behind which event of the source the tables are; empty before the first snapshot.';
COMMENT ON COLUMN mirror_source.sequence IS 'Of that event in the stream.';
COMMENT ON COLUMN mirror_source.event_id IS 'Of that event; NULL where the position is that of a snapshot and the stream no longer holds it.';
COMMENT ON COLUMN mirror_source.outbox_id IS 'The highest of the source that was seen.';
COMMENT ON COLUMN mirror_source.known_at IS 'When the tables held all that had been published by then.';

CREATE TABLE IF NOT EXISTS mirror_event (
    event_id uuid NOT NULL,
    sequence bigint NOT NULL,
    CONSTRAINT mirror_event_pkey PRIMARY KEY (event_id)
);

COMMENT ON TABLE mirror_event IS 'The last events that a mirror applied: one that the source published again changes nothing.';

-- Not logged: what a crash leaves of a snapshot is worth nothing.
CREATE UNLOGGED TABLE IF NOT EXISTS mirror_row (
    kind text NOT NULL,
    fields jsonb NOT NULL
);

COMMENT ON TABLE mirror_row IS 'A snapshot of the source on its way into the tables.';

CREATE OR REPLACE FUNCTION registry_life()
RETURNS text
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (pg_control_system()).system_identifier || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
        || '/' || (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
        || '/' || 'public.outbox'::regclass::oid
$$;

COMMENT ON FUNCTION registry_life() IS 'Another text after the database was restored from a backup or a dump, or a standby was promoted: what was published before may be lost.';

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


-- ---------------------------------------------------------------------------------------------------------------
-- Nobody writes a mirror
-- ---------------------------------------------------------------------------------------------------------------

-- The trigger is there, and always fires, in a mirror alone: an ordinary registry pays nothing for it. Who applies events is
-- the owner, inside of a function that says so; a user who sets the setting is not the owner.
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

CREATE OR REPLACE FUNCTION mirror_tables()
RETURNS SETOF text
LANGUAGE sql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT unnest(ARRAY[
        'hosts', 'worktree_types', 'projects', 'project_hosts', 'worktrees', 'agent_activities', 'deleted_worktrees',
        'command_ledger', 'outbox', 'outbox_backlog'
    ])
$$;

COMMENT ON FUNCTION mirror_tables() IS 'What nobody writes in a mirror.';

CREATE OR REPLACE FUNCTION begin_mirror(p_name text, p_stream text, p_may_replace boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
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

COMMENT ON FUNCTION begin_mirror(text, text, boolean) IS 'Makes this registry the read-only mirror of another one; only its owner may. 55000 when it has rows or a history, unless they may be replaced.';


-- ---------------------------------------------------------------------------------------------------------------
-- Events of the source become rows
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION mirror_worktree(p_row worktrees)
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION mirror_worktree(worktrees) IS 'Writes a row as the source has it.';

CREATE OR REPLACE FUNCTION mirror_project(p_row projects)
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO public.projects AS p SELECT (p_row).*
    ON CONFLICT (id) DO UPDATE
    SET (
        name, remote_origin, default_branch, trunk_path, description, metadata, created_at, updated_at, active
    ) = (
        excluded.name, excluded.remote_origin, excluded.default_branch, excluded.trunk_path, excluded.description,
        excluded.metadata, excluded.created_at, excluded.updated_at, excluded.active
    )
    WHERE p *<> excluded
$$;

COMMENT ON FUNCTION mirror_project(projects) IS 'Writes a row as the source has it.';

CREATE OR REPLACE FUNCTION mirror_worktree_event(p_action text, p_data jsonb, p_at timestamptz)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION mirror_worktree_event(text, jsonb, timestamptz) IS 'Applies an event of a worktree.';

CREATE OR REPLACE FUNCTION mirror_type_event(p_action text, p_data jsonb)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION mirror_type_event(text, jsonb) IS 'Applies an event of a type of worktrees.';

-- What machine a host is, is told to nobody: whoever introduces himself after a promotion is it.
CREATE OR REPLACE FUNCTION mirror_host_event(p_action text, p_data jsonb)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION mirror_host_event(text, jsonb) IS 'Applies an event of a host.';

CREATE OR REPLACE FUNCTION mirror_place_event(p_action text, p_data jsonb)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION mirror_place_event(text, jsonb) IS 'Applies an event of where a project is.';

-- Each of the truncated tables has an event, in any order; what a foreign key held together went together.
CREATE OR REPLACE FUNCTION mirror_truncated(p_table text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION mirror_truncated(text) IS 'Empties a table that the source truncated, with what depends on it.';

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
        ON CONFLICT (id) DO NOTHING;
    ELSIF entity = 'project' AND action = 'deleted' THEN
        DELETE FROM public.project_hosts h WHERE h.project_id = (data ->> 'project_id')::uuid;
        DELETE FROM public.projects p WHERE p.id = (data ->> 'project_id')::uuid;
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

COMMENT ON FUNCTION mirror_event_applied(jsonb) IS 'Applies one event; what is no matter of the tables changes nothing.';

CREATE OR REPLACE FUNCTION apply_mirrored(
    p_before text, p_after text, p_is_complete boolean, p_sequences bigint[], p_payloads text[], OUT applied integer
)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
SET jit = off
AS $$
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
$$;

COMMENT ON FUNCTION apply_mirrored(text, text, boolean, bigint[], text[]) IS 'Applies events of the source, given as their envelopes, and moves the position from before them to behind them; returns how many were new. 55000 when the mirror is elsewhere.';


-- ---------------------------------------------------------------------------------------------------------------
-- A snapshot of the source takes the place of the rows
-- ---------------------------------------------------------------------------------------------------------------

-- What is not as the snapshot has it goes first, so that no row is in the way of one that comes.
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

    INSERT INTO public.hosts SELECT n.* FROM pg_temp.new_hosts n ON CONFLICT (id) DO NOTHING;
    INSERT INTO public.worktree_types SELECT n.* FROM pg_temp.new_types n ON CONFLICT (id) DO NOTHING;
    INSERT INTO public.projects SELECT n.* FROM pg_temp.new_projects n ON CONFLICT (id) DO NOTHING;
    INSERT INTO public.project_hosts SELECT n.* FROM pg_temp.new_places n ON CONFLICT (project_id, host_id) DO NOTHING;
    INSERT INTO public.worktrees SELECT n.* FROM pg_temp.new_worktrees n ON CONFLICT (id) DO NOTHING;
    INSERT INTO public.agent_activities SELECT n.* FROM pg_temp.new_activities n ON CONFLICT (id) DO NOTHING;
    INSERT INTO public.deleted_worktrees SELECT n.* FROM pg_temp.new_deleted n ON CONFLICT (id) DO NOTHING;

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

COMMENT ON FUNCTION replace_mirrored(text, text, bigint, uuid, uuid, text, bigint, bigint, text) IS 'Makes the tables those of the snapshot in mirror_row, which it empties, and moves the position there. 55000 when the mirror is elsewhere.';


-- ---------------------------------------------------------------------------------------------------------------
-- A mirror takes over
-- ---------------------------------------------------------------------------------------------------------------

-- Ids go on far above those of the source: what it gave out and nobody here has seen stays its own.
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
    SELECT 'host', 'registered', h.id, h.id, jsonb_build_object(
        'host_id', h.id, 'name', h.name, 'former_names', h.former_names, 'description', h.description,
        'created_at', h.created_at, 'updated_at', h.updated_at, 'changed', '{}'::jsonb
    )
    FROM public.hosts h
    WHERE h.id <> public.default_host_id()
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

COMMENT ON FUNCTION promote_mirror() IS 'Makes a mirror a registry of its own, and returns its epoch; only its owner may. Rows keep their ids, and get an event each of backfill_outbox().';


-- ---------------------------------------------------------------------------------------------------------------
-- Rights
-- ---------------------------------------------------------------------------------------------------------------

REVOKE EXECUTE ON FUNCTION
    begin_mirror(text, text, boolean),
    promote_mirror(),
    mirror_worktree(worktrees),
    mirror_project(projects),
    mirror_worktree_event(text, jsonb, timestamptz),
    mirror_type_event(text, jsonb),
    mirror_host_event(text, jsonb),
    mirror_place_event(text, jsonb),
    mirror_truncated(text),
    mirror_event_applied(jsonb),
    apply_mirrored(text, text, boolean, bigint[], text[]),
    replace_mirrored(text, text, bigint, uuid, uuid, text, bigint, bigint, text)
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

DO $$ BEGIN PERFORM grant_role_rights(); PERFORM note_schema_version(12); END $$;

COMMIT;
