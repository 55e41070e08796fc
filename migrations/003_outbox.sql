-- 003: every change of the registry becomes rows of an outbox, written by the transaction that makes the change.
--
-- The publisher reads the outbox (publisher/outbox.py) and sends it to NATS (publisher/stream.py).
-- Why it is built this way: docs/adr/0001-outbox-and-relay.md and docs/adr/0003-outbox-triggers.md.
--
-- Functions find nothing but pg_catalog unqualified: they run with the rights of their owner, and in PostgreSQL 14
-- anybody may create a better matching function in public.

BEGIN;

SET LOCAL search_path = public;


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
        RAISE EXCEPTION 'setting %: "%" is not a UUID', p_setting, current_setting(p_setting)
            USING ERRCODE = '22023';
END;
$$;

COMMENT ON FUNCTION outbox_uuid_setting(text) IS 'A UUID given by the writer in a transaction setting; 22023 names a setting that is none.';

-- transaction_id stands before id on purpose: defaults are evaluated in column order, so that a transaction has
-- its transaction id before it allocates an outbox id, whoever inserts. The publisher's gap rule rests on this.
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
    CONSTRAINT outbox_pkey PRIMARY KEY (id),
    CONSTRAINT outbox_actor_is_short CHECK (length(actor) <= 200)
);

-- An envelope without data must fit into a message, whatever its writer says: a larger one would block all others.
COMMENT ON CONSTRAINT outbox_actor_is_short ON outbox IS 'imi.actor has at most 200 characters.';

COMMENT ON TABLE outbox IS 'One row per event, in the order of id; append-only, and the durable history. Only triggers and registry functions insert.';
COMMENT ON COLUMN outbox.entity_id IS 'Id of the changed row; NULL where the key is no UUID (worktree types) or there is no row (truncate).';
COMMENT ON COLUMN outbox.data IS 'The full row after the change (before it, for a deletion), joined names, and "changed": column -> previous value.';
COMMENT ON COLUMN outbox.actor IS 'Who changed it: set_config(''imi.actor'', …, true) in the writing transaction.';
COMMENT ON COLUMN outbox.traceparent IS 'W3C trace context from set_config(''imi.traceparent'', …, true); an invalid one is ignored, as W3C asks.';

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
    CONSTRAINT publisher_cursor_pkey PRIMARY KEY (stream)
) WITH (fillfactor = 20);

COMMENT ON TABLE publisher_cursor IS 'One row per stream that is fed from the outbox.';
COMMENT ON COLUMN publisher_cursor.published IS 'Outbox ids that are in the stream, or will never appear.';
COMMENT ON COLUMN publisher_cursor.stream_sequence IS 'Sequence of the last message the publisher knows to be in the stream.';
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
    IF current_setting('imi.doorbell', true) IS DISTINCT FROM 'off' THEN
        PERFORM pg_notify('imi_outbox', '');
    END IF;
    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION outbox_ring() IS 'Wakes a sleeping publisher. A transaction that is to be prepared (two-phase commit) may not notify: it sets imi.doorbell to off, and its events wait for the next poll.';

-- The condition is read after the row's insert, which allocated its id. The publisher sets the doorbell first and reads
-- the ids allocated then, so that one of both always sees the other: no wake-up is lost, and nobody pays for NOTIFY, nor
-- for the call of a function, while it is awake. Row by row, because a transition table would copy every event.
CREATE OR REPLACE TRIGGER outbox_doorbell
    AFTER INSERT ON outbox
    FOR EACH ROW
    WHEN (pg_catalog.pg_sequence_last_value('public.publisher_doorbell') = 1)
    EXECUTE FUNCTION outbox_ring();


-- ---------------------------------------------------------------------------------------------------------------
-- Event data: the row as consumers see it. Plain expressions without settings, so that the planner inlines them.
-- Keys are in jsonb's own order (by length, then by bytes): it sorts what is not.
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION outbox_project_data(p projects, p_changed jsonb)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
    SELECT pg_catalog.jsonb_build_object(
        'name', p.name,
        'active', p.active,
        'changed', p_changed,
        'metadata', p.metadata,
        'created_at', p.created_at,
        'project_id', p.id,
        'trunk_path', p.trunk_path,
        'updated_at', p.updated_at,
        'description', p.description,
        'project_name', p.name,
        'remote_origin', p.remote_origin,
        'default_branch', p.default_branch
    )
$$;

