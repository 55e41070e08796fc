-- 014: one identity. An id derived from the origin, and two ids of one project made one.
--
-- Registries that do not know each other can give a project the same id, since it follows from the origin. Where they gave
-- two, one wins: everything of the other goes to it, and the other id means it from then on. Why it is built this way:
-- docs/adr/0020-agreement.md.
-- compatible down to: 013

BEGIN;

SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';


-- ---------------------------------------------------------------------------------------------------------------
-- An id that follows from the origin
-- ---------------------------------------------------------------------------------------------------------------
-- PostgreSQL has SHA-1 in an extension alone, which not every server has. An origin is at most 160 bytes, so four blocks.
CREATE OR REPLACE FUNCTION sha1_of(p_bytes bytea)
RETURNS bytea
LANGUAGE plpgsql
IMMUTABLE
STRICT
PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION sha1_of(bytea) IS 'SHA-1 (FIPS 180-4), for ids derived from names; not for anything that must stay secret.';

CREATE OR REPLACE FUNCTION derived_project_id(p_remote_origin text)
RETURNS uuid
LANGUAGE plpgsql
IMMUTABLE
STRICT
PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION derived_project_id(text) IS 'The UUIDv5 of an origin, in any form, in the namespace 5128c89b-5812-5ac4-a011-e7a33083f9cd; NULL when it is no GitHub repository.';

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = 'registry_metadata'::regclass AND attname = 'derived_ids' AND NOT attisdropped
    ) THEN
        ALTER TABLE registry_metadata ADD COLUMN derived_ids boolean NOT NULL DEFAULT false;
    END IF;
END;
$$;

COMMENT ON COLUMN registry_metadata.derived_ids IS 'Whether a new project gets the id that follows from its origin, where the caller does not say.';

CREATE OR REPLACE FUNCTION derive_project_ids(p_by_default boolean)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_by_default IS NULL THEN
        RAISE EXCEPTION 'derive_project_ids: p_by_default is NULL; it must be true or false' USING ERRCODE = '22004';
    END IF;
    UPDATE public.registry_metadata m SET derived_ids = p_by_default WHERE m.derived_ids <> p_by_default;
END;
$$;

COMMENT ON FUNCTION derive_project_ids(boolean) IS 'Sets whether new projects get derived ids in this registry. Those that are there keep theirs: adopt_project_id().';


-- ---------------------------------------------------------------------------------------------------------------
-- Ids that a project had
-- ---------------------------------------------------------------------------------------------------------------
-- No foreign key: an id that was given out goes on to mean what it meant, and TRUNCATE projects does not reach it.
CREATE TABLE IF NOT EXISTS project_aliases (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    CONSTRAINT project_aliases_pkey PRIMARY KEY (id),
    CONSTRAINT project_aliases_is_another CHECK (id <> project_id)
);

CREATE INDEX IF NOT EXISTS idx_project_aliases_project_id ON project_aliases (project_id);

COMMENT ON TABLE project_aliases IS 'Ids of projects that were merged into others, or go on under another id.';
COMMENT ON COLUMN project_aliases.project_id IS 'What it means now: never an alias itself, merges see to it.';

CREATE OR REPLACE FUNCTION current_project_id(p_project_id uuid)
RETURNS uuid
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(
        (
            SELECT a.project_id
            FROM public.project_aliases a
            WHERE a.id = p_project_id AND NOT EXISTS (SELECT FROM public.projects p WHERE p.id = p_project_id)
        ),
        p_project_id
    )
$$;

COMMENT ON FUNCTION current_project_id(uuid) IS 'The id under which the project goes on that was, or is, called so; the same one for what is no alias.';

CREATE OR REPLACE FUNCTION id_for_new_project(p_remote_origin text)
RETURNS uuid
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION id_for_new_project(text) IS 'The id that register_project() gives a new project of this origin: what the setting imi.project_id says (derived, random, or an id), or derive_project_ids() has set; NULL is a random one, also where the id is taken.';

