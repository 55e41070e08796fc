"""Whether a notification arrives: through a pooler of transactions none does, nor while PostgreSQL's queue is full."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from publisher.doctor.findings import Finding
from publisher.outbox.connection import connect, translated

HEARD_SECONDS = 2.0
"""A notification takes a few milliseconds."""
NAME = "imi-registry doctor probe"
FULL = 0.5
"""So full, no writer rings any more (`outbox_ring` in migrations/003_outbox.sql)."""
OLDEST = "SELECT * FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' ORDER BY xact_start"
USAGE = "SELECT pg_catalog.pg_notification_queue_usage()"


async def listening_findings(database_url: str) -> list[Finding]:
    """Send one from one connection to another, neither of which prepares statements. Raises `Unavailable`."""
    channel = f"imi_probe_{uuid4().hex}"
    async with connect(database_url, NAME) as hearing, connect(database_url, NAME) as ringing:
        hearing.prepare_threshold = ringing.prepare_threshold = None  # a pooler may give them each other's
        with translated():
            (usage,) = await (await hearing.execute(USAGE)).fetchone() or (0.0,)
            if usage >= FULL:
                return [_full(usage)]
            await hearing.execute(f"LISTEN {channel}")
            await ringing.execute(f"NOTIFY {channel}")
            try:
                async with asyncio.timeout(2 * HEARD_SECONDS):
                    heard = [ring async for ring in hearing.notifies(timeout=HEARD_SECONDS, stop_after=1)]
            except TimeoutError:
                heard = []
    if heard:
        return []
    return [
        Finding(
            False,
            "LISTEN on the database's URL hears nothing: a pooler of transactions stands in between, so events wait "
            "for the next poll, and sessions get each other's settings; give the URL of PostgreSQL itself",
        )
    ]


def _full(usage: float) -> Finding:
    return Finding(
        False,
        f"PostgreSQL's queue of notifications is {usage:.0%} full: a session, of whichever database, listens and stays "
        "in one transaction. Nobody rings for the publisher meanwhile, which looks by itself with each heartbeat; who "
        f"notifies by himself may fail to commit. Find it by {OLDEST}, and let it end, or SELECT "
        "pg_terminate_backend(PID)",
        is_hindrance=False,
    )