CREATE OR REPLACE FUNCTION outbox_worktree_data(
    w worktrees, p_project_name text, p_remote_origin text, p_type text, p_changed jsonb
)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
    SELECT pg_catalog.jsonb_build_object(
        'name', w.name,
        'path', w.path,
        'type', p_type,
        'active', w.active,
        'status', public.worktree_status(w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk),
        'changed', p_changed,
        'type_id', w.type_id,
        'agent_id', w.agent_id,
        'metadata', w.metadata,
        'merged_at', w.merged_at,
        'merged_by', w.merged_by,
        'created_at', w.created_at,
        'project_id', w.project_id,
        'updated_at', w.updated_at,
        'branch_name', w.branch_name,
        'worktree_id', w.id,
        'behind_trunk', w.behind_trunk,
        'last_sync_at', w.last_sync_at,
        'project_name', p_project_name,
        'remote_origin', p_remote_origin,
        'ahead_of_trunk', w.ahead_of_trunk,
        'last_commit_hash', w.last_commit_hash,
        'merge_commit_hash', w.merge_commit_hash,
        'last_commit_message', w.last_commit_message,
        'has_uncommitted_changes', w.has_uncommitted_changes,
        'uncommitted_files_count', w.uncommitted_files_count
    )
$$;

CREATE OR REPLACE FUNCTION outbox_worktree_type_data(t worktree_types, p_changed jsonb)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
    SELECT pg_catalog.jsonb_build_object(
        'icon', t.icon,
        'name', t.name,
        'color', t.color,
        'changed', p_changed,
        'type_id', t.id,
        'metadata', t.metadata,
        'created_at', t.created_at,
        'is_builtin', t.is_builtin,
        'description', t.description,
        'branch_prefix', t.branch_prefix,
        'worktree_prefix', t.worktree_prefix
    )
$$;


-- ---------------------------------------------------------------------------------------------------------------
-- What changed: column -> previous value, for the columns that differ (a NULL in the list of keys is skipped).
-- Each column stands in one function: the one of the aspect that reports it. Most updates touch one aspect, so an
-- object is built for those alone that did change.
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION outbox_project_changes(o projects, n projects)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
    SELECT pg_catalog.jsonb_build_object(
        'name', o.name,
        'metadata', o.metadata,
        'created_at', o.created_at,
        'trunk_path', o.trunk_path,
        'description', o.description,
        'remote_origin', o.remote_origin,
        'default_branch', o.default_branch
    ) - ARRAY[
        CASE WHEN o.name IS NOT DISTINCT FROM n.name THEN 'name' END,
        CASE WHEN o.metadata IS NOT DISTINCT FROM n.metadata THEN 'metadata' END,
        CASE WHEN o.created_at IS NOT DISTINCT FROM n.created_at THEN 'created_at' END,
        CASE WHEN o.trunk_path IS NOT DISTINCT FROM n.trunk_path THEN 'trunk_path' END,
        CASE WHEN o.description IS NOT DISTINCT FROM n.description THEN 'description' END,
        CASE WHEN o.remote_origin IS NOT DISTINCT FROM n.remote_origin THEN 'remote_origin' END,
        CASE WHEN o.default_branch IS NOT DISTINCT FROM n.default_branch THEN 'default_branch' END
    ]
$$;

CREATE OR REPLACE FUNCTION outbox_worktree_changes(o worktrees, n worktrees)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
    SELECT CASE
        WHEN (o.name, o.path, o.type_id, o.metadata, o.created_at, o.project_id, o.branch_name)
            IS DISTINCT FROM (n.name, n.path, n.type_id, n.metadata, n.created_at, n.project_id, n.branch_name)
        THEN pg_catalog.jsonb_build_object(
            'name', o.name,
            'path', o.path,
            'type_id', o.type_id,
            'metadata', o.metadata,
            'created_at', o.created_at,
            'project_id', o.project_id,
            'branch_name', o.branch_name
        ) - ARRAY[
            CASE WHEN o.name IS NOT DISTINCT FROM n.name THEN 'name' END,
            CASE WHEN o.path IS NOT DISTINCT FROM n.path THEN 'path' END,
            CASE WHEN o.type_id IS NOT DISTINCT FROM n.type_id THEN 'type_id' END,
            CASE WHEN o.metadata IS NOT DISTINCT FROM n.metadata THEN 'metadata' END,
            CASE WHEN o.created_at IS NOT DISTINCT FROM n.created_at THEN 'created_at' END,
            CASE WHEN o.project_id IS NOT DISTINCT FROM n.project_id THEN 'project_id' END,
            CASE WHEN o.branch_name IS NOT DISTINCT FROM n.branch_name THEN 'branch_name' END
        ]
        ELSE '{}'
    END
