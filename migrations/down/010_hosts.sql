-- The way back of 010: the registry knows nothing of hosts again.
--
-- Worktrees and projects stay, and so do names as feat-a@server; on which host they are is forgotten. Two that are active at
-- one path on two hosts cannot both stay: then nothing is changed, and the first of them is named.

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';

DO $$
DECLARE
    twice text;
BEGIN
    IF to_regclass('hosts') IS NULL THEN
        RETURN;
    END IF;
    LOCK TABLE worktrees IN ACCESS EXCLUSIVE MODE;
    SELECT w.path INTO twice    -- of two at a path, one at least is not on the default host
    FROM worktrees w
    WHERE w.active
        AND w.host_id <> '00000000-0000-0000-0000-000000000000'
        AND EXISTS (SELECT FROM worktrees other WHERE other.active AND other.path = w.path AND other.host_id <> w.host_id)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'cannot step back: path % is that of active worktrees on the hosts %; remove all but one of each such path first',
            quote_for_message(twice),
            (
                SELECT string_agg(quote_for_message(h.name), ', ' ORDER BY h.name)
                FROM worktrees w
                JOIN hosts h ON h.id = w.host_id
                WHERE w.active AND w.path = twice
            )
            USING ERRCODE = '55000';
    END IF;
END;
$$;

DROP VIEW IF EXISTS v_project_hosts;
DROP TRIGGER IF EXISTS projects_place_home ON projects;
DROP TRIGGER IF EXISTS projects_place_deleted ON projects;
DROP TRIGGER IF EXISTS projects_place_truncated ON projects;
DROP FUNCTION IF EXISTS outbox_project_host_data(project_hosts, projects, jsonb);
DROP TABLE IF EXISTS project_hosts, hosts;

-- The index of paths goes with the column.
ALTER TABLE worktrees DROP COLUMN IF EXISTS host_id;
ALTER TABLE outbox DROP COLUMN IF EXISTS host_id;
ALTER TABLE deleted_worktrees DROP COLUMN IF EXISTS host_id;
DELETE FROM outbox_backlog WHERE entity = 'project_host';
CREATE UNIQUE INDEX IF NOT EXISTS worktrees_unique_active_path ON worktrees (path) WHERE active;

CREATE OR REPLACE FUNCTION guard_worktree()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
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

    IF TG_OP = 'UPDATE' THEN
        IF NOT NEW.active OR (OLD.active AND NEW.project_id = OLD.project_id) THEN
            RETURN NEW;
        END IF;
    END IF;
    SELECT * INTO project FROM public.projects WHERE id = NEW.project_id FOR NO KEY UPDATE;
    IF NEW.active AND NOT project.active THEN
        RAISE EXCEPTION 'worktree % cannot be active: project % (%) is inactive; register the project again first',
            public.quote_for_message(NEW.name), public.quote_for_message(project.name), project.id
            USING ERRCODE = '55000', TABLE = TG_TABLE_NAME, COLUMN = 'active';
    END IF;
    RETURN NEW;
END;
$$;

CREATE OR REPLACE FUNCTION register_project(
    p_name text,
    p_remote_origin text,
    p_default_branch text DEFAULT 'main',
    p_trunk_path text DEFAULT NULL,
    p_metadata jsonb DEFAULT '{}'
)
RETURNS uuid
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
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
    RETURN project_id;
END;
$$;

COMMENT ON FUNCTION register_project(text, text, text, text, jsonb) IS 'Id of the project of this origin: created, or as it is known, reactivated and with its metadata merged. update_project() changes the rest.';

CREATE OR REPLACE FUNCTION get_project_by_origin(p_remote_origin text)
RETURNS TABLE (
    id uuid,
    name text,
    remote_origin text,
    default_branch text,
    trunk_path text,
    active boolean,
    created_at timestamptz,
    updated_at timestamptz
)
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.id, p.name, p.remote_origin, p.default_branch, p.trunk_path, p.active, p.created_at, p.updated_at
    FROM public.projects p
    WHERE p.remote_origin = public.normalize_remote_origin(p_remote_origin) AND p.active
$$;

COMMENT ON FUNCTION get_project_by_origin(text) IS 'The active project of this origin, given in any form and case; no row when there is none.';

