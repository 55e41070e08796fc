"""The leader's heartbeat: it goes on while the leader waits for NATS, and tells standbys what it waits for.

It is stored on the leader's own connection: a heartbeat on another one would go on while the leader's hangs. What the
leader stores anyway, the cursor, is a heartbeat, too; so there is something to do here only while it waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic

from psycopg import AsyncConnection

from publisher.outbox.cursor import Cursor, beat
from registry.concurrency.tasks import end, first_error

HINDERED_SECONDS = 1.5
"""A leader that waits so long for NATS says so: a standby that reaches the stream takes over."""


class Heartbeat:
    """Of one leader."""

    def __init__(self, conn: AsyncConnection, cursor: Cursor, seconds: float) -> None:
        self._conn = conn
        self._cursor = cursor
        self._seconds = seconds
        self._working = asyncio.Event()
        self._working.set()
        self._waiting: tuple[float, str] | None = None

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beats inside the block, which ends with `Deposed` or `Unavailable` when that fails."""
        try:
            async with asyncio.TaskGroup() as tasks:
                beats = tasks.create_task(self._run())
                try:
                    yield
                finally:
                    await end([beats])
        except ExceptionGroup as group:
            raise first_error(group) from None

    async def _run(self) -> None:
        while True:
            await self._working.wait()
            due_seconds = self._cursor.stored_at + self._seconds - monotonic()
            if due_seconds > 0:
                await asyncio.sleep(due_seconds)
                continue
            if self._waiting is not None and monotonic() - self._waiting[0] >= HINDERED_SECONDS:
                self._cursor.hindrance = self._waiting[1]
            await beat(self._conn, self._cursor)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """For a block that waits for the doorbell: who rests beats himself, in the statement with which he looks."""
        self._working.clear()
        try:
            yield
        finally:
            self._working.set()

    @contextmanager
    def waiting(self, hindrance: str) -> Iterator[None]:
        """For a block that waits for NATS; when it takes long, `hindrance` is what hinders the leader."""
        self._waiting = monotonic(), hindrance
        try:
            yield
        finally:
            self._waiting = None
