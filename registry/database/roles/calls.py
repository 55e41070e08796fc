"""Functions that everybody may call, where a database is set so that nobody may call a new one by himself.

`ALTER DEFAULT PRIVILEGES … REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC` does that. Which they are is in `migrations/head/`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection

from registry.database.migration import package_directory

_NAMED = re.compile(r"^(COMMENT|REVOKE EXECUTE) ON (?:FUNCTION|PROCEDURE) (\w+)\(", re.MULTILINE)

# Of a role that is to be made yet: those closed to everybody. With ours those by which misspelt words are found.
_CLOSED: LiteralString = """
SELECT wanted.role, p.oid::regprocedure::text, pg_get_userbyid(p.proowner)::text
FROM unnest(%(roles)s::text[]) AS wanted (role)
LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = wanted.role
CROSS JOIN pg_catalog.pg_proc AS p
LEFT JOIN pg_catalog.pg_depend AS d ON (d.classid, d.objid, d.deptype) = ('pg_proc'::regclass, p.oid, 'e')
LEFT JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
WHERE
    CASE
        WHEN e.oid IS NULL THEN p.pronamespace = 'public'::regnamespace AND p.proname = ANY (%(names)s)
        ELSE e.extname = 'pg_trgm'
    END
    AND NOT has_function_privilege(coalesce(r.rolname, 'public'), p.oid, 'EXECUTE')
ORDER BY wanted.role, p.oid::regprocedure::text
"""


class Closed(NamedTuple):
    """A function that is closed to everybody."""

    name: str
    """With the types of its parameters."""
    owner: str
    """Who may open it: that of ours, or of the extension."""


def closed_to(conn: Connection[Any], roles: list[str]) -> dict[str, list[Closed]]:
    """Functions that everybody is to call and a role may not, by the role's name."""
    closed: dict[str, list[Closed]] = {}
    for role, name, owner in conn.execute(_CLOSED, {"roles": roles, "names": _open()}):
        closed.setdefault(role, []).append(Closed(name, owner))
    return closed


@cache
def _open() -> list[str]:
    """Names of the functions that everybody may call."""
    text = (package_directory() / "head" / "functions.sql").read_text(encoding="utf-8")
    found = _NAMED.findall(text)
    return sorted({name for _, name in found} - {name for kind, name in found if kind != "COMMENT"})
