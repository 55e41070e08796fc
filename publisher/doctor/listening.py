"""Whether a notification arrives: through a pooler of transactions none does."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from publisher.doctor.findings import Finding
from publisher.outbox.connection import connect, translated

HEARD_SECONDS = 2.0
"""A notification takes a few milliseconds."""
NAME = "imi-registry doctor probe"


async def listening_findings(database_url: str) -> list[Finding]:
    """Send one from one connection to another, neither of which prepares statements. Raises `Unavailable`."""
    channel = f"imi_probe_{uuid4().hex}"
    async with connect(database_url, NAME) as hearing, connect(database_url, NAME) as ringing:
        hearing.prepare_threshold = ringing.prepare_threshold = None  # a pooler may give them each other's
        with translated():
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
