"""Whether who looks has the rights of the registry's roles that were granted to it, and nobody has too many."""

from __future__ import annotations

from publisher.doctor.findings import Finding
from registry.database.connection import connect_blocking
from registry.database.roles import ROLES, roles_of

LISTED = 3
MINE = """
SELECT r.rolname::text
FROM pg_catalog.pg_roles AS r
JOIN pg_catalog.pg_roles AS me ON me.rolname = current_user AND NOT me.rolsuper
WHERE r.rolname = ANY (%s) AND pg_has_role(me.oid, r.oid, 'USAGE')
"""

ANYBODY_CREATES = "SELECT has_schema_privilege('public', 'public', 'CREATE')"
OPEN = Finding(
    False,
    "everybody who may connect may create in schema public, and so make calls of our functions fail: imi-registry "
    "roles setup closes it (REVOKE CREATE ON SCHEMA public FROM PUBLIC), and leaves it open to who migrates",
    is_hindrance=False,
)
"""As PostgreSQL 14 makes databases."""


def account_findings(database_url: str) -> list[Finding]:
    """Compare; of rights nothing is said where the account has none of the roles, and owns what it uses.

    Raises `Unavailable`.
    """
    with connect_blocking(database_url) as conn:
        mine = {name for (name,) in conn.execute(MINE, [list(ROLES)]).fetchall()}
        found = roles_of(conn) if mine else None
        ((is_open,),) = conn.execute(ANYBODY_CREATES).fetchall()
    lacking = [
        Finding(
            False,
            f"role {name} lacks {len(rights)} rights in this database, {', '.join(rights[:LISTED])}"
            f"{' …' if len(rights) > LISTED else ''}: imi-registry roles setup",
        )
        for name in sorted(mine)
        if found is not None and (rights := found.lacking(name))
    ]
    return [*lacking, OPEN] if is_open else lacking
