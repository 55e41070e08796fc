"""Indexes that somebody made on the original tables, under a name like those of the schema's own."""

from __future__ import annotations

from typing import Any, LiteralString

from psycopg import Connection

from registry.database.adoption.original import TABLES, row, rows

# Which indexes the authors had in the end is not known: each that we have none of this name for is kept.
_INDEXES: LiteralString = """
SELECT x.relname::text, pg_get_indexdef(x.oid)
FROM unnest(%(tables)s::text[]) AS t (name)
JOIN pg_index i ON i.indrelid = to_regclass('public.' || t.name)
JOIN pg_class x ON x.oid = i.indexrelid
WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = x.oid)
ORDER BY x.relname
"""


def indexes_of(conn: Connection[Any]) -> dict[str, str]:
    """The statement that creates each index of the tables, but for those of constraints, by its name."""
    return dict(rows(conn, _INDEXES, {"tables": list(TABLES)}))


def create_missing(conn: Connection[Any], indexes: dict[str, str]) -> None:
    """Create those of which the database has none of that name now."""
    for name, definition in indexes.items():
        (present,) = row(conn, "SELECT to_regclass('public.' || quote_ident(%s))", [name])
        if present is None:
            conn.execute(definition.encode())
