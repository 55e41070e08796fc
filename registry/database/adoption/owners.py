"""Who owns tables, views and functions of the registry: whoever upgrades them may be somebody else, as a superuser."""

from __future__ import annotations

from typing import Any, LiteralString, NamedTuple

from psycopg import Connection, sql

from registry.database.adoption.original import FUNCTIONS, TABLES, VIEWS, rows
from registry.database.roles.handover import not_owned_by

_OWNED: LiteralString = """
SELECT 'TABLE' AS kind, 'public.' || r.name AS name, pg_get_userbyid(c.relowner)::text AS owner
FROM unnest(%(tables)s::text[]) AS r (name)
JOIN pg_class c ON c.oid = to_regclass('public.' || r.name)
UNION ALL
SELECT 'VIEW', 'public.' || r.name, pg_get_userbyid(c.relowner)::text
FROM unnest(%(views)s::text[]) AS r (name)
JOIN pg_class c ON c.oid = to_regclass('public.' || r.name)
UNION ALL
SELECT 'FUNCTION', f.signature, pg_get_userbyid(p.proowner)::text
FROM unnest(%(functions)s::text[]) AS f (signature)
JOIN pg_proc p ON p.oid = to_regprocedure(f.signature)
"""


class Owned(NamedTuple):
    """Something of the registry, and whose it is."""

    kind: str
    name: str
    owner: str


def owners_of(conn: Connection[Any]) -> list[Owned]:
    """As they are now."""
    named = {"tables": list(TABLES), "views": list(VIEWS), "functions": list(FUNCTIONS)}
    return [Owned(*row) for row in rows(conn, _OWNED, named)]


def restore_owners(conn: Connection[Any], owners: list[Owned]) -> None:
    """Give what has the same name now to who owned it: an owner has rights that no grant tells.

    What is new belongs to who owned the projects: later migrations act as that role, and functions and views that use
    each other have one owner.
    """
    differing = set(owners) - set(owners_of(conn))
    for owned in sorted(differing):
        conn.execute(
            sql.SQL("ALTER {} {} OWNER TO {}").format(
                sql.SQL(owned.kind),  # TABLE, VIEW or FUNCTION
                sql.SQL(owned.name),  # one of ours
                sql.Identifier(owned.owner),
            )
        )
    known = {(owned.kind, owned.name) for owned in owners}
    for registry in [owned.owner for owned in owners if owned.name == "public.projects"]:
        for kind, name in not_owned_by(conn, registry):
            if (kind, name) not in known:
                conn.execute(
                    sql.SQL("ALTER {} {} OWNER TO {}").format(
                        sql.SQL(kind),  # as not_owned_by spells it
                        sql.SQL(name),  # as PostgreSQL quotes it
                        sql.Identifier(registry),
                    )
                )
