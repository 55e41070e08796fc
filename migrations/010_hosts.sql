-- 010: hosts. A project is one identity wherever it is checked out; its trunk path and the paths of its worktrees are of a host.
--
-- A caller says in the setting imi.host_id which host it is on. One that says nothing is on the default host, whose id is
-- all zeros: for it everything is as it was. Why it is built this way: docs/adr/0016-hosts.md.
-- compatible down to: 009

BEGIN;

SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';


-- ---------------------------------------------------------------------------------------------------------------
-- Who calls
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION default_host_id()
RETURNS uuid
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN '00000000-0000-0000-0000-000000000000'::uuid;

COMMENT ON FUNCTION default_host_id() IS 'The host of whoever names none, and of all that is older than hosts.';

-- Parsed bodies, so that the planner puts them into the defaults of columns: who names no host pays for a look at a setting.
CREATE OR REPLACE FUNCTION caller_host_id()
RETURNS uuid
LANGUAGE sql
STABLE
RETURN CASE
    WHEN nullif(current_setting('imi.host_id', true), '') IS NOT NULL THEN outbox_uuid_setting('imi.host_id')
END;

COMMENT ON FUNCTION caller_host_id() IS 'The host that the caller says it is on, by the setting imi.host_id; NULL when it says none. 22023 when that is no UUID.';

CREATE OR REPLACE FUNCTION require_host_name(p_place text, p_field text, p_value text, p_constraint text DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;


-- ---------------------------------------------------------------------------------------------------------------
-- Tables
-- ---------------------------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS hosts (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    former_names text[] NOT NULL DEFAULT '{}',
    machine text,
    description text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT hosts_pkey PRIMARY KEY (id),
    CONSTRAINT hosts_name_key UNIQUE (name),
    CONSTRAINT hosts_name_check CHECK (require_host_name('hosts', 'name', name, 'hosts_name_check')),
    CONSTRAINT hosts_machine_check CHECK (machine IS NULL OR require_name('hosts', 'machine', machine, 'hosts_machine_check')),
    CONSTRAINT hosts_description_check CHECK (
        description IS NULL OR require_text('hosts', 'description', description, 'hosts_description_check')
    ),
    CONSTRAINT hosts_times_check CHECK (
        least(created_at, updated_at) >= '0001-01-01 00:00:00+00'
        AND greatest(created_at, updated_at) < '10000-01-01 00:00:00+00'
        OR refuse_times('hosts', '{created_at, updated_at}', ARRAY[created_at, updated_at])
    )
);

COMMENT ON TABLE hosts IS 'Machines, or whatever has file systems of its own, on which projects are checked out.';
COMMENT ON COLUMN hosts.id IS 'All zeros for the default host, which is there from the beginning and stays.';
COMMENT ON COLUMN hosts.name IS 'In lower case, since names of hosts are the same in either.';
COMMENT ON COLUMN hosts.former_names IS 'Names it had before; who still uses one means this host, as long as no other has that name.';
COMMENT ON COLUMN hosts.machine IS 'What tells the machine from others of the same name; NULL while none has introduced itself.';

INSERT INTO hosts (id, name, description)
SELECT default_host_id(), 'default', 'The host of whoever names none'
WHERE NOT EXISTS (SELECT FROM hosts WHERE id = default_host_id());

CREATE TABLE IF NOT EXISTS project_hosts (
    project_id uuid NOT NULL,
    host_id uuid NOT NULL,
    trunk_path text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT project_hosts_pkey PRIMARY KEY (project_id, host_id),
    CONSTRAINT project_hosts_host_id_fkey FOREIGN KEY (host_id) REFERENCES hosts (id),
    CONSTRAINT project_hosts_trunk_path_check CHECK (
        trunk_path IS NULL OR require_path('project_hosts', 'trunk_path', trunk_path, 'project_hosts_trunk_path_check')
    ),
    CONSTRAINT project_hosts_times_check CHECK (
        least(created_at, updated_at) >= '0001-01-01 00:00:00+00'
        AND greatest(created_at, updated_at) < '10000-01-01 00:00:00+00'
        OR refuse_times('project_hosts', '{created_at, updated_at}', ARRAY[created_at, updated_at])
    )
);

CREATE UNIQUE INDEX IF NOT EXISTS project_hosts_unique_home ON project_hosts (project_id) WHERE trunk_path IS NULL;
CREATE INDEX IF NOT EXISTS idx_project_hosts_host_id ON project_hosts (host_id);

COMMENT ON TABLE project_hosts IS 'On which hosts a project is. Without a row that is its home, the default host is that.';
COMMENT ON COLUMN project_hosts.project_id IS 'The project. Triggers hold what a foreign key would, which would refuse TRUNCATE projects without this table.';
COMMENT ON COLUMN project_hosts.trunk_path IS 'Where its trunk is on this host. NULL: this is its home, and projects.trunk_path says it; so no path is there twice.';

-- Columns with a constant are added without a look at the rows; the default for new rows is another one. What is there is
-- on the default host: nobody said anything else.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = 'worktrees'::regclass AND attname = 'host_id' AND NOT attisdropped
    ) THEN
        ALTER TABLE worktrees ADD COLUMN host_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000';
    END IF;
