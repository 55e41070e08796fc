-- 002: the functions of the registry, and the triggers that hold its rules against every writer.
--
-- Functions answer with SQLSTATE P0002 (unknown id), 22023 (a value breaks a rule), 23505 (taken) or
-- 55000 (not possible in this state); each message names the function, the parameter and the value.

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';


-- ---------------------------------------------------------------------------------------------------------------
-- Normal forms
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION normalize_remote_origin(p_remote_origin text)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN CASE
    WHEN is_remote_origin(p_remote_origin) THEN p_remote_origin    -- five times quicker than to take it apart
    ELSE (
        SELECT o.origin
        FROM (
            SELECT 'git@github.com:' || substring(
                regexp_replace(lower(p_remote_origin COLLATE "C"), '([.]git)?/?$', '')
                FROM '^(?:(?:https?|git|ssh|git[+]ssh)://(?:[^/@[:space:]]+@)?(?:www[.]|ssh[.])?github[.]com(?::[0-9]+)?/'
                    || '|(?:[^/@:[:space:]]+@)?github[.]com:/?)([^/[:space:]]+/[^/[:space:]]+)$'
            ) COLLATE "default" || '.git' AS origin
        ) o
        WHERE is_remote_origin(o.origin)
    )
END;

COMMENT ON FUNCTION normalize_remote_origin(text) IS 'git@github.com:owner/repo.git in lower case, from any ssh, https or git form; NULL when it is no GitHub repository.';

CREATE OR REPLACE FUNCTION normalize_path(p_path text)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN regexp_replace(regexp_replace(p_path, '/{2,}', '/', 'g'), '(.)/$', E'\\1');

COMMENT ON FUNCTION normalize_path(text) IS 'The path without doubled and trailing slashes.';

-- What stands before the last "@" may be a password, whatever it has in it, and so may what follows a "?". Where a colon is
-- left that begins neither a port nor the path of git@host:path, nobody can tell.
CREATE OR REPLACE FUNCTION quote_origin(p_remote_origin text)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION quote_origin(text) IS 'An origin for an error message, without user, password and token.';

CREATE OR REPLACE FUNCTION require_not_negative(p_function text, p_parameter text, p_value integer)
RETURNS void
LANGUAGE plpgsql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_value IS NULL OR p_value < 0 THEN
        RAISE EXCEPTION '%: % is %; it must be 0 or more', p_function, p_parameter, coalesce(p_value::text, 'NULL')
            USING ERRCODE = '22023';
    END IF;
END;
$$;


-- ---------------------------------------------------------------------------------------------------------------
-- Rules that hold for plain INSERT, UPDATE and DELETE too
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION update_updated_at_column()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END;
$$;

-- Before the constraint of the same name, which does not say what is wrong. Only where metadata is written, as it costs more
-- the larger it is.
CREATE OR REPLACE FUNCTION guard_metadata()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM public.require_object(TG_TABLE_NAME, 'metadata', NEW.metadata, TG_TABLE_NAME || '_metadata_check');
    RETURN NEW;
END;
$$;

CREATE OR REPLACE FUNCTION guard_primary_key()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'cannot change %.id from % to %: a primary key is immutable', TG_TABLE_NAME, OLD.id, NEW.id
        USING ERRCODE = '55000', TABLE = TG_TABLE_NAME, COLUMN = 'id';
END;
$$;

CREATE OR REPLACE FUNCTION guard_project()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

-- A project that is deactivated, by whatever statement, takes its worktrees with it.
CREATE OR REPLACE FUNCTION deactivate_worktrees()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE public.worktrees SET active = false WHERE project_id = NEW.id AND active;
    RETURN NULL;
END;
$$;

-- The project is locked by every insert: it can then not become inactive underneath, and inserts of one
-- (project, name) queue up before they look for a conflict. Without that, the index on path, which is no arbiter
-- of ON CONFLICT (project_id, name), would fail concurrent registrations of one worktree.
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

CREATE OR REPLACE FUNCTION sync_uncommitted_changes()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

CREATE OR REPLACE FUNCTION guard_builtin_worktree_type()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'cannot % worktree type %: it is built in%', lower(TG_OP), public.quote_for_message(OLD.name),
        CASE TG_OP WHEN 'UPDATE' THEN '; only description, color, icon and metadata may change' ELSE '' END
        USING ERRCODE = '55000', TABLE = TG_TABLE_NAME;
END;
$$;

