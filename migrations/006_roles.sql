-- 006: roles with least rights, for those who use the registry and do not own it.
--
-- Roles belong to the whole server, and this file may be run by somebody who may make none: then it makes none, and
-- imi-registry roles tells what an administrator has to do. What each role may do: docs/security.md. Why it is built this
-- way: docs/adr/0011-roles.md.
-- compatible down to: 005

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';

-- Nothing of the outbox, the ledger, the cursor or the log of activities is changed or removed by a right that stands
-- here, but for the cursor and the record of the publisher, who moves them: the rest is done by triggers and functions
-- with the rights of the owner. What everybody may call acts with the rights of who calls it, and is not in this list.
CREATE OR REPLACE FUNCTION role_rights()
RETURNS TABLE (role_name text, kind text, object_name text, rights text)
LANGUAGE sql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.role_name, r.kind, o.object_name, r.rights
    FROM (
        VALUES
            ('imi_reader', 'TABLE', 'SELECT', '{projects, worktrees, worktree_types, agent_activities, deleted_worktrees}'),
            ('imi_reader', 'TABLE', 'SELECT',
                '{v_projects_summary, v_worktrees_detail, v_inflight_work, v_recent_agent_activity}'),
            ('imi_reader', 'TABLE', 'SELECT', '{outbox, outbox_fault, outbox_backlog, publisher_cursor, published_batch}'),
            ('imi_reader', 'TABLE', 'SELECT (applied_at)', '{command_ledger}'),
            ('imi_reader', 'TABLE', 'SELECT', '{schema_migrations}'),
            ('imi_reader', 'SEQUENCE', 'SELECT', '{outbox_id_seq}'),

            ('imi_writer', 'TABLE', 'SELECT, INSERT, UPDATE, DELETE', '{projects, worktrees, worktree_types}'),
            ('imi_writer', 'TABLE', 'SELECT, INSERT', '{agent_activities}'),
            ('imi_writer', 'TABLE', 'SELECT',
                '{v_projects_summary, v_worktrees_detail, v_inflight_work, v_recent_agent_activity}'),
            ('imi_writer', 'TABLE', 'SELECT', '{schema_migrations}'),
            ('imi_writer', 'FUNCTION', 'EXECUTE', '{remove_old_activities(timestamptz)}'),

            ('imi_publisher', 'TABLE', 'SELECT', '{projects, worktrees, worktree_types, agent_activities, deleted_worktrees}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{outbox, outbox_backlog}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, UPDATE', '{publisher_cursor}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, UPDATE, DELETE', '{published_batch}'),
            ('imi_publisher', 'TABLE', 'SELECT, INSERT, DELETE', '{outbox_fault}'),
            ('imi_publisher', 'TABLE', 'SELECT (applied_at)', '{command_ledger}'),
            ('imi_publisher', 'TABLE', 'SELECT', '{schema_migrations}'),
            ('imi_publisher', 'SEQUENCE', 'SELECT', '{outbox_id_seq}'),
            ('imi_publisher', 'SEQUENCE', 'UPDATE', '{publisher_doorbell}'),
            ('imi_publisher', 'FUNCTION', 'EXECUTE',
                '{"forget_published(interval, integer)", registry_heartbeat(text)}'),

            ('imi_applier', 'TABLE', 'SELECT, INSERT, UPDATE', '{projects, worktrees}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT, DELETE', '{worktree_types}'),
            ('imi_applier', 'TABLE', 'SELECT, INSERT', '{agent_activities, command_ledger}'),
            ('imi_applier', 'TABLE', 'SELECT (id, transaction_id, project_id)', '{outbox}'),
            ('imi_applier', 'TABLE', 'SELECT', '{schema_migrations}'),
            ('imi_applier', 'SEQUENCE', 'SELECT', '{outbox_id_seq}')
    ) AS r (role_name, kind, rights, object_names)
    CROSS JOIN LATERAL unnest(r.object_names::text[]) AS o (object_name)
$$;

COMMENT ON FUNCTION role_rights() IS 'What each role of the registry is granted; imi_owner owns everything, and is granted nothing.';

