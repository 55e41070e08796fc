-- 003: every change of the registry becomes rows of an outbox, written by the transaction that makes the change.
--
-- The publisher reads the outbox and sends it to NATS. Why it is built this way: docs/adr/0001-outbox-and-relay.md and
-- docs/adr/0003-outbox-triggers.md.
--
-- Functions find nothing but pg_catalog unqualified: they run with the rights of their owner, and in PostgreSQL 14
-- anybody may create a better matching function in public.

BEGIN;

-- With a snapshot older than the lock below, what was committed while it was waited for would have no event.
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';


-- ---------------------------------------------------------------------------------------------------------------
-- The outbox
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION outbox_uuid_setting(p_setting text)
RETURNS uuid
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN current_setting(p_setting)::uuid;
EXCEPTION
    WHEN invalid_text_representation THEN
        RAISE EXCEPTION 'setting %: "%" is not a UUID', p_setting, public.without_credentials(current_setting(p_setting))
            USING ERRCODE = '22023';
END;
$$;

COMMENT ON FUNCTION outbox_uuid_setting(text) IS 'A UUID given by the writer in a transaction setting; 22023 names a setting that is none.';

-- transaction_id stands before id on purpose: defaults are evaluated in column order, so that a transaction has
-- its transaction id before it allocates an outbox id, whoever inserts. The publisher's gap rule rests on this.
-- Anybody may set a setting: it counts where the login may write the ledger, and so carries out commands.
CREATE OR REPLACE FUNCTION outbox_actor_is_verified()
RETURNS boolean
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(has_table_privilege(session_user, to_regclass('public.command_ledger'), 'INSERT'), false)
$$;

COMMENT ON FUNCTION outbox_actor_is_verified() IS 'Whether this session may say that the actor of a change was verified.';

CREATE TABLE IF NOT EXISTS outbox (
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id bigint GENERATED ALWAYS AS IDENTITY,
    event_id uuid NOT NULL DEFAULT gen_random_uuid(),
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entity text NOT NULL,
    action text NOT NULL,
    project_id uuid,
    entity_id uuid,
    data jsonb NOT NULL,
    actor text DEFAULT nullif(current_setting('imi.actor', true), ''),
    correlation_id uuid DEFAULT CASE
        WHEN nullif(current_setting('imi.correlation_id', true), '') IS NOT NULL
        THEN outbox_uuid_setting('imi.correlation_id')
    END,
    causation_id uuid DEFAULT CASE
        WHEN nullif(current_setting('imi.causation_id', true), '') IS NOT NULL
        THEN outbox_uuid_setting('imi.causation_id')
    END,
    traceparent text DEFAULT substring(
        current_setting('imi.traceparent', true)
        FROM '^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$'
    ),
    actor_is_verified boolean NOT NULL DEFAULT CASE
        WHEN current_setting('imi.actor_is_verified', true) = 'on' THEN outbox_actor_is_verified()
        ELSE false
    END,
    CONSTRAINT outbox_pkey PRIMARY KEY (id),
    CONSTRAINT outbox_actor_is_short CHECK (length(actor) <= 200)
);

-- An envelope without data must fit into a message, whatever its writer says: a larger one would block all others.
COMMENT ON CONSTRAINT outbox_actor_is_short ON outbox IS 'imi.actor has at most 200 characters.';

COMMENT ON TABLE outbox IS 'One row per event, in the order of id; append-only, and the durable history. Only triggers and registry functions insert.';
COMMENT ON COLUMN outbox.entity_id IS 'Id of the changed row; NULL where the key is no UUID (worktree types) or there is no row (truncate).';
COMMENT ON COLUMN outbox.data IS 'The full row after the change (before it, for a deletion), joined names, and "changed": column -> previous value.';
COMMENT ON COLUMN outbox.actor IS 'Who changed it: set_config(''imi.actor'', …, true) in the writing transaction.';
COMMENT ON COLUMN outbox.actor_is_verified IS 'Whether the applier knew the sender of the command, who may act as this actor.';
COMMENT ON COLUMN outbox.traceparent IS 'W3C trace context from set_config(''imi.traceparent'', …, true); an invalid one is ignored, as W3C asks.';

