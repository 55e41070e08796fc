-- 001: tables, constraints, indexes, built-in worktree types and views of the registry.
--
-- Functions, and the triggers that keep the rules a constraint cannot express, are in 002.
-- What a client may rely on, and where this schema is strict on purpose: docs/schema.md.

BEGIN;

-- Whatever the database, the role or the environment has set: what follows means the same.
SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';

DO $$
BEGIN
    IF current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION 'database % has the encoding %; the registry needs UTF8; create it with: createdb -E UTF8 -T template0',
            quote_ident(current_database()), current_setting('server_encoding')
            USING ERRCODE = '55000';
    END IF;
END;
$$;

-- The schema 2.0.0 as it was first shipped has tables of the same names and columns: on top of it, these statements would
-- make a mixture of both. So they would on top of tables of any other origin.
DO $$
DECLARE
    original record;
BEGIN
    SELECT c.conrelid::regclass AS table_name, c.conname INTO original
    FROM pg_constraint c
    WHERE c.connamespace = 'public'::regnamespace
        AND (c.contype, c.conname) IN (
            ('x', 'projects_unique_active_remote'),
            ('x', 'worktrees_unique_active_path'),
            ('f', 'agent_activities_worktree_id_fkey')
        )
    ORDER BY c.conname DESC
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'database % has the table % of the first schema 2.0.0 (constraint %), which these files alone do not upgrade; nothing was changed; run: imi-registry migrate up',
            quote_ident(current_database()), original.table_name, original.conname
            USING ERRCODE = '55000';
    END IF;

    SELECT own.name AS table_name, own.name || '_times_check' AS conname INTO original
    FROM (VALUES ('projects'), ('worktree_types'), ('worktrees'), ('agent_activities'), ('deleted_worktrees')) AS own (name)
    WHERE to_regclass('public.' || own.name) IS NOT NULL
        AND NOT EXISTS (
            SELECT
            FROM pg_constraint c
            WHERE c.conrelid = to_regclass('public.' || own.name) AND c.conname = own.name || '_times_check'
        )
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'database % has a % that is not the registry''s (it lacks the constraint %); nothing was changed; use a database of its own',
            quote_ident(current_database()), original.table_name, original.conname
            USING ERRCODE = '55000';
    END IF;
END;
$$;

-- First of all: the trigram indexes below need its operator class. Where it is there already, it may be in any schema.
CREATE EXTENSION IF NOT EXISTS pg_trgm;

DO $$
DECLARE
    place record;
BEGIN
    SELECT quote_ident(n.nspname) AS name, has_schema_privilege(n.oid, 'USAGE') AS is_open INTO STRICT place
    FROM pg_extension e
    JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'pg_trgm';
    IF NOT place.is_open THEN
        RAISE EXCEPTION 'role % may not use the schema %, which has the extension pg_trgm; nothing was changed; run: GRANT USAGE ON SCHEMA % TO %',
            current_user, place.name, place.name, quote_ident(current_user)
            USING ERRCODE = '42501';
    END IF;
    PERFORM set_config('search_path', 'public, ' || place.name, true);
END;
$$;


-- ---------------------------------------------------------------------------------------------------------------
-- Rules about values. A rule stands in one function, for parameters and for columns: p_place is the function or the
-- table, p_field the parameter or the column. Of a column, p_constraint is given: the error is then a check violation.
-- They are plpgsql and not plain expressions: a check with one of those is planned anew by every statement (60 microseconds).
-- The collation "C" makes blanks the same ones in every database; those beyond ASCII are spelled out.
-- ---------------------------------------------------------------------------------------------------------------