-- An id changes to the one that its alias names, which adopt_project_id() has written, and to no other.
CREATE OR REPLACE FUNCTION guard_project_id()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM public.project_aliases a WHERE a.id = OLD.id AND a.project_id = NEW.id) THEN
        RAISE EXCEPTION 'cannot change %.id from % to %: a primary key is immutable', TG_TABLE_NAME, OLD.id, NEW.id
            USING ERRCODE = '55000', TABLE = TG_TABLE_NAME, COLUMN = 'id';
    END IF;
    RETURN NEW;
END;
$$;

CREATE OR REPLACE TRIGGER projects_id_immutable
    BEFORE UPDATE ON projects
    FOR EACH ROW WHEN (NEW.id IS DISTINCT FROM OLD.id) EXECUTE FUNCTION guard_project_id();


-- ---------------------------------------------------------------------------------------------------------------
-- Two ids become one
-- ---------------------------------------------------------------------------------------------------------------
CREATE OR REPLACE FUNCTION lock_projects(p_function text, p_ids uuid[])
RETURNS uuid[]
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION lock_projects(text, uuid[]) IS 'Locks projects against everybody, and all others against merges, until the transaction ends; returns the ids under which they go on. P0002 for what is none.';

CREATE OR REPLACE FUNCTION tell_project_merged(p_winner projects, p_loser projects)
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO public.outbox (entity, action, project_id, entity_id, data)
    VALUES (
        'project', 'merged', p_winner.id, p_winner.id,
        public.outbox_project_data(p_winner, '{}')
            || jsonb_build_object('loser', public.outbox_project_data(p_loser, '{}') - 'changed')
    )
$$;

CREATE OR REPLACE FUNCTION call_project(p_former uuid, p_current uuid)
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM public.project_aliases a WHERE a.id = p_current;
    UPDATE public.project_aliases a SET project_id = p_current WHERE a.project_id = p_former;
    INSERT INTO public.project_aliases AS a (id, project_id) VALUES (p_former, p_current)
    ON CONFLICT (id) DO UPDATE SET project_id = excluded.project_id
$$;

COMMENT ON FUNCTION call_project(uuid, uuid) IS 'An id, and all that meant it, means another one from now on.';

CREATE OR REPLACE FUNCTION change_project_id(p_former uuid, p_current uuid)
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    -- One statement, at whose end the foreign key is looked at: two rows could not have the origin, even for a moment.
    WITH moved AS (
        UPDATE public.worktrees w SET project_id = p_current WHERE w.project_id = p_former
    )
    UPDATE public.projects p SET id = p_current WHERE p.id = p_former
$$;

COMMENT ON FUNCTION change_project_id(uuid, uuid) IS 'Gives a row another id, and its worktrees with it.';

CREATE OR REPLACE FUNCTION name_of_merged_worktree(p_worktree worktrees, p_winner uuid)
RETURNS text
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN octet_length(p_worktree.name) + 1 + octet_length(mark) <= 512 THEN p_worktree.name
        ELSE left(p_worktree.name, (511 - octet_length(mark)) / 4)    -- a character has at most four bytes
    END || '@' || mark
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
    WHERE mark IS NOT NULL
        AND NOT EXISTS (
            SELECT
            FROM public.worktrees w
            WHERE w.project_id IN (p_winner, p_worktree.project_id) AND w.name = p_worktree.name || '@' || mark
        )
    ORDER BY place
    LIMIT 1
$$;

COMMENT ON FUNCTION name_of_merged_worktree(worktrees, uuid) IS 'What a worktree is called in a project that has one of its name: name@host where that one is on another host, else name@ and the first digits of the id of its former project.';

CREATE OR REPLACE FUNCTION merge_projects(p_loser uuid, p_winner uuid)
RETURNS uuid
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
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
$$;

COMMENT ON FUNCTION merge_projects(uuid, uuid) IS 'Makes two projects one: all that is of the loser is of the winner from then on, and its id means the winner. Again, it changes nothing. P0002 for what is no project.';

CREATE OR REPLACE FUNCTION adopt_project_id(p_project_id uuid, p_id uuid)
RETURNS uuid
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
    ids CONSTANT uuid[] := public.lock_projects('adopt_project_id', ARRAY[p_project_id]);
    project public.projects;
    adopted public.projects;
    other public.projects;
BEGIN
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

