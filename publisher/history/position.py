"""How a time becomes a position: where in the order of publishing all that came since begins."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from publisher.outbox import record
from publisher.outbox.connection import translated
from registry.position import Position

# published_at ascends with last_sequence, so the place is found by halving: an index is not worth its upkeep.
PROBE = """
SELECT published_at
FROM public.published_batch
WHERE stream = %(stream)s AND last_sequence >= %(sequence)s
ORDER BY last_sequence
LIMIT 1
"""


async def position_at(conn: AsyncConnection[Any], stream: str, published: datetime) -> Position:
    """A position before everything that was published to `stream` at or after a time, and not long before it."""
    known = await record.state(conn, stream)
    first, high = known.forgotten + 1, known.last + 1
    while first < high:
        middle = (first + high) // 2
        with translated():
            probe = await (await conn.execute(PROBE, {"stream": stream, "sequence": middle})).fetchone()
        if probe is None or probe[0] >= published:
            high = middle
        else:
            first = middle + 1
    return Position(first - 1)
