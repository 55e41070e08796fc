"""The publisher's own connections to the database, each of one of two kinds: the leader's, and everybody else's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from psycopg import AsyncConnection

from publisher.outbox.on_blocked import ON_BLOCKED
from registry.database import connection
from registry.database.blockers import blockers_told
from registry.database.connection import NO_TIME_LIMITS
from registry.database.errors import translated

__all__ = ["LEADER", "LOOKER", "READER", "connect", "translated"]

# Under JIT a query of the outbox took 110 ms instead of 0.1 ms. A row that a policy hides is an error, not a gap.
READER = (
    NO_TIME_LIMITS
    + """
SET row_security = off;
SET jit = off;
SET plan_cache_mode = auto;
SET enable_indexscan = on;
SET enable_indexonlyscan = on;
SET enable_nestloop = on;
SET enable_sort = on;
SET enable_tidscan = on;
SET enable_seqscan = on;
SET enable_bitmapscan = on;
"""
)
"""Session settings of those who read the outbox, the record, or the tables, and of an import."""

LOOKER = READER + "SET lock_timeout = '2s';"
"""Of those who read to answer somebody: a table that is locked keeps the publisher waiting, but not them for long."""

# Each page is one index range scan per range; a plan that sorts or scans the table is never better. A cursor update
# that a crash of PostgreSQL loses is found again in the stream.
LEADER = (
    READER
    + """
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET synchronous_commit = off;
"""
)
"""Session settings of the relay, and of retention, which takes parts out of the outbox as the relay reads them."""


@asynccontextmanager
async def connect(database_url: str, name: str, session: str = READER) -> AsyncIterator[AsyncConnection]:
    """A connection of the publisher's own, with the settings of `session`. Raises `Unavailable`.

    Where it waits for a lock, `ON_BLOCKED` is told behind whom.
    """
    tell = ON_BLOCKED.get()
    async with connection.connect(database_url, name, session) as conn:
        told = blockers_told(database_url, conn.info.backend_pid, tell) if tell is not None else nullcontext()
        async with told:
            yield conn