END;
$$;

ALTER TABLE worktrees ALTER COLUMN host_id SET DEFAULT coalesce(caller_host_id(), default_host_id());

COMMENT ON COLUMN worktrees.host_id IS 'The host that the path is on. A trigger checks that it exists, as a foreign key would, but for the default host: no insert of who names none touches its row.';

-- The path first: it is what is looked for.
DO $$
BEGIN
    IF pg_get_indexdef('worktrees_unique_active_path'::regclass) NOT LIKE '%host_id%' THEN
        DROP INDEX worktrees_unique_active_path;
        CREATE UNIQUE INDEX worktrees_unique_active_path ON worktrees (path, host_id) WHERE active;
    END IF;
END;
$$;

ALTER TABLE outbox ADD COLUMN IF NOT EXISTS host_id uuid;
ALTER TABLE outbox ALTER COLUMN host_id SET DEFAULT nullif(caller_host_id(), default_host_id());

COMMENT ON COLUMN outbox.host_id IS 'The host of the worktree, or of what is on none, of the writer; NULL for the default host.';

ALTER TABLE deleted_worktrees ADD COLUMN IF NOT EXISTS host_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000';

COMMENT ON COLUMN deleted_worktrees.host_id IS 'The host that the path was on; it may be removed since.';


-- ---------------------------------------------------------------------------------------------------------------
-- Hosts
-- ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION host_named(p_name text)
RETURNS uuid
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT h.id
    FROM public.hosts h
    WHERE h.name = lower(p_name COLLATE "C") OR lower(p_name COLLATE "C") = ANY (h.former_names)
    ORDER BY h.name = lower(p_name COLLATE "C") DESC, h.updated_at DESC, h.id
    LIMIT 1
$$;

COMMENT ON FUNCTION host_named(text) IS 'Id of the host that has this name, or had it before; NULL when there is none.';

CREATE OR REPLACE FUNCTION register_host(p_name text, p_machine text DEFAULT NULL)
RETURNS uuid
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION register_host(text, text) IS 'Id of the host of this name, added when there is none. 55000 when it is known as another machine than p_machine, which its first caller gives.';

CREATE OR REPLACE FUNCTION use_host(p_name text, p_machine text DEFAULT NULL, p_is_local boolean DEFAULT false)
RETURNS uuid
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT set_config('imi.host_id', public.register_host(p_name, p_machine)::text, p_is_local)::uuid
$$;

COMMENT ON FUNCTION use_host(text, text, boolean) IS 'Registers the host, and says that this session (or transaction) is on it.';

CREATE OR REPLACE FUNCTION update_host(
    p_host_id uuid, p_name text DEFAULT NULL, p_description text DEFAULT NULL, p_machine text DEFAULT NULL
)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION update_host(uuid, text, text, text) IS 'Changes what is given of a host: NULL keeps the value, an empty p_machine forgets it. A name before becomes a former one.';

