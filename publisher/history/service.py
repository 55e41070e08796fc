"""Answers over NATS what the stream no longer tells: pages of the history, and snapshots of the registry.

Any number of publishers may answer; each request goes to one of them. They only read, so none of them needs to lead.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from publisher.history.snapshot import send_snapshot
from publisher.outbox import record
from publisher.outbox.connection import KEEPALIVE, READER
from publisher.settings import Settings, profile_of
from registry.broker.answers import refusal_headers
from registry.broker.connection import connect_nats, flush
from registry.concurrency.backoff import Backoff
from registry.errors import Invalid, RegistryError, Unavailable
from registry.history.pages import (
    HistoryPage,
    HistoryRequest,
    Replayed,
    history_subject,
    origin_subject,
)
from registry.history.snapshot import snapshot_subject
from registry.position import Position
from registry.profiles.profile import Profile

log = structlog.get_logger()

QUEUE = "history"
CONNECTIONS = 3
AT_ONCE = 32
"""Requests under way; further ones wait in the connection's buffer."""
CONNECTION_SECONDS = 5.0
RECORDED_SECONDS = 5.0
"""How long the record may lag behind the stream: the cursor is stored within milliseconds of an acknowledgement."""
RECORDED_POLL_SECONDS = 0.02


class HistoryService:
    """Answers requests of one registry until cancelled."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._profile = profile_of(settings)

    async def run(self, *, ready: asyncio.Event | None = None) -> None:
        """Serve; `ready` is set once requests are answered. Servers that are away are waited for. Raises `Invalid`."""
        retry = Backoff()
        while True:
            try:
                await self._serve(ready)
            except Unavailable as error:
                await retry.sleep("history service waits", error)

    async def _serve(self, ready: asyncio.Event | None) -> None:
        name = f"imi-registry history {os.getpid()}"
        async with (
            self._database() as self._pool,
            connect_nats(self._settings.nats_url or "", name) as client,
            asyncio.TaskGroup() as tasks,
        ):
            free = asyncio.Semaphore(AT_ONCE)

            async def serve(subject: str, answer: Callable[[Client, Msg], Awaitable[bytes | None]]) -> None:
                async def accept(message: Msg) -> None:
                    await free.acquire()
                    task = tasks.create_task(self._answer(client, message, answer))
                    task.add_done_callback(lambda _: free.release())

                await client.subscribe(subject, queue=QUEUE, cb=accept)

            await serve(history_subject(self._profile), self._history)
            await serve(origin_subject(self._profile), self._origin)
            await serve(snapshot_subject(self._profile), self._snapshot)
            await flush(client)
            if ready is not None:
                ready.set()
            await asyncio.Event().wait()

    async def _answer(
        self, client: Client, message: Msg, answer: Callable[[Client, Msg], Awaitable[bytes | None]]
    ) -> None:
        headers = None
        try:
            reply = await answer(client, message)
        except RegistryError as error:
            log.info("history request refused", subject=message.subject, reason=str(error))
            reply, headers = b"", refusal_headers(error)
        if reply is None or not message.reply:
            return
        try:
            await client.publish(message.reply, reply, headers=headers)
        except nats.errors.Error as error:
            log.warning("history answer not sent", reason=str(error))

    async def _history(self, client: Client, message: Msg) -> bytes:
        request = HistoryRequest.decode(message.data)
        async with self._connection() as conn:
            known = await _recorded(conn, self._profile, request.before)
            places = await record.places(conn, self._profile.event_stream, request.after, request.before)
            rows = await record.rows(conn, [place.outbox_id for place in places], request.filter)
        events: list[Replayed] = []
        room = client.max_payload
        for place in places:
            row = rows.get(place.outbox_id)
            if row is None:
                continue
            sent = self._profile.encode(row, client.max_payload)
            if events and len(sent.payload) + len(sent.subject) + 64 > room - 512:
                after = events[-1].position
                return HistoryPage(events, after, known.forgotten).encode()
            room -= len(sent.payload) + len(sent.subject) + 64
            events.append(Replayed(sent.subject, sent.payload, Position(place.sequence, place.outbox_id)))
        rest = Position(places[-1].sequence, places[-1].outbox_id) if places else None
        return HistoryPage(events, rest, known.forgotten).encode()

    async def _origin(self, _: Client, message: Msg) -> bytes:
        try:
            published = datetime.fromisoformat(message.data.decode())
        except ValueError:
            raise Invalid(f"time {message.data[:80]!r} is none in RFC 3339") from None
        async with self._connection() as conn:
            return str(await record.origin(conn, self._profile.event_stream, published)).encode()

    async def _snapshot(self, client: Client, message: Msg) -> None:
        await send_snapshot(self._settings.database_url or "", client, self._profile.event_stream, message.reply)

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[AsyncConnectionPool[AsyncConnection[Any]]]:
        async def configure(conn: AsyncConnection[Any]) -> None:
            await conn.execute(READER, prepare=False)

        pool: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
            self._settings.database_url or "",
            kwargs={"autocommit": True, "application_name": "imi-registry history", **KEEPALIVE},
            min_size=0,
            max_size=CONNECTIONS,
            timeout=CONNECTION_SECONDS,
            configure=configure,
            open=False,
        )
        async with pool:
            yield pool

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        try:
            async with self._pool.connection() as conn:
                yield conn
        except PoolTimeout as error:
            raise Unavailable(f"no connection to the database within {CONNECTION_SECONDS:g} s") from error


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