COMMENT ON FUNCTION adopt_project_id(uuid, uuid) IS 'A project goes on under another id, which another registry gave its origin, or which follows from it; the one it had means it, too. 23505 when another project has the id.';

REVOKE EXECUTE ON FUNCTION
    derive_project_ids(boolean), guard_project_id(), lock_projects(text, uuid[]), tell_project_merged(projects, projects),
    call_project(uuid, uuid), change_project_id(uuid, uuid), name_of_merged_worktree(worktrees, uuid), merge_projects(uuid, uuid), adopt_project_id(uuid, uuid)
FROM PUBLIC;


-- ---------------------------------------------------------------------------------------------------------------
-- Functions that know former ids, and registration under a derived one
-- ---------------------------------------------------------------------------------------------------------------
CREATE OR REPLACE FUNCTION deactivate_project(p_project_id uuid)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

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
$$;

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
$$;

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
$$;

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
$$;

CREATE OR REPLACE FUNCTION place_project(p_project_id uuid, p_host_id uuid, p_trunk_path text, p_may_move boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

CREATE OR REPLACE FUNCTION displace_project(p_project_id uuid, p_host_id uuid)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    p_project_id := public.current_project_id(p_project_id);
    DELETE FROM public.project_hosts h
    WHERE h.project_id = p_project_id AND h.host_id = p_host_id AND h.trunk_path IS NOT NULL;
    IF NOT FOUND AND public.project_trunk(p_project_id, p_host_id) IS NOT NULL THEN
        RAISE EXCEPTION 'displace_project: p_host_id % is the home of the project, where it stays', p_host_id
            USING ERRCODE = '55000';
    END IF;
END;
$$;

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
    RETURN public.current_project_id(project_id);
END;
$$;

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
$$;

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
$$;


-- ---------------------------------------------------------------------------------------------------------------
-- Mirrors (012)
-- ---------------------------------------------------------------------------------------------------------------
CREATE OR REPLACE FUNCTION mirror_merged(p_data jsonb)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION mirror_merged(jsonb) IS 'Applies project.merged; the events of worktrees and places follow it.';

REVOKE EXECUTE ON FUNCTION mirror_merged(jsonb) FROM PUBLIC;

CREATE OR REPLACE FUNCTION mirror_tables()
RETURNS SETOF text
LANGUAGE sql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT unnest(ARRAY[
        'hosts', 'worktree_types', 'projects', 'project_hosts', 'worktrees', 'agent_activities', 'deleted_worktrees',
        'project_aliases',
        'command_ledger', 'outbox', 'outbox_backlog'
    ])
$$;

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
$$;

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
    CREATE TEMPORARY TABLE new_aliases ON COMMIT DROP AS
        SELECT p.* FROM public.mirror_row r CROSS JOIN LATERAL jsonb_populate_record(NULL::public.project_aliases, r.fields) p WHERE r.kind = 'project_aliases';
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
    INSERT INTO public.agent_activities SELECT n.* FROM pg_temp.new_activities n ON CONFLICT (id) DO NOTHING;
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
$$;

-- Who is a mirror or a replica already writes no aliases either, and a snapshot gives a mirror those that its source has.
DO $$
DECLARE
    source text;
    kind text;
BEGIN
    SELECT s.name, s.kind INTO source, kind
    FROM (
        SELECT m.name, 'mirror' AS kind FROM public.mirror_source m WHERE m.promoted_at IS NULL
        UNION ALL
        SELECT r.name, 'replica' FROM public.replica_source r WHERE r.promoted_at IS NULL
    ) s;
    IF FOUND THEN
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER mirror_refuses BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON public.project_aliases'
            ' FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_on_mirror(%L, %L)',
            source, kind
        );
        IF kind = 'mirror' THEN
            ALTER TABLE public.project_aliases ENABLE ALWAYS TRIGGER mirror_refuses;
            UPDATE public.mirror_source SET position = '';
        END IF;
    END IF;
END;
$$;

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
            ('imi_publisher', 'FUNCTION', 'EXECUTE', '{copied_replica()}'),
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
$$;

DO $$ BEGIN PERFORM grant_role_rights(); PERFORM note_schema_version(14); END $$;

COMMIT;
