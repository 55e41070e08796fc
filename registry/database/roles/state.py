"""What is there of the roles, in this database and on its server."""

from __future__ import annotations

from typing import Any, LiteralString, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row

from registry.database.errors import translated
from registry.database.roles.calls import Closed, closed_to

OWNER = "imi_owner"
ROLES = {
    OWNER: "owns the registry, and migrates it",
    "imi_writer": "changes the registry, by functions and by plain SQL",
    "imi_reader": "reads the registry and its history",
    "imi_publisher": "runs relay, queries, history and retention",
    "imi_applier": "carries out commands",
}
"""Name and task of each; all of them are NOLOGIN, and granted to logins."""

# Whoever may be a member: with PostgreSQL 16 and later, who made a role may administer it and is none for that.
_ROLES: LiteralString = """
SELECT
    wanted.name,
    r.oid IS NOT NULL AS exists,
    coalesce(r.rolcanlogin, false) AS can_login,
    ARRAY(
        SELECT DISTINCT member.rolname::text
        FROM pg_catalog.pg_auth_members AS m
        JOIN pg_catalog.pg_roles AS member ON member.oid = m.member
        WHERE m.roleid = r.oid
            AND coalesce((to_jsonb(m) ->> 'inherit_option')::boolean OR (to_jsonb(m) ->> 'set_option')::boolean, true)
        ORDER BY 1
    ) AS members,
    coalesce(elsewhere.databases, '{}') AS elsewhere,
    coalesce(elsewhere.open_databases, '{}') AS open_elsewhere
FROM unnest(%(names)s::text[]) WITH ORDINALITY AS wanted (name, place)
LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = wanted.name
LEFT JOIN LATERAL (
    SELECT
        array_agg(d.datname::text ORDER BY d.datname) AS databases,
        array_agg(d.datname::text ORDER BY d.datname)
            FILTER (WHERE has_database_privilege('public', d.oid, 'CONNECT')) AS open_databases
    FROM pg_catalog.pg_database AS d
    WHERE d.datname <> current_database()
        AND EXISTS (
            SELECT
            FROM pg_catalog.pg_shdepend AS s
            WHERE s.dbid = d.oid
                AND s.refclassid = 'pg_catalog.pg_authid'::regclass
                AND s.refobjid = r.oid
                AND s.deptype IN ('a', 'o')
        )
) AS elsewhere ON true
ORDER BY wanted.place
"""

# The right to remove old activities an owner may take from a role for good: docs/security.md, Checklist.
_MISSING: LiteralString = """
SELECT wanted.role_name, format('%%s ON %%s', wanted.right, wanted.object_name)
FROM (
    SELECT r.role_name, r.kind, r.object_name, part[1] AS right, string_to_array(part[2], ', ') AS columns
    FROM public.role_rights() AS r
    JOIN pg_catalog.pg_roles AS role ON role.rolname = r.role_name
    CROSS JOIN LATERAL regexp_matches(r.rights, '([A-Z]+)(?: [(]([^)]*)[)])?', 'g') AS part
    WHERE r.object_name !~ '^remove_old_activities[(]'
) AS wanted
WHERE NOT CASE
    WHEN wanted.kind = 'FUNCTION'
        THEN has_function_privilege(wanted.role_name, to_regprocedure('public.' || wanted.object_name), wanted.right)
    WHEN wanted.kind = 'SEQUENCE'
        THEN has_sequence_privilege(wanted.role_name, to_regclass('public.' || wanted.object_name), wanted.right)
    WHEN wanted.columns IS NULL
        THEN has_table_privilege(wanted.role_name, to_regclass('public.' || wanted.object_name), wanted.right)
    ELSE (
        SELECT bool_and(has_column_privilege(
            wanted.role_name, to_regclass('public.' || wanted.object_name), named.name, wanted.right
        ))
        FROM unnest(wanted.columns) AS named (name)
    )
END
ORDER BY 1, 2
"""

_MAY_ASK: LiteralString = "SELECT has_function_privilege('public.role_rights()', 'EXECUTE')"
"""Everybody may call it, as most functions, unless they are closed."""

