"""Drain the outbox into the stream: publish, advance, sleep, repeat.

One cycle: read the next page of the outbox while the last batch is in flight, wait for its acknowledgement, send the
next batch, store the cursor. Behind a full page PostgreSQL reads the next one from before the acknowledgement on.
Nothing waits for a gap and nothing is sent twice: docs/adr/0001-outbox-and-relay.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic, time_ns

from publisher.outbox.cursor import Batch, advance, withhold
from publisher.outbox.doorbell import Doorbell
from publisher.outbox.faults import note
from publisher.outbox.page import Page
from publisher.outbox.rows import with_data
from publisher.relay.batching import MAX_BATCH_BYTES, take
from publisher.relay.durability import Durability
from publisher.relay.gaps import Gaps
from publisher.relay.lane import Lane
from publisher.relay.pages import PAGE_BYTES, Pages
from publisher.relay.rest import Rest
from publisher.relay.spans import trace
from publisher.relay.term import Term
from registry import tracing
from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS
from registry.concurrency.outage import is_told
from registry.events.message import Message
from registry.events.reference import TOO_LARGE, Omission
from registry.log import log
from registry.profiles.profile import encoded

WAITING_BYTES = MAX_BATCH_BYTES
"""While more than this waits to be sent, rows are read one by one: the next batch has enough, and cannot hold a whole
transaction that goes on behind it."""
RANGES_LOGGED = 10
"""Ranges of dead ids named in one line of the log, at most."""
BUSY_PAGES = 3
"""After so many pages with rows in a row the doorbell is silenced, so that writers pay nothing for NOTIFY."""


@dataclass
class InFlight:
    """A batch that was sent and is not acknowledged yet."""

    messages: list[Message]
    answer: asyncio.Future[int]
    sent_ns: int = field(default_factory=time_ns)


class Drain:
    """One uninterrupted stretch of publishing: it ends with the first error, and a new one recovers from there."""

    def __init__(self, term: Term, doorbell: Doorbell) -> None:
        self._term = term
        self._waiting: list[Message] = []
        self._waiting_bytes = 0
        self._has_withheld = False
        """Whether the cursor passed events that do not go into the stream, and was not stored since."""
        self._lane = Lane(term)
        self._durability = Durability()
        self._in_flight: InFlight | None = None
        self._pages_in_a_row = 0
        self._omissions = 0
        self._rest = Rest(term, doorbell)

    async def run(self, single: int = 0) -> None:
        """Publish until an error ends it. The first `single` messages go one by one.

        Raises `StreamMoved` when someone else wrote to the stream, `Deposed`, `Unavailable`.
        """
        self._gaps = Gaps(self._term.cursor.published, self._term.cursor.transaction_id)
        self._pages = Pages(self._term, self._gaps)
        async with self._pages.open():
            while True:
                single -= await self._cycle(1 if single > 0 else self._term.settings.batch_size)

    async def _cycle(self, most: int) -> int:
        """Read a page and send a batch of at most `most` messages; returns how many were sent."""
        page = await self._read()
        has_news = self._close_gaps(page)
        await self._look_ahead(page)
        is_next = bool(self._lane.messages) or (bool(self._waiting) and not self._is_cut(page))
        sent = 0
        if is_next:
            # The broker's disk works on the batch in flight meanwhile.
            await self._durability.ensure(self._term.conn)
            if page.is_full and not self._lane.messages and self._waiting_bytes < WAITING_BYTES:
                await self._pages.ask(self._room(leaving=most))
        if self._in_flight is not None:
            await self._acknowledge(self._in_flight)
            has_news = True
        if is_next:
            sent = await self._send_next(most)
        if has_news or self._has_withheld or self._is_heartbeat_due or self._gaps.needs_mark(page):
            await self._store(page)
        if self._in_flight is None and not page.rows and page.end is None:
            await self._pause(page)
        return sent

    @property
    def unacknowledged(self) -> int:
        """Messages of the batch that was in flight when an error ended the run."""
        return len(self._in_flight.messages) if self._in_flight else 0

    async def _read(self) -> Page:
        """The next page, encoded into `_waiting`, while the batch in flight is stored."""
        found, limit = await self._pages.next(self._room())
        page, alone = await self._encode(found)
        self._see(page)
        self._pages.used(page, limit, alone, is_cut=len(page.rows) < len(found.rows))
        if page.rows:
            self._rest.found_rows()
        self._pages_in_a_row = self._pages_in_a_row + 1 if page.rows else 0
        if page.is_full or self._pages_in_a_row >= BUSY_PAGES:
            await self._rest.silence()
        return page

    def _see(self, page: Page) -> None:
        """Note what `page` shows, whose messages are to be sent."""
        self._term.metrics.ages.observe("read", [row.occurred_at for row in page.rows])
        self._gaps.see(row.id for row in page.rows)
        self._durability.see(page)

    async def _look_ahead(self, page: Page) -> None:
        """Let those overtake whom the lane finds behind `page`."""
        if not self._lane.is_due(page, self._gaps):
            return
        unsent = [*self._waiting, *(self._in_flight.messages if self._in_flight else ())]
        found = await self._lane.look(page, self._gaps.seen, {message.transaction_id for message in unsent})
        if found is not None:
            self._see(found)

    async def _encode(self, page: Page) -> tuple[Page, int]:
        """Put messages of the rows of `page` into `_waiting`; returns the page of those, and how many were read alone.

        A row read alone may take seconds, so the heartbeat is stored in between.
        """
        size, alone = 0, 0
        withheld: list[int] = []
        for number, row in enumerate(page.rows, start=1):
            if not self._term.profile.publishes(row.entity, row.action):
                withheld.append(row.id)
                continue
            if row.data is None:
                alone += 1
                if number > 1 and self._waiting_bytes > PAGE_BYTES // 2:
                    page = page._replace(rows=page.rows[: number - 1], is_full=True)
                    break
                row = await with_data(self._term.conn, row, self._term.stream.max_payload)
                await self._keep_lead()
            message = encoded(self._term.profile, row, self._term.stream.max_payload)
            if message.omission is not None:
                await self._report_omission(message.outbox_id, message.omission)
            self._waiting.append(message)
            self._waiting_bytes += message.size
            size += message.size
            is_enough = size > PAGE_BYTES or (alone and self._waiting_bytes > PAGE_BYTES)
            if is_enough and number < len(page.rows):
                page = page._replace(rows=page.rows[:number], is_full=True)
                break
        self._lane.read(page)
        self._withhold(withheld)
        return page, alone

    def _withhold(self, ids: Sequence[int]) -> None:
        """Pass events that do not go into the stream; they stay in the outbox as any other."""
        if ids:
            self._lane.passed(ids)
            withhold(self._term.cursor, ids)
            self._term.metrics.withheld(len(ids))
            self._has_withheld = True

    async def _report_omission(self, outbox_id: int, omission: Omission) -> None:
        """Count an event that goes out as a reference, and note it for `doctor` and the status page."""
        self._term.metrics.sent_as_reference(omission.reason)
        if omission.reason != TOO_LARGE:
            self._omissions += 1
            if is_told(self._omissions):
                log.error(
                    "event goes out without its data",
                    outbox_id=outbox_id,
                    reason=omission.detail,
                    omissions=self._omissions,
                )
        await note(self._term.conn, outbox_id, omission)

    def _room(self, leaving: int = 0) -> int:
        """How many rows there is room for beside those that wait, once `leaving` of these are sent."""
        if self._waiting_bytes >= WAITING_BYTES:
            return 1
        return 2 * self._term.settings.batch_size - max(len(self._waiting) - leaving, 0)

    def _is_cut(self, page: Page) -> bool:
        """Whether `page` may have ended within a transaction and there is room to read the rest of it first."""
        if page.end is None or len(self._waiting) >= 2 * self._term.settings.batch_size:
            return False
        return self._waiting_bytes <= WAITING_BYTES

    def _close_gaps(self, page: Page) -> bool:
        """Take the ids as published that this page proves will never appear; returns whether there were any."""
        dead = self._gaps.close(page)
        self._term.cursor.published.add_ranges(dead)
        self._term.cursor.dead_ids += sum(high - low for low, high in dead)
        if dead:
            self._term.metrics.declared_dead(dead)
            log.info("outbox ids will never appear", ranges=[[low, high - 1] for low, high in dead[:RANGES_LOGGED]])
        return bool(dead)

    async def _send_next(self, limit: int) -> int:
        await self._keep_lead()  # who slept since he read may lead no more, and a shared stream refuses nobody
        if self._lane.messages:
            batch, self._lane.messages = take(self._lane.messages, limit)
        else:
            batch, self._waiting = take(self._waiting, limit)
            self._waiting_bytes -= sum(message.size for message in batch)
        answer = await self._term.stream.send(batch, self._term.cursor.stream_sequence)
        self._term.metrics.ages.observe("sent", [message.occurred_at for message in batch])
        self._in_flight = InFlight(batch, answer)
        return len(batch)

    async def _acknowledge(self, batch: InFlight) -> None:
        cursor, before = self._term.cursor, self._term.cursor.stream_sequence
        try:
            with self._term.heartbeat.waiting(f"stream {cursor.stream} does not acknowledge"):
                async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                    cursor.stream_sequence = await batch.answer
        except TimeoutError:
            raise self._term.stream.silent() from None
        ids = [message.outbox_id for message in batch.messages]
        cursor.published.add_all(ids)
        self._lane.passed(ids)
        if cursor.stream_sequence > before:  # else the server had the message already, where the record has it
            cursor.unrecorded.append(Batch(cursor.stream_sequence, ids))
        else:
            cursor.complete_sequence = None
        cursor.hindrance = None
        self._in_flight = None
        self._term.metrics.acknowledged([message.occurred_at for message in batch.messages])
        if tracing.is_on():
            trace(cursor.stream, batch.messages, batch.sent_ns)

    async def _store(self, page: Page) -> None:
        """Store the cursor; it is the heartbeat, too, and its transaction is the mark for all ids handed out so far."""
        await advance(self._term.conn, self._term.cursor)
        self._has_withheld = False
        self._gaps.mark(page.allocated, self._term.cursor.transaction_id)
        self._note(page)

    def _note(self, page: Page) -> None:
        """Note how much is left. Who has just taken the lead may have nothing to store for as long as a gap stays."""
        unpublished = len(self._waiting) + self._gaps.missing(page.allocated)
        self._term.metrics.progressed(unpublished, self._gaps.seen.gap_count(), len(self._term.cursor.published))

    async def _pause(self, page: Page) -> None:
        """Nothing is visible and nothing in flight: rest, until something may be there or ids that are missing."""
        self._term.metrics.well()
        self._note(page)
        if self._term.cursor.hindrance is not None:
            self._term.cursor.hindrance = None
            await advance(self._term.conn, self._term.cursor)
        if not self._rest.is_armed:
            await self._rest.arm()
            return
        if self._gaps.has_missing(page.allocated):
            if not self._gaps.is_marked(page.allocated):
                await self._store(page)
            await self._rest.while_missing()
        else:
            await self._rest.until_news(self._gaps.seen.upper)
        await self._keep_lead()

    async def _keep_lead(self) -> None:
        """Store the heartbeat when it is due."""
        if self._is_heartbeat_due:
            await advance(self._term.conn, self._term.cursor)

    @property
    def _is_heartbeat_due(self) -> bool:
        return monotonic() - self._term.cursor.stored_at >= self._term.settings.heartbeat_seconds
