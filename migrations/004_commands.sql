-- 004: commands. The operations the specification has no function for, and the one function that carries out a
-- command: its change, its line in the ledger and its outcome event, in one transaction and one call.
--
-- The applier calls apply_command. Why it is built this way: docs/adr/0005-commands.md.

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';


-- ---------------------------------------------------------------------------------------------------------------
-- Operations
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION update_project(
    p_project_id uuid,
    p_name text DEFAULT NULL,
    p_default_branch text DEFAULT NULL,
    p_trunk_path text DEFAULT NULL,
    p_description text DEFAULT NULL,
    p_metadata jsonb DEFAULT NULL
)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    project public.projects;
BEGIN
    PERFORM public.require_name('update_project', 'p_name', coalesce(p_name, 'as it is'));
    PERFORM public.require_word('update_project', 'p_default_branch', coalesce(p_default_branch, 'as-it-is'));
    PERFORM public.require_path('update_project', 'p_trunk_path', coalesce(p_trunk_path, '/as/it/is'));
    PERFORM public.require_text('update_project', 'p_description', coalesce(p_description, 'as it is'));
    PERFORM public.require_object('update_project', 'p_metadata', p_metadata);
    SELECT * INTO project FROM public.projects p WHERE p.id = p_project_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'update_project: p_project_id % is no project', coalesce(p_project_id::text, 'NULL')
            USING ERRCODE = 'P0002';
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
$$;

COMMENT ON FUNCTION update_project(uuid, text, text, text, text, jsonb) IS 'Changes what is given of a project: NULL keeps the value, metadata is merged by key.';

