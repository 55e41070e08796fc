"""Recovery: what the stream holds beyond the cursor is taken as published, and an end that it lost is published again.

Nothing else tells whether a batch whose acknowledgement never came was stored: docs/adr/0001-outbox-and-relay.md.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from publisher.outbox.cursor import advance, forget_beyond
from publisher.outbox.rows import known_events
from publisher.relay.batching import as_batches
from publisher.relay.completion import Completion
from publisher.relay.term import Term
from publisher.stream.event_stream import REBUILD, StreamLost
from publisher.stream.tail import of_ours
from registry.concurrency.outage import is_told
from registry.log import log

BELIEVED_SECONDS = 15.0
"""Longer than replicas take to find a leader."""
LOOK_SECONDS = 0.5


class Recovery:
    """What a leader does before it publishes, and again whenever the stream turns out to end elsewhere."""

    def __init__(self, term: Term) -> None:
        self._term = term

    async def run(self) -> int:
        """Take what the stream holds beyond the cursor as published; returns how many messages that were.

        A stream of our own that lost its end is completed. Raises `StreamLost` when it is not an older state of what
        was published, `Unavailable`, `Deposed`.
        """
        cursor = self._term.cursor
        last_sequence = await self._last_sequence()
        if last_sequence < cursor.stream_sequence:
            await self._complete(last_sequence)
            last_sequence = cursor.stream_sequence
        found = 0
        await advance(self._term.conn, cursor)  # first, or what only the record behind it tells would be lost
        await forget_beyond(self._term.conn, cursor)
        if last_sequence > cursor.stream_sequence:
            async for page in self._term.stream.tail(cursor.stream_sequence):
                pairs = of_ours(page)
                known = await known_events(self._term.conn, pairs)
                cursor.published.add_all(sorted(outbox_id for outbox_id, _ in known))
                cursor.unrecorded += as_batches(page, known)
                cursor.stream_sequence = page[-1].sequence
                found += len(page)
                unknown = sum(pair not in known for pair in pairs)
                self._report_tail(known=len(pairs) - unknown, unknown=unknown, foreign=len(page) - len(pairs))
                await advance(self._term.conn, cursor)
            cursor.stream_sequence = max(cursor.stream_sequence, last_sequence)
        await advance(self._term.conn, cursor)
        return found

    async def _last_sequence(self) -> int:
        """Sequence at which the stream ends.

        A replica that was parted from the others answers for a while as if it led them: an end that it does not have,
        or has otherwise, is believed when it stays so.
        """
        cursor, stream = self._term.cursor, self._term.stream
        with self._term.heartbeat.waiting(f"stream {cursor.stream} does not tell its end"):
            last = await stream.last_sequence()
            if stream.is_replicated:
                until = monotonic() + BELIEVED_SECONDS
                while last < cursor.stream_sequence and monotonic() < until:
                    await asyncio.sleep(LOOK_SECONDS)
                    last = await stream.last_sequence()
        return last

    async def _complete(self, last: int) -> None:
        """Publish again what the stream lost behind sequence `last`, as after a power failure. Raises `StreamLost`."""
        name, end = self._term.stream.name, self._term.cursor.stream_sequence
        if self._term.profile.is_shared or last == 0:
            raise StreamLost(
                f"stream {name} ends at sequence {last}, but {end} was published into it: it was deleted, or restored "
                f"from an older backup; publish it again with: {REBUILD}"
            )
        completion = Completion(self._term)
        await completion.check_end(last)
        log.warning("the stream lost its end and is completed", stream=name, last_sequence=last, published=end)
        events = await completion.run(last, end)
        self._term.metrics.completed(events)
        log.warning("the stream is complete again", stream=name, last_sequence=end, events=events)

    def _report_tail(self, *, known: int, unknown: int, foreign: int) -> None:
        self._term.metrics.recovered(known=known, unknown=unknown, foreign=foreign)
        if foreign and is_told(self._term.metrics.foreign_pages):
            total = self._term.metrics.foreign
            log.warning("foreign messages in the stream", stream=self._term.stream.name, count=foreign, total=total)
        if unknown:
            log.error(
                "the stream holds events that this database does not: the database was restored to an older state",
                stream=self._term.stream.name,
                count=unknown,
            )
