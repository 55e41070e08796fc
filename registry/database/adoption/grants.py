"""Rights of others on tables, views and functions of the registry: read before an upgrade, given again after it."""

from __future__ import annotations

from typing import Any, LiteralString, NamedTuple

from psycopg import Connection, sql

from registry.database.adoption.original import FUNCTIONS, TABLES, VIEWS, rows

_GRANTED: LiteralString = """
WITH relation AS (
    SELECT c.oid, c.relname::text AS name, c.relowner, c.relacl
    FROM unnest(%(relations)s::text[]) AS r (name)
    JOIN pg_class c ON c.oid = to_regclass('public.' || r.name)
)
SELECT 'TABLE', 'public.' || r.name, NULL, a.privilege_type, pg_get_userbyid(nullif(a.grantee, 0))::text, a.is_grantable
FROM relation r
CROSS JOIN LATERAL aclexplode(r.relacl) a
WHERE a.grantee <> r.relowner
UNION ALL
SELECT
    'TABLE', 'public.' || r.name, t.attname::text, a.privilege_type, pg_get_userbyid(nullif(a.grantee, 0))::text,
    a.is_grantable
FROM relation r
JOIN pg_attribute t ON t.attrelid = r.oid
CROSS JOIN LATERAL aclexplode(t.attacl) a
WHERE a.grantee <> r.relowner
UNION ALL
SELECT 'FUNCTION', f.signature, NULL, a.privilege_type, pg_get_userbyid(nullif(a.grantee, 0))::text, a.is_grantable
FROM unnest(%(functions)s::text[]) AS f (signature)
JOIN pg_proc p ON p.oid = to_regprocedure(f.signature)
CROSS JOIN LATERAL aclexplode(p.proacl) a
WHERE a.grantee <> p.proowner
"""
_NOT_PUBLIC: LiteralString = """
SELECT f.signature
FROM unnest(%(functions)s::text[]) AS f (signature)
JOIN pg_proc p ON p.oid = to_regprocedure(f.signature)
WHERE p.proacl IS NOT NULL AND NOT EXISTS (SELECT FROM aclexplode(p.proacl) WHERE grantee = 0)
"""


class Grant(NamedTuple):
    """One right; `grantee` is None for everybody."""

    kind: str
    name: str
    column: str | None
    privilege: str
    grantee: str | None
    is_grantable: bool


class Grants(NamedTuple):
    """All rights of others."""

    granted: list[Grant]
    not_public: list[str]
    """Functions that not everybody may call."""

    @classmethod
    def read(cls, conn: Connection[Any]) -> Grants:
        """As they are now."""
        named = {"relations": [*TABLES, *VIEWS], "functions": list(FUNCTIONS)}
        granted = [Grant(*row) for row in rows(conn, _GRANTED, named)]
        return cls(granted, [signature for (signature,) in rows(conn, _NOT_PUBLIC, named)])

    def restore(self, conn: Connection[Any]) -> None:
        """Make them so again, on what has the same names now."""
        for signature in self.not_public:
            conn.execute(f"REVOKE EXECUTE ON FUNCTION {signature} FROM PUBLIC".encode())
        for grant in self.granted:
            column = sql.SQL("({})").format(sql.Identifier(grant.column)) if grant.column else sql.SQL("")
            conn.execute(
                sql.SQL("GRANT {} {} ON {} {} TO {} {}").format(
                    sql.SQL(grant.privilege),  # a keyword of PostgreSQL's
                    column,
                    sql.SQL(grant.kind),  # TABLE or FUNCTION
                    sql.SQL(grant.name),  # one of ours
                    sql.Identifier(grant.grantee) if grant.grantee else sql.SQL("PUBLIC"),
                    sql.SQL("WITH GRANT OPTION" if grant.is_grantable else ""),
                )
            )
