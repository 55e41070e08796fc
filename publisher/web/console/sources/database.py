"""PostgreSQL as the console reads it: three connections that only read; statements and answers have their time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from time import monotonic, perf_counter
from typing import Any, LiteralString, TypeVar

from prometheus_client import CollectorRegistry
from psycopg import AsyncConnection
from psycopg.rows import class_row

from publisher.outbox.connection import READER, translated
from publisher.outbox.known import Known, known_stream
from publisher.part import Part
from publisher.settings import Settings
from publisher.web.console.sources.health import QuietHealth
from registry.concurrency.tasks import in_time
from registry.concurrency.ticks import tick
from registry.database.connection import acquired, direct, pool
from registry.errors import RegistryError, Unavailable

T = TypeVar("T")
Connection = AsyncConnection[Any]

CONNECTIONS = 3
"""However many pages are open: who finds none free is told so, and the publisher has its own."""
CONNECTION_SECONDS = 1.0
STATEMENT_SECONDS = 3.0
ANSWER_SECONDS = 4.0
LOOK_SECONDS = 5.0
DATABASE = "PostgreSQL"

SESSION: LiteralString = (
    READER
    + """
SET default_transaction_read_only = on;
SET statement_timeout = '3s';
SET lock_timeout = '500ms';
SET idle_in_transaction_session_timeout = '10s';
SET max_parallel_workers_per_gather = 0;
"""
)
"""No page takes more than one process of the server, nor for longer than this."""


class Database(Part):
    """The connections, and whether PostgreSQL answers."""

    def __init__(self, settings: Settings, registry: CollectorRegistry) -> None:
        self.quiet = QuietHealth("console_database", registry)
        super().__init__(settings, self.quiet, "console")
        self.answer_seconds: float | None = None
        """How long the server took to answer when it was asked last; None while it does not."""
        self.known: Known | None = None
        """How far the events are published, as of the last look; None when that is not known."""
        self.known_at = 0.0
        """When that was, in seconds of `monotonic`."""
        self._acquired: Callable[[], AbstractAsyncContextManager[Connection]] | None = None
        self.settled.set()  # from the start: nobody waits for the console

    async def work(self) -> None:
        """Keep the connections, and look every few seconds whether the server answers."""
        async with pool(
            self._database_url, direct(SESSION), min_size=0, max_size=CONNECTIONS, timeout=CONNECTION_SECONDS
        ) as connections:
            self._acquired = partial(acquired, connections)
            try:
                while True:
                    await self._look()
                    await tick(LOOK_SECONDS)
            finally:
                self._acquired = None
                self.answer_seconds, self.known = None, None

    async def rows(self, model: Callable[..., T], query: str, values: Mapping[str, Any]) -> list[T]:
        """All rows of a query, each as a `model`. Raises `RegistryError`, of that `Unavailable` when it takes long."""

        async def work(conn: Connection) -> list[T]:
            cursor = conn.cursor(row_factory=class_row(model))  # type: ignore[arg-type]  # called as a class is
            return await (await cursor.execute(query.encode(), values)).fetchall()

        return await self.ask(work)

    async def row(self, model: Callable[..., T], query: str, values: Mapping[str, Any]) -> T | None:
        """The first row, if any."""
        found = await self.rows(model, query, values)
        return found[0] if found else None

    async def ask(self, work: Callable[[Connection], Awaitable[T]], seconds: float = ANSWER_SECONDS) -> T:
        """The result of `work` on a connection. Raises `RegistryError`, of that `Unavailable` after `seconds`."""
        acquire = self._acquired
        if acquire is None:
            raise Unavailable(self.quiet.reason() or "PostgreSQL was not reached yet")

        async def asked() -> T:
            with translated():
                async with acquire() as conn:
                    return await work(conn)

        return await in_time(asked(), seconds, DATABASE)

    async def _look(self) -> None:
        async def answered(conn: Connection) -> None:
            await conn.execute("SELECT")

        began = perf_counter()
        await self.ask(answered)
        self.answer_seconds = perf_counter() - began
        self.quiet.well()
        try:
            self.known = await self.ask(partial(known_stream, stream=self._profile.event_stream))
            self.known_at = monotonic()
        except RegistryError:  # a table that is locked; the server answers
            self.known = None