CREATE OR REPLACE FUNCTION remove_host(p_host_id uuid)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM public.hosts h WHERE h.id = p_host_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'remove_host: p_host_id % is no host', coalesce(p_host_id::text, 'NULL') USING ERRCODE = 'P0002';
    END IF;
END;
$$;

COMMENT ON FUNCTION remove_host(uuid) IS 'Removes a host that nothing is on; 23503 when worktrees or projects are, 55000 for the default host.';

CREATE OR REPLACE FUNCTION guard_host()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

CREATE OR REPLACE FUNCTION refuse_truncate_of_hosts()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'cannot truncate hosts: worktrees are on them; remove_host() removes one that nothing is on'
        USING ERRCODE = '55000', TABLE = TG_TABLE_NAME;
END;
$$;

CREATE OR REPLACE TRIGGER hosts_guard
    BEFORE INSERT OR UPDATE OR DELETE ON hosts
    FOR EACH ROW EXECUTE FUNCTION guard_host();
CREATE OR REPLACE TRIGGER hosts_id_immutable
    BEFORE UPDATE ON hosts
    FOR EACH ROW WHEN (NEW.id IS DISTINCT FROM OLD.id) EXECUTE FUNCTION guard_primary_key();
CREATE OR REPLACE TRIGGER hosts_updated_at
    BEFORE UPDATE ON hosts
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE OR REPLACE TRIGGER hosts_no_truncate
    BEFORE TRUNCATE ON hosts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate_of_hosts();


-- ---------------------------------------------------------------------------------------------------------------
-- Where a project is
-- ---------------------------------------------------------------------------------------------------------------

-- With the owner's rights, since a writer may have none on the table. Ids are random: who knows one has read it.
CREATE OR REPLACE FUNCTION project_trunk(p_project_id uuid, p_host_id uuid)
RETURNS text
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN here.project_id IS NOT NULL THEN coalesce(here.trunk_path, p.trunk_path)
        WHEN p_host_id = public.default_host_id() AND NOT EXISTS (
            SELECT FROM public.project_hosts home WHERE home.project_id = p.id AND home.trunk_path IS NULL
        ) THEN p.trunk_path
    END
    FROM public.projects p
    LEFT JOIN public.project_hosts here ON here.project_id = p.id AND here.host_id = p_host_id
    WHERE p.id = p_project_id
$$;

COMMENT ON FUNCTION project_trunk(uuid, uuid) IS 'Where the trunk of a project is on a host; NULL when it is not there.';

CREATE OR REPLACE FUNCTION trunk_for_caller(p_project_id uuid, p_trunk_path text)
RETURNS text
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(
        public.project_trunk(p_project_id, coalesce(public.caller_host_id(), public.default_host_id())), p_trunk_path
    )
$$;

COMMENT ON FUNCTION trunk_for_caller(uuid, text) IS 'Where the trunk is on the caller''s host, or else p_trunk_path, where it is at home.';

