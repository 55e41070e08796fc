"""A table without a key that somebody publishes, as a migration meets it that is older than its replica identity."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from registry.database.stepping.script import run_transaction, script

# 007 makes the table and empties it, and 025 gives it the identity. Without one PostgreSQL refuses to delete from what
# is published, as by a publication of all tables. `pg_publication_tables` tells of those of a whole schema, too.
_IDENTIFIED = script(
    "of what is published",
    """
BEGIN;
DO $$
BEGIN
    IF EXISTS (
        SELECT
        FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_publication_tables AS p ON (p.schemaname, p.tablename) = ('public', c.relname)
        WHERE c.oid = to_regclass('public.count_delta') AND c.relreplident <> 'f'
    ) THEN
        ALTER TABLE public.count_delta REPLICA IDENTITY FULL;
    END IF;
END;
$$;
COMMIT;
""",
)


def identify(conn: Connection[Any]) -> None:
    """Let what is published already be deleted from; nothing where it is not published, or not there yet."""
    run_transaction(conn, _IDENTIFIED)