CREATE OR REPLACE FUNCTION restore_builtin_worktree_types()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM public.seed_worktree_types();
    RETURN NULL;
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
            USING ERRCODE = '23503', TABLE = TG_TABLE_NAME, COLUMN = 'worktree_id',
                CONSTRAINT = 'agent_activities_worktree_id_fkey';
    END IF;
    RETURN NEW;
END;
$$;

-- cleanup_old_activities() sets imi.activity_retention for the DELETE alone. By set_config, as only a superuser may
-- create a function with a setting of that kind; an error in between takes the setting back with everything else.
CREATE OR REPLACE FUNCTION guard_activity_log()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('imi.activity_retention', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'cannot % agent_activities: the log is append-only; cleanup_old_activities() removes old rows',
        lower(TG_OP)
        USING ERRCODE = '55000', TABLE = TG_TABLE_NAME;
END;
$$;

-- The names of a project's worktrees, before the cascade removes the project they are read from.
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

-- TRUNCATE ... CASCADE reaches the activities, as it would through a foreign key.
CREATE OR REPLACE FUNCTION truncate_activities()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

CREATE OR REPLACE TRIGGER projects_guard
    BEFORE INSERT OR UPDATE OF remote_origin, trunk_path ON projects
    FOR EACH ROW EXECUTE FUNCTION guard_project();
CREATE OR REPLACE TRIGGER projects_id_immutable
    BEFORE UPDATE ON projects
    FOR EACH ROW WHEN (NEW.id IS DISTINCT FROM OLD.id) EXECUTE FUNCTION guard_primary_key();
CREATE OR REPLACE TRIGGER projects_updated_at
    BEFORE UPDATE ON projects
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE OR REPLACE TRIGGER projects_deactivate_worktrees
    AFTER UPDATE ON projects
    FOR EACH ROW WHEN (OLD.active AND NOT NEW.active) EXECUTE FUNCTION deactivate_worktrees();
CREATE OR REPLACE TRIGGER projects_remember_worktrees
    BEFORE DELETE ON projects
    FOR EACH ROW EXECUTE FUNCTION remember_worktrees_of_project();

CREATE OR REPLACE TRIGGER worktrees_guard
    BEFORE INSERT OR UPDATE ON worktrees
    FOR EACH ROW EXECUTE FUNCTION guard_worktree();
CREATE OR REPLACE TRIGGER worktrees_id_immutable
    BEFORE UPDATE ON worktrees
    FOR EACH ROW WHEN (NEW.id IS DISTINCT FROM OLD.id) EXECUTE FUNCTION guard_primary_key();
CREATE OR REPLACE TRIGGER worktrees_sync_uncommitted
    BEFORE INSERT OR UPDATE ON worktrees
    FOR EACH ROW EXECUTE FUNCTION sync_uncommitted_changes();
CREATE OR REPLACE TRIGGER worktrees_updated_at
    BEFORE UPDATE ON worktrees
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE OR REPLACE TRIGGER worktrees_remember
    AFTER DELETE ON worktrees REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION remember_worktrees();
CREATE OR REPLACE TRIGGER worktrees_truncate_activities
    AFTER TRUNCATE ON worktrees
    FOR EACH STATEMENT EXECUTE FUNCTION truncate_activities();

CREATE OR REPLACE TRIGGER worktree_types_id_immutable
    BEFORE UPDATE ON worktree_types
    FOR EACH ROW WHEN (NEW.id IS DISTINCT FROM OLD.id) EXECUTE FUNCTION guard_primary_key();
CREATE OR REPLACE TRIGGER worktree_types_builtin_update
    BEFORE UPDATE ON worktree_types
    FOR EACH ROW WHEN (
        OLD.is_builtin AND (
            NOT NEW.is_builtin
            OR NEW.name <> OLD.name
            OR NEW.branch_prefix <> OLD.branch_prefix
            OR NEW.worktree_prefix <> OLD.worktree_prefix
        )
    ) EXECUTE FUNCTION guard_builtin_worktree_type();
CREATE OR REPLACE TRIGGER worktree_types_builtin_delete
    BEFORE DELETE ON worktree_types
    FOR EACH ROW WHEN (OLD.is_builtin) EXECUTE FUNCTION guard_builtin_worktree_type();
CREATE OR REPLACE TRIGGER worktree_types_restore_builtin
    AFTER TRUNCATE ON worktree_types
    FOR EACH STATEMENT EXECUTE FUNCTION restore_builtin_worktree_types();

CREATE OR REPLACE TRIGGER agent_activities_append_only
    BEFORE UPDATE OR DELETE ON agent_activities
    FOR EACH STATEMENT EXECUTE FUNCTION guard_activity_log();
CREATE OR REPLACE TRIGGER agent_activities_worktree
    BEFORE INSERT ON agent_activities
    FOR EACH ROW EXECUTE FUNCTION guard_activity_worktree();

CREATE OR REPLACE TRIGGER projects_metadata
    BEFORE INSERT OR UPDATE OF metadata ON projects
    FOR EACH ROW WHEN (NEW.metadata <> '{}') EXECUTE FUNCTION guard_metadata();
CREATE OR REPLACE TRIGGER worktrees_metadata
    BEFORE INSERT OR UPDATE OF metadata ON worktrees
    FOR EACH ROW WHEN (NEW.metadata <> '{}') EXECUTE FUNCTION guard_metadata();
CREATE OR REPLACE TRIGGER worktree_types_metadata
    BEFORE INSERT OR UPDATE OF metadata ON worktree_types
    FOR EACH ROW WHEN (NEW.metadata <> '{}') EXECUTE FUNCTION guard_metadata();
CREATE OR REPLACE TRIGGER agent_activities_metadata
    BEFORE INSERT OR UPDATE OF metadata ON agent_activities
    FOR EACH ROW WHEN (NEW.metadata <> '{}') EXECUTE FUNCTION guard_metadata();

-- These run with the rights of their owner: nobody else may hang one on a table of his own, and so empty the log or
-- change rows he has no right on. (Firing a trigger that exists needs no right.)
REVOKE EXECUTE ON FUNCTION
    deactivate_worktrees(), guard_worktree(), guard_activity_worktree(), restore_builtin_worktree_types(),
    remember_worktrees(), remember_worktrees_of_project(), truncate_activities()
FROM PUBLIC;


-- ---------------------------------------------------------------------------------------------------------------
-- Projects
-- ---------------------------------------------------------------------------------------------------------------

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

CREATE OR REPLACE FUNCTION deactivate_project(p_project_id uuid)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE public.projects SET active = false WHERE id = p_project_id AND active;    -- a trigger takes the worktrees along
    IF NOT FOUND AND NOT EXISTS (SELECT FROM public.projects WHERE id = p_project_id) THEN
        RAISE EXCEPTION 'deactivate_project: p_project_id % is no project', coalesce(p_project_id::text, 'NULL')
            USING ERRCODE = 'P0002';
    END IF;
END;
$$;

COMMENT ON FUNCTION deactivate_project(uuid) IS 'Soft delete of a project and its worktrees; does nothing when it is inactive already.';


-- ---------------------------------------------------------------------------------------------------------------
-- Worktrees
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION resolve_worktree_type(p_type_name text)
RETURNS integer
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.id
    FROM public.worktree_types t
    WHERE t.name = p_type_name OR (p_type_name = 'pr' AND t.name = 'review')
    ORDER BY t.name = p_type_name DESC
    LIMIT 1
$$;

COMMENT ON FUNCTION resolve_worktree_type(text) IS 'Id of a worktree type; "pr" means review unless a type has that name. NULL when unknown.';

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

CREATE OR REPLACE FUNCTION update_worktree_git_state(
    p_worktree_id uuid,
    p_has_uncommitted boolean DEFAULT NULL,
    p_uncommitted_count integer DEFAULT NULL,
    p_ahead integer DEFAULT NULL,
    p_behind integer DEFAULT NULL,
    p_last_commit_hash text DEFAULT NULL,
    p_last_commit_message text DEFAULT NULL
)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION update_worktree_git_state(uuid, boolean, integer, integer, integer, text, text) IS 'Stores what a git sync found; a parameter left out (NULL) keeps its value. An empty p_last_commit_hash says that there is no commit.';

CREATE OR REPLACE FUNCTION mark_worktree_merged(p_worktree_id uuid, p_merged_by text, p_merge_commit_hash text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION mark_worktree_merged(uuid, text, text) IS 'Records the merge and deactivates the worktree; the same merge again changes nothing.';

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


-- ---------------------------------------------------------------------------------------------------------------
-- Agents
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION log_activity(
    p_agent_id text,
    p_worktree_id uuid,
    p_activity_type text,
    p_description text,
    p_file_path text DEFAULT NULL,
    p_metadata jsonb DEFAULT '{}'
)
RETURNS uuid
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION log_activity(text, uuid, text, text, text, jsonb) IS 'Appends to the audit log and marks the worktree as touched.';

-- With the owner's rights, since a writer has none on the table. Ids are random: who knows one has read it in a row.
CREATE OR REPLACE FUNCTION deleted_worktree(p_worktree_id uuid)
RETURNS SETOF deleted_worktrees
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
ROWS 1
AS $$
    SELECT * FROM public.deleted_worktrees d WHERE d.id = p_worktree_id
$$;

COMMENT ON FUNCTION deleted_worktree(uuid) IS 'What a deleted worktree was called; no row while it exists.';

CREATE OR REPLACE FUNCTION get_agent_recent_work(p_agent_id text, p_limit integer DEFAULT 50)
RETURNS TABLE (
    activity_id uuid,
    activity_type text,
    description text,
    file_path text,
    created_at timestamptz,
    worktree_name text,
    project_name text,
    worktree_type text
)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
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
    LEFT JOIN LATERAL public.deleted_worktree(latest.worktree_id) d ON w.id IS NULL
    ORDER BY latest.created_at DESC, latest.id;
END;
$$;

COMMENT ON FUNCTION get_agent_recent_work(text, integer) IS 'An agent''s latest activities, newest first, also those in worktrees that were deleted.';


-- ---------------------------------------------------------------------------------------------------------------
-- Queries
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION get_inflight_work(p_project_id uuid DEFAULT NULL)
RETURNS TABLE (
    worktree_id uuid,
    worktree_name text,
    branch_name text,
    status text,
    uncommitted_count integer,
    ahead integer,
    behind integer,
    agent_id text,
    last_activity timestamptz
)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_project_id IS NOT NULL AND NOT EXISTS (SELECT FROM public.projects p WHERE p.id = p_project_id) THEN
        RAISE EXCEPTION 'get_inflight_work: p_project_id % is no project', p_project_id USING ERRCODE = 'P0002';
    END IF;
    RETURN QUERY
    SELECT
        w.id, w.name, w.branch_name,
        public.worktree_status(w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk),
        w.uncommitted_files_count, w.ahead_of_trunk, w.behind_trunk, w.agent_id, w.updated_at
    FROM public.worktrees w
    WHERE public.is_in_flight(w.active, w.merged_at, w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk)
        AND (p_project_id IS NULL OR w.project_id = p_project_id)
    ORDER BY w.updated_at DESC, w.id;
END;
$$;

COMMENT ON FUNCTION get_inflight_work(uuid) IS 'Worktrees with uncommitted or unmerged work, latest first; of all projects when no id is given.';

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

-- name and origin are each matched as a substring and by trigrams; the host part of the origin does not count.
-- Candidates first, their exact relevance last, since computing that costs 20 microseconds a row. The trigram index finds
-- a text in any project, at 2 microseconds for each that has it, so that it is asked for some hundred only; a text that
-- more projects have is looked for in the shortest names too, which are the most relevant ones. What few have is always
-- found. The planner cannot know how often a text occurs, so it is told. One or two letters have no trigram of their
-- own: they are looked for where a word begins. coarse_pattern costs a quarter of pattern and lets all through that
-- pattern lets through. pg_trgm is looked up at each call: it may be in any schema, and be moved.
CREATE OR REPLACE FUNCTION search_projects(p_query text)
RETURNS TABLE (id uuid, name text, remote_origin text, trunk_path text, relevance real)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET gin_fuzzy_search_limit = 0
SET enable_seqscan = off
SET enable_indexscan = off
SET max_parallel_workers_per_gather = 0
SET jit = off
AS $$
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
    SELECT best.id, best.name, best.remote_origin, best.trunk_path, best.score::real
    FROM (
        SELECT
            p.id, p.name, p.remote_origin, p.trunk_path,
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
$$;

COMMENT ON FUNCTION search_projects(text) IS 'Active projects whose name or owner/repo contains or resembles the text: best first, at most 20; relevance is 0 to 1.';


-- ---------------------------------------------------------------------------------------------------------------
-- Maintenance
-- ---------------------------------------------------------------------------------------------------------------

-- Days of 24 hours: others are longer or shorter with the clocks of the session's time zone. Not beyond what a timestamp
-- holds: who keeps everything for ever says so with any large number.
CREATE OR REPLACE FUNCTION days_ago(p_days integer)
RETURNS timestamptz
LANGUAGE sql
STABLE
PARALLEL SAFE
RETURN now() - least(p_days, 700000) * interval '24 hours';

COMMENT ON FUNCTION days_ago(integer) IS 'The time so many days of 24 hours ago; at most 700,000, which is before everything.';

-- With the owner's rights, since a writer has none on deleted_worktrees. It takes nothing that anybody could still see.
CREATE OR REPLACE FUNCTION forget_deleted_worktrees(p_horizon timestamptz)
RETURNS void
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM public.deleted_worktrees d
    WHERE d.deleted_at < p_horizon AND NOT EXISTS (SELECT FROM public.agent_activities a WHERE a.worktree_id = d.id)
$$;

COMMENT ON FUNCTION forget_deleted_worktrees(timestamptz) IS 'Removes the names of worktrees that were deleted before this time and have no activities left.';

-- With the owner's rights, for a writer who has none to remove an activity: else he could remove any one of them.
CREATE OR REPLACE FUNCTION remove_old_activities(p_horizon timestamptz)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    removed integer;
BEGIN
    PERFORM set_config('imi.activity_retention', 'on', true);
    DELETE FROM public.agent_activities a WHERE a.created_at < p_horizon;
    GET DIAGNOSTICS removed = ROW_COUNT;
    PERFORM set_config('imi.activity_retention', 'off', true);
    RETURN removed;
END;
$$;

COMMENT ON FUNCTION remove_old_activities(timestamptz) IS 'Removes all activities older than this, and says how many; for cleanup_old_activities().';

REVOKE EXECUTE ON FUNCTION remove_old_activities(timestamptz) FROM PUBLIC;

-- Who has the right to remove rows himself needs no other.
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
    IF has_function_privilege('public.remove_old_activities(timestamptz)', 'EXECUTE') THEN
        removed := public.remove_old_activities(horizon);
    ELSE
        PERFORM set_config('imi.activity_retention', 'on', true);
        DELETE FROM public.agent_activities a WHERE a.created_at < horizon;
        GET DIAGNOSTICS removed = ROW_COUNT;
        PERFORM set_config('imi.activity_retention', 'off', true);
    END IF;
    PERFORM public.forget_deleted_worktrees(horizon);
    RETURN removed;
END;
$$;

COMMENT ON FUNCTION cleanup_old_activities(integer) IS 'Removes activities older than so many days, and says how many.';

-- Reads the table once, which is asked for once a day. An index on updated_at would be changed by each activity, and with it
-- all others of the table: no update of a row whose indexed columns change is heap-only.
CREATE OR REPLACE FUNCTION prune_inactive_worktrees(p_inactive_days integer DEFAULT 30)
RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    removed integer;
BEGIN
    PERFORM public.require_not_negative('prune_inactive_worktrees', 'p_inactive_days', p_inactive_days);
    DELETE FROM public.worktrees w
    WHERE NOT w.active AND w.updated_at < public.days_ago(p_inactive_days);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END;
$$;

COMMENT ON FUNCTION prune_inactive_worktrees(integer) IS 'Deletes worktrees inactive and untouched for so many days, and says how many; their activities stay.';

-- VACUUM cannot run inside a function: `imi-registry maintain` does that part.
CREATE OR REPLACE FUNCTION maintenance_vacuum()
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER    -- of others ANALYZE takes no notice but a warning
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    ANALYZE public.projects, public.worktrees, public.worktree_types, public.agent_activities, public.deleted_worktrees;
END;
$$;

COMMENT ON FUNCTION maintenance_vacuum() IS 'Refreshes planner statistics of all registry tables. VACUUM itself cannot run inside a function.';

CREATE OR REPLACE FUNCTION get_registry_stats()
RETURNS TABLE (
    total_projects bigint,
    active_projects bigint,
    total_worktrees bigint,
    active_worktrees bigint,
    in_flight_worktrees bigint,
    total_activities bigint,
    activities_last_24h bigint
)
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        (SELECT count(*) FROM public.projects),
        (SELECT count(*) FROM public.projects WHERE active),
        (SELECT count(*) FROM public.worktrees),
        (SELECT count(*) FROM public.worktrees WHERE active),
        (
            SELECT count(*)
            FROM public.worktrees
            WHERE public.is_in_flight(active, merged_at, has_uncommitted_changes, ahead_of_trunk, behind_trunk)
        ),
        (SELECT count(*) FROM public.agent_activities),
        (SELECT count(*) FROM public.agent_activities WHERE created_at > now() - interval '24 hours')
$$;

COMMENT ON FUNCTION get_registry_stats() IS 'One row of counts; in flight means the rows of v_inflight_work.';

COMMIT;
