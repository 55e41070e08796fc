"""A leader whose connection to PostgreSQL stands and carries nothing more leaves it, although nobody stands by.

Where the network ends, TCP tells within ten seconds; where a proxy on the way still takes bytes, nothing does.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic

from publisher.outbox.connection import LEADER, connect
from publisher.outbox.cursor import Cursor
from publisher.outbox.lead import end_if_hanging, holder_of_lead
from publisher.settings import Settings
from registry.errors import Unavailable

SILENT_SECONDS = 10.0
"""A leader that could store no heartbeat for so much longer than the time between two looks why."""


async def until_silent(settings: Settings, database_url: str, name: str, cursor: Cursor) -> None:
    """Return never. Raises `Unavailable` once the session that leads with `cursor` waits for what does not come.

    As a standby sees it, over a connection of its own, which it then frees the lead by: a session that works on a long
    query, or waits for a lock, does not hang. While PostgreSQL takes no connection nothing is known.
    """
    limit_seconds = SILENT_SECONDS + settings.heartbeat_seconds
    looked_at = monotonic()
    while True:
        due_seconds = max(cursor.stored_at, looked_at) + limit_seconds - monotonic()
        if due_seconds > 0:
            await asyncio.sleep(due_seconds)
            continue
        looked_at, stored_at, is_silent = monotonic(), cursor.stored_at, False
        with suppress(Unavailable):
            async with connect(database_url, name, LEADER) as conn:
                holder = await holder_of_lead(conn, cursor.stream, settings.stale_seconds)
                # A process that was stopped itself stores its heartbeat meanwhile.
                is_silent = cursor.stored_at == stored_at and (holder is None or holder.is_stale)
                if is_silent:
                    await end_if_hanging(conn, holder)
        if is_silent:
            raise Unavailable("PostgreSQL does not answer on the connection that leads, and answers on others")