$$;

CREATE OR REPLACE FUNCTION outbox_worktree_git_changes(o worktrees, n worktrees)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
    SELECT CASE
        WHEN (
            o.behind_trunk, o.ahead_of_trunk, o.last_commit_hash, o.last_commit_message,
            o.has_uncommitted_changes, o.uncommitted_files_count
        ) IS DISTINCT FROM (
            n.behind_trunk, n.ahead_of_trunk, n.last_commit_hash, n.last_commit_message,
            n.has_uncommitted_changes, n.uncommitted_files_count
        )
        THEN pg_catalog.jsonb_build_object(
            'behind_trunk', o.behind_trunk,
            'ahead_of_trunk', o.ahead_of_trunk,
            'last_commit_hash', o.last_commit_hash,
            'last_commit_message', o.last_commit_message,
            'has_uncommitted_changes', o.has_uncommitted_changes,
            'uncommitted_files_count', o.uncommitted_files_count
        ) - ARRAY[
            CASE WHEN o.behind_trunk IS NOT DISTINCT FROM n.behind_trunk THEN 'behind_trunk' END,
            CASE WHEN o.ahead_of_trunk IS NOT DISTINCT FROM n.ahead_of_trunk THEN 'ahead_of_trunk' END,
            CASE WHEN o.last_commit_hash IS NOT DISTINCT FROM n.last_commit_hash THEN 'last_commit_hash' END,
            CASE WHEN o.last_commit_message IS NOT DISTINCT FROM n.last_commit_message THEN 'last_commit_message' END,
            CASE WHEN o.has_uncommitted_changes IS NOT DISTINCT FROM n.has_uncommitted_changes THEN 'has_uncommitted_changes' END,
            CASE WHEN o.uncommitted_files_count IS NOT DISTINCT FROM n.uncommitted_files_count THEN 'uncommitted_files_count' END
        ]
        ELSE '{}'
    END
$$;

CREATE OR REPLACE FUNCTION outbox_worktree_merge_changes(o worktrees, n worktrees)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
    SELECT CASE
        WHEN (o.merged_at, o.merged_by, o.merge_commit_hash)
            IS DISTINCT FROM (n.merged_at, n.merged_by, n.merge_commit_hash)
        THEN pg_catalog.jsonb_build_object(
            'merged_at', o.merged_at,
            'merged_by', o.merged_by,
            'merge_commit_hash', o.merge_commit_hash
        ) - ARRAY[
            CASE WHEN o.merged_at IS NOT DISTINCT FROM n.merged_at THEN 'merged_at' END,
            CASE WHEN o.merged_by IS NOT DISTINCT FROM n.merged_by THEN 'merged_by' END,
            CASE WHEN o.merge_commit_hash IS NOT DISTINCT FROM n.merge_commit_hash THEN 'merge_commit_hash' END
        ]
        ELSE '{}'
    END
$$;

CREATE OR REPLACE FUNCTION outbox_worktree_type_changes(o worktree_types, n worktree_types)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
    SELECT pg_catalog.jsonb_build_object(
        'icon', o.icon,
        'name', o.name,
        'color', o.color,
        'metadata', o.metadata,
        'created_at', o.created_at,
        'is_builtin', o.is_builtin,
        'description', o.description,
        'branch_prefix', o.branch_prefix,
        'worktree_prefix', o.worktree_prefix
    ) - ARRAY[
        CASE WHEN o.icon IS NOT DISTINCT FROM n.icon THEN 'icon' END,
        CASE WHEN o.name IS NOT DISTINCT FROM n.name THEN 'name' END,
        CASE WHEN o.color IS NOT DISTINCT FROM n.color THEN 'color' END,
        CASE WHEN o.metadata IS NOT DISTINCT FROM n.metadata THEN 'metadata' END,
        CASE WHEN o.created_at IS NOT DISTINCT FROM n.created_at THEN 'created_at' END,
        CASE WHEN o.is_builtin IS NOT DISTINCT FROM n.is_builtin THEN 'is_builtin' END,
        CASE WHEN o.description IS NOT DISTINCT FROM n.description THEN 'description' END,
        CASE WHEN o.branch_prefix IS NOT DISTINCT FROM n.branch_prefix THEN 'branch_prefix' END,
        CASE WHEN o.worktree_prefix IS NOT DISTINCT FROM n.worktree_prefix THEN 'worktree_prefix' END
    ]
