"""Whether a database has the registry's schema, as those look who wait for nobody."""

from __future__ import annotations

import asyncio

from psycopg.errors import LockNotAvailable

from publisher.outbox.blocked import holder_named
from publisher.outbox.connection import LOOKER, connect
from registry.database import migrate
from registry.database.connection import connect_blocking
from registry.errors import Unavailable


async def check_schema(database_url: str) -> None:
    """Raise `Conflict` for another schema, or none, and `Unavailable` saying by whom its record is locked."""

    def check() -> None:
        with connect_blocking(database_url, LOOKER) as conn:
            migrate.check(conn)

    try:
        await asyncio.to_thread(check)
    except Unavailable as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        async with connect(database_url, "imi-registry check", LOOKER) as conn, holder_named(conn):
            raise
