-- 020: nobody but who follows the source writes into a mirror or a replica, and a text to search for has an end.
-- compatible down to: 018

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;

-- Whoever may write could set imi.mirror himself. That is of no use to him, but in a function with the rights of the owner,
-- as merge_projects, where current_user is the owner: so who called it is asked for, too.
CREATE OR REPLACE FUNCTION refuse_on_mirror()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    caller CONSTANT text := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    IF current_setting('imi.mirror', true) = 'applies'
        AND pg_has_role(current_user, (SELECT c.relowner FROM pg_class c WHERE c.oid = TG_RELID), 'USAGE')
        AND has_function_privilege(caller, 'public.apply_mirrored(text, text, boolean, bigint[], text[])', 'EXECUTE')
    THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'cannot write %: this registry is a read-only % of %; change it there, or run imi-registry % here when that one is gone',
        TG_TABLE_NAME,
        coalesce(TG_ARGV[1], 'mirror'),
        quote_ident(TG_ARGV[0]),
        coalesce(TG_ARGV[1], 'mirror') || ' promote'
        USING ERRCODE = '55000', TABLE = TG_TABLE_NAME;
END;
$$;

COMMENT ON FUNCTION refuse_on_mirror() IS 'Refuses what anybody but the source writes into a mirror, or a replica.';

-- Of trigrams a text has as many as characters, and of a megabyte of them a search took minutes. No name has so many.
CREATE OR REPLACE FUNCTION search_projects(p_query text)
RETURNS TABLE (id uuid, name text, remote_origin text, trunk_path text, relevance real)
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.id, p.name, p.remote_origin, public.trunk_for_caller(p.id, p.trunk_path), near.relevance
    FROM public.near_projects(left(p_query, 512)) WITH ORDINALITY AS near (id, relevance, place)
    JOIN public.projects p ON p.id = near.id
    ORDER BY near.place
$$;

DO $$ BEGIN PERFORM note_schema_version(20); END $$;

COMMIT;