CREATE TABLE IF NOT EXISTS outbox_fault (
    outbox_id bigint NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    noticed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT outbox_fault_pkey PRIMARY KEY (outbox_id)
);

COMMENT ON TABLE outbox_fault IS 'Rows of the outbox whose events were published as references, because their data is too large for a message or cannot be told; for doctor and the status page.';
COMMENT ON COLUMN outbox_fault.reason IS 'The attribute datarefreason of the event.';

CREATE TABLE IF NOT EXISTS outbox_backlog (
    position bigint GENERATED ALWAYS AS IDENTITY,
    entity text NOT NULL,
    row_id text NOT NULL,
    CONSTRAINT outbox_backlog_pkey PRIMARY KEY (position)
);

COMMENT ON TABLE outbox_backlog IS 'Rows that are older than the outbox and have no event yet, in the order in which backfill_outbox() tells them.';

CREATE OR REPLACE FUNCTION outbox_refuse_rewrite()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'cannot % the outbox: it is append-only; old rows are removed by retention', lower(TG_OP)
        USING ERRCODE = '55000';
END;
$$;

CREATE OR REPLACE TRIGGER outbox_append_only
    BEFORE UPDATE OR TRUNCATE ON outbox
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_refuse_rewrite();


-- ---------------------------------------------------------------------------------------------------------------
-- The publisher's side: how far each stream is, and the doorbell
-- ---------------------------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS publisher_cursor (
    stream text NOT NULL,
    published int8multirange NOT NULL DEFAULT '{}',
    stream_sequence bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    leader text,
    lock_number bigint NOT NULL DEFAULT 0,
    CONSTRAINT publisher_cursor_pkey PRIMARY KEY (stream)
) WITH (fillfactor = 20);

COMMENT ON TABLE publisher_cursor IS 'One row per stream that is fed from the outbox.';
COMMENT ON COLUMN publisher_cursor.published IS 'Outbox ids that are in the stream, or will never appear.';
COMMENT ON COLUMN publisher_cursor.stream_sequence IS 'Sequence of the last message the publisher knows to be in the stream.';
COMMENT ON COLUMN publisher_cursor.lock_number IS 'Which advisory lock the leader holds: another one, where somebody who may not publish held the last.';
COMMENT ON COLUMN publisher_cursor.epoch IS 'Fence: raised by each new leader; an older leader can no longer move the cursor.';

-- 1 while a publisher sleeps. A sequence, because it is read and set outside transactions.
CREATE SEQUENCE IF NOT EXISTS publisher_doorbell MINVALUE 0 START 0;

CREATE OR REPLACE FUNCTION outbox_ring()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('imi.doorbell', true) IS DISTINCT FROM 'off' AND pg_notification_queue_usage() < 0.5 THEN
        PERFORM pg_notify('imi_outbox', '');
    END IF;
    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION outbox_ring() IS 'Wakes a sleeping publisher. A transaction that is to be prepared (two-phase commit) may not notify: it sets imi.doorbell to off, and its events wait for the next poll. So do those of others while the queue of notifications is half full: a full one fails the commit of whoever notifies.';

-- The condition is read after the row's insert, which allocated its id. The publisher sets the doorbell first and reads
-- the ids allocated then, so that one of both always sees the other: no wake-up is lost, and nobody pays for NOTIFY, nor
-- for the call of a function, while it is awake. Row by row, because a transition table would copy every event.
CREATE OR REPLACE TRIGGER outbox_doorbell
    AFTER INSERT ON outbox
    FOR EACH ROW
    WHEN (pg_catalog.pg_sequence_last_value('public.publisher_doorbell') = 1)
    EXECUTE FUNCTION outbox_ring();


-- ---------------------------------------------------------------------------------------------------------------
-- Event data: the row as consumers see it. The attributes of a type are the keys of the event; they are in jsonb's own
-- order (by length, then by bytes), since it sorts what is not.
-- ---------------------------------------------------------------------------------------------------------------

