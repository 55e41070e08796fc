-- 015: who has no right here keeps nobody off by a lock, and puts no function of his in the place of ours.
-- compatible down to: 014

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;

-- A lock stays until its transaction ends: by calling one of these two, whoever may connect could keep off VACUUM, and the
-- merge of projects, for as long as he liked. In a function with the rights of its owner current_user is the owner; who called stays the role that was set.
CREATE OR REPLACE FUNCTION forget_deleted_worktrees(p_horizon timestamptz)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    caller CONSTANT text := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    IF NOT has_table_privilege(caller, 'public.agent_activities', 'DELETE')
        AND NOT has_function_privilege(caller, 'public.remove_old_activities(timestamptz)', 'EXECUTE')
    THEN
        RAISE EXCEPTION 'forget_deleted_worktrees: % may not remove activities', quote_ident(caller) USING ERRCODE = '42501';
    END IF;
    DELETE FROM public.deleted_worktrees d
    WHERE d.deleted_at < p_horizon AND NOT EXISTS (SELECT FROM public.agent_activities a WHERE a.worktree_id = d.id);
END;
$$;

COMMENT ON FUNCTION forget_deleted_worktrees(timestamptz) IS 'Removes the names of worktrees that were deleted before this time and have no activities left; 42501 for who may not remove activities.';

CREATE OR REPLACE FUNCTION maintenance_vacuum()
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER    -- of others ANALYZE takes no notice but a warning
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION maintenance_vacuum() IS 'Refreshes planner statistics of all registry tables; 42501 for who may not write. VACUUM itself cannot run inside a function.';

-- A call goes to the function that fits best, and whoever may create in public (on PostgreSQL 14: everybody) could make one
-- that fits better than ours: where ours takes any type, or jsonb where a literal is given. Functions with the rights of the
-- owner made such calls, and then ran his with these. So what fits best is there.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY '{text, text[], timestamptz, jsonb, boolean, integer, uuid}'::text[] LOOP
        EXECUTE format(
            $function$
                CREATE OR REPLACE FUNCTION public.outbox_change(p_column text, p_old %1$s, p_new %1$s)
                RETURNS jsonb
                LANGUAGE sql
                STABLE
                RETURN CASE
                    WHEN p_old IS DISTINCT FROM p_new THEN pg_catalog.jsonb_build_object(p_column, p_old) ELSE '{}'::jsonb
                END
            $function$,
            name
        );
    END LOOP;
END;
$$;

CREATE OR REPLACE FUNCTION outbox_project_data(p projects, p_changed text)
RETURNS jsonb
LANGUAGE sql
STABLE
RETURN public.outbox_project_data(p, p_changed::jsonb);

CREATE OR REPLACE FUNCTION outbox_worktree_type_data(t worktree_types, p_changed text)
RETURNS jsonb
LANGUAGE sql
STABLE
RETURN public.outbox_worktree_type_data(t, p_changed::jsonb);

CREATE OR REPLACE FUNCTION outbox_worktree_data(
    w worktrees, p_project_name text, p_remote_origin text, p_type text, p_changed text
)
RETURNS jsonb
LANGUAGE sql
STABLE
RETURN public.outbox_worktree_data(w, p_project_name, p_remote_origin, p_type, p_changed::jsonb);

CREATE OR REPLACE FUNCTION guard_metadata()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- TG_TABLE_NAME is a name, and require_object has a text.
    PERFORM public.require_object(TG_TABLE_NAME::text, 'metadata', NEW.metadata, TG_TABLE_NAME || '_metadata_check');
    RETURN NEW;
END;
$$;

-- A superuser who replaces a function that somebody else made leaves it his, to change as he likes.
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT p.oid::regprocedure AS function, pg_get_userbyid(p.proowner) AS owner
        FROM pg_proc p
        JOIN pg_class c ON c.oid = 'public.projects'::regclass
        WHERE p.pronamespace = 'public'::regnamespace
            AND p.proname ~ '^outbox_(change|(project|worktree|worktree_type)_data)$'
            AND p.oid <> ALL (ARRAY[    -- of 003
                'public.outbox_change(text, anyelement, anyelement)'::regprocedure,
                'public.outbox_project_data(public.projects, jsonb)'::regprocedure,
                'public.outbox_worktree_data(public.worktrees, text, text, text, jsonb)'::regprocedure,
                'public.outbox_worktree_type_data(public.worktree_types, jsonb)'::regprocedure
            ])
            AND p.proowner <> c.relowner
    LOOP
        RAISE EXCEPTION 'function % is not the registry''s: % made it; look why, and DROP FUNCTION %', found.function, found.owner, found.function
            USING ERRCODE = '42501';
    END LOOP;
END;
$$;

DO $$ BEGIN PERFORM note_schema_version(15); END $$;

COMMIT;
