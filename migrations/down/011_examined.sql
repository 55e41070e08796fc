-- 011, back: a shared stream is compared with the outbox anew by each process.

BEGIN;

SET LOCAL search_path = public;

ALTER TABLE publisher_cursor DROP COLUMN IF EXISTS examined_sequence;

UPDATE registry_metadata SET migration = 10, upgraded_at = clock_timestamp() WHERE migration > 10;

COMMIT;
