"""The feed: what was published just now, for all who look, read once. While nobody looks, nothing is read.

It follows the record of what was published, so it shows what the stream has and in that order, and asks for a few rows
by their keys. Where more is published than anybody can read, it takes the last ones and says how many went by.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry

from publisher.part import Part
from publisher.settings import Settings
from publisher.web.console.sources.database import Database
from publisher.web.console.sources.health import QuietHealth
from publisher.web.console.sources.lines import Line
from publisher.web.console.sources.outbox import lines_of
from registry.errors import RegistryError

POLL_SECONDS = 0.4
MOST_LINES = 60
"""At once; more cannot be read, nor shown."""
PLACES = 16
"""Moments between two looks at which those are told who look on."""
KEPT = 300
"""Lines that a page gets which was away for a moment."""

END = """
SELECT coalesce((SELECT stream_sequence FROM public.publisher_cursor WHERE stream = %(stream)s), 0) AS sequence
"""

# The one that was read last is among them: where it is not, the stream may have begun anew.
BATCHES = f"""
SELECT last_sequence, ids
FROM public.published_batch
WHERE stream = %(stream)s AND last_sequence >= %(last)s
ORDER BY last_sequence DESC
LIMIT {MOST_LINES}
"""


class _End(NamedTuple):
    sequence: int


class _Batch(NamedTuple):
    last_sequence: int
    ids: list[Any]


class News(NamedTuple):
    """What came since a page looked last."""

    lines: list[Line]
    """Oldest first, with their places in the stream."""
    missed: bool
    """Whether there were more than these."""
    last: int
    """Sequence up to which this tells."""


class Feed(Part):
    """Follows the stream while anybody looks."""

    def __init__(self, settings: Settings, database: Database, registry: CollectorRegistry) -> None:
        self.quiet = QuietHealth("console_feed", registry)
        super().__init__(settings, self.quiet, "console")
        self._database = database
        self._stream = self._profile.event_stream
        self._lines: deque[Line] = deque(maxlen=KEPT)
        self._missed_at = 0
        """Events up to this sequence were not all kept."""
        self._last: int | None = None
        """Sequence up to which was read; None where that begins anew."""
        self._begins: int | None = None
        """What the first who looks knows, as the request says: it counts as far as the stream reaches."""
        self._viewers = 0
        self._next_place = 0
        self._watched = asyncio.Event()
        self._changed = asyncio.Condition()
        self.settled.set()

    @property
    def viewers(self) -> int:
        """How many look."""
        return self._viewers

    @asynccontextmanager
    async def watched(self, after: int | None) -> AsyncIterator[int]:
        """Somebody looks inside the block, who knows what was published up to sequence `after`; yields their place."""
        place, self._next_place = self._next_place, (self._next_place + 1) % PLACES
        self._viewers += 1
        if self._last is None and self._begins is None:
            self._begins = after
        self._watched.set()
        try:
            yield place
        finally:
            self._viewers -= 1
            if not self._viewers:
                self._next_place = 0
                self._watched.clear()
                self._last = self._begins = None

    async def work(self) -> None:
        """Follow until cancelled. While the database cannot be asked, nothing comes; pages say why."""
        while True:
            if not self._viewers:
                self.quiet.well()  # nobody misses anything, whatever failed before
                await self._watched.wait()
            try:
                await self._poll()
            except RegistryError:
                self.interrupted()
            else:
                self.quiet.well()
            await asyncio.sleep(POLL_SECONDS)

    def interrupted(self) -> None:
        """Begin anew: what came meanwhile is in the list that a page loads."""
        self._last = None

    async def after(self, sequence: int | None, seconds: float, place: int = 0) -> News:
        """What was published behind `sequence`, or None: from now on; waits so long for it.

        Of a stream that ends before `sequence`, since it began anew, all is missed. Each `place` is told at a moment of
        its own, so that the process does nothing for many at once.
        """
        async with self._changed:
            if sequence is None:
                sequence = self._last
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait_for(lambda: self._last is not None and self._last > (sequence or 0))
            except TimeoutError:
                known = sequence or 0
                last = known if self._last is None else min(self._last, known)
                return News([], last < known, last)
        if place:
            await asyncio.sleep(place * POLL_SECONDS / PLACES)
        if sequence is None:
            sequence = self._last or 0
        last = sequence if self._last is None else self._last
        lines = [line for line in self._lines if (line.sequence or 0) > sequence]
        return News(lines, not self._missed_at <= sequence <= last, last)

    async def _poll(self) -> None:
        last = self._last
        if last is None:
            end = await self._end()
            last = end if self._begins is None else min(self._begins, end)
            await self._begin(last)
        batches = await self._database.rows(_Batch, BATCHES, {"stream": self._stream, "last": last})
        if not batches and (end := await self._end()) < last:
            await self._begin(end)
        new = [batch for batch in batches if batch.last_sequence > last]
        if not new:
            return
        places = _latest(new)
        found = await lines_of(self._database, [outbox_id for _, outbox_id in places])
        self._lines.extend(
            found[outbox_id]._replace(sequence=sequence) for sequence, outbox_id in places if outbox_id in found
        )
        if len(places) == MOST_LINES:
            self._missed_at = places[0][0] - 1
        elif len(self._lines) == KEPT:
            self._missed_at = max(self._missed_at, (self._lines[0].sequence or 1) - 1)
        await self._tell(new[0].last_sequence)

    async def _end(self) -> int:
        """Sequence at which the stream ends."""
        found = await self._database.row(_End, END, {"stream": self._stream})
        return found.sequence if found is not None else 0

    async def _begin(self, last: int) -> None:
        """Go on behind sequence `last`, and with nothing of what was before."""
        self._lines.clear()
        self._missed_at, self._begins = last, None
        await self._tell(last)

    async def _tell(self, last: int) -> None:
        async with self._changed:
            self._last = last
            self._changed.notify_all()


def _latest(batches: Sequence[_Batch]) -> list[tuple[int, int]]:
    """Sequence and outbox id of the last events of `batches`, which are the newest first; in the order of the stream.

    In a stream of our own the events of a batch stand directly one behind the other.
    """
    places: list[tuple[int, int]] = []
    for batch in batches:
        sequence = batch.last_sequence
        for part in reversed(batch.ids):
            for outbox_id in range(part.upper - 1, part.lower - 1, -1):
                if len(places) == MOST_LINES:
                    return places[::-1]
                places.append((sequence, outbox_id))
                sequence -= 1
    return places[::-1]