-- A role is shared by all registries of a server. One that has members gets no rights here as long as anybody may
-- connect to this database: they were made members for another one. Once it has rights here, that was decided.
--
-- An owner may keep the log of activities to be added to alone: the right to remove old ones, once taken from a role that
-- writes there, is not given back.
CREATE OR REPLACE FUNCTION grant_role_rights()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    is_closed boolean := NOT has_database_privilege('public', current_database(), 'CONNECT');
    removing CONSTANT text := 'remove_old_activities(timestamptz)';
    is_withheld boolean;
    role record;
    wanted record;
BEGIN
    FOR role IN
        SELECT
            r.oid,
            r.rolname AS name,
            r.rolcanlogin OR EXISTS (
                -- From PostgreSQL 16 on, who makes a role may administer it, and is no member for that.
                SELECT
                FROM pg_auth_members m
                WHERE m.roleid = r.oid
                    AND coalesce(
                        (to_jsonb(m) ->> 'inherit_option')::boolean OR (to_jsonb(m) ->> 'set_option')::boolean, true
                    )
            ) AS has_members,
            EXISTS (
                SELECT
                FROM pg_shdepend d
                JOIN pg_database b ON b.oid = d.dbid
                WHERE d.refclassid = 'pg_authid'::regclass
                    AND d.refobjid = r.oid
                    AND d.deptype = 'a'
                    AND b.datname = current_database()
            ) AS has_rights
        FROM pg_roles r
        WHERE r.rolname IN (SELECT role_name FROM public.role_rights())
        ORDER BY r.rolname
    LOOP
        IF role.has_members AND NOT role.has_rights AND NOT is_closed THEN
            RAISE NOTICE 'role % has members and gets no rights in database %, to which anybody may connect; run: imi-registry roles',
                role.name, current_database();
            CONTINUE;
        END IF;
        is_withheld := has_table_privilege(role.oid, 'public.agent_activities', 'INSERT')
            AND NOT has_function_privilege(role.oid, 'public.' || removing, 'EXECUTE');
        IF NOT has_schema_privilege(role.oid, 'public', 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', role.name);
        END IF;
        FOR wanted IN
            SELECT DISTINCT r.kind, r.object_name
            FROM public.role_rights() r
            WHERE r.object_name <> 'schema_migrations' OR to_regclass('public.schema_migrations') IS NOT NULL
        LOOP
            EXECUTE format('REVOKE ALL ON %s public.%s FROM %I', wanted.kind, wanted.object_name, role.name);
        END LOOP;
        FOR wanted IN
            SELECT r.kind, r.object_name, r.rights
            FROM public.role_rights() r
            WHERE r.role_name = role.name
                AND (r.object_name <> removing OR NOT is_withheld)
                AND (r.object_name <> 'schema_migrations' OR to_regclass('public.schema_migrations') IS NOT NULL)
        LOOP
            EXECUTE format('GRANT %s ON %s public.%s TO %I', wanted.rights, wanted.kind, wanted.object_name, role.name);
        END LOOP;
    END LOOP;
END;
$$;

COMMENT ON FUNCTION grant_role_rights() IS 'Gives the roles that are there their rights in this database, and takes what they have beyond them; what was taken of removing activities stays so. A role with members gets none where anybody may connect, unless it has some already.';

REVOKE EXECUTE ON FUNCTION grant_role_rights() FROM PUBLIC;

DO $$
DECLARE
    name text;
BEGIN
    IF (SELECT r.rolsuper OR r.rolcreaterole FROM pg_roles r WHERE r.rolname = current_user) THEN
        FOREACH name IN ARRAY '{imi_owner, imi_writer, imi_reader, imi_publisher, imi_applier}'::text[] LOOP
            BEGIN
                IF to_regrole(name) IS NULL THEN
                    EXECUTE format('CREATE ROLE %I NOLOGIN', name);
                END IF;
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN
                    NULL;    -- made meanwhile, by the migration of another database
            END;
        END LOOP;
    END IF;
    PERFORM grant_role_rights();
END;
$$;

COMMIT;
