"""References: rows of the outbox whose events went out without their data, too large or not to be told at all."""

from __future__ import annotations

from typing import NamedTuple

from psycopg import AsyncConnection

from publisher.outbox.connection import translated
from registry.events.reference import TOO_LARGE, Omission

NOTE = """
INSERT INTO public.outbox_fault (outbox_id, reason, detail)
VALUES (%(outbox_id)s, %(reason)s, %(detail)s)
ON CONFLICT (outbox_id) DO NOTHING
"""

NOTED = """
SELECT fault.outbox_id, event.entity || '.' || event.action, fault.reason, fault.detail
FROM public.outbox_fault AS fault
JOIN public.outbox AS event ON event.id = fault.outbox_id
WHERE fault.reason <> %(too_large)s
ORDER BY fault.outbox_id
LIMIT %(limit)s
"""

FORGET = """
DELETE FROM public.outbox_fault AS fault
WHERE NOT EXISTS (SELECT FROM public.outbox AS event WHERE event.id = fault.outbox_id)
"""


class Fault(NamedTuple):
    """One row that cannot be told."""

    outbox_id: int
    event: str
    """`entity.action`"""
    reason: str
    """As in `Omission`."""
    detail: str


async def note(conn: AsyncConnection, outbox_id: int, omission: Omission) -> None:
    """Keep in mind that the event of this row goes out without its data. Raises `Unavailable`."""
    with translated():
        await conn.execute(NOTE, {"outbox_id": outbox_id, "reason": omission.reason, "detail": omission.detail})


async def noted(conn: AsyncConnection, limit: int) -> list[Fault]:
    """The first `limit` rows that cannot be told and are still there. Raises `Unavailable`."""
    values = {"limit": limit, "too_large": TOO_LARGE}
    with translated():
        return [Fault(*row) for row in await (await conn.execute(NOTED, values)).fetchall()]


async def forget_removed(conn: AsyncConnection) -> None:
    """Forget the faults of rows that retention has removed. Raises `Unavailable`."""
    with translated():
        await conn.execute(FORGET)