$$;


-- ---------------------------------------------------------------------------------------------------------------
-- Triggers. Statement-level with transition tables; they see functions, plain DML, COPY, ON CONFLICT, MERGE, cascades.
--
-- A plan is cached from the row counts of its first calls, so the planner is told what holds for every call:
-- enable_nestloop = off joins old with new rows by hash (10,000 x 10,000 otherwise),
-- enable_seqscan = off looks joined names up by key even when their table was small at first,
-- jit = off because the switches above make a plan look expensive (measured: 600 ms of compilation for one row).
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

-- updated_at goes with the first event of its row; alone it is none.
CREATE OR REPLACE FUNCTION outbox_project_updated()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET enable_nestloop = off
SET jit = off
AS $$
BEGIN
    INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
    SELECT 'project', aspect.action, n.id, n.id, public.outbox_project_data(
        ROW(n.*)::public.projects,
        CASE
            WHEN aspect.rank = part.first AND o.updated_at <> n.updated_at
            THEN aspect.changed || jsonb_build_object('updated_at', o.updated_at)
            ELSE aspect.changed
        END
    )
    FROM old_rows o
    JOIN new_rows n ON n.id = o.id
    CROSS JOIN LATERAL (
        SELECT public.outbox_project_changes(ROW(o.*)::public.projects, ROW(n.*)::public.projects) AS plain
        OFFSET 0
    ) changes
    CROSS JOIN LATERAL (
        SELECT CASE WHEN n.active AND NOT o.active THEN 1 WHEN changes.plain <> '{}' THEN 2 ELSE 3 END AS first
        OFFSET 0
    ) part
    CROSS JOIN LATERAL (
        VALUES
            (1, 'reactivated', CASE WHEN n.active AND NOT o.active THEN '{"active": false}'::jsonb ELSE '{}' END),
            (2, 'updated', changes.plain),
            (3, 'deactivated', CASE WHEN o.active AND NOT n.active THEN '{"active": true}'::jsonb ELSE '{}' END)
    ) aspect (rank, action, changed)
    WHERE aspect.changed <> '{}'
    ORDER BY n.id, aspect.rank;
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

