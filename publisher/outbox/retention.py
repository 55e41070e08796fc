"""Retention: old events leave the outbox in small steps, oldest published first, never one that is not published."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from time import monotonic
from typing import NamedTuple

from psycopg import AsyncConnection

from publisher.health import Health
from publisher.outbox.connection import LEADER, connect, translated
from publisher.outbox.faults import forget_removed
from publisher.part import Part
from publisher.settings import Settings
from registry.log import log

STEP_EVENTS = 1000
"""Events removed in one transaction, about; a batch that was published as one goes as one."""
INTERVAL_SECONDS = 3600.0

STEP = "SELECT events, batches FROM public.forget_published(%(keep)s, %(step)s::int)"


class Removed(NamedTuple):
    """What one run removed."""

    events: int
    batches: int


async def remove_old(conn: AsyncConnection, keep: timedelta) -> Removed:
    """Remove the events that were published longer ago than `keep`, with pauses as long as the work. `conn` commits."""
    total = Removed(0, 0)
    while True:
        began = monotonic()
        with translated():
            row = await (await conn.execute(STEP, {"keep": keep, "step": STEP_EVENTS})).fetchone()
        events, batches = row or (0, 0)
        if not (events or batches):
            await forget_removed(conn)
            return total
        total = Removed(total.events + events, total.batches + batches)
        await asyncio.sleep(monotonic() - began)  # at most half of what one connection can do


class Retention(Part):
    """Removes old events every hour. Any number of publishers may do so: each step is one statement."""

    def __init__(self, settings: Settings, health: Health) -> None:
        super().__init__(settings, health, "retention")

    async def work(self) -> None:
        """Remove old events until cancelled; return when the setting keeps them for ever."""
        self.settled.set()
        days = self._settings.outbox_retention_days
        while keep := timedelta(days=days):
            async with connect(self._database_url, self._name, LEADER) as conn:
                removed = await remove_old(conn, keep)
            self.health.well()
            if removed.events:
                log.info("old events removed", events=removed.events, older_than_days=days)
            await asyncio.sleep(INTERVAL_SECONDS)
