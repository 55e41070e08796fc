"""The relay: one process leads, recovers and drains the outbox into the stream; any others stand by.

The lead is an advisory lock on the leader's own connection, fenced by the cursor's epoch (`publisher/outbox`) and by
the stream's expected sequence (`publisher/stream`); the work itself is `drain.py`. Why: docs/adr/0023-leadership.md
and 0001-outbox-and-relay.md.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from time import monotonic

import psycopg
from psycopg import AsyncConnection

from publisher.outbox.connection import LEADER, connect
from publisher.outbox.cursor import Cursor, Deposed, advance
from publisher.outbox.doorbell import Doorbell, set_doorbell
from publisher.outbox.lead import Holder, end_if_hanging, end_session, holder_of_lead, stranger_leads, try_lead
from publisher.part import Part
from publisher.relay.drain import Drain
from publisher.relay.heartbeat import Heartbeat
from publisher.relay.metrics import RelayMetrics
from publisher.relay.patience import Patience
from publisher.relay.recovery import Recovery
from publisher.relay.term import Term
from publisher.settings import Settings
from publisher.stream.acknowledgements import StreamMoved
from publisher.stream.event_stream import EventStream
from publisher.stream.opening import open_stream
from registry.concurrency.backoff import Backoff
from registry.concurrency.tasks import in_time
from registry.errors import RegistryError, Unavailable
from registry.log import log

STANDBY_POLL_SECONDS = 0.2
CROWDED_SECONDS = 5.0
"""After so long in which every batch was refused, it is told that others write to the stream."""
CROWDED_OUT = "others write to stream {stream} so fast that nothing gets between: find out who may, and end it"
REACH_SECONDS = 2.0
"""How long a standby tries to reach the stream."""
SILENCE_SECONDS = 1.0
"""How long a relay that stops tries to silence the doorbell."""


class Relay(Part):
    """Publishes the outbox of one database into one stream. Any number may run; one leads, the others stand by."""

    PASSING = (Unavailable, Deposed)  # a stream of another state or configuration is for a person to decide

    def __init__(self, settings: Settings, metrics: RelayMetrics) -> None:
        super().__init__(settings, metrics)
        self._metrics = metrics
        self._patience = Patience()

    async def work(self) -> None:
        """Stand by, then lead, until that ends.

        Raises what waiting cannot heal: a stream of another configuration, or one that lost what was published into it
        and holds something else instead.
        """
        async with connect(self._database_url, self._name, LEADER) as conn:
            cursor = await self._stand_by(conn)
            await self._lead(conn, cursor)

    def interrupted(self) -> None:
        """Note that this relay has no role."""
        self._metrics.became("starting")

    async def _stand_by(self, conn: AsyncConnection) -> Cursor:
        """Wait for the lead."""
        stream = self._profile.event_stream
        self._patience.begins()
        while (cursor := await try_lead(conn, stream, self._name)) is None:
            if self._metrics.role != "standby":
                self._metrics.outage.note("standing by", stream=stream)
                self._metrics.became("standby")
                self.settled.set()
            holder = await holder_of_lead(conn, stream, self._settings.stale_seconds)
            await end_if_hanging(conn, holder)
            if holder is not None and self._patience.is_over(is_hindered=holder.is_hindered):
                await self._follow(conn, holder)
            self._report(holder)
            await asyncio.sleep(STANDBY_POLL_SECONDS)
        self._metrics.took_over(cursor.epoch)
        say = log.info if self._metrics.role == "standby" else self._metrics.outage.note
        say("leading", stream=stream, epoch=cursor.epoch, stream_sequence=cursor.stream_sequence)
        return cursor

    async def _follow(self, conn: AsyncConnection, holder: Holder) -> None:
        """Take the lead from a publisher that cannot publish, if this one could."""
        if not holder.is_publisher or not await self._reaches_stream():
            return
        log.warning("the leader cannot publish, this one can: taking over", leader=str(holder))
        self._patience.took_over()
        await end_session(conn, holder)

    async def _reaches_stream(self) -> bool:
        try:
            async with asyncio.timeout(REACH_SECONDS), self._opened() as stream:
                await stream.last_sequence()
        except (RegistryError, TimeoutError):
            return False
        return True

    def _opened(self) -> AbstractAsyncContextManager[EventStream]:
        return open_stream(self._nats_url, self._name, self._profile, self._settings)

    def _report(self, holder: Holder | None) -> None:
        """Say so when who keeps this relay from leading is no publisher: then nothing is published."""
        if holder is None or holder.is_publisher:
            self._metrics.well()
            return
        problem = Unavailable(stranger_leads(holder, self._profile.event_stream))
        if str(problem) not in self._metrics.problems():
            self._metrics.failed(problem, "standing by behind a stranger")

    async def _lead(self, conn: AsyncConnection, cursor: Cursor) -> None:
        """Publish until the lead is lost. Trouble with NATS is no reason to give it up: storing the cursor keeps it."""
        heartbeat = Heartbeat(conn, cursor, self._settings.heartbeat_seconds)
        doorbell = Doorbell(self._database_url)
        try:
            async with heartbeat.beating(), doorbell.listening():
                await self._publish(conn, cursor, heartbeat, doorbell)
        finally:
            await self._silence(conn)

    async def _publish(self, conn: AsyncConnection, cursor: Cursor, heartbeat: Heartbeat, doorbell: Doorbell) -> None:
        """Publish over one connection to NATS after the other."""
        retry = Backoff()
        while True:
            # While NATS is away nobody rests, and writers pay nothing for a ring.
            await set_doorbell(conn, is_armed=False)
            try:
                async with AsyncExitStack() as stack:
                    with heartbeat.waiting(f"stream {cursor.stream} cannot be opened"):
                        stream = await stack.enter_async_context(self._opened())
                    term = Term(self._settings, stream.profile, self._metrics, conn, stream, cursor, heartbeat)
                    await self._drain(term, doorbell)
            except Unavailable as error:
                if conn.closed or isinstance(error.__cause__, psycopg.Error):
                    raise  # what was prepared on this connection may be out of date, as after a restored schema
                self._metrics.failed(error, "publishing interrupted")
                cursor.hindrance = str(error)
                await advance(conn, cursor)
                await retry.sleep()

    async def _silence(self, conn: AsyncConnection) -> None:
        """Let no writer pay for notifications that nobody awaits. A relay that cannot say so is one that was killed."""
        with suppress(RegistryError):
            await in_time(set_doorbell(conn, is_armed=False), SILENCE_SECONDS, "PostgreSQL")

    async def _drain(self, term: Term, doorbell: Doorbell) -> None:
        """Recover and publish, again from the stream's tail whenever the stream turns out to end elsewhere."""
        single = 0
        refused_since: float | None = None
        while True:
            found = await Recovery(term).run()
            drain = Drain(term, doorbell)
            published = self._metrics.published
            self._metrics.became("leader")
            self.settled.set()
            try:
                # Refused although the tail holds nothing new: the server still remembers an id of a message that was
                # deleted from the stream. One by one, it tells which.
                await drain.run(single=0 if found else single)
            except StreamMoved as moved:
                self._metrics.moved()
                single = drain.unacknowledged
                if refused_since is None or self._metrics.published > published:
                    refused_since = monotonic()
                if monotonic() - refused_since < CROWDED_SECONDS:
                    log.warning("reading the stream's tail", reason=str(moved))
                else:
                    problem = Unavailable(CROWDED_OUT.format(stream=term.stream.name))
                    self._metrics.failed(problem, "publishing interrupted")