-- What is called a password or a token; a token of a known host; and what stands before an "@", behind "//" or a word with a
-- colon: within the same quotes, or word, where it is a message. All that percent-encoded as well, as in a URL that is part of
-- another one. Of what is longer than can be searched, the rest may have the "@". registry/urls.py knows the same; a test
-- holds both together.
CREATE OR REPLACE FUNCTION without_credentials(p_text text, p_is_message boolean DEFAULT false)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN regexp_replace(
    regexp_replace(
        regexp_replace(
            CASE WHEN length(p_text) > 4096 THEN left(p_text, 4096) || '@' ELSE p_text END COLLATE "C",
            '((?<![\w.-])[\w.-]{0,40}(?:passw|passphrase|pwd|secret|token|api_?-?key|access_?-?key|private_?-?key|credential)[\w.-]{0,40}'
                || '(?:\s*=\s*|%(?:25)*3d)'
                || '|"[\w.-]{0,40}(?:passw|passphrase|pwd|secret|token|api_?-?key|access_?-?key|private_?-?key|credential)[\w.-]{0,40}\\*"\s*:\s*'
                || '|authorization:\s*\w+\s+|bearer\s+)(\\*"[^"]*"?|''[^'']*''?|[^\s&,;}"'']+)',
            '\1***', 'gi'
        ),
        '(?<!\w)(?:gh[opsur]_|github_pat_|glpat-|xox[abprs]-)[\w-]{8,}', '***', 'g'
    ),
    '((?://|(?:%(?:25)*2f){2}))' || CASE WHEN p_is_message THEN '[^"]' ELSE '.' END || '*(?:@|%(?:25)*40)'
        || '|(?<![^\s/@"''])[^\s/@"'']*(?::(?!//)|%(?:25)*3a(?!%(?:25)*2f))'
        || CASE WHEN p_is_message THEN '[^[:space:]"]' ELSE '.' END || '*(?:@|%(?:25)*40)',
    '\1***@', 'gi'
) COLLATE "default";

COMMENT ON FUNCTION without_credentials(text, boolean) IS 'A value, or a message with values in quotes, as it may be told to others: no password, no token.';

CREATE OR REPLACE FUNCTION quote_for_message(p_value text)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN coalesce(to_json(left(without_credentials(p_value), 120))::text, 'NULL');

COMMENT ON FUNCTION quote_for_message(text) IS 'A value for an error message: in quotes, on one line, not endless, and without credentials.';

CREATE OR REPLACE FUNCTION refuse_value(
    p_place text, p_field text, p_found text, p_rule text, p_constraint text DEFAULT NULL
)
RETURNS void
LANGUAGE plpgsql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_constraint IS NULL THEN
        RAISE EXCEPTION '%: % %; it must %', p_place, p_field, p_found, p_rule USING ERRCODE = '22023';
    END IF;
    RAISE EXCEPTION '%: % %; it must %', p_place, p_field, p_found, p_rule
        USING ERRCODE = '23514', SCHEMA = 'public', TABLE = p_place, COLUMN = p_field, CONSTRAINT = p_constraint,
            DETAIL = 'This is the constraint ' || p_constraint || '.';
END;
$$;

COMMENT ON FUNCTION refuse_value(text, text, text, text, text) IS 'Raises 22023 for a parameter, 23514 for a column.';

-- p_bytes is far beyond real use, and what an index can hold beside other columns (2,704 bytes in all).
CREATE OR REPLACE FUNCTION require_text(
    p_place text, p_field text, p_value text, p_constraint text DEFAULT NULL, p_bytes integer DEFAULT NULL
)
RETURNS boolean
LANGUAGE plpgsql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

