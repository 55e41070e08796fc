"""The lane: what overtakes a backlog, so that one event does not wait for 50,000 of other projects.

The argument: docs/adr/0018-lane.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from time import monotonic

from publisher.outbox.page import Page, Unseen, next_page
from publisher.outbox.ranges import RangeSet, runs
from publisher.outbox.scout import scout
from publisher.relay.gaps import NOTHING_ABOVE, Gaps
from publisher.relay.term import Term
from publisher.relay.waiting import MOST_BYTES, Waiting
from registry.events.message import Message
from registry.log import log
from registry.profiles.profile import encoded

LEAST_BACKLOG = 5_000
"""Behind fewer ids the way through the backlog takes no longer than this one."""
NEWEST = 1_000
"""Only transactions all of whose ids are among so many of the last ones are looked at one by one."""
MOST_GAPS = 64
"""What overtakes leaves a gap behind it, which each page looks at until the backlog has come there."""
LOOK_SECONDS = 0.02
"""Between one look to the end of the outbox and the next."""
OVERTAKING = "events go before a backlog"
"""What the log says of it."""


class Lane:
    """The messages that go before all others, and what is known of those."""

    def __init__(self, term: Term) -> None:
        self._term = term
        self._waiting = Waiting()
        self._looked_at = 0.0
        self.messages: list[Message] = []

    def read(self, page: Page) -> None:
        """Note what a page shows."""
        self._waiting.read(page)

    def passed(self, ids: Iterable[int]) -> None:
        """Note that events are in the stream, or will not be."""
        self._waiting.passed(ids)

    def is_due(self, page: Page, gaps: Gaps) -> bool:
        """Whether to look behind `page`."""
        if page.end is None or self.messages or monotonic() - self._looked_at < LOOK_SECONDS:
            return False
        return gaps.missing(page.allocated) >= LEAST_BACKLOG and gaps.seen.gap_count() <= MOST_GAPS

    async def look(self, page: Page, seen: RangeSet, reading: Collection[int]) -> Page | None:
        """Look behind `page` for what may overtake: a page of those rows, whose messages are in the lane now.

        `reading` are the transactions of which a page may have had a part. Raises `Unavailable`.
        """
        news = await scout(self._term.conn, self._waiting.known(seen), page.allocated - NEWEST)
        if news.is_complete:
            self._looked_at = monotonic()
        chosen = self._waiting.overtaking(news, self._term.profile.publishes, reading)
        found = await self._taken([row.id for row in chosen])
        self._waiting.look(news, chosen if found is not None else ())
        if found is not None:
            log.debug(OVERTAKING, events=len(found.rows))
        return found

    async def _taken(self, ids: Sequence[int]) -> Page | None:
        """Read the rows with these ids into the lane: they are as they were looked at, since outbox rows never change.

        None where a row is longer as text, or goes without its data: they wait as all others.
        """
        if not ids:
            return None
        page = await next_page(self._term.conn, Unseen(runs(ids), NOTHING_ABOVE), len(ids), MOST_BYTES)
        max_payload = self._term.stream.max_payload
        messages = [encoded(self._term.profile, row, max_payload) for row in page.rows if row.data is not None]
        if len(messages) < len(ids) or any(message.omission is not None for message in messages):
            return None
        self.messages = messages
        return page