-- A repository that was renamed or transferred stays one project. Its former origins are kept: checkouts elsewhere have
-- them for as long as GitHub redirects.
CREATE OR REPLACE FUNCTION change_project_origin(p_project_id uuid, p_remote_origin text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
    SELECT * INTO project FROM public.projects p WHERE p.id = p_project_id FOR UPDATE;
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
$$;

COMMENT ON FUNCTION change_project_origin(uuid, text) IS 'Gives a project the origin its repository has now; the one before is added to former_origins in its metadata. 23505 when another project has it.';

CREATE OR REPLACE FUNCTION update_worktree(
    p_worktree_id uuid,
    p_name text DEFAULT NULL,
    p_branch_name text DEFAULT NULL,
    p_path text DEFAULT NULL,
    p_type_name text DEFAULT NULL,
    p_metadata jsonb DEFAULT NULL
)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
    WHERE w.path = public.normalize_path(p_path) AND w.active AND worktree.active AND w.id <> p_worktree_id;
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
$$;

COMMENT ON FUNCTION update_worktree(uuid, text, text, text, text, jsonb) IS 'Changes what is given of a worktree: NULL keeps the value, metadata is merged by key.';

CREATE OR REPLACE FUNCTION claim_worktree(p_worktree_id uuid, p_agent_id text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION claim_worktree(uuid, text) IS 'Gives a worktree to an agent; 55000 when another agent holds it. The same claim again changes nothing.';

CREATE OR REPLACE FUNCTION release_worktree(p_worktree_id uuid, p_agent_id text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION release_worktree(uuid, text) IS 'Takes a worktree from its agent; 55000 when p_agent_id is given and another agent holds it.';

CREATE OR REPLACE FUNCTION remove_worktree(p_worktree_id uuid)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE public.worktrees w SET active = false WHERE w.id = p_worktree_id AND w.active;
    IF NOT FOUND AND NOT EXISTS (SELECT FROM public.worktrees w WHERE w.id = p_worktree_id) THEN
        RAISE EXCEPTION 'remove_worktree: p_worktree_id % is no worktree', coalesce(p_worktree_id::text, 'NULL')
            USING ERRCODE = 'P0002';
    END IF;
END;
$$;

COMMENT ON FUNCTION remove_worktree(uuid) IS 'Soft delete of a worktree; does nothing when it is inactive already.';

CREATE OR REPLACE FUNCTION add_worktree_type(
    p_name text,
    p_branch_prefix text DEFAULT NULL,
    p_worktree_prefix text DEFAULT NULL,
    p_description text DEFAULT NULL,
    p_color text DEFAULT NULL,
    p_icon text DEFAULT NULL,
    p_metadata jsonb DEFAULT '{}'
)
RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION add_worktree_type(text, text, text, text, text, text, jsonb) IS 'Id of the worktree type of this name, added when there is none; 23505 when there is one with other prefixes.';

CREATE OR REPLACE FUNCTION update_worktree_type(
    p_name text,
    p_new_name text DEFAULT NULL,
    p_branch_prefix text DEFAULT NULL,
    p_worktree_prefix text DEFAULT NULL,
    p_description text DEFAULT NULL,
    p_color text DEFAULT NULL,
    p_icon text DEFAULT NULL,
    p_metadata jsonb DEFAULT NULL
)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION update_worktree_type(text, text, text, text, text, text, text, jsonb) IS 'Changes what is given of a worktree type: NULL keeps the value, metadata is merged by key. Of a built-in one only description, color, icon and metadata.';

CREATE OR REPLACE FUNCTION remove_worktree_type(p_name text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION remove_worktree_type(text) IS 'Removes a worktree type that is not built in and that no worktree has.';


-- ---------------------------------------------------------------------------------------------------------------
-- The ledger
-- ---------------------------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS command_ledger (
    command_id uuid NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    digest bytea NOT NULL,
    project_id uuid,
    idempotency_key text,
    type text NOT NULL,
    verdict text NOT NULL,
    code text,
    message text NOT NULL,
    result jsonb,
    actor text,
    CONSTRAINT command_ledger_pkey PRIMARY KEY (command_id),
    CONSTRAINT command_ledger_verdict_check CHECK (verdict IN ('applied', 'idempotent', 'rejected')),
    CONSTRAINT command_ledger_code_check CHECK ((code IS NOT NULL) = (verdict = 'rejected'))
);

CREATE UNIQUE INDEX IF NOT EXISTS command_ledger_unique_idempotency_key ON command_ledger (idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_command_ledger_applied_at ON command_ledger USING brin (applied_at);

COMMENT ON TABLE command_ledger IS 'One row per command that was carried out or rejected: a command sent again is answered from here.';
COMMENT ON COLUMN command_ledger.digest IS 'SHA-256 of type and data: the same id or key with another one is a conflict.';
COMMENT ON COLUMN command_ledger.project_id IS 'The project it was about, as far as that is known; no foreign key, the ledger outlives it.';

-- The outcome is an event like any other: who carries out commands needs no right to write events. A key that another
-- command has is not in the row, so it comes as a setting.
CREATE OR REPLACE FUNCTION outbox_command_recorded()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET jit = off
AS $$
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
$$;

CREATE OR REPLACE TRIGGER command_ledger_outbox
    AFTER INSERT ON command_ledger
    FOR EACH ROW EXECUTE FUNCTION outbox_command_recorded();

-- As those of 003: it runs with the rights of its owner.
REVOKE EXECUTE ON FUNCTION outbox_command_recorded() FROM PUBLIC;

CREATE OR REPLACE FUNCTION cleanup_command_ledger(p_retention_days integer DEFAULT 30)
RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    removed integer;
BEGIN
    PERFORM public.require_not_negative('cleanup_command_ledger', 'p_retention_days', p_retention_days);
    DELETE FROM public.command_ledger l WHERE l.applied_at < public.days_ago(p_retention_days);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END;
$$;

COMMENT ON FUNCTION cleanup_command_ledger(integer) IS 'Removes rows older than so many days, and says how many. A command sent again after that is carried out again.';


-- ---------------------------------------------------------------------------------------------------------------
-- Carrying out a command
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION command_project(p_data jsonb)
RETURNS uuid
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
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
    RETURN project_id;
END;
$$;

COMMENT ON FUNCTION command_project(jsonb) IS 'The project that the data of a command names by project_id or remote_origin.';

CREATE OR REPLACE FUNCTION command_worktree(p_data jsonb)
RETURNS uuid
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    worktree_id uuid := (p_data ->> 'worktree_id')::uuid;
BEGIN
    IF worktree_id IS NULL THEN
        SELECT w.id INTO worktree_id FROM public.worktrees w WHERE w.path = public.normalize_path(p_data ->> 'path') AND w.active;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'path % is no active worktree', public.quote_for_message(p_data ->> 'path')
                USING ERRCODE = 'P0002';
        END IF;
    END IF;
    RETURN worktree_id;
END;
$$;

COMMENT ON FUNCTION command_worktree(jsonb) IS 'The worktree that the data of a command names by worktree_id, or by path while it is active.';

CREATE OR REPLACE FUNCTION run_command(p_type text, p_data jsonb)
RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target uuid;
    activity uuid;
    d jsonb := p_data;
    metadata jsonb := nullif(p_data -> 'metadata', 'null');
BEGIN
    CASE p_type
        WHEN 'project.register' THEN
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
$$;

COMMENT ON FUNCTION run_command(text, jsonb) IS 'Makes the change a command asks for; returns the ids of what it was applied to.';

-- A row of the ledger with this id answers at once. The row is written last: when another session was quicker to
-- write it, everything here is undone by the serialization failure, and the next try finds that row.
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
    p_actor_is_verified boolean DEFAULT false
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
        SELECT * INTO known FROM public.command_ledger l WHERE l.idempotency_key = p_idempotency_key;
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
        set_config('imi.traceparent', coalesce(p_traceparent, ''), true);

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
        SELECT 'applied', 'applied', o.project_id
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
        command_id, digest, project_id, idempotency_key, type, verdict, code, message, result, actor
    )
    VALUES (p_command_id, p_digest, project, ledger_key, p_type, verdict, code, message, result, p_actor)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'command % is being applied by another session', p_command_id USING ERRCODE = '40001';
    END IF;
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION apply_command(uuid, text, jsonb, bytea, uuid, text, text, text, text, boolean) IS 'Carries out a command once and returns its outcome, or the recorded one. 23505 (command_ledger_pkey): the id belongs to another command; states that may pass (40001, 53xxx …) are raised.';

COMMIT;
