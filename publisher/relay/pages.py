"""The pages of the outbox that the relay reads: how many rows each may have, and the one that is asked for ahead.

Why a page may be older than the cursor that was stored since it was asked for: docs/adr/0001-outbox-and-relay.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import time
from typing import NamedTuple

from publisher.outbox.page import Page, next_page
from publisher.outbox.rows import SLICE_BYTES
from publisher.relay.gaps import Gaps
from publisher.relay.term import Term
from registry.concurrency.tasks import end

FIRST_PAGE = 128
"""Rows asked for after a rest, doubled while pages come back full: a burst of huge rows meets a small page."""
PAGE_BYTES = 8 * 1024 * 1024
"""A page has not much more data than this: a row with more than its share is read alone, and the rest is left."""
ALONE = 8
"""After a page of which more than one in so many rows was read alone, one of half as many rows is asked for."""


class Asked(NamedTuple):
    """A page that PostgreSQL was asked for."""

    limit: int
    short_bytes: int
    page: asyncio.Task[Page]


class Pages:
    """Of one drain."""

    def __init__(self, term: Term, gaps: Gaps) -> None:
        self._term = term
        self._gaps = gaps
        self._limit = FIRST_PAGE
        self._asked: Asked | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Nothing is asked for any more when the block has ended."""
        try:
            yield
        finally:
            if self._asked is not None:
                await end([self._asked.page])
                await asyncio.gather(self._asked.page, return_exceptions=True)  # what it met, nobody waits for

    async def ask(self, room: int) -> None:
        """Have PostgreSQL read the next page, for which there is `room`, while something else is done."""
        self._asked = self._ask(room)
        await asyncio.sleep(0)  # the question is on its way

    async def next(self, room: int) -> tuple[Page, int]:
        """The page that was asked for, else the next one for which there is `room`; and how many rows it may have.

        Raises `Unavailable`.
        """
        asked, self._asked = self._asked or self._ask(room), None
        page = await asked.page
        while page.ended:  # the same snapshot may show rows in gaps that were left out: with them, once more
            self._gaps.reopen(page.ended)
            page = await self._read(asked.limit, asked.short_bytes)
        return page, asked.limit

    def used(self, page: Page, limit: int, alone: int, *, is_cut: bool) -> None:
        """Note that of a page of at most `limit` rows `page` was used, of which `alone` were read alone."""
        if is_cut or alone * ALONE > len(page.rows):
            self._limit = max(limit // 2, 1)
        elif limit == self._limit and page.is_full:
            self._limit = min(2 * limit, 2 * self._term.settings.batch_size)
        elif not page.rows:
            self._limit = FIRST_PAGE

    def _ask(self, room: int) -> Asked:
        limit = max(min(self._limit, room), 1)
        short_bytes = min(PAGE_BYTES // limit, SLICE_BYTES, self._term.stream.max_payload)
        return Asked(limit, short_bytes, asyncio.create_task(self._read(limit, short_bytes)))

    async def _read(self, limit: int, short_bytes: int) -> Page:
        asked_at = time()
        page = await next_page(self._term.conn, self._gaps.unseen(), limit, short_bytes)
        self._term.metrics.ages.clock(page.read_at, asked_at)
        return page
