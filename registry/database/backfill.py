"""Rows that are older than the outbox: their events, written afterwards (docs/adr/0009-what-was-there-before.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, LiteralString

from psycopg import Connection

from registry.database.errors import translated

BATCH_ROWS = 1000
WAITING: LiteralString = "SELECT count(*) FROM public.outbox_backlog"
"""How many rows have no event yet."""


def nothing(done: int, total: int) -> None:
    """Tells nobody how far it is."""


def backfill(conn: Connection[Any], tell: Callable[[int, int], None] = nothing, *, batch_rows: int = BATCH_ROWS) -> int:
    """Write the events of all rows that have none yet, in transactions of `batch_rows`; returns how many it took.

    Each row gets its event exactly once, whoever runs this at the same time and wherever it was cut off before. `tell`
    is called with the number done and the number there is. `conn` is in autocommit. Raises what `from_database` makes
    of an error: what is done is done, and the next run goes on.
    """
    done = 0
    with translated():
        (waiting,) = conn.execute(WAITING).fetchone() or (0,)
        while taken := _batch(conn, batch_rows):
            done += taken
            tell(done, max(done, waiting))
    return done


def _batch(conn: Connection[Any], limit: int) -> int:
    (taken,) = conn.execute("SELECT public.backfill_outbox(%s)", [limit]).fetchone() or (0,)
    return int(taken)