DO $$
BEGIN
    IF to_regtype('outbox_project') IS NULL THEN
        CREATE TYPE outbox_project AS (
            name text,
            active boolean,
            changed jsonb,
            metadata jsonb,
            created_at timestamptz,
            project_id uuid,
            trunk_path text,
            updated_at timestamptz,
            description text,
            project_name text,
            remote_origin text,
            default_branch text
        );
    END IF;

    IF to_regtype('outbox_worktree') IS NULL THEN
        CREATE TYPE outbox_worktree AS (
            name text,
            path text,
            type text,
            active boolean,
            status text,
            changed jsonb,
            type_id integer,
            agent_id text,
            metadata jsonb,
            merged_at timestamptz,
            merged_by text,
            created_at timestamptz,
            project_id uuid,
            updated_at timestamptz,
            branch_name text,
            worktree_id uuid,
            behind_trunk integer,
            last_sync_at timestamptz,
            project_name text,
            remote_origin text,
            ahead_of_trunk integer,
            last_commit_hash text,
            merge_commit_hash text,
            last_commit_message text,
            has_uncommitted_changes boolean,
            uncommitted_files_count integer
        );
    END IF;

    IF to_regtype('outbox_worktree_type') IS NULL THEN
        CREATE TYPE outbox_worktree_type AS (
            icon text,
            name text,
            color text,
            changed jsonb,
            type_id integer,
            metadata jsonb,
            created_at timestamptz,
            is_builtin boolean,
            description text,
            branch_prefix text,
            worktree_prefix text
        );
    END IF;

    IF to_regtype('outbox_activity') IS NULL THEN
        CREATE TYPE outbox_activity AS (
            changed jsonb,
            agent_id text,
            metadata jsonb,
            file_path text,
            created_at timestamptz,
            project_id uuid,
            activity_id uuid,
            description text,
            worktree_id uuid,
            project_name text,
            activity_type text,
            worktree_name text
        );
    END IF;
END;
$$;

-- Plain expressions without settings, so that the planner inlines them; values in the order of the type's attributes.
CREATE OR REPLACE FUNCTION outbox_project_data(p projects, p_changed jsonb)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
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
$$;

CREATE OR REPLACE FUNCTION outbox_worktree_data(
    w worktrees, p_project_name text, p_remote_origin text, p_type text, p_changed jsonb
)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
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
    )::public.outbox_worktree)
$$;

CREATE OR REPLACE FUNCTION outbox_worktree_type_data(t worktree_types, p_changed jsonb)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
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
$$;

CREATE OR REPLACE FUNCTION outbox_activity_data(
    a agent_activities, p_project_id uuid, p_project_name text, p_worktree_name text
)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
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
$$;


-- ---------------------------------------------------------------------------------------------------------------
-- What changed: column -> previous value, for the columns that differ; an empty object when none does.
-- Each column stands in one function: the one of the aspect that reports it.
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION outbox_change(p_column text, p_old anyelement, p_new anyelement)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
    SELECT CASE
        WHEN p_old IS DISTINCT FROM p_new THEN pg_catalog.jsonb_build_object(p_column, p_old) ELSE '{}'
    END
$$;

CREATE OR REPLACE FUNCTION outbox_project_changes(o projects, n projects)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
    SELECT public.outbox_change('name', o.name, n.name)
    || public.outbox_change('metadata', o.metadata, n.metadata)
    || public.outbox_change('created_at', o.created_at, n.created_at)
    || public.outbox_change('trunk_path', o.trunk_path, n.trunk_path)
    || public.outbox_change('description', o.description, n.description)
    || public.outbox_change('remote_origin', o.remote_origin, n.remote_origin)
    || public.outbox_change('default_branch', o.default_branch, n.default_branch)
$$;

CREATE OR REPLACE FUNCTION outbox_worktree_changes(o worktrees, n worktrees)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
    SELECT public.outbox_change('name', o.name, n.name)
    || public.outbox_change('path', o.path, n.path)
    || public.outbox_change('type_id', o.type_id, n.type_id)
    || public.outbox_change('metadata', o.metadata, n.metadata)
    || public.outbox_change('created_at', o.created_at, n.created_at)
    || public.outbox_change('project_id', o.project_id, n.project_id)
    || public.outbox_change('branch_name', o.branch_name, n.branch_name)
$$;

