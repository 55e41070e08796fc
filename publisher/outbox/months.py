"""Months of the log of agents, made ahead where it is kept by month: docs/months.md."""

from __future__ import annotations

import asyncio

import psycopg

from publisher.health import Health
from publisher.outbox.connection import LEADER, connect, translated
from publisher.part import Part
from publisher.settings import Settings
from registry.log import log

INTERVAL_SECONDS = 3600.0
MAKE = "SELECT public.make_activity_months()"


class Months(Part):
    """Makes months every hour, as far as they are not there. Any number of publishers may do so."""

    def __init__(self, settings: Settings, health: Health) -> None:
        super().__init__(settings, health, "months")

    async def work(self) -> None:
        """Make months until cancelled."""
        self.settled.set()
        while True:
            async with connect(self._database_url, self._name, LEADER) as conn:
                made = await make_ahead(conn)
            self.health.well()
            if made:
                log.info("months of activities made ahead", months=made)
            await asyncio.sleep(INTERVAL_SECONDS)


async def make_ahead(conn: psycopg.AsyncConnection) -> int:
    """Make the months that are not there; returns how many. None while somebody holds a lock: the next hour will do.

    Until then a row of such a month is put with those of all other times, and none is refused.
    """
    with translated():
        try:
            (made,) = await (await conn.execute(MAKE)).fetchone() or (0,)
        except psycopg.errors.LockNotAvailable:
            return 0
    return int(made)
