-- 011: up to where the events in a shared stream were compared with the outbox, so that nobody compares them again.
-- compatible down to: 010

BEGIN;

SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;

ALTER TABLE publisher_cursor ADD COLUMN IF NOT EXISTS examined_sequence bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN publisher_cursor.examined_sequence IS 'Of a shared stream: up to this sequence each event of ours was found in the outbox. Older than the first that was not.';

DO $$ BEGIN PERFORM note_schema_version(11); END $$;

COMMIT;
