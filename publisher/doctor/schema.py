"""Whether the tables, functions, views and triggers are there, and those of the migrations."""

from __future__ import annotations

from psycopg import AsyncConnection

from publisher.doctor.findings import Finding
from registry.database.drift import Differing, differing_in

LISTED = 5


async def schema_findings(conn: AsyncConnection) -> list[Finding]:
    """Name each that is gone, or that somebody changed by hand. Raises `Unavailable`."""
    found = await differing_in(conn)
    told = [_told(one) for one in found[:LISTED]]
    if len(found) > LISTED:
        told.append(f"{len(found) - LISTED} more tables, functions, views and triggers are not those of the migrations")
    return [Finding(False, text, is_hindrance=False) for text in told]


async def missing_findings(conn: AsyncConnection) -> list[Finding]:
    """Name each that is gone: who asks met an error of one that is needed. Raises `Unavailable`."""
    return [Finding(False, _told(one)) for one in await differing_in(conn) if one.is_missing][:LISTED]


def _told(one: Differing) -> str:
    if not one.is_missing:
        return f"{one} was changed by hand: it is not that of the migrations, which stands in {one.file}"
    if one.kind != "table":
        return f"{one} is missing: it is made by the migrations, and stands in {one.file}"
    return (
        f"{one} is missing, with all that was in it: stop up or serve, then restore it from a backup; "
        f"psql -f with {one.made_by} of the migrations, and each that follows it, makes it anew, empty"
    )
