"""Columns that somebody added to the registry's tables: no event tells of them."""

from __future__ import annotations

from psycopg import AsyncConnection
from pydantic import BaseModel

from publisher.doctor.findings import Finding
from publisher.outbox.connection import translated
from registry.models import Activity, Project, Worktree, WorktreeType

TABLES: dict[str, type[BaseModel]] = {
    "projects": Project,
    "worktrees": Worktree,
    "worktree_types": WorktreeType,
    "agent_activities": Activity,
}
"""Each table, and the model of its rows, which has all columns of this version."""

COLUMNS = """
SELECT c.relname::text, a.attname::text
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
WHERE c.relnamespace = 'public'::regnamespace
    AND c.relname = ANY (%(tables)s::text[])
    AND a.attnum > 0
    AND NOT a.attisdropped
ORDER BY c.relname, a.attnum
"""


async def column_findings(conn: AsyncConnection) -> list[Finding]:
    """Name each column of somebody else. Raises `Unavailable`."""
    with translated():
        rows = await (await conn.execute(COLUMNS, {"tables": list(TABLES)})).fetchall()
    return [
        Finding(
            False,
            f"column {column} of table {table} is not of this version: no event tells when it changes, and a consumer "
            "does not see it; put it into metadata, or into the schema (docs/changing.md)",
            is_hindrance=False,
        )
        for table, column in rows
        if column not in TABLES[table].model_fields
    ]
