"""Which publisher leads."""

from __future__ import annotations

from psycopg import AsyncConnection

from tests.faults.suite.installation import PUBLISHERS, Installation
from tests.faults.suite.writers import CONNECT

LEADER = "SELECT leader FROM publisher_cursor"


async def leading_publisher(there: Installation) -> str | None:
    """Its name; None where none has led, or its process is gone."""
    async with await AsyncConnection.connect(there.database.url, **CONNECT) as conn:
        found = await (await conn.execute(LEADER)).fetchone()
    names = [
        name
        for name in PUBLISHERS
        if found is not None and str(found[0]).endswith(f" {there.parties[name].process.pid}")
    ]
    return names[0] if names else None
