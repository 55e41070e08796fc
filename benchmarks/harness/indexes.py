"""Indexes that are built when all rows are there, as a restore does it: ten million rows are loaded sooner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

PLAIN = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
FROM pg_index
WHERE indrelid = ANY (%s::regclass[])
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""


@contextmanager
def built_behind(conn: psycopg.Connection, *tables: str) -> Iterator[None]:
    """The block is without those indexes of `tables` that no constraint needs; then they are built."""
    indexes = conn.execute(PLAIN, [list(tables)]).fetchall()
    for name, _ in indexes:
        conn.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    yield
    conn.execute("SET maintenance_work_mem = '512MB'")
    for _, definition in indexes:
        conn.execute(definition.encode())
    conn.execute("RESET maintenance_work_mem")
