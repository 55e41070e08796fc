"""The watch of a replica: PostgreSQL does the work; this asks, again and again, whether it does, and how far it is.

How old a replica is, and why that is never told too low: docs/adr/0019-replica.md.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from psycopg import AsyncConnection

from publisher.outbox.connection import READER, connect, translated
from publisher.part import Part
from publisher.replica.copies import LostCopies
from publisher.replica.health import ReplicaHealth
from publisher.replica.reason import last_error, stopped_because
from publisher.replica.replication import COPIED
from publisher.replica.source import connect_source, facts, mark
from publisher.replica.state import ReplicaState, read_state
from publisher.replica.subscription import Subscription, has_applied, read_subscription
from publisher.settings import Settings
from registry.concurrency.backoff import Backoff
from registry.concurrency.tasks import run_until
from registry.database.connection import check_url
from registry.errors import Conflict, RegistryError

INTERVAL_SECONDS = 1.0
POLL_SECONDS = (0.01, 0.2)
"""How often it is looked whether a mark is applied: at first, and once it takes long."""
KNOWN = """
UPDATE public.replica_source
SET known_at = clock_timestamp() - make_interval(secs => %s), behind_bytes = %s
WHERE promoted_at IS NULL AND stopped_at IS NULL
"""
BEHIND = "UPDATE public.replica_source SET behind_bytes = %s WHERE promoted_at IS NULL AND stopped_at IS NULL"


class ReplicaWatch(Part):
    """Watches the replica that the database is."""

    def __init__(self, settings: Settings, health: ReplicaHealth) -> None:
        """Raises `Invalid` for a URL of the source that is none."""
        super().__init__(settings, health, "replica")
        self.health: ReplicaHealth = health
        self._source_url = settings.replica_source_url or ""
        check_url(self._source_url)
        self._lost = LostCopies()

    def is_passing(self, error: BaseException) -> bool:
        """A database that is no replica, or no longer, ends it."""
        return super().is_passing(error) and not isinstance(error, Conflict)

    async def work(self) -> None:
        """Watch until an error ends it. Raises `Conflict` when the database is no replica, or no longer."""
        async with connect(self._database_url, self._name, READER) as conn:
            await run_until(asyncio.Event(), [self._look(conn), self._measure(conn)])

    async def _look(self, conn: AsyncConnection[Any]) -> None:
        """Ask this database, again and again."""
        was_stopped = False
        while True:
            state = await self._state(conn)
            found = await read_subscription(conn, state.slot)
            stopped = stopped_because(state, found)
            told = await _with_reason(conn, found, stopped) if stopped is not None and was_stopped else None
            was_stopped = stopped is not None  # between two of its starts a worker is away for a moment
            if found is not None and not found.uncopied and state.copied_at is None:
                with translated():
                    await conn.execute(COPIED)
            self.health.looked(state, found, told)
            self.settled.set()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def _state(self, conn: AsyncConnection[Any]) -> ReplicaState:
        state = await read_state(conn)
        if state is None or not state.follows:
            promoted = "was promoted, and is served without IMI_REPLICA_SOURCE_URL"
            was = "is no replica" if state is None else "follows no longer" if state.is_replica else promoted
            raise Conflict(f"this registry {was}; imi-registry replica create makes it one that follows")
        return state

    async def _measure(self, conn: AsyncConnection[Any]) -> None:
        """Ask the source, again and again, where it stands, and see when this replica is there."""
        retry = Backoff()
        while True:
            try:
                async with connect_source(self._source_url) as source:
                    while True:
                        await self._round(conn, source)
                        await asyncio.sleep(INTERVAL_SECONDS)
            except RegistryError as error:  # that this database is no replica is told by who looks at it
                self.health.unheard(error)
                await retry.sleep()

    async def _round(self, conn: AsyncConnection[Any], source: AsyncConnection[Any]) -> None:
        state = await self._state(conn)
        if not await self._fits(conn, source, state) or state.copied_at is None:
            return
        began = monotonic()
        place = await mark(source)
        looked = began
        while not await has_applied(conn, state.slot, place):
            waited = monotonic() - began
            await asyncio.sleep(min(max(waited / 10, POLL_SECONDS[0]), POLL_SECONDS[1]))
            if monotonic() - looked > INTERVAL_SECONDS:
                looked = monotonic()
                if not await self._fits(conn, source, state):
                    return
        since = monotonic() - began
        with translated():
            await conn.execute(KNOWN, [since, 0])
        self.health.heard([], 0)
        self.health.complete(since)

    async def _fits(self, conn: AsyncConnection[Any], source: AsyncConnection[Any], state: ReplicaState) -> bool:
        """Note what the source says; whether it can be followed."""
        found = await read_subscription(conn, state.slot)
        told = await facts(source, state.slot, None if found is None else found.applied_lsn)
        problems = told.problems(state)
        if found is not None and (lost := await self._lost.look(source, found, state)) is not None:
            problems.append(lost)
        self.health.heard(problems, told.behind_bytes)
        with translated():
            await conn.execute(BEHIND, [told.behind_bytes])
        return not problems

    def interrupted(self) -> None:
        """Settled as well: it says what it waits for."""
        self.settled.set()


async def _with_reason(conn: AsyncConnection[Any], found: Subscription | None, stopped: str) -> str:
    reason = None if found is None else await last_error(conn, found)
    return stopped if reason is None else f"{stopped}; {reason}"
