-- 023, back: functions read their strings as the session does.

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;

CREATE OR REPLACE FUNCTION guard_metadata()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    named CONSTANT text := CASE WHEN TG_TABLE_NAME LIKE 'agent\_activities\_%' THEN 'agent_activities' ELSE TG_TABLE_NAME END;
BEGIN
    PERFORM public.require_object(named, 'metadata', NEW.metadata, named || '_metadata_check');
    RETURN NEW;
END;
$$;

ALTER FUNCTION sha1_of(bytea) RESET standard_conforming_strings;
ALTER FUNCTION begin_mirror(text, text, boolean) RESET standard_conforming_strings;
ALTER FUNCTION uncount_replica() RESET standard_conforming_strings;
ALTER FUNCTION activity_months() RESET standard_conforming_strings;
ALTER FUNCTION begin_activity_move(boolean) RESET standard_conforming_strings;
ALTER FUNCTION finish_activity_move() RESET standard_conforming_strings;

UPDATE registry_metadata SET migration = 22, upgraded_at = clock_timestamp() WHERE migration > 22;

COMMIT;