CREATE OR REPLACE FUNCTION register_worktree(
    p_project_id uuid,
    p_type_name text,
    p_name text,
    p_branch_name text,
    p_path text,
    p_agent_id text DEFAULT NULL,
    p_metadata jsonb DEFAULT '{}'
)
RETURNS uuid
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    project public.projects;
    other record;
    worktree_type_id integer := public.resolve_worktree_type(p_type_name);
    worktree_id uuid;
BEGIN
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

    -- For the message. The index worktrees_unique_active_path is what holds against a concurrent writer.
    SELECT w.name AS worktree_name, p.name AS project_name INTO other
    FROM public.worktrees w
    JOIN public.projects p ON p.id = w.project_id
    WHERE w.path = public.normalize_path(p_path) AND w.active AND (w.project_id, w.name) <> (p_project_id, p_name);
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
        SELECT w.id INTO STRICT worktree_id
        FROM public.worktrees w
        WHERE w.project_id = p_project_id AND w.name = p_name;
    END IF;
    RETURN worktree_id;
END;
$$;

COMMENT ON FUNCTION register_worktree(uuid, text, text, text, text, text, jsonb) IS 'Id of the worktree of this project and name: created, taken up again or updated as needed.';

CREATE OR REPLACE FUNCTION get_worktree_by_path(p_path text)
RETURNS TABLE (
    id uuid,
    project_id uuid,
    project_name text,
    worktree_name text,
    branch_name text,
    type_name text,
    agent_id text,
    active boolean
)
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT w.id, w.project_id, p.name, w.name, w.branch_name, t.name, w.agent_id, w.active
    FROM public.worktrees w
    JOIN public.projects p ON p.id = w.project_id
    JOIN public.worktree_types t ON t.id = w.type_id
    WHERE w.path = public.normalize_path(p_path) AND w.active
$$;

COMMENT ON FUNCTION get_worktree_by_path(text) IS 'The active worktree at exactly this path; no row when there is none.';

CREATE OR REPLACE FUNCTION search_projects(p_query text)
RETURNS TABLE (id uuid, name text, remote_origin text, trunk_path text, relevance real)
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.id, p.name, p.remote_origin, p.trunk_path, near.relevance
    FROM public.near_projects(p_query) WITH ORDINALITY AS near (id, relevance, place)
    JOIN public.projects p ON p.id = near.id
    ORDER BY near.place
$$;

COMMENT ON FUNCTION search_projects(text) IS 'Active projects whose name or owner/repo contains or resembles the text: best first, at most 20; relevance is 0 to 1.';

