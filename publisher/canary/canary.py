"""The canary: writes a heartbeat every few seconds, as any writer does, and expects it back as any reader does.

Each service has its own, whether it leads or stands by: so a service tells of a chain that stands still anywhere, also
of one whose every part says that it is alive.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic

from nats.aio.client import Client
from psycopg import AsyncConnection

from publisher.canary.health import CanaryHealth
from publisher.canary.heartbeat import ACTION, ENTITY, SESSION, Heartbeat, stage, subject_of, write
from publisher.outbox.connection import connect
from publisher.part import Part
from publisher.settings import Settings
from registry.broker.connection import connect_nats
from registry.broker.ordered import OrderedReader, ordered_reader
from registry.concurrency.tasks import in_time, run_until
from registry.errors import Unavailable

GRACE_SECONDS = 5.0
"""How long a takeover may last beyond the time after which a leader is deposed."""
LOOK_SECONDS = 5.0
"""How often it is looked where a heartbeat is that does not come."""
REMEMBERED = 100
"""Heartbeats, of all services, that came last."""
ANOTHER_SECONDS = 60.0
"""While one does not come, another is written no more often than this: the first may be lost for good."""


class Canary(Part):
    """Writes heartbeats, and waits for them. Does nothing where the setting says so."""

    def __init__(self, settings: Settings, health: CanaryHealth, after: asyncio.Event) -> None:
        """`after` is set when a publisher may be expected to lead: before, its absence says nothing."""
        super().__init__(settings, health, "canary")
        self._told = health
        self._interval_seconds = settings.canary_seconds or 0.0
        self._patience_seconds = settings.stale_seconds + GRACE_SECONDS
        self._under_way: dict[str, Heartbeat] = {}
        self._arrived = asyncio.Event()
        self._seen: deque[str] = deque(maxlen=REMEMBERED)
        self._after = after
        self.settled.set()  # from the start: a service is ready without it

    async def work(self) -> None:
        """Write and wait until cancelled; return when it is switched off, or heartbeats do not go into the stream."""
        if not self._interval_seconds or not self._profile.publishes(ENTITY, ACTION):
            return
        await self._after.wait()
        self._told.begins()
        stream, subject = self._profile.event_stream, subject_of(self._profile)
        async with (
            connect(self._database_url, self._name, SESSION) as conn,
            connect_nats(self._nats_url, self._name, self._nats_access, reconnect=False) as client,
            ordered_reader(client, stream, subject, patience_seconds=GRACE_SECONDS) as reader,
        ):
            _, last = await reader.state()
            await reader.start(last)
            await run_until(asyncio.Event(), [self._read(reader), self._beat(conn, client)])

    async def _read(self, reader: OrderedReader) -> None:
        while True:
            for message in await reader.next():
                _, event_id = self._profile.identity(message.headers)
                if event_id is not None:
                    self._seen.append(event_id)
                    self._look()

    def _look(self) -> None:
        """Note whether a heartbeat of ours came: it may be quicker than PostgreSQL's answer to its write."""
        back = [self._under_way[event_id] for event_id in self._seen if event_id in self._under_way]
        if back:
            self._told.arrived(monotonic() - back[-1].written_at)
            self._under_way.clear()  # those before it came before, or never come
            self._arrived.set()

    async def _beat(self, conn: AsyncConnection, client: Client) -> None:
        while True:
            beat = await self._write(conn)
            await self._come_back(conn, client, beat)
            await asyncio.sleep(self._interval_seconds)

    async def _write(self, conn: AsyncConnection) -> Heartbeat:
        self._told.begins()
        self._arrived.clear()
        writing = write(conn, self._name, monotonic())
        beat = await in_time(writing, self._patience_seconds, "it cannot be written: PostgreSQL")
        self._under_way[beat.event_id] = beat
        self._look()
        return beat

    async def _come_back(self, conn: AsyncConnection, client: Client, beat: Heartbeat) -> None:
        """Return when a heartbeat came out of the stream; say where it is while it does not."""
        patience_seconds = self._patience_seconds
        last = beat
        while not await self._arrives(patience_seconds):
            seconds = monotonic() - beat.written_at
            looking = stage(conn, client, self._profile, beat, seconds)
            place = await in_time(looking, self._patience_seconds, "it was written, and PostgreSQL")
            if self._arrived.is_set():
                return
            self._told.failed(Unavailable(place), "heartbeat is missing")
            if monotonic() - last.written_at > max(ANOTHER_SECONDS, self._interval_seconds):
                last = await self._write(conn)
            patience_seconds = LOOK_SECONDS

    async def _arrives(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            return False
        return True
