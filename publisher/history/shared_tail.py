"""What a shared stream holds of ours, beside the outbox. Holes in its sequence tell nothing: others publish, too.

Each event is compared once. Up to where all were found is kept with the cursor, in the same database as the rows that
were found: whatever brings back an older state of these brings back the older place as well. The argument:
docs/adr/0012-shared-stream.md.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field

from psycopg import AsyncConnection

from publisher.outbox.connection import translated
from publisher.outbox.known import Known
from publisher.outbox.rows import known_events
from publisher.stream.shared_stream import SharedStream
from publisher.stream.tail import Stored, of_ours

LOOKED_BACK = 100_000
"""How far before the stream's end a comparison begins at most: one that was never made, or not for long."""
AT_FIRST = 2_000
"""Events of ours that a service compares before it says that it is ready."""
KEPT_AFTER = 1_000
"""The place is stored once it has moved so far."""

# One who stores it already, or the leader, is not waited for: it is stored the next time.
KEEP = """
UPDATE public.publisher_cursor
SET examined_sequence = %(sequence)s
WHERE stream = (
    SELECT stream
    FROM public.publisher_cursor
    WHERE stream = %(stream)s AND examined_sequence < %(sequence)s
    FOR UPDATE SKIP LOCKED
)
"""

ANEW = "UPDATE public.publisher_cursor SET examined_sequence = 0 WHERE stream = %(stream)s"


@dataclass
class SharedTail:
    """How far one process has compared, and what it found."""

    most: int | None = None
    """Events of ours that one look compares; None: all that are left."""
    position: int = 0
    """Sequence up to which it has compared."""
    unknown: list[int] = field(default_factory=list)
    """Sequences of the events marked as ours that the outbox does not hold."""
    is_at_end: bool = False
    """Whether the last look came to the end of the stream."""

    async def look(self, conn: AsyncConnection, stream: SharedStream, known: Known, last: int) -> None:
        """Compare what is behind the place where this process, or another one, has come to; `last` is the stream's end.

        Raises `Unavailable`.
        """
        if self.position > last:  # the stream was made anew
            self.position, self.unknown = 0, []
        examined = known.examined if known.examined <= last else 0
        self.position = max(self.position, examined, known.forgotten, last - LOOKED_BACK)
        self.is_at_end = False
        compared = 0
        if self.position < last:
            async with aclosing(stream.tail(self.position)) as pages:
                async for page in pages:
                    self.unknown += await _unknown(conn, page)
                    self.position = page[-1].sequence
                    compared += len(page)
                    if self.most is not None and compared >= self.most:
                        return
        self.position, self.is_at_end = max(self.position, last), True

    async def keep(self, conn: AsyncConnection, known: Known) -> None:
        """Store up to where all was found, for the next process. Raises `Unavailable`."""
        found = min([self.position, *(sequence - 1 for sequence in self.unknown[:1])])
        if found >= known.examined + KEPT_AFTER:
            with translated():
                await conn.execute(KEEP, {"stream": known.stream, "sequence": found})


async def compare_anew(conn: AsyncConnection, stream: str) -> None:
    """Let everything be compared again, as in a stream whose sequences are others. Raises `Unavailable`."""
    with translated():
        await conn.execute(ANEW, {"stream": stream})


async def _unknown(conn: AsyncConnection, page: list[Stored]) -> list[int]:
    known = await known_events(conn, of_ours(page))
    ours = [message for message in page if message.event_id is not None]
    return [message.sequence for message in ours if (message.outbox_id, message.event_id) not in known]