CREATE OR REPLACE FUNCTION get_project_working_path(p_project_id uuid, p_worktree_name text DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    project public.projects;
    trunk_directory text;
    parent text;
BEGIN
    SELECT * INTO project FROM public.projects p WHERE p.id = p_project_id AND p.active;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'get_project_working_path: p_project_id % is no active project', coalesce(p_project_id::text, 'NULL')
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
    RETURN parent || replace(p_worktree_name, '/', '-');
END;
$$;

COMMENT ON FUNCTION get_project_working_path(uuid, text) IS 'The trunk path, or the sibling directory of it for a worktree; a slash in the name becomes a dash, as in directory names of branches.';

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

CREATE OR REPLACE FUNCTION remember_worktrees_of_project()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO public.deleted_worktrees (id, project_id, project_name, remote_origin, type_name, name, branch_name, path)
    SELECT w.id, OLD.id, OLD.name, OLD.remote_origin, t.name, w.name, w.branch_name, w.path
    FROM public.worktrees w
    JOIN public.worktree_types t ON t.id = w.type_id
    WHERE w.project_id = OLD.id
    ON CONFLICT (id) DO NOTHING;
    RETURN OLD;
END;
$$;

CREATE OR REPLACE FUNCTION remember_worktrees()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO public.deleted_worktrees (id, project_id, project_name, remote_origin, type_name, name, branch_name, path)
    SELECT o.id, o.project_id, p.name, p.remote_origin, t.name, o.name, o.branch_name, o.path
    FROM old_rows o
    LEFT JOIN public.projects p ON p.id = o.project_id
    LEFT JOIN public.worktree_types t ON t.id = o.type_id
    ON CONFLICT (id) DO NOTHING;
    RETURN NULL;
END;
$$;

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
            ('imi_reader', 'TABLE', 'SELECT',
                '{v_projects_summary, v_worktrees_detail, v_inflight_work, v_recent_agent_activity}'),
            ('imi_reader', 'TABLE', 'SELECT', '{outbox, outbox_fault, outbox_backlog, publisher_cursor, published_batch}'),
            ('imi_reader', 'TABLE', 'SELECT (applied_at)', '{command_ledger}'),
            ('imi_reader', 'TABLE', 'SELECT', '{schema_migrations, registry_metadata}'),
            ('imi_reader', 'SEQUENCE', 'SELECT', '{outbox_id_seq}'),
            ('imi_reader', 'FUNCTION', 'EXECUTE', '{search_known_words(text)}'),

            ('imi_writer', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_writer', 'TABLE', 'SELECT, INSERT, UPDATE, DELETE', '{projects, worktrees, worktree_types}'),
            ('imi_writer', 'TABLE', 'SELECT, INSERT', '{agent_activities}'),
            ('imi_writer', 'TABLE', 'SELECT',
                '{v_projects_summary, v_worktrees_detail, v_inflight_work, v_recent_agent_activity}'),
            ('imi_writer', 'TABLE', 'SELECT', '{schema_migrations, registry_metadata}'),
            ('imi_writer', 'FUNCTION', 'EXECUTE', '{remove_old_activities(timestamptz), search_known_words(text)}'),

            ('imi_publisher', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{projects, worktrees, worktree_types, agent_activities, deleted_worktrees}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{outbox, outbox_backlog}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, UPDATE', '{publisher_cursor}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, UPDATE, DELETE', '{published_batch}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, DELETE', '{outbox_fault}'),
            ('imi_publisher', 'TABLE', 'SELECT (applied_at)', '{command_ledger}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{schema_migrations, registry_metadata}'),
            ('imi_publisher', 'SEQUENCE', 'SELECT', '{outbox_id_seq}'),
            ('imi_publisher', 'SEQUENCE', 'UPDATE', '{publisher_doorbell}'),
            ('imi_publisher', 'FUNCTION', 'EXECUTE',
                '{"forget_published(interval, integer)", registry_heartbeat(text), search_known_words(text)}'),

            ('imi_applier', 'TABLE', 'SELECT', '{registry_counts, project_counts, count_delta}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT, UPDATE', '{projects, worktrees}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT, DELETE', '{worktree_types}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT', '{agent_activities, command_ledger}'),
            ('imi_applier', 'TABLE', 'SELECT (id, transaction_id, project_id)', '{outbox}'),
            ('imi_applier', 'TABLE', 'SELECT', '{schema_migrations, registry_metadata}'),
            ('imi_applier', 'SEQUENCE', 'SELECT', '{outbox_id_seq}')
    ) AS r (role_name, kind, rights, object_names)
    CROSS JOIN LATERAL unnest(r.object_names::text[]) AS o (object_name)
$$;

COMMENT ON FUNCTION role_rights() IS 'What each role of the registry is granted; imi_owner owns everything, and is granted nothing.';

DO $$ BEGIN PERFORM grant_role_rights(); END $$;

UPDATE registry_metadata SET migration = 9, upgraded_at = clock_timestamp() WHERE migration > 9;

DROP FUNCTION IF EXISTS
    outbox_project_host_changed(),
    outbox_host_changed(),
    enter_command_host(text, text),
    worktree_called_here(text),
    move_worktree(uuid, uuid),
    worktree_at(text),
    worktree_name_on(uuid, text, uuid),
    place_new_projects(),
    displace_project(uuid, uuid),
    place_project(uuid, uuid, text, boolean),
    trunk_for_caller(uuid, text),
    project_trunk(uuid, uuid),
    guard_project_host(),
    displace_deleted_projects(),
    displace_truncated_projects(),
    refuse_truncate_of_hosts(),
    guard_host(),
    remove_host(uuid),
    update_host(uuid, text, text, text),
    use_host(text, text, boolean),
    register_host(text, text),
    host_named(text),
    require_host_name(text, text, text, text),
    caller_host_id(),
    default_host_id();

COMMIT;
