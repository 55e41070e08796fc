"""What the database says of itself by `registry_health`: told here where it is not looked at more closely."""

from __future__ import annotations

from psycopg import AsyncConnection

from publisher.doctor.findings import Finding
from publisher.outbox.connection import translated

LOOKED_AT = {
    "publisher",
    "events that wait",
    "rows without events",
    "events without data",
    "triggers",
    "transactions",
    "prepared transactions",
    "replication slots",
    "connections",
}
"""Checks of that function that have findings of their own, with what NATS and the settings say to it."""

HEALTH = "SELECT name, what, hint FROM public.registry_health() WHERE state IN ('warn', 'bad')"


async def health_findings(conn: AsyncConnection) -> list[Finding]:
    """What is not well of all else that the function looks at. Raises `Unavailable`."""
    with translated():
        rows = await (await conn.execute(HEALTH)).fetchall()
    return [
        Finding(False, f"{name}: {what}; {hint}", is_hindrance=False)
        for name, what, hint in rows
        if name not in LOOKED_AT
    ]