CREATE OR REPLACE FUNCTION outbox_worktree_git_changes(o worktrees, n worktrees)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
    SELECT public.outbox_change('behind_trunk', o.behind_trunk, n.behind_trunk)
    || public.outbox_change('ahead_of_trunk', o.ahead_of_trunk, n.ahead_of_trunk)
    || public.outbox_change('last_commit_hash', o.last_commit_hash, n.last_commit_hash)
    || public.outbox_change('last_commit_message', o.last_commit_message, n.last_commit_message)
    || public.outbox_change('has_uncommitted_changes', o.has_uncommitted_changes, n.has_uncommitted_changes)
    || public.outbox_change('uncommitted_files_count', o.uncommitted_files_count, n.uncommitted_files_count)
$$;

CREATE OR REPLACE FUNCTION outbox_worktree_merge_changes(o worktrees, n worktrees)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
    SELECT public.outbox_change('merged_at', o.merged_at, n.merged_at)
    || public.outbox_change('merged_by', o.merged_by, n.merged_by)
    || public.outbox_change('merge_commit_hash', o.merge_commit_hash, n.merge_commit_hash)
$$;

CREATE OR REPLACE FUNCTION outbox_worktree_type_changes(o worktree_types, n worktree_types)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
    SELECT public.outbox_change('icon', o.icon, n.icon)
    || public.outbox_change('name', o.name, n.name)
    || public.outbox_change('color', o.color, n.color)
    || public.outbox_change('metadata', o.metadata, n.metadata)
    || public.outbox_change('created_at', o.created_at, n.created_at)
    || public.outbox_change('is_builtin', o.is_builtin, n.is_builtin)
    || public.outbox_change('description', o.description, n.description)
    || public.outbox_change('branch_prefix', o.branch_prefix, n.branch_prefix)
    || public.outbox_change('worktree_prefix', o.worktree_prefix, n.worktree_prefix)
$$;


-- ---------------------------------------------------------------------------------------------------------------
-- Triggers. They see functions, plain DML, COPY, ON CONFLICT, MERGE and cascades alike.
--
-- An update is told row by row: a list of actions, and beside it what each reports, in the order of a row's events; an aspect
-- that did not change reports nothing. Stamps go with the first event of the row; alone they are none: a sync that found
-- nothing new. What is inserted or deleted is told by statement, by transition tables.
--
-- A plan is cached from the row counts of its first calls: enable_seqscan = off looks joined names up by key even when their
-- table was small then.
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION outbox_project_inserted()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET jit = off
AS $$
BEGIN
    INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
    SELECT 'project', 'registered', n.id, n.id, public.outbox_project_data(ROW(n.*)::public.projects, '{}')
    FROM new_rows n;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION outbox_project_updated()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
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
$$;

CREATE OR REPLACE FUNCTION outbox_project_deleted()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET jit = off
AS $$
BEGIN
    INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
    SELECT 'project', 'deleted', o.id, o.id, public.outbox_project_data(ROW(o.*)::public.projects, '{}')
    FROM old_rows o;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION outbox_worktree_inserted()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET enable_seqscan = off
SET jit = off
AS $$
BEGIN
    INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
    SELECT 'worktree', 'created', n.project_id, n.id, public.outbox_worktree_data(
        ROW(n.*)::public.worktrees, p.name, p.remote_origin, t.name, '{}'
    )
    FROM new_rows n
    LEFT JOIN LATERAL (SELECT name, remote_origin FROM public.projects WHERE id = n.project_id OFFSET 0) p ON true
    LEFT JOIN LATERAL (SELECT name FROM public.worktree_types WHERE id = n.type_id OFFSET 0) t ON true;
    RETURN NULL;
END;
$$;

-- The columns of a merge are told by "merged" when the worktree was not merged before, by "reactivated" when they are cleared
-- by that, and else by "updated". last_sync_at goes with the git state if that changed, else it is a stamp as updated_at.
-- The names are joined to the left: the statement may have deleted the project as well.
CREATE OR REPLACE FUNCTION outbox_worktree_updated()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET enable_seqscan = off
AS $$
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
        INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
        SELECT 'worktree', actions[event], NEW.project_id, NEW.id, public.outbox_worktree_data(
            NEW, p.name, p.remote_origin, t.name, changes[event] || stamps
        )
        FROM (SELECT) one
        LEFT JOIN public.projects p ON p.id = NEW.project_id
        LEFT JOIN public.worktree_types t ON t.id = NEW.type_id;
        stamps := '{}';
    END LOOP;
    RETURN NULL;