_DATABASE: LiteralString = """
SELECT
    current_database()::text AS name,
    pg_get_userbyid(d.datdba)::text AS database_owner,
    pg_get_userbyid(c.relowner)::text AS owner,
    o.rolsuper AS is_owner_superuser,
    has_database_privilege('public', d.oid, 'CONNECT') AS is_open,
    has_database_privilege(c.relowner, d.oid, 'TEMPORARY') AS is_owner_temporary,
    has_schema_privilege('public', 'public', 'CREATE') AS anybody_creates,
    n.nspowner <> 'pg_database_owner'::regrole AS is_schema_of_another,
    ARRAY(
        SELECT r.rolname::text
        FROM pg_catalog.pg_shdepend AS s
        JOIN pg_catalog.pg_roles AS r ON r.oid = s.refobjid
        WHERE s.dbid = d.oid
            AND s.refclassid = 'pg_catalog.pg_authid'::regclass
            AND s.deptype IN ('a', 'o')
            AND r.oid <> d.datdba
            AND NOT r.rolname = ANY (%(names)s::text[])
        GROUP BY 1
        ORDER BY 1
    ) AS grantees,
    ARRAY(
        SELECT r.rolname::text
        FROM pg_catalog.pg_roles AS r
        WHERE r.rolcanlogin AND NOT r.rolsuper AND has_database_privilege(r.oid, d.oid, 'CONNECT')
        ORDER BY 1
    ) AS may_connect
FROM pg_catalog.pg_database AS d
JOIN pg_catalog.pg_class AS c ON c.oid = 'public.projects'::regclass
JOIN pg_catalog.pg_roles AS o ON o.oid = c.relowner
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE d.datname = current_database()
"""


class Role(NamedTuple):
    """One role, as the server has it."""

    name: str
    exists: bool
    can_login: bool
    members: list[str]
    """Who was granted it, directly."""
    elsewhere: list[str]
    """Other databases in which it has rights."""
    open_elsewhere: list[str]
    """Those of them to which anybody may connect."""


class Database(NamedTuple):
    """The database, as far as it concerns who may do what in it."""

    name: str
    database_owner: str
    owner: str
    """Who owns the registry's tables."""
    is_owner_superuser: bool
    is_open: bool
    """Whether anybody may connect who may log in."""
    is_owner_temporary: bool
    """Whether who owns the registry may make temporary tables, as for the snapshot of a mirror."""
    anybody_creates: bool
    """Whether anybody may create objects in the schema public, as in PostgreSQL 14."""
    is_schema_of_another: bool
    """Whether the schema public does not belong to who owns the database, as in PostgreSQL 14."""
    grantees: list[str]
    """Roles of others that have rights in it, or own something."""
    may_connect: list[str]
    """Logins, but for superusers."""


class Roles(NamedTuple):
    """All of it."""

    database: Database
    roles: list[Role]
    missing: dict[str, list[str]]
    """Rights of its own that a role should have in this database and has not, by its name."""
    closed: dict[str, list[Closed]]
    """Functions that everybody is to call, and a role may not, by its name."""

    def lacking(self, role: str) -> list[str]:
        """What it should have and has not, of both kinds."""
        return [*self.missing.get(role, []), *(f"EXECUTE ON {one.name}" for one in self.closed.get(role, []))]


def roles_of(conn: Connection[Any]) -> Roles:
    """What is there. The schema must be that of this version."""
    names = {"names": list(ROLES)}
    with translated(), conn.transaction():
        with conn.cursor(row_factory=class_row(Database)) as cursor:
            (database,) = cursor.execute(_DATABASE, names).fetchall()
        with conn.cursor(row_factory=class_row(Role)) as role_cursor:
            found = role_cursor.execute(_ROLES, names).fetchall()
        missing: dict[str, list[str]] = {}
        ((may_ask,),) = conn.execute(_MAY_ASK).fetchall()
        for name, right in conn.execute(_MISSING, {}) if may_ask else ():
            missing.setdefault(name, []).append(right)
        return Roles(database, found, missing, closed_to(conn, [name for name in ROLES if name != OWNER]))
