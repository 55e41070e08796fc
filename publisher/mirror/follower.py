"""The follower: events of the source become rows, each once, in order; a snapshot where they do not lead on.

Why the copy is exact after any end of any process, and what makes it take a snapshot: docs/adr/0017-mirror.md.
"""

from __future__ import annotations

import asyncio
from typing import Any, LiteralString, NoReturn

from psycopg import AsyncConnection

from publisher.mirror.batch import Batch, Untold
from publisher.mirror.health import MirrorHealth
from publisher.mirror.renewal import OtherSource, check_source, renew
from publisher.mirror.source import Source, check_source_settings, connect_source
from publisher.mirror.state import MirrorState, read_state
from publisher.outbox.connection import READER, connect, translated
from publisher.outbox.taking_on import by_any_role
from publisher.part import Part
from publisher.settings import Settings
from registry.client.replay import replay
from registry.concurrency.tasks import run_until
from registry.errors import Conflict, Invalid, Unavailable, Unprepared
from registry.history.pages import HistoryLost, Replayed
from registry.log import log
from registry.position import After

KEY = "hashtextextended('imi mirror' || CASE %(number)s::int WHEN 0 THEN '' ELSE ' ' || %(number)s::int END, 0)"
LOCK = f"SELECT pg_try_advisory_lock({KEY})"
# Whoever may connect may hold any advisory lock. Who may not follow is passed by, and the next lock is taken: two that
# follow at once, as when he lets go again, are kept apart by the position.
MAY_FOLLOW = by_any_role("session.usesysid", "has_any_column_privilege(own.oid, 'public.mirror_source', 'UPDATE')")
IS_STRANGERS = f"""
SELECT NOT {MAY_FOLLOW}
FROM pg_locks AS held
JOIN pg_stat_activity AS session ON session.pid = held.pid
WHERE held.locktype = 'advisory'
    AND held.granted
    AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (held.classid::bigint << 32) | held.objid::bigint = {KEY}
    AND held.objsubid = 1
"""  # noqa: S608  # of constants
LOCK_SECONDS = 1.0
"""How often one that stands by asks whether nobody follows."""
SETTLE_SECONDS, SETTLE_LOOKS = 0.05, 40
"""How often, and how many times at once, it is looked whether the publisher of the source knows its stream."""
CHECK_SECONDS = 5.0
"""How often the source is asked whether it is still what it was."""


class Renewal(Conflict):
    """Events do not lead on from what is there: a snapshot is needed."""