END;
$$;

-- When its project is deleted with it, the project's row is gone already; deleted_worktrees then knows the names.
CREATE OR REPLACE FUNCTION outbox_worktree_deleted()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET enable_seqscan = off
SET jit = off
AS $$
BEGIN
    INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
    SELECT 'worktree', 'deleted', o.project_id, o.id, public.outbox_worktree_data(
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
$$;

CREATE OR REPLACE FUNCTION outbox_worktree_type_inserted()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET jit = off
AS $$
BEGIN
    INSERT INTO public.outbox (entity, action, data)
    SELECT 'worktree_type', 'added', public.outbox_worktree_type_data(ROW(n.*)::public.worktree_types, '{}')
    FROM new_rows n;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION outbox_worktree_type_updated()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
    changed CONSTANT jsonb := public.outbox_worktree_type_changes(OLD, NEW);
BEGIN
    IF changed <> '{}' THEN
        INSERT INTO public.outbox (entity, action, data)
        VALUES ('worktree_type', 'updated', public.outbox_worktree_type_data(NEW, changed));
    END IF;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION outbox_worktree_type_deleted()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET jit = off
AS $$
BEGIN
    INSERT INTO public.outbox (entity, action, data)
    SELECT 'worktree_type', 'removed', public.outbox_worktree_type_data(ROW(o.*)::public.worktree_types, '{}')
    FROM old_rows o;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION outbox_activity_inserted()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET enable_seqscan = off
SET jit = off
AS $$
BEGIN
    INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
    SELECT 'activity', 'logged', w.project_id, n.id, public.outbox_activity_data(
        ROW(n.*)::public.agent_activities, w.project_id, p.name, w.name
    )
    FROM new_rows n
    LEFT JOIN LATERAL (SELECT name, project_id FROM public.worktrees WHERE id = n.worktree_id OFFSET 0) w ON true
    LEFT JOIN LATERAL (SELECT name FROM public.projects WHERE id = w.project_id OFFSET 0) p ON true;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION outbox_truncated()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO public.outbox (entity, action, data)
    VALUES ('registry', 'truncated', jsonb_build_object('table', TG_TABLE_NAME));
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION registry_heartbeat(p_service text, OUT outbox_id bigint, OUT event_id uuid)
LANGUAGE sql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO public.outbox (entity, action, data)
    VALUES ('registry', 'heartbeat', jsonb_build_object('service', left(p_service, 200)))
    RETURNING id, event_id
$$;

COMMENT ON FUNCTION registry_heartbeat(text) IS 'An event that changes nothing: a service writes it and looks whether it comes out of the stream.';

-- Before the triggers are there for the first time, the rows that are there already are put down: from the lock on, each
-- other row has its event. The built-in types belong to it where the registry is in use: they may have other colours or
-- ids than those of a new registry, into which the history is imported.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'projects'::regclass AND tgname = 'projects_outbox_insert') THEN
        RETURN;
    END IF;
    LOCK TABLE projects, worktree_types, worktrees, agent_activities IN SHARE ROW EXCLUSIVE MODE;
    INSERT INTO outbox_backlog (entity, row_id)
    SELECT earlier.entity, earlier.row_id
    FROM (
        SELECT 1 AS part, created_at, id AS number, 'worktree_type' AS entity, id::text AS row_id FROM worktree_types
        UNION ALL
        SELECT 2, created_at, 0, 'project', id::text FROM projects
        UNION ALL
        SELECT 3, created_at, 0, 'worktree', id::text FROM worktrees
        UNION ALL
        SELECT 4, created_at, 0, 'activity', id::text FROM agent_activities
    ) earlier
    WHERE EXISTS (SELECT FROM projects)
        OR EXISTS (SELECT FROM agent_activities)
        OR EXISTS (SELECT FROM worktree_types WHERE NOT is_builtin)
    ORDER BY earlier.part, earlier.created_at, earlier.number, earlier.row_id COLLATE "C";
END;
$$;

CREATE OR REPLACE TRIGGER projects_outbox_insert
    AFTER INSERT ON projects REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_project_inserted();
CREATE OR REPLACE TRIGGER projects_outbox_update
    AFTER UPDATE ON projects
    FOR EACH ROW EXECUTE FUNCTION outbox_project_updated();
