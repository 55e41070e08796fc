"""Answers over NATS what the stream no longer tells: pages of the history, and snapshots of the registry.

Any number of publishers may answer; each request goes to one of them. They only read, so none of them needs to lead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from psycopg import AsyncConnection

from publisher.health import Health
from publisher.history.position import position_at
from publisher.history.snapshot import send_snapshot, snapshot_lines
from publisher.history.whole import read_site, whole_lines
from publisher.outbox import record
from publisher.outbox.blocked import holder_named
from publisher.outbox.connection import LOOKER, translated
from publisher.part import Part
from publisher.settings import Settings
from registry.broker.answers import refusal_headers
from registry.broker.askers import asker_of
from registry.broker.connection import connect_nats, flushed, heard
from registry.broker.errors import translated_nats
from registry.broker.stream import bound_subjects
from registry.concurrency.outage import Outage, is_told
from registry.concurrency.turns import Turns
from registry.database.connection import acquired, direct, pool
from registry.errors import Busy, Invalid, RegistryError, Unavailable
from registry.events.filter import EventFilter
from registry.history.pages import (
    HistoryPage,
    HistoryRequest,
    Replayed,
    history_subject,
    origin_subject,
)
from registry.history.site import WHOLE, site_subject
from registry.history.snapshot import snapshot_subject
from registry.log import log
from registry.position import Position
from registry.profiles.profile import Profile, encoded, spoken

QUEUE = "history"
CONNECTIONS = 3
AT_ONCE = CONNECTIONS
"""Requests under way; further ones wait for their turn, which whoever asks takes with everybody else who does. Who has
one has a connection: for those nobody takes turns."""
TURN_SECONDS = 5.0
SNAPSHOTS_AT_ONCE = 8
"""Each has a connection of its own and some MiB of memory."""
SNAPSHOT_TURN_SECONDS = 25.0
"""Less than who wants one waits for its beginning."""
MOST_REQUEST_BYTES = 64 * 1024
MOST_WORD_BYTES = 1024
"""Of a request that is a time, or a word."""
CONNECTION_SECONDS = 5.0
RECORDED_SECONDS = 1.0
"""How long the record may lag behind the stream: the cursor is stored within milliseconds of an acknowledgement. Who
asks for what is never recorded has a place for so long."""
RECORDED_POLL_SECONDS = 0.02


class HistoryService(Part):
    """Answers requests of one registry."""

    def __init__(self, settings: Settings, health: Health) -> None:
        super().__init__(settings, health, "history")
        self._requests = Outage("history request")
        self._refused = 0
        self._building = asyncio.Lock()
        """One page at a time: with a large row it takes several times the server's max_payload of memory."""
        self._pages, self._snapshots = Turns(AT_ONCE), Turns(SNAPSHOTS_AT_ONCE)

    async def work(self) -> None:
        """Answer until cancelled. Settled once requests are answered."""
        async with (
            pool(
                self._database_url,
                direct(LOOKER),
                min_size=0,
                max_size=CONNECTIONS,
                timeout=CONNECTION_SECONDS,
            ) as self._pool,
            connect_nats(self._nats_url, self._name, self._nats_access, answers=True) as client,
            asyncio.TaskGroup() as tasks,
        ):

            async def serve(subject: str, answer: Callable[[Client, Msg], Awaitable[bytes | None]]) -> None:
                async def accept(message: Msg) -> None:
                    tasks.create_task(self._answer(client, message, answer))

                with translated_nats("cannot offer the history"):
                    await client.subscribe(subject, queue=QUEUE, cb=accept)

            await serve(history_subject(self._profile), self._history)
            await serve(origin_subject(self._profile), self._origin)
            await serve(snapshot_subject(self._profile), self._snapshot)
            await serve(site_subject(self._profile), self._site)
            await flushed(client)
            await self.answer(partial(heard, client))

    async def _answer(
        self, client: Client, message: Msg, answer: Callable[[Client, Msg], Awaitable[bytes | None]]
    ) -> None:
        headers = None
        try:
            most = MOST_REQUEST_BYTES if message.subject == history_subject(self._profile) else MOST_WORD_BYTES
            if len(message.data) > most:
                raise Invalid(f"request has {len(message.data)} bytes, at most {most} are allowed")
            is_snapshot = message.subject == snapshot_subject(self._profile)
            turns, seconds = (self._snapshots, SNAPSHOT_TURN_SECONDS) if is_snapshot else (self._pages, TURN_SECONDS)
            async with turns.turn(asker_of(message), seconds):
                reply = await answer(client, message)
        except RegistryError as error:
            if isinstance(error, Unavailable) and not isinstance(error, Busy):
                self._requests.failed(error, subject=message.subject)
            else:
                self._refused += 1
                if is_told(self._refused):
                    said = {"subject": message.subject, "refused": self._refused}
                    log.info("history request refused", reason=str(error), **said)
            reply, headers = b"", refusal_headers(error)
        else:
            self._requests.over()
        if reply is None or not message.reply:
            return
        try:
            await client.publish(message.reply, reply, headers=headers)
        except nats.errors.Error as error:
            log.warning("history answer not sent", reason=str(error))

    async def _history(self, client: Client, message: Msg) -> bytes:
        request = HistoryRequest.decode(message.data)
        async with acquired(self._pool) as conn, holder_named(conn):
            known = await _recorded(conn, self._profile, request.before)
            places = await record.places(conn, self._profile.event_stream, request.after, request.before)
            profile = await spoken(self._profile, partial(bound_subjects, client))
            async with self._building:
                events, is_all = await self._page(conn, profile, places, request.filter, client.max_payload)
        if not is_all:
            rest: Position | None = events[-1].position
        else:
            rest = Position(places[-1].sequence, places[-1].outbox_id) if places else None
        return HistoryPage(events, rest, known.forgotten).encode()

    async def _page(
        self,
        conn: AsyncConnection[Any],
        profile: Profile,
        places: list[record.Place],
        wanted: EventFilter,
        max_payload: int,
    ) -> tuple[list[Replayed], bool]:
        """The first events at `places` that go into one message, at least one; and whether those are all there are."""
        sequences = {place.outbox_id: place.sequence for place in places}
        events: list[Replayed] = []
        room = max_payload
        async with aclosing(record.rows(conn, list(sequences), wanted, max_payload)) as rows:
            async for row in rows:
                sent = encoded(profile, row, max_payload)
                if events and len(sent.payload) + len(sent.subject) + 64 > room - 512:
                    return events, False
                room -= len(sent.payload) + len(sent.subject) + 64
                events.append(Replayed(sent.subject, sent.payload, Position(sequences[row.id], row.id)))
        return events, True

    async def _origin(self, _: Client, message: Msg) -> bytes:
        published = _time_in(message.data)
        async with acquired(self._pool) as conn, holder_named(conn):
            return str(await position_at(conn, self._profile.event_stream, published)).encode()

    async def _site(self, _: Client, __: Msg) -> bytes:
        async with acquired(self._pool) as conn, holder_named(conn):
            with translated():
                return (await read_site(conn, self._profile.event_stream)).encode()

    async def _snapshot(self, client: Client, message: Msg) -> None:
        lines = whole_lines if message.data == WHOLE else snapshot_lines
        await send_snapshot(self._database_url, client, self._profile.event_stream, message.reply, lines)


def _time_in(data: bytes) -> datetime:
    """The time that a request names. Raises `Invalid`."""
    try:
        time = datetime.fromisoformat(data.decode())
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise Invalid(f"time {data[:80]!r} is none in RFC 3339")
    return time


async def _recorded(conn: AsyncConnection[Any], profile: Profile, before: Position) -> record.State:
    """Wait until the record holds everything before `before`, which is in the stream. Raises `Unavailable`.

    On a shared stream the sequence is no sign: others move it. There the event at `before` is; without one, what was
    trimmed within milliseconds of being stored would be missed.
    """
    try:
        async with asyncio.timeout(RECORDED_SECONDS):
            while True:
                known = await record.state(conn, profile.event_stream, before.outbox_id)
                if known.is_published or known.last >= before.sequence - 1:
                    return known
                if profile.is_shared and not before.outbox_id:
                    return known
                await asyncio.sleep(RECORDED_POLL_SECONDS)
    except TimeoutError:
        raise Unavailable(
            f"stream {profile.event_stream} is ahead of its publisher: sequence {before.sequence - 1} is not recorded"
        ) from None
