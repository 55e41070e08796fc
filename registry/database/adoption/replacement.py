"""What a migration puts in place of something that is not what the migrations before it made.

Where none is applied yet that is told by what all of ours make. Later, functions are told by their text in the files
that are applied: what a view or a trigger was made of PostgreSQL does not keep.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import tuple_row

from registry.database.drift import differing
from registry.database.errors import translated
from registry.database.migration import Migration, split

_FUNCTION = re.compile(
    r"CREATE (?:OR REPLACE )?(?P<kind>FUNCTION|PROCEDURE) (?:public\.)?(?P<name>\w+)\s*\(.*?"
    r"\bAS\s+(?P<quote>\$\w*\$)(?P<text>.*)(?P=quote)",
    re.DOTALL,
)
_TEXTS: LiteralString = """
SELECT proname::text, prosrc
FROM pg_catalog.pg_proc
WHERE pronamespace = 'public'::regnamespace AND proname = ANY (%s)
"""


def replaced(conn: Connection[Any], packaged: Sequence[Migration], pending: Sequence[Migration]) -> list[str]:
    """Functions, and before the first migration views and triggers, that somebody put where `pending` put theirs."""
    if not pending:
        return []
    if pending[0].version == 1:
        return [str(one) for one in differing(conn) if not one.is_missing]
    made = _functions(migration for migration in packaged if migration.version < pending[0].version)
    to_come = _functions(pending)
    with translated(), conn.cursor(row_factory=tuple_row) as cursor:
        there = cursor.execute(_TEXTS, [[name for _, name in to_come]]).fetchall()
    return [
        f"{kind} {name}"
        for (kind, name), text in sorted(to_come.items())
        if (texts := [found for one, found in there if one == name])
        and made.get((kind, name)) not in texts
        and text not in texts
    ]


def _functions(migrations: Iterable[Migration]) -> dict[tuple[str, str], str]:
    """Kind and name to the text that the last of `migrations` gives it."""
    found = {}
    for migration in migrations:
        for statement in split(migration.sql):
            if match := _FUNCTION.match(statement.text):
                found[match["kind"].lower(), match["name"]] = match["text"]
    return found