-- Each aspect of the change is one event. The columns of a merge are told by "merged" when the worktree was not
-- merged before, by "reactivated" when they are cleared by that, and else by "updated".
-- updated_at goes with the first event of its row, last_sync_at with that of the git state or else the first;
-- alone they are none: a sync that found nothing new.
CREATE OR REPLACE FUNCTION outbox_worktree_updated()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET enable_nestloop = off
SET enable_seqscan = off
SET jit = off
AS $$
BEGIN
    INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
    SELECT 'worktree', aspect.action, n.project_id, n.id, public.outbox_worktree_data(
        ROW(n.*)::public.worktrees, p.name, p.remote_origin, t.name,
        aspect.changed
        || CASE
            WHEN aspect.rank = place.first AND o.updated_at <> n.updated_at
            THEN jsonb_build_object('updated_at', o.updated_at)
            ELSE '{}'
        END
        || CASE
            WHEN aspect.rank = place.sync AND o.last_sync_at IS DISTINCT FROM n.last_sync_at
            THEN jsonb_build_object('last_sync_at', o.last_sync_at)
            ELSE '{}'
        END
    )
    FROM old_rows o
    JOIN new_rows n ON n.id = o.id
    CROSS JOIN LATERAL (
        SELECT
            public.outbox_worktree_changes(ROW(o.*)::public.worktrees, ROW(n.*)::public.worktrees) AS plain,
            public.outbox_worktree_git_changes(ROW(o.*)::public.worktrees, ROW(n.*)::public.worktrees) AS git,
            public.outbox_worktree_merge_changes(ROW(o.*)::public.worktrees, ROW(n.*)::public.worktrees) AS merge,
            o.merged_at IS NULL AND n.merged_at IS NOT NULL AS is_merged,
            n.active AND NOT o.active AS is_reactivated,
            o.active AND NOT n.active AS is_closed
        OFFSET 0
    ) c
    CROSS JOIN LATERAL (
        SELECT
            CASE
                WHEN NOT c.is_reactivated THEN '{}'
                WHEN c.is_merged THEN '{"active": false}'
                ELSE c.merge || '{"active": false}'
            END AS reactivated,
            CASE WHEN c.is_merged OR c.is_reactivated THEN c.plain ELSE c.plain || c.merge END AS updated,
            CASE
                WHEN o.agent_id IS DISTINCT FROM n.agent_id THEN jsonb_build_object('agent_id', o.agent_id)
                ELSE '{}'
            END AS agent,
            CASE
                WHEN NOT c.is_merged THEN '{}'
                WHEN c.is_closed THEN c.merge || '{"active": true}'
                ELSE c.merge
            END AS merged,
            CASE WHEN c.is_closed AND NOT c.is_merged THEN '{"active": true}'::jsonb ELSE '{}' END AS removed
        OFFSET 0
    ) part
    CROSS JOIN LATERAL (
        SELECT
            first,
            CASE WHEN c.git <> '{}' THEN 4 ELSE first END AS sync
        FROM (
            SELECT CASE
                WHEN part.reactivated <> '{}' THEN 1
                WHEN part.updated <> '{}' THEN 2
                WHEN part.agent <> '{}' THEN 3
                WHEN c.git <> '{}' THEN 4
                WHEN part.merged <> '{}' THEN 5
                WHEN part.removed <> '{}' THEN 6
            END AS first
        ) found
        OFFSET 0
    ) place
    CROSS JOIN LATERAL (
        VALUES
            (1, 'reactivated', part.reactivated),
            (2, 'updated', part.updated),
            (3, CASE WHEN n.agent_id IS NULL THEN 'released' ELSE 'claimed' END, part.agent),
            (4, 'git_state_updated', c.git),
            (5, 'merged', part.merged),
            (6, 'removed', part.removed)
    ) aspect (rank, action, changed)
    LEFT JOIN LATERAL (SELECT name, remote_origin FROM public.projects WHERE id = n.project_id OFFSET 0) p ON true
    LEFT JOIN LATERAL (SELECT name FROM public.worktree_types WHERE id = n.type_id OFFSET 0) t ON true
    WHERE aspect.changed <> '{}'
    ORDER BY n.id, aspect.rank;
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
SET enable_nestloop = off
SET jit = off
AS $$
BEGIN
    INSERT INTO public.outbox (entity, action, data)
    SELECT 'worktree_type', 'updated', public.outbox_worktree_type_data(ROW(n.*)::public.worktree_types, c.plain)
    FROM old_rows o
    JOIN new_rows n ON n.id = o.id
    CROSS JOIN LATERAL (
        SELECT public.outbox_worktree_type_changes(
            ROW(o.*)::public.worktree_types, ROW(n.*)::public.worktree_types
        ) AS plain
        OFFSET 0
    ) c
    WHERE c.plain <> '{}';
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
    SELECT 'activity', 'logged', w.project_id, n.id, jsonb_build_object(
        'changed', '{}'::jsonb,
        'agent_id', n.agent_id,
        'metadata', n.metadata,
        'file_path', n.file_path,
        'created_at', n.created_at,
        'project_id', w.project_id,
        'activity_id', n.id,
        'description', n.description,
        'worktree_id', n.worktree_id,
        'project_name', p.name,
        'activity_type', n.activity_type,
        'worktree_name', w.name
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

CREATE OR REPLACE TRIGGER projects_outbox_insert
    AFTER INSERT ON projects REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_project_inserted();
CREATE OR REPLACE TRIGGER projects_outbox_update
    AFTER UPDATE ON projects REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_project_updated();
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
    AFTER UPDATE ON worktrees REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_worktree_updated();
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
    AFTER UPDATE ON worktree_types REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_worktree_type_updated();
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

-- A trigger function runs with the rights of its owner: nobody else may hang one on a table of his own and so forge
-- events. (Firing a trigger that exists needs no right.)
REVOKE EXECUTE ON FUNCTION
    outbox_ring(),
    outbox_project_inserted(), outbox_project_updated(), outbox_project_deleted(),
    outbox_worktree_inserted(), outbox_worktree_updated(), outbox_worktree_deleted(),
    outbox_worktree_type_inserted(), outbox_worktree_type_updated(), outbox_worktree_type_deleted(),
    outbox_activity_inserted(), outbox_truncated()
FROM PUBLIC;

COMMIT;