class Follower(Part):
    """Follows the source that the settings name, into the database, which is a mirror."""

    def __init__(self, settings: Settings, health: MirrorHealth) -> None:
        """Raises `Invalid` for settings, and files as they are now, with which no source is reached."""
        super().__init__(settings, health, "mirror")
        check_source_settings(settings)
        self.health: MirrorHealth = health
        self._reason: str | None = None
        """Why a snapshot is to be taken."""
        self._snapshots = 0
        """How many there had been when that was found."""
        self._renewed_after = 0
        """Sequence of the last event for which one was taken."""

    def is_passing(self, error: BaseException) -> bool:
        """A database that is no mirror, or no longer, ends it, and so does a stream that cannot be followed."""
        return super().is_passing(error) and (isinstance(error, OtherSource) or not isinstance(error, Conflict))

    async def work(self) -> None:
        """Follow until an error ends it. Raises `Conflict` when the database is no mirror, or no longer."""
        async with (
            connect(self._database_url, self._name, READER) as conn,
            connect_source(self._settings, self._name) as source,
        ):
            await self._lead(conn)
            state = await self._state(conn)
            self.health.begins(state)
            await source.check_stream(state.source)
            state = await self._ready(conn, source, state)
            try:
                await self._follow(conn, source, state)
            except Exception as error:  # of whoever reads, or watches
                self._look_at(error, state)

    def _look_at(self, error: Exception, state: MirrorState) -> NoReturn:
        """Raise `error` as one that is to be waited for where it is one, and note whether a snapshot is needed."""
        if isinstance(error, OtherSource) or not isinstance(error, Conflict):
            raise error from None
        if isinstance(error, Renewal | Untold | HistoryLost):
            self._reason, self._snapshots = str(error), state.snapshots
            self._renewed_after = error.sequence if isinstance(error, Untold) else 0
        raise Unavailable(str(error)) from error

    async def _lead(self, conn: AsyncConnection[Any]) -> None:
        """Wait until nobody else follows."""
        while not await self._leads(conn):
            self.health.became("standby")
            self.settled.set()
            await asyncio.sleep(LOCK_SECONDS)
        self.health.became("leader")

    async def _leads(self, conn: AsyncConnection[Any]) -> bool:
        """Whether the first lock that no stranger holds is this follower's."""
        number = 0
        while not await _is_so(conn, LOCK, number):
            if not await _is_so(conn, IS_STRANGERS, number):
                return False
            number += 1
        return True

    async def _state(self, conn: AsyncConnection[Any]) -> MirrorState:
        state = await read_state(conn)
        if state is None or not state.is_mirror:
            was = "was promoted, and is served without IMI_MIRROR_NATS_URL" if state is not None else "is no mirror"
            raise Conflict(f"this registry {was}; imi-registry mirror setup makes it one")
        return state

    async def _ready(self, conn: AsyncConnection[Any], source: Source, state: MirrorState) -> MirrorState:
        """The state from which events lead on: as it is, or after a snapshot. Raises `Unavailable`, `OtherSource`."""
        if self._reason is not None and state.snapshots != self._snapshots:  # it was taken, though this did not hear so
            self._reason, self._renewed_after = None, 0
        reason = self._reason or await self._reason_now(source, state)
        if reason is None:
            return state
        await self._settled_source(source, state)
        log.info("taking a snapshot of the source", source=state.source, reason=reason)
        try:
            head = await renew(conn, source, state, reason)
        except OtherSource:
            raise
        except (Conflict, Invalid) as error:
            raise Unprepared(
                f"the snapshot of {state.source} cannot be put in the place of what is here: {error}"
            ) from error
        self._reason = None
        self.health.renewed(head.position.sequence)
        log.info("snapshot taken", source=state.source, sequence=head.position.sequence)
        return await self._state(conn)

    async def _settled_source(self, source: Source, state: MirrorState) -> None:
        """Wait until the publisher of the source knows all that is in its stream. Raises `Unavailable`, `OtherSource`.

        That of a restored database finds events in it that are lost: behind an earlier position they would be applied.
        """
        last = await source.last_sequence()
        for _ in range(SETTLE_LOOKS):
            site = await source.site()
            check_source(state, site)
            if site.sequence >= last:
                return
            await asyncio.sleep(SETTLE_SECONDS)
        raise Unavailable(
            f"the stream of {state.source} ends at sequence {last}, and its publisher knows of {site.sequence}: "
            "a snapshot waits for it"
        )

    async def _reason_now(self, source: Source, state: MirrorState) -> str | None:
        """Why a snapshot is needed before the first event; None when none is. Raises `Unavailable`, `OtherSource`."""
        if not state.position:
            return "the mirror is new" if state.registry_id is None else "somebody asked for it"
        try:
            reason = await self._restored(source, state)
        except Unavailable as error:
            self.health.unheard(error)
            reason = None
        if reason is not None:
            return reason
        last = await source.last_sequence()
        if last < state.sequence:
            # One of a mirror in NATS is behind; one that is rebuilt, or completed, comes to have what it had.
            known = await source.site()
            if known.sequence >= state.sequence:
                raise Unavailable(
                    f"stream {source.profile.event_stream} ends at sequence {last}, and {state.sequence} is applied: "
                    "waiting until it is complete again"
                )
            return f"the stream of the source ends at sequence {last}, and {state.sequence} was applied"
        there = await source.event_id_at(state.sequence)
        if state.event_id is not None and there is not None and there != state.event_id:
            return f"sequence {state.sequence} of the source is another event than the one that was applied"
        return None

    async def _restored(self, source: Source, state: MirrorState) -> str | None:
        """Whether the source's database is an older state, or may be. Raises `Unavailable`, `OtherSource`."""
        site = await source.site()
        self.health.heard()
        check_source(state, site)
        if site.life == state.life:
            return None
        return "the database of the source was restored from a backup, or a standby of it took over"

    async def _follow(self, conn: AsyncConnection[Any], source: Source, state: MirrorState) -> None:
        batch = Batch(state.position, state.sequence)
        await run_until(asyncio.Event(), [self._watch(conn, source, state, batch), self._read(conn, source, batch)])

    async def _read(self, conn: AsyncConnection[Any], source: Source, batch: Batch) -> None:
        """Apply what comes, for ever."""

        async def passed(sequence: int) -> None:
            await self._apply(conn, batch, is_complete=False)
            batch.passed = sequence

        async def caught_up() -> None:
            await self._apply(conn, batch, is_complete=True)

        start = After(batch.position)
        async with replay(
            source.client, source.profile, start, follow=True, passed=passed, caught_up=caught_up
        ) as events:
            async for event in events:
                await self._take(batch, event, source)
                if batch.is_full:
                    await self._apply(conn, batch, is_complete=False)

    async def _apply(self, conn: AsyncConnection[Any], batch: Batch, *, is_complete: bool) -> None:
        """Apply what may be applied. Raises `Renewal` where the rows that are here are in the way."""
        try:
            lags = await batch.apply(conn, is_complete=is_complete)
        except (Conflict, Invalid) as error:
            state = await self._state(conn)
            if state.position != batch.position:
                raise Unavailable(str(error)) from error
            raise Renewal(f"what {state.source} tells does not fit to what is here: {error}") from error
        self.health.applied(lags, batch.sequence)
        if is_complete:
            self._caught_up()

    def _caught_up(self) -> None:
        self.health.complete()
        self.settled.set()

    async def _take(self, batch: Batch, event: Replayed, source: Source) -> None:
        try:
            await batch.add(event, source)
        except Untold:
            if event.sequence > self._renewed_after:
                raise
            batch.skip(event)

    async def _watch(self, conn: AsyncConnection[Any], source: Source, state: MirrorState, batch: Batch) -> None:
        """Ask again and again whether the source is what it was. Raises `Renewal` when not, `OtherSource`.

        Where nothing new is published, nothing comes that says so: the end of the stream does.
        """
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            read = max(batch.passed, batch.sequence)
            try:
                last = await source.last_sequence()
            except Unavailable as error:  # what is read waits for it
                self.health.unheard(error)
                continue
            if last <= read and await batch.know(conn):
                self._caught_up()
            try:
                reason = await self._restored(source, state)
            except Unavailable as error:
                self.health.unheard(error)
                continue
            if reason is not None:
                raise Renewal(reason)

    def interrupted(self) -> None:
        """Settled as well: it says what it waits for."""
        self.settled.set()


async def _is_so(conn: AsyncConnection[Any], query: LiteralString, number: int) -> bool:
    with translated():
        (is_so,) = await (await conn.execute(query, {"number": number})).fetchone() or (False,)
    return bool(is_so)