CREATE OR REPLACE FUNCTION require_name(p_place text, p_field text, p_value text, p_constraint text DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN public.require_text(p_place, p_field, p_value, p_constraint, 512);
END;
$$;

-- Names of branches and of worktree types.
CREATE OR REPLACE FUNCTION require_word(p_place text, p_field text, p_value text, p_constraint text DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM public.require_text(p_place, p_field, p_value, p_constraint, 1024);
    IF p_value ~ ('[[:space:]]' COLLATE "C") THEN
        PERFORM public.refuse_value(p_place, p_field, public.quote_for_message(p_value) || ' has a blank in it', 'be one word', p_constraint);
    END IF;
    RETURN true;
END;
$$;

CREATE OR REPLACE FUNCTION require_path(p_place text, p_field text, p_value text, p_constraint text DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM public.require_text(p_place, p_field, p_value, p_constraint, 2048);
    IF left(p_value, 1) NOT IN ('/', '~') OR p_value ~ ('(^|/)[.][.](/|$)' COLLATE "C") THEN
        PERFORM public.refuse_value(
            p_place, p_field, 'is ' || public.quote_for_message(p_value), 'begin with "/" or "~" and have no ".." part', p_constraint
        );
    END IF;
    RETURN true;
END;
$$;

-- What git prints is hexadecimal; other systems number their commits otherwise.
CREATE OR REPLACE FUNCTION require_commit(p_place text, p_field text, p_value text, p_constraint text DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM public.require_text(p_place, p_field, p_value, p_constraint);
    IF p_value !~ ('^[0-9A-Za-z]{1,128}$' COLLATE "C") THEN
        PERFORM public.refuse_value(
            p_place, p_field, 'is ' || public.quote_for_message(p_value), 'be the hash of a commit: 1 to 128 letters and digits', p_constraint
        );
    END IF;
    RETURN true;
END;
$$;

CREATE OR REPLACE FUNCTION require_color(p_place text, p_field text, p_value text, p_constraint text DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_value !~ ('^#([0-9A-Fa-f]{3}){1,2}$' COLLATE "C") THEN
        PERFORM public.refuse_value(p_place, p_field, 'is ' || public.quote_for_message(p_value), 'be a colour such as #10B981', p_constraint);
    END IF;
    RETURN true;
END;
$$;

CREATE OR REPLACE FUNCTION require_activity_type(p_place text, p_field text, p_value text, p_constraint text)
RETURNS boolean
LANGUAGE plpgsql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

-- Called when one of the times is none that a reader can hold: infinity, or a year before 1 or beyond 9999.
CREATE OR REPLACE FUNCTION refuse_times(p_table text, p_columns text[], p_values timestamptz[])
RETURNS boolean
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
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
$$;

-- Of a number only its size is limited, so that a reader's double can at least come near it; its digits are kept.
CREATE OR REPLACE FUNCTION require_object(p_place text, p_field text, p_value jsonb, p_constraint text DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;


-- ---------------------------------------------------------------------------------------------------------------
-- Tables
-- ---------------------------------------------------------------------------------------------------------------

-- GitHub ignores case in owner and repository, so the lower-case form is the key: one project per repository,
-- with one unique constraint that INSERT ... ON CONFLICT (remote_origin) can name.
CREATE OR REPLACE FUNCTION is_remote_origin(p_remote_origin text)
RETURNS boolean
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN p_remote_origin ~ ('^git@github[.]com:[a-z0-9][a-z0-9_-]*/[a-z0-9._-]+[.]git$' COLLATE "C")
    AND p_remote_origin !~ ('([.][.]|/[.]git$|[.]git[.]git$)' COLLATE "C")
    AND length(p_remote_origin) <= 160;

COMMENT ON FUNCTION is_remote_origin(text) IS 'Whether this is an origin in the form the registry stores: git@github.com:owner/repo.git, lower case.';

-- In a Turkish locale alone, lower('I') is no 'i'. The database's own rule is right for all that is not ASCII.
CREATE OR REPLACE FUNCTION lower_case(p_text text)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN lower(lower(p_text COLLATE "C") COLLATE "default");

COMMENT ON FUNCTION lower_case(text) IS 'The text in lower case, A to Z the same way in every locale.';

CREATE OR REPLACE FUNCTION project_search_text(p_name text, p_remote_origin text)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN ' ' || translate(lower_case(p_name) || ' ' || left(substr(p_remote_origin, 16), -4), '-/.', '   ');

COMMENT ON FUNCTION project_search_text(text, text) IS 'What search_projects looks in: name and owner/repo in lower case, a blank before each word.';

-- A check has a pattern that nearly every value meets, and only for the others calls the function that knows the rule and
-- says what is wrong: a call costs 10 microseconds and more, and an update checks every column.

-- One guard on remote_origin, not two: a second unique or exclusion constraint on the same key makes concurrent
-- INSERT ... ON CONFLICT fail, since only one of them can be the arbiter. It holds for inactive projects too.
CREATE TABLE IF NOT EXISTS projects (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    remote_origin text NOT NULL,
    default_branch text NOT NULL DEFAULT 'main',
    trunk_path text NOT NULL,
    description text,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    active boolean NOT NULL DEFAULT true,
    CONSTRAINT projects_pkey PRIMARY KEY (id),
    CONSTRAINT projects_unique_remote_origin UNIQUE (remote_origin),
    CONSTRAINT projects_name_check CHECK (
        name ~ '[!-~]' COLLATE "C" AND octet_length(name) <= 512
        OR require_name('projects', 'name', name, 'projects_name_check')
    ),
    CONSTRAINT projects_remote_origin_check CHECK (is_remote_origin(remote_origin)),
    CONSTRAINT projects_default_branch_check CHECK (
        default_branch ~ '^[!-~]+$' COLLATE "C" AND octet_length(default_branch) <= 1024
        OR require_word('projects', 'default_branch', default_branch, 'projects_default_branch_check')
    ),
    CONSTRAINT projects_trunk_path_check CHECK (
        trunk_path ~ '^[/~]' COLLATE "C" AND strpos(trunk_path, '..') = 0 AND octet_length(trunk_path) <= 2048
        OR require_path('projects', 'trunk_path', trunk_path, 'projects_trunk_path_check')
    ),
    CONSTRAINT projects_description_check CHECK (
        description IS NULL OR description ~ '[!-~]' COLLATE "C"
        OR require_text('projects', 'description', description, 'projects_description_check')
    ),
    CONSTRAINT projects_metadata_check CHECK (jsonb_typeof(metadata) = 'object'),
    CONSTRAINT projects_times_check CHECK (
        least(created_at, updated_at) >= '0001-01-01 00:00:00+00'
        AND greatest(created_at, updated_at) < '10000-01-01 00:00:00+00'
        OR refuse_times('projects', '{created_at, updated_at}', ARRAY[created_at, updated_at])
    )
);

CREATE TABLE IF NOT EXISTS worktree_types (
    id integer GENERATED BY DEFAULT AS IDENTITY,    -- unlike serial, needs no right on its sequence
    name text NOT NULL,
    branch_prefix text NOT NULL,
    worktree_prefix text NOT NULL,
    description text,
    is_builtin boolean NOT NULL DEFAULT false,
    color text DEFAULT '#6B7280',
    icon text,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT worktree_types_pkey PRIMARY KEY (id),
    CONSTRAINT worktree_types_name_key UNIQUE (name),
    CONSTRAINT worktree_types_name_check CHECK (
        name ~ '^[!-~]+$' COLLATE "C" AND octet_length(name) <= 1024
        OR require_word('worktree_types', 'name', name, 'worktree_types_name_check')
    ),
    CONSTRAINT worktree_types_branch_prefix_check CHECK (
        branch_prefix = '' OR require_word('worktree_types', 'branch_prefix', branch_prefix, 'worktree_types_branch_prefix_check')
    ),
    CONSTRAINT worktree_types_worktree_prefix_check CHECK (
        worktree_prefix ~ '[!-~]' COLLATE "C" AND octet_length(worktree_prefix) <= 512
        OR require_name('worktree_types', 'worktree_prefix', worktree_prefix, 'worktree_types_worktree_prefix_check')
    ),
    CONSTRAINT worktree_types_description_check CHECK (
        description IS NULL OR description ~ '[!-~]' COLLATE "C"
        OR require_text('worktree_types', 'description', description, 'worktree_types_description_check')
    ),
    CONSTRAINT worktree_types_color_check CHECK (color IS NULL OR require_color('worktree_types', 'color', color, 'worktree_types_color_check')),
    CONSTRAINT worktree_types_icon_check CHECK (
        icon IS NULL OR icon ~ '[!-~]' COLLATE "C" AND octet_length(icon) <= 512
        OR require_name('worktree_types', 'icon', icon, 'worktree_types_icon_check')
    ),
    CONSTRAINT worktree_types_metadata_check CHECK (jsonb_typeof(metadata) = 'object'),
    CONSTRAINT worktree_types_times_check CHECK (
        created_at >= '0001-01-01 00:00:00+00'
        AND created_at < '10000-01-01 00:00:00+00'
        OR refuse_times('worktree_types', '{created_at}', ARRAY[created_at])
    )
);

CREATE TABLE IF NOT EXISTS worktrees (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL,
    type_id integer NOT NULL,
    name text NOT NULL,
    branch_name text NOT NULL,
    path text NOT NULL,
    agent_id text,
    has_uncommitted_changes boolean NOT NULL DEFAULT false,
    uncommitted_files_count integer NOT NULL DEFAULT 0,
    ahead_of_trunk integer NOT NULL DEFAULT 0,
    behind_trunk integer NOT NULL DEFAULT 0,
    last_commit_hash text,
    last_commit_message text,
    last_sync_at timestamptz,
    merged_at timestamptz,
    merged_by text,
    merge_commit_hash text,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    active boolean NOT NULL DEFAULT true,
    CONSTRAINT worktrees_pkey PRIMARY KEY (id),
    CONSTRAINT worktrees_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE,
    CONSTRAINT worktrees_type_id_fkey FOREIGN KEY (type_id) REFERENCES worktree_types (id),
    CONSTRAINT worktrees_unique_project_name UNIQUE (project_id, name),
    CONSTRAINT worktrees_name_check CHECK (
        name ~ '[!-~]' COLLATE "C" AND octet_length(name) <= 512
        OR require_name('worktrees', 'name', name, 'worktrees_name_check')
    ),
    CONSTRAINT worktrees_branch_name_check CHECK (
        branch_name ~ '^[!-~]+$' COLLATE "C" AND octet_length(branch_name) <= 1024
        OR require_word('worktrees', 'branch_name', branch_name, 'worktrees_branch_name_check')
    ),
    CONSTRAINT worktrees_path_check CHECK (
        path ~ '^[/~]' COLLATE "C" AND strpos(path, '..') = 0 AND octet_length(path) <= 2048
        OR require_path('worktrees', 'path', path, 'worktrees_path_check')
    ),
    CONSTRAINT worktrees_agent_id_check CHECK (
        agent_id IS NULL OR agent_id ~ '[!-~]' COLLATE "C" AND octet_length(agent_id) <= 512
        OR require_name('worktrees', 'agent_id', agent_id, 'worktrees_agent_id_check')
    ),
    CONSTRAINT worktrees_last_commit_hash_check CHECK (
        last_commit_hash IS NULL OR last_commit_hash ~ '^[0-9A-Za-z]+$' COLLATE "C" AND octet_length(last_commit_hash) <= 128
        OR require_commit('worktrees', 'last_commit_hash', last_commit_hash, 'worktrees_last_commit_hash_check')
    ),
    CONSTRAINT worktrees_merged_by_check CHECK (
        merged_by IS NULL OR merged_by ~ '[!-~]' COLLATE "C" AND octet_length(merged_by) <= 512
        OR require_name('worktrees', 'merged_by', merged_by, 'worktrees_merged_by_check')
    ),
    CONSTRAINT worktrees_merge_commit_hash_check CHECK (
        merge_commit_hash IS NULL OR merge_commit_hash ~ '^[0-9A-Za-z]+$' COLLATE "C" AND octet_length(merge_commit_hash) <= 128
        OR require_commit('worktrees', 'merge_commit_hash', merge_commit_hash, 'worktrees_merge_commit_hash_check')
    ),
    CONSTRAINT worktrees_ahead_check CHECK (ahead_of_trunk >= 0),
    CONSTRAINT worktrees_behind_check CHECK (behind_trunk >= 0),
    CONSTRAINT worktrees_uncommitted_count_check CHECK (uncommitted_files_count >= 0),
    CONSTRAINT worktrees_uncommitted_check CHECK (has_uncommitted_changes = (uncommitted_files_count > 0)),
    CONSTRAINT worktrees_merged_check CHECK (merged_at IS NULL OR NOT active),
    CONSTRAINT worktrees_metadata_check CHECK (jsonb_typeof(metadata) = 'object'),
    CONSTRAINT worktrees_times_check CHECK (
        least(created_at, updated_at, last_sync_at, merged_at) >= '0001-01-01 00:00:00+00'
        AND greatest(created_at, updated_at, last_sync_at, merged_at) < '10000-01-01 00:00:00+00'
        OR refuse_times('worktrees', '{created_at, updated_at, last_sync_at, merged_at}', ARRAY[created_at, updated_at, last_sync_at, merged_at])
    )
);

-- worktree_id names a row of worktrees: a trigger checks that it exists. It is no foreign key because the audit
-- row outlives its worktree, unchanged; deleted_worktrees then tells which one it was.
CREATE TABLE IF NOT EXISTS agent_activities (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    agent_id text NOT NULL,
    worktree_id uuid NOT NULL,
    activity_type text NOT NULL,
    file_path text,
    description text NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT agent_activities_pkey PRIMARY KEY (id),
    CONSTRAINT agent_activities_agent_id_check CHECK (
        agent_id ~ '[!-~]' COLLATE "C" AND octet_length(agent_id) <= 512
        OR require_name('agent_activities', 'agent_id', agent_id, 'agent_activities_agent_id_check')
    ),
    CONSTRAINT agent_activities_activity_type_check CHECK (require_activity_type('agent_activities', 'activity_type', activity_type, 'agent_activities_activity_type_check')),
    CONSTRAINT agent_activities_description_check CHECK (
        description ~ '[!-~]' COLLATE "C"
        OR require_text('agent_activities', 'description', description, 'agent_activities_description_check')
    ),
    CONSTRAINT agent_activities_metadata_check CHECK (jsonb_typeof(metadata) = 'object'),
    CONSTRAINT agent_activities_times_check CHECK (
        created_at >= '0001-01-01 00:00:00+00'
        AND created_at < '10000-01-01 00:00:00+00'
        OR refuse_times('agent_activities', '{created_at}', ARRAY[created_at])
    )
);

CREATE TABLE IF NOT EXISTS deleted_worktrees (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    project_name text,
    remote_origin text,
    type_name text,
    name text NOT NULL,
    branch_name text NOT NULL,
    path text NOT NULL,
    deleted_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT deleted_worktrees_pkey PRIMARY KEY (id),
    CONSTRAINT deleted_worktrees_times_check CHECK (
        deleted_at >= '0001-01-01 00:00:00+00'
        AND deleted_at < '10000-01-01 00:00:00+00'
        OR refuse_times('deleted_worktrees', '{deleted_at}', ARRAY[deleted_at])
    )
);

COMMENT ON TABLE projects IS 'Single source of truth for all projects: one row per GitHub remote origin.';
COMMENT ON COLUMN projects.remote_origin IS 'Always git@github.com:owner/repo.git in lower case, since GitHub ignores case; other forms are normalised on write.';
COMMENT ON COLUMN projects.trunk_path IS 'Canonical base path, without trailing slash; worktrees are its siblings.';
COMMENT ON COLUMN projects.active IS 'False after a soft delete. The origin stays reserved: registering it again reactivates the project.';
COMMENT ON TABLE worktrees IS 'All worktrees across all projects, with the git state last synced.';
COMMENT ON COLUMN worktrees.has_uncommitted_changes IS 'Same as uncommitted_files_count > 0; a trigger derives one from the other.';
COMMENT ON COLUMN worktrees.merged_at IS 'When the worktree was merged; a merged worktree is never active.';
COMMENT ON COLUMN worktrees.agent_id IS 'The agent that claimed this worktree; NULL when nobody did.';
COMMENT ON TABLE worktree_types IS 'Classification of worktrees. Built-in types cannot be deleted or renamed.';
COMMENT ON TABLE agent_activities IS 'Append-only audit log of agent actions; cleanup_old_activities() is the only way out.';
COMMENT ON COLUMN agent_activities.worktree_id IS 'A worktree that existed when the row was written: see worktrees, or deleted_worktrees.';
COMMENT ON TABLE deleted_worktrees IS 'What deleted worktrees were called, so that their activities stay readable.';


-- ---------------------------------------------------------------------------------------------------------------
-- Indexes
-- ---------------------------------------------------------------------------------------------------------------

CREATE INDEX IF NOT EXISTS idx_projects_active ON projects (active) WHERE active;
CREATE INDEX IF NOT EXISTS idx_projects_name ON projects (name) WHERE active;
CREATE INDEX IF NOT EXISTS idx_projects_name_trgm ON projects USING gin (name gin_trgm_ops);
CREATE INDEX IF NOT EXISTS idx_projects_remote_origin_trgm ON projects USING gin (remote_origin gin_trgm_ops);
CREATE INDEX IF NOT EXISTS idx_projects_search_trgm
    ON projects USING gin (project_search_text(name, remote_origin) gin_trgm_ops) WHERE active;
CREATE INDEX IF NOT EXISTS idx_projects_name_length ON projects (length(name), name, id) WHERE active;
CREATE INDEX IF NOT EXISTS idx_projects_metadata ON projects USING gin (metadata);

CREATE UNIQUE INDEX IF NOT EXISTS worktrees_unique_active_path ON worktrees (path) WHERE active;
-- None on last_sync_at or updated_at: every write of a worktree sets one of them, and would then make an entry in each of
-- these indexes instead of none (HOT).
CREATE INDEX IF NOT EXISTS idx_worktrees_project_id ON worktrees (project_id) WHERE active;
CREATE INDEX IF NOT EXISTS idx_worktrees_type_id ON worktrees (type_id);
CREATE INDEX IF NOT EXISTS idx_worktrees_active ON worktrees (active) WHERE active;
CREATE INDEX IF NOT EXISTS idx_worktrees_agent_id ON worktrees (agent_id) WHERE agent_id IS NOT NULL AND active;
CREATE INDEX IF NOT EXISTS idx_worktrees_uncommitted ON worktrees (has_uncommitted_changes)
    WHERE has_uncommitted_changes AND active;
CREATE INDEX IF NOT EXISTS idx_worktrees_unmerged ON worktrees (project_id, merged_at)
    WHERE merged_at IS NULL AND active;
CREATE INDEX IF NOT EXISTS idx_worktrees_metadata ON worktrees USING gin (metadata);

CREATE INDEX IF NOT EXISTS idx_worktree_types_metadata ON worktree_types USING gin (metadata);

CREATE INDEX IF NOT EXISTS idx_agent_activities_worktree_id ON agent_activities (worktree_id);
-- With the id, in the very order of get_agent_recent_work: of what was done at one time, as what was imported with the
-- time of a day, it would else read all to find the first fifty.
CREATE INDEX IF NOT EXISTS idx_agent_activities_agent_id ON agent_activities (agent_id, created_at DESC, id);
CREATE INDEX IF NOT EXISTS idx_agent_activities_created_at ON agent_activities (created_at DESC);
CREATE INDEX IF NOT EXISTS idx_agent_activities_type ON agent_activities (activity_type);
CREATE INDEX IF NOT EXISTS idx_agent_activities_metadata ON agent_activities USING gin (metadata);


-- ---------------------------------------------------------------------------------------------------------------
-- Built-in worktree types
-- ---------------------------------------------------------------------------------------------------------------

-- NOT EXISTS and not ON CONFLICT: a run that adds nothing must not use up ids.
CREATE OR REPLACE FUNCTION seed_worktree_types()
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION seed_worktree_types() IS 'Adds the built-in worktree types that are missing; changes nothing that is there.';

DO $$ BEGIN PERFORM seed_worktree_types(); END $$;


-- ---------------------------------------------------------------------------------------------------------------
-- Views
-- ---------------------------------------------------------------------------------------------------------------

-- A parsed body: it is inlined into every query, and still does not depend on the caller's search_path.
CREATE OR REPLACE FUNCTION worktree_status(p_has_uncommitted boolean, p_ahead integer, p_behind integer)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN CASE
    WHEN p_has_uncommitted THEN 'uncommitted'
    WHEN p_ahead > 0 AND p_behind > 0 THEN 'diverged'
    WHEN p_ahead > 0 THEN 'ahead'
    WHEN p_behind > 0 THEN 'behind'
    ELSE 'clean'
END;

COMMENT ON FUNCTION worktree_status(boolean, integer, integer) IS 'uncommitted | ahead | behind | diverged | clean; uncommitted wins.';

CREATE OR REPLACE FUNCTION is_in_flight(
    p_active boolean, p_merged_at timestamptz, p_has_uncommitted boolean, p_ahead integer, p_behind integer
)
RETURNS boolean
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN p_active AND p_merged_at IS NULL AND (p_has_uncommitted OR p_ahead > 0 OR p_behind > 0);

COMMENT ON FUNCTION is_in_flight(boolean, timestamptz, boolean, integer, integer) IS 'Whether a worktree has uncommitted or unmerged work.';

CREATE OR REPLACE VIEW v_projects_summary AS
SELECT
    p.id,
    p.name,
    p.remote_origin,
    p.trunk_path,
    p.created_at,
    p.updated_at,
    count(w.id) FILTER (WHERE w.active) AS active_worktrees_count,
    count(w.id) FILTER (WHERE w.active AND w.has_uncommitted_changes) AS uncommitted_worktrees_count,
    count(w.id) FILTER (WHERE w.active AND w.merged_at IS NULL) AS unmerged_worktrees_count,
    max(w.updated_at) AS last_worktree_activity
FROM projects p
LEFT JOIN worktrees w ON w.project_id = p.id
WHERE p.active
GROUP BY p.id;

CREATE OR REPLACE VIEW v_worktrees_detail AS
SELECT
    w.id,
    w.project_id,
    p.name AS project_name,
    p.remote_origin,
    w.name AS worktree_name,
    w.branch_name,
    w.path,
    t.name AS type_name,
    t.branch_prefix,
    t.worktree_prefix,
    t.color AS type_color,
    t.icon AS type_icon,
    w.agent_id,
    w.has_uncommitted_changes,
    w.uncommitted_files_count,
    w.ahead_of_trunk,
    w.behind_trunk,
    w.last_sync_at,
    w.merged_at,
    w.created_at,
    w.updated_at,
    w.active
FROM worktrees w
JOIN projects p ON p.id = w.project_id
JOIN worktree_types t ON t.id = w.type_id;

CREATE OR REPLACE VIEW v_inflight_work AS
SELECT
    w.id,
    w.project_id,
    p.name AS project_name,
    w.name AS worktree_name,
    w.branch_name,
    w.agent_id,
    w.has_uncommitted_changes,
    w.uncommitted_files_count,
    w.ahead_of_trunk,
    w.behind_trunk,
    w.last_sync_at,
    worktree_status(w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk) AS status,
    w.created_at,
    w.updated_at
FROM worktrees w
JOIN projects p ON p.id = w.project_id
WHERE is_in_flight(w.active, w.merged_at, w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk);

CREATE OR REPLACE VIEW v_recent_agent_activity AS
SELECT
    a.id,
    a.agent_id,
    a.activity_type,
    a.description,
    a.file_path,
    a.created_at,
    coalesce(w.name, d.name) AS worktree_name,
    coalesce(p.name, d.project_name) AS project_name,
    coalesce(t.name, d.type_name) AS worktree_type
FROM agent_activities a
LEFT JOIN worktrees w ON w.id = a.worktree_id
LEFT JOIN projects p ON p.id = w.project_id
LEFT JOIN worktree_types t ON t.id = w.type_id
LEFT JOIN deleted_worktrees d ON d.id = a.worktree_id
ORDER BY a.created_at DESC, a.id;

COMMENT ON VIEW v_projects_summary IS 'Active projects with their worktree counts.';
COMMENT ON VIEW v_worktrees_detail IS 'Worktrees with the names of their project and type.';
COMMENT ON VIEW v_inflight_work IS 'Active worktrees with uncommitted changes, or ahead of or behind their trunk.';
COMMENT ON VIEW v_recent_agent_activity IS 'Activities, newest first, with names; those of deleted worktrees are included.';

COMMIT;