CREATE OR REPLACE TRIGGER projects_outbox_delete
    AFTER DELETE ON projects REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_project_deleted();
CREATE OR REPLACE TRIGGER projects_outbox_truncate
    AFTER TRUNCATE ON projects
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_truncated();

CREATE OR REPLACE TRIGGER worktrees_outbox_insert
    AFTER INSERT ON worktrees REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_worktree_inserted();
CREATE OR REPLACE TRIGGER worktrees_outbox_update
    AFTER UPDATE ON worktrees
    FOR EACH ROW EXECUTE FUNCTION outbox_worktree_updated();
CREATE OR REPLACE TRIGGER worktrees_outbox_delete
    AFTER DELETE ON worktrees REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_worktree_deleted();
CREATE OR REPLACE TRIGGER worktrees_outbox_truncate
    AFTER TRUNCATE ON worktrees
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_truncated();

CREATE OR REPLACE TRIGGER worktree_types_outbox_insert
    AFTER INSERT ON worktree_types REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_worktree_type_inserted();
CREATE OR REPLACE TRIGGER worktree_types_outbox_update
    AFTER UPDATE ON worktree_types
    FOR EACH ROW EXECUTE FUNCTION outbox_worktree_type_updated();
CREATE OR REPLACE TRIGGER worktree_types_outbox_delete
    AFTER DELETE ON worktree_types REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_worktree_type_deleted();
CREATE OR REPLACE TRIGGER worktree_types_outbox_truncate
    AFTER TRUNCATE ON worktree_types
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_truncated();

CREATE OR REPLACE TRIGGER agent_activities_outbox_insert
    AFTER INSERT ON agent_activities REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_activity_inserted();
CREATE OR REPLACE TRIGGER agent_activities_outbox_truncate
    AFTER TRUNCATE ON agent_activities
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_truncated();


-- ---------------------------------------------------------------------------------------------------------------
-- Rows that are older than the outbox: docs/adr/0009-what-was-there-before.md
-- ---------------------------------------------------------------------------------------------------------------

-- FOR SHARE, and before the event gets its id: a change that is not committed yet has its event already, with a lower id,
-- and what is read beside it would be the row before that. Waited for is the first row alone: with other rows locked, a
-- writer who has this one and wants one of those would be a deadlock.
CREATE OR REPLACE FUNCTION backfill_outbox_lock(p_table regclass, p_id text, p_may_wait boolean)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION backfill_outbox_lock(regclass, text, boolean) IS 'Locks a row against changes, and says whether that is done: false where somebody is changing it, true where it is gone.';

CREATE OR REPLACE FUNCTION backfill_outbox(p_limit integer DEFAULT 1000)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET jit = off
AS $$
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
            INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
            SELECT 'worktree', 'created', w.project_id, w.id,
                public.outbox_worktree_data(w, p.name, p.remote_origin, t.name, '{}') || mark
            FROM public.worktrees w
            JOIN public.projects p ON p.id = w.project_id
            JOIN public.worktree_types t ON t.id = w.type_id
            WHERE w.id = earlier.row_id::uuid;
        ELSE
            -- Never changed, so not locked.
            INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
            SELECT 'activity', 'logged', coalesce(w.project_id, d.project_id), a.id,
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
$$;

COMMENT ON FUNCTION backfill_outbox(integer) IS 'Writes the event of the next rows that are older than the outbox, and returns how many it took; 0 when none is left.';

-- A trigger function runs with the rights of its owner: nobody else may hang one on a table of his own and so forge
-- events. (Firing a trigger that exists needs no right.)
REVOKE EXECUTE ON FUNCTION
    outbox_ring(),
    outbox_project_inserted(), outbox_project_updated(), outbox_project_deleted(),
    outbox_worktree_inserted(), outbox_worktree_updated(), outbox_worktree_deleted(),
    outbox_worktree_type_inserted(), outbox_worktree_type_updated(), outbox_worktree_type_deleted(),
    outbox_activity_inserted(), outbox_truncated(), registry_heartbeat(text),
    backfill_outbox_lock(regclass, text, boolean), backfill_outbox(integer)
FROM PUBLIC;

COMMIT;