CREATE OR REPLACE FUNCTION place_project(p_project_id uuid, p_host_id uuid, p_trunk_path text, p_may_move boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    trunk CONSTANT text := public.normalize_path(p_trunk_path);
    is_there CONSTANT text := public.project_trunk(p_project_id, p_host_id);
BEGIN
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
$$;

COMMENT ON FUNCTION place_project(uuid, uuid, text, boolean) IS 'Says where the trunk of a project is on a host. A path that is known stays, unless p_may_move.';

CREATE OR REPLACE FUNCTION displace_project(p_project_id uuid, p_host_id uuid)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM public.project_hosts h
    WHERE h.project_id = p_project_id AND h.host_id = p_host_id AND h.trunk_path IS NOT NULL;
    IF NOT FOUND AND public.project_trunk(p_project_id, p_host_id) IS NOT NULL THEN
        RAISE EXCEPTION 'displace_project: p_host_id % is the home of the project, where it stays', p_host_id
            USING ERRCODE = '55000';
    END IF;
END;
$$;

COMMENT ON FUNCTION displace_project(uuid, uuid) IS 'Forgets that a project is on a host; 55000 for its home. Its worktrees there are no matter of this.';

-- Behind the event of the project, as the name of the trigger sorts: who reads both knows the project when it is placed.
CREATE OR REPLACE FUNCTION place_new_projects()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF public.caller_host_id() <> public.default_host_id() THEN
        INSERT INTO public.project_hosts (project_id, host_id)
        SELECT n.id, public.caller_host_id()
        FROM new_rows n;
    END IF;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE TRIGGER projects_place_home
    AFTER INSERT ON projects REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT
    WHEN (current_setting('imi.host_id', true) <> '')
    EXECUTE FUNCTION place_new_projects();

-- A statement each, behind the events that tell of it: nothing is told of places that go with their project.
CREATE OR REPLACE FUNCTION displace_deleted_projects()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM public.project_hosts h USING old_rows o WHERE h.project_id = o.id;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION displace_truncated_projects()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM public.project_hosts;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE TRIGGER projects_place_deleted
    AFTER DELETE ON projects REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION displace_deleted_projects();
CREATE OR REPLACE TRIGGER projects_place_truncated
    AFTER TRUNCATE ON projects
    FOR EACH STATEMENT EXECUTE FUNCTION displace_truncated_projects();

CREATE OR REPLACE FUNCTION guard_project_host()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

CREATE OR REPLACE TRIGGER project_hosts_guard
    BEFORE INSERT OR UPDATE ON project_hosts
    FOR EACH ROW EXECUTE FUNCTION guard_project_host();
CREATE OR REPLACE TRIGGER project_hosts_updated_at
    BEFORE UPDATE ON project_hosts
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

CREATE OR REPLACE VIEW v_project_hosts AS
SELECT p.id AS project_id, p.name AS project_name, p.remote_origin, h.id AS host_id, h.name AS host_name,
    coalesce(here.trunk_path, p.trunk_path) AS trunk_path, here.trunk_path IS NULL AS is_home
FROM projects p
JOIN project_hosts here ON here.project_id = p.id
JOIN hosts h ON h.id = here.host_id
UNION ALL
SELECT p.id, p.name, p.remote_origin, h.id, h.name, p.trunk_path, true
FROM projects p
JOIN hosts h ON h.id = default_host_id()
WHERE NOT EXISTS (SELECT FROM project_hosts home WHERE home.project_id = p.id AND home.trunk_path IS NULL);

COMMENT ON VIEW v_project_hosts IS 'On which hosts each project is, active or not, and where; one of them is its home.';


-- ---------------------------------------------------------------------------------------------------------------
-- Worktrees
-- ---------------------------------------------------------------------------------------------------------------
-- One name is one worktree of the project, also for INSERT ... ON CONFLICT (project_id, name): the second host that has one of
-- a name has it as name@host. A former name of the host counts, so that a host that is renamed finds its worktrees.
CREATE OR REPLACE FUNCTION worktree_name_on(p_project_id uuid, p_name text, p_host_id uuid)
RETURNS text
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION worktree_name_on(uuid, text, uuid) IS 'Under which name a worktree that is called so on this host is in its project: name@host where another host has that name.';
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
$$;
-- As before, with the host.
CREATE OR REPLACE FUNCTION remember_worktrees_of_project()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

CREATE OR REPLACE FUNCTION remember_worktrees()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

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
    caller CONSTANT uuid := public.caller_host_id();
    own_name text := p_name;
    own_host uuid := caller;
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
        IF caller IS NOT NULL THEN    -- the name that the insert found, after it had waited for others
            own_name := public.worktree_name_on(p_project_id, p_name, caller);
        END IF;
        SELECT w.id INTO STRICT worktree_id
        FROM public.worktrees w
        WHERE w.project_id = p_project_id AND w.name = own_name;
    END IF;
    RETURN worktree_id;
END;
$$;

COMMENT ON FUNCTION register_worktree(uuid, text, text, text, text, text, jsonb) IS 'Id of the worktree of this project and name on the caller''s host: created, taken up again or updated as needed. Where another host has the name it is name@host.';

-- Who names no host is on the default one; what is at this path on no other than one is meant as well, as it always was.
CREATE OR REPLACE FUNCTION worktree_at(p_path text)
RETURNS uuid
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION worktree_at(text) IS 'Id of the active worktree at this path on the caller''s host; of who names none, on the default one, or else on the only one that has it. NULL when there is none, or several.';
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
    WHERE w.id = public.worktree_at(p_path)
$$;

COMMENT ON FUNCTION get_worktree_by_path(text) IS 'The active worktree at exactly this path on the caller''s host; no row when there is none.';

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
$$;

CREATE OR REPLACE FUNCTION move_worktree(p_worktree_id uuid, p_host_id uuid)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION move_worktree(uuid, uuid) IS 'Says that a worktree, with its path, is on another host than was known.';

-- ---------------------------------------------------------------------------------------------------------------
-- Projects, for the caller's host
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
    IF public.caller_host_id() IS NOT NULL THEN
        PERFORM public.place_project(project_id, public.caller_host_id(), trunk);
    END IF;
    RETURN project_id;
END;
$$;

COMMENT ON FUNCTION register_project(text, text, text, text, jsonb) IS 'Id of the project of this origin: created, or as it is known, reactivated and with its metadata merged. update_project() changes the rest. From another host than its home, its trunk is there, too, from now on.';

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
    SELECT p.id, p.name, p.remote_origin, p.default_branch, public.trunk_for_caller(p.id, p.trunk_path), p.active, p.created_at, p.updated_at
    FROM public.projects p
    WHERE p.remote_origin = public.normalize_remote_origin(p_remote_origin) AND p.active
$$;

CREATE OR REPLACE FUNCTION search_projects(p_query text)
RETURNS TABLE (id uuid, name text, remote_origin text, trunk_path text, relevance real)
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.id, p.name, p.remote_origin, public.trunk_for_caller(p.id, p.trunk_path), near.relevance
    FROM public.near_projects(p_query) WITH ORDINALITY AS near (id, relevance, place)
    JOIN public.projects p ON p.id = near.id
    ORDER BY near.place
$$;

CREATE OR REPLACE FUNCTION worktree_called_here(p_name text)
RETURNS text
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION worktree_called_here(text) IS 'What a worktree name@host is called on that host, the caller''s: name.';

CREATE OR REPLACE FUNCTION get_project_working_path(p_project_id uuid, p_worktree_name text DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    project public.projects;
    caller CONSTANT uuid := public.caller_host_id();
    trunk_directory text;
    parent text;
BEGIN
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
$$;

COMMENT ON FUNCTION get_project_working_path(uuid, text) IS 'The trunk path on the caller''s host, or the sibling directory of it for a worktree; a slash in the name becomes a dash, as in directory names of branches. P0002 when the project is not on that host.';

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
$$;

COMMENT ON FUNCTION update_project(uuid, text, text, text, text, jsonb) IS 'Changes what is given of a project: NULL keeps the value, metadata is merged by key. The trunk path is that on the caller''s host.';

-- ---------------------------------------------------------------------------------------------------------------
-- Commands
-- ---------------------------------------------------------------------------------------------------------------
-- Registering is the one that may come before anybody has told of the host.
CREATE OR REPLACE FUNCTION enter_command_host(p_type text, p_host text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION enter_command_host(text, text) IS 'Carries a command out as on the host that it names, whatever host this session is on; none is the default host.';

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
        worktree_id := public.worktree_at(p_data ->> 'path');
        IF worktree_id IS NULL THEN
            RAISE EXCEPTION 'path % is no active worktree%', public.quote_for_message(p_data ->> 'path'),
                coalesce(' on host ' || public.quote_for_message(p_data ->> 'host'), '')
                USING ERRCODE = 'P0002';
        END IF;
    END IF;
    RETURN worktree_id;
END;
$$;

COMMENT ON FUNCTION command_worktree(jsonb) IS 'The worktree that the data of a command names by worktree_id, or by path while it is active, on the caller''s host.';

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
    PERFORM public.enter_command_host(p_type, d ->> 'host');
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

-- ---------------------------------------------------------------------------------------------------------------
-- Events
-- ---------------------------------------------------------------------------------------------------------------
-- Of the default host nothing is said, as in events that are older than hosts: to join an empty object costs nothing.
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
    )::public.outbox_worktree) || CASE
        WHEN w.host_id OPERATOR(pg_catalog.<>) public.default_host_id()
        THEN pg_catalog.jsonb_build_object('host_id', w.host_id)
        ELSE '{}'
    END
$$;

CREATE OR REPLACE FUNCTION outbox_worktree_changes(o worktrees, n worktrees)
RETURNS jsonb
LANGUAGE sql
STABLE
AS $$
    SELECT public.outbox_change('name', o.name, n.name)
    || public.outbox_change('path', o.path, n.path)
    || public.outbox_change('host_id', o.host_id, n.host_id)
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
    INSERT INTO public.outbox (entity, action, project_id, entity_id, host_id, data)
    SELECT 'worktree', 'created', n.project_id, n.id, nullif(n.host_id, public.default_host_id()), public.outbox_worktree_data(
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
    INSERT INTO public.outbox (entity, action, project_id, entity_id, host_id, data)
    SELECT 'activity', 'logged', w.project_id, n.id, nullif(w.host_id, public.default_host_id()), public.outbox_activity_data(
        ROW(n.*)::public.agent_activities, w.project_id, p.name, w.name
    )
    FROM new_rows n
    LEFT JOIN LATERAL (SELECT name, project_id, host_id FROM public.worktrees WHERE id = n.worktree_id OFFSET 0) w ON true
    LEFT JOIN LATERAL (SELECT name FROM public.projects WHERE id = w.project_id OFFSET 0) p ON true;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION outbox_host_changed()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
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
$$;

CREATE OR REPLACE FUNCTION outbox_project_host_data(place project_hosts, p projects, p_changed jsonb)
RETURNS jsonb
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

-- Of a place that goes with its project nothing is told: project.deleted says it.
CREATE OR REPLACE FUNCTION outbox_project_host_changed()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
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
$$;

-- An event says on which host its row is, whoever is asked to write it.
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
$$;

CREATE OR REPLACE TRIGGER hosts_outbox
    AFTER INSERT OR UPDATE OR DELETE ON hosts
    FOR EACH ROW EXECUTE FUNCTION outbox_host_changed();
CREATE OR REPLACE TRIGGER project_hosts_outbox
    AFTER INSERT OR UPDATE OR DELETE ON project_hosts
    FOR EACH ROW EXECUTE FUNCTION outbox_project_host_changed();

REVOKE EXECUTE ON FUNCTION
    guard_host(), guard_project_host(), place_new_projects(), displace_deleted_projects(), displace_truncated_projects(),
    outbox_host_changed(), outbox_project_host_changed()
FROM PUBLIC;

-- ---------------------------------------------------------------------------------------------------------------
-- Rights
-- ---------------------------------------------------------------------------------------------------------------
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
            ('imi_publisher', 'SEQUENCE', 'SELECT', '{outbox_id_seq}'),
            ('imi_publisher', 'SEQUENCE', 'UPDATE', '{publisher_doorbell}'),
            ('imi_publisher', 'FUNCTION', 'EXECUTE',
                '{"forget_published(interval, integer)", registry_heartbeat(text), search_known_words(text)}'),

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

DO $$ BEGIN PERFORM grant_role_rights(); PERFORM note_schema_version(10); END $$;

COMMIT;

-- Behind the transaction, so that it is built beside writers.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_worktrees_host_id ON public.worktrees (host_id) WHERE host_id <> '00000000-0000-0000-0000-000000000000';
