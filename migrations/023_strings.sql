-- 023: no function has a string that a session with standard_conforming_strings = off reads otherwise, or is warned of. One
-- with a backslash was: sha1_of() failed, and writers of metadata were warned.
-- compatible down to: 018

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;

-- Called for each row that has metadata: a setting of its own would cost more than the function.
CREATE OR REPLACE FUNCTION guard_metadata()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    named CONSTANT text := CASE WHEN starts_with(TG_TABLE_NAME, 'agent_activities_') THEN 'agent_activities' ELSE TG_TABLE_NAME END;
BEGIN
    PERFORM public.require_object(named, 'metadata', NEW.metadata, named || '_metadata_check');
    RETURN NEW;
END;
$$;

ALTER FUNCTION sha1_of(bytea) SET standard_conforming_strings = on;
ALTER FUNCTION begin_mirror(text, text, boolean) SET standard_conforming_strings = on;
ALTER FUNCTION uncount_replica() SET standard_conforming_strings = on;
ALTER FUNCTION activity_months() SET standard_conforming_strings = on;
ALTER FUNCTION begin_activity_move(boolean) SET standard_conforming_strings = on;
ALTER FUNCTION finish_activity_move() SET standard_conforming_strings = on;

DO $$ BEGIN PERFORM note_schema_version(23); END $$;

COMMIT;
