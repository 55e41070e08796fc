-- 020, back: a function with the rights of the owner writes into a copy for who sets imi.mirror, and texts have no end.

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;

CREATE OR REPLACE FUNCTION refuse_on_mirror()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('imi.mirror', true) = 'applies'
        AND pg_has_role(current_user, (SELECT c.relowner FROM pg_class c WHERE c.oid = TG_RELID), 'USAGE')
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

UPDATE registry_metadata SET migration = 19, upgraded_at = clock_timestamp() WHERE migration > 19;

COMMIT;
