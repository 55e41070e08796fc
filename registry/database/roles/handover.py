"""Giving the registry to `imi_owner`, so that its functions run with the rights of nobody who can log in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import tuple_row

from registry.database.migration import load
from registry.database.roles.state import OWNER, Roles
from registry.database.roles.step import Step, statement

_CREATED = re.compile(
    r"^\s*CREATE (?:OR REPLACE |UNLOGGED )?(TABLE|VIEW|TYPE|SEQUENCE|FUNCTION|PROCEDURE)"
    r" (?:IF NOT EXISTS )?(?:public\.)?(\w+)",
    re.MULTILINE,
)

# Sequences of columns follow their tables. The months of the log and of its copy have names of their own.
_OWNED: LiteralString = """
SELECT
    CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END,
    c.oid::regclass::text
FROM pg_catalog.pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace
    AND c.relkind IN ('r', 'p', 'v', 'S', 'c')
    AND (
        c.relname = ANY (%(names)s)
        OR c.relispartition
        AND pg_partition_root(c.oid) IN (
            to_regclass('public.agent_activities'), to_regclass('public.agent_activities_next')
        )
    )
    AND pg_get_userbyid(c.relowner) <> %(owner)s
UNION ALL
SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, p.oid::regprocedure::text
FROM pg_catalog.pg_proc AS p
WHERE p.pronamespace = 'public'::regnamespace
    AND p.proname = ANY (%(names)s)
    AND pg_get_userbyid(p.proowner) <> %(owner)s
    AND NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_depend AS d
        WHERE (d.classid, d.objid) = ('pg_proc'::regclass, p.oid) AND d.deptype = 'e'
    )
ORDER BY 1 DESC, 2
"""


def names() -> list[str]:
    """Of everything that the migrations create in the schema public, and of the copy that a move of the log makes."""
    created = {name for migration in load() for _, name in _CREATED.findall(migration.sql)}
    return sorted(created | {"schema_migrations", "agent_activities_next"})


def not_owned_by(conn: Connection[Any], owner: str) -> list[tuple[str, str]]:
    """Kind and qualified name of what the migrations created and somebody else owns."""
    with conn.transaction(), conn.cursor(row_factory=tuple_row) as cursor:
        path = "SELECT set_config('search_path', %s, true)"
        ((before,),) = cursor.execute("SELECT current_setting('search_path')").fetchall()
        cursor.execute(path, ("pg_catalog",))
        found = cursor.execute(_OWNED, {"names": names(), "owner": owner}).fetchall()
        cursor.execute(path, (before,))
    return [(kind, name) for kind, name in found]


def handover(conn: Connection[Any], found: Roles) -> Iterator[Step]:
    """The statements, none where all belongs to `imi_owner`. Who owned it becomes a member, and loses nothing."""
    database = found.database
    members = next(role.members for role in found.roles if role.name == OWNER)
    if database.owner not in (OWNER, *members) and not database.is_owner_superuser:
        yield Step(
            f"{database.owner} owns the registry, and goes on working with it",
            statement(conn, "GRANT {} TO {}", OWNER, database.owner),
        )
    if database.is_schema_of_another and database.owner != OWNER:
        yield Step(f"{OWNER} is to own objects there", f"GRANT CREATE ON SCHEMA public TO {OWNER}")
    why = f"it belongs to {database.owner}"
    if database.database_owner != OWNER:
        yield Step(
            f"database {database.name} belongs to {database.database_owner}",
            statement(conn, "ALTER DATABASE {} OWNER TO {}", database.name, OWNER),
        )
    for kind, name in not_owned_by(conn, OWNER):
        yield Step(why, f"ALTER {kind} {name} OWNER TO {OWNER}")
