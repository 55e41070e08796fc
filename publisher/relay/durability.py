"""Which transactions are on PostgreSQL's disk, and the wait for the others before their events are sent.

Why it holds: docs/adr/0001-outbox-and-relay.md, "What is published is on disk".
"""

from __future__ import annotations

from psycopg import AsyncConnection

from publisher.outbox.page import Page, flush


class Durability:
    """Of what one connection reads, page after page."""

    def __init__(self) -> None:
        self._durable_before = 0
        """Every transaction with a lower id has ended, and how it ended is on disk, and on synchronous standbys."""
        self._position: str | None = None
        """Up to here the WAL must be flushed before what was read may be sent; None when it is already."""
        self._ended_before = 0
        """Every transaction with a lower id had ended at that position."""

    def see(self, page: Page) -> None:
        """Note what `page` shows: its rows are to be sent."""
        if page.flush_needed is None:
            self._durable_before, self._position = page.oldest_running, None
        elif any(row.transaction_id >= self._durable_before for row in page.rows):
            self._position, self._ended_before = page.flush_needed, page.oldest_running

    async def ensure(self, conn: AsyncConnection) -> None:
        """Return when all rows seen so far would outlive a crash, and a failover to a synchronous standby.

        Raises `Unavailable`.
        """
        if self._position is not None:
            await flush(conn, self._position)
            self._durable_before, self._position = self._ended_before, None
