"""Whose the registry is, and acting as that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import Connection, sql
from psycopg.rows import tuple_row

# Whoever owns its tables; before there are any, the role that is made for it, where the database was given to that.
_OWNER = """
SELECT owner.rolname
FROM pg_catalog.pg_database AS d
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass('public.projects')
JOIN pg_catalog.pg_roles AS owner
    ON owner.oid = coalesce(c.relowner, CASE WHEN d.datdba = to_regrole('imi_owner') THEN d.datdba END)
WHERE d.datname = current_database()
    AND owner.rolname <> current_user
    AND pg_has_role(
        owner.oid, CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END
    )
"""


@contextmanager
def as_owner(conn: Connection[Any]) -> Iterator[None]:
    """Act as who owns the registry, where this user may: what is new belongs to the same owner as what is there."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        owner = cursor.execute(_OWNER).fetchone()
    if owner is None:
        yield
        return
    conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(owner[0])))
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("RESET ROLE")
