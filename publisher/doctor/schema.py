"""Whether functions, views and triggers are those of the migrations."""

from __future__ import annotations

from psycopg import AsyncConnection

from publisher.doctor.findings import Finding
from registry.database.drift import Differing, differing_in

LISTED = 5


async def schema_findings(conn: AsyncConnection) -> list[Finding]:
    """Name each that somebody changed by hand. Raises `Unavailable`."""
    found = await differing_in(conn)
    told = [_told(one) for one in found[:LISTED]]
    if len(found) > LISTED:
        told.append(f"{len(found) - LISTED} more functions, views and triggers are not those of the migrations")
    return [Finding(False, text, is_hindrance=False) for text in told]


def _told(one: Differing) -> str:
    what = "is missing" if one.is_missing else "was changed by hand"
    return f"{one} {what}: it is not that of the migrations, which stands in {one.file}"
