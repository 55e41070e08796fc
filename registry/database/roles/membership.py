"""Making a login a member of a role, and taking that back."""

from __future__ import annotations

from typing import Any, LiteralString

from psycopg import Connection

from registry.database.errors import translated
from registry.database.roles.state import OWNER, ROLES, Database, Roles, roles_of
from registry.database.roles.step import statement
from registry.errors import Conflict, Invalid, NotFound, Unprepared

# With PostgreSQL 16 and later somebody may be a member by several grants, of which a REVOKE that names no grantor takes
# the user's own, and only warns where there is none. Before, there is one grant, whose grantor may be gone.
_GRANTORS: LiteralString = """
SELECT grantor.rolname::text
FROM pg_catalog.pg_auth_members AS m
JOIN pg_catalog.pg_roles AS role ON role.oid = m.roleid
JOIN pg_catalog.pg_roles AS member ON member.oid = m.member
LEFT JOIN pg_catalog.pg_roles AS grantor ON grantor.oid = m.grantor
WHERE role.rolname = %s
    AND member.rolname = %s
    AND coalesce((to_jsonb(m) ->> 'inherit_option')::boolean OR (to_jsonb(m) ->> 'set_option')::boolean, true)
ORDER BY 1
"""
_CONNECTS: LiteralString = """
SELECT EXISTS (
    SELECT
    FROM pg_catalog.pg_database AS d
    CROSS JOIN LATERAL aclexplode(d.datacl) AS given
    JOIN pg_catalog.pg_roles AS login ON login.oid = given.grantee
    WHERE d.datname = current_database() AND login.rolname = %s AND given.privilege_type = 'CONNECT'
)
"""


def grant(conn: Connection[Any], role: str, login: str) -> list[str]:
    """Make `login` a member of `role` who may connect to this database; returns the statements that were run.

    Raises `NotFound` when there is no such login, `Conflict` when it would get rights in another database with it,
    `Unprepared` when this user may not.
    """
    found = _checked(conn, role, login)
    (described,) = [one for one in found.roles if one.name == role]
    if described.open_elsewhere:
        raise Conflict(
            f"{role} has rights in database {', '.join(described.open_elsewhere)}, too, to which anybody may connect: "
            f"{login} would have them there as well; run there: imi-registry roles setup"
        )
    if role != OWNER and found.lacking(role):
        raise Conflict(
            f"{role} has not all its rights in database {found.database.name}; run: imi-registry roles setup"
        )
    texts = [
        statement(conn, "GRANT CONNECT ON DATABASE {} TO {}", found.database.name, login),
        statement(conn, "GRANT {} TO {}", role, login),
    ]
    return _run(conn, texts, found.database, login, connects=True)


def revoke(conn: Connection[Any], role: str, login: str) -> list[str]:
    """Take `role` from `login`, whoever gave it; with the last one the right to connect, of who has no others here.

    Raises as `grant` does, and `NotFound` when `login` is no member.
    """
    found = _checked(conn, role, login)
    database = found.database
    with translated():
        grantors = conn.execute(_GRANTORS, [role, login]).fetchall()
    if not grantors:
        raise NotFound(f"{login} is no member of {role}")
    revoked = statement(conn, "REVOKE {} FROM {}", role, login)
    texts = [revoked if name is None else revoked + statement(conn, " GRANTED BY {}", name) for (name,) in grantors]
    others = {name for other in found.roles if other.name != role for name in other.members}
    if login in {*others, *database.grantees, database.owner, database.database_owner}:
        return _run(conn, texts, database, login)
    texts.append(statement(conn, "REVOKE CONNECT ON DATABASE {} FROM {}", database.name, login))
    return _run(conn, texts, database, login, connects=False)


def _checked(conn: Connection[Any], role: str, login: str) -> Roles:
    found = roles_of(conn)
    if role not in ROLES:
        raise Invalid(f'role "{role}": there are {", ".join(ROLES)}')
    if not next(one.exists for one in found.roles if one.name == role):
        raise NotFound(f"role {role} is not there; run: imi-registry roles setup")
    with translated():
        row = conn.execute("SELECT FROM pg_catalog.pg_roles WHERE rolname = %s", [login]).fetchone()
    if row is None:
        made = statement(conn, "CREATE ROLE {} LOGIN", login)
        raise NotFound(f'there is no login "{login}" on this server; {made}')
    return found


def _run(
    conn: Connection[Any], texts: list[str], database: Database, login: str, *, connects: bool | None = None
) -> list[str]:
    """All of them, or none; `connects` is whether `login` has the right to connect then, where that is asked for.

    Only who administers a role may grant it: others are told what to ask for.
    """
    try:
        with translated(), conn.transaction():
            for text in texts:
                conn.execute(text.encode())
            if connects is not None:
                _check_connects(conn, database, login, expected=connects)
    except Unprepared as error:
        raise Unprepared(f"{error}; an administrator of the server runs: {'; '.join(texts)}") from error
    return texts


def _check_connects(conn: Connection[Any], database: Database, login: str, *, expected: bool) -> None:
    """Raise `Unprepared` where that right was not given, or not taken: PostgreSQL only warns."""
    if conn.execute(_CONNECTS, [login]).fetchone() != (expected,):
        owner = database.database_owner
        raise Unprepared(f"database {database.name} belongs to {owner}, who alone says which logins connect")
