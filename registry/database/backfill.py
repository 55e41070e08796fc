"""Rows that are older than the outbox: their events, written afterwards (docs/adr/0009-what-was-there-before.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, LiteralString

from psycopg import Connection

from registry.database.errors import translated

BATCH_ROWS = 1000
COUNT_BACKLOG: LiteralString = "SELECT count(*) FROM public.outbox_backlog"
"""How many rows have no event yet."""


def no_progress(done: int, total: int) -> None:
    """Reports to nobody how far it is."""


def backfill(
    conn: Connection[Any], progress: Callable[[int, int], None] = no_progress, *, batch_rows: int = BATCH_ROWS
) -> int:
    """Write the events of all rows that have none yet, in transactions of `batch_rows`; returns how many it took.

    Each row gets its event exactly once, whoever runs this at the same time and wherever it was cut off before.
    `progress` is called with the number done and the number there is. `conn` is in autocommit. Raises what
    `from_database` makes of an error: what is done is done, and the next run goes on.
    """
    done = 0
    with translated():
        (backlog,) = conn.execute(COUNT_BACKLOG).fetchone() or (0,)
        while written := _batch(conn, batch_rows):
            done += written
            progress(done, max(done, backlog))
    return done


def _batch(conn: Connection[Any], limit: int) -> int:
    (written,) = conn.execute("SELECT public.backfill_outbox(%s::int)", [limit]).fetchone() or (0,)
    return int(written)
