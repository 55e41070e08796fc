"""The doorbell: writers wake the leader as they commit, but only while it rests.

Whoever may connect may ring, with up to 8,000 bytes each time, and a session is told all of that before it is answered
anything. So the leader listens on a connection on which nothing else is done, and keeps nothing of what is said there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from psycopg import AsyncConnection
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn
from psycopg.sql import Identifier

from publisher.outbox.connection import translated
from registry.concurrency.backoff import Backoff
from registry.concurrency.outage import Outage
from registry.concurrency.tasks import end
from registry.database.connection import NO_TIME_LIMITS, direct, open_connection
from registry.errors import RegistryError, Unavailable

CHANNEL = "imi_outbox"
LISTEN = f"LISTEN {CHANNEL}".encode()
STILL_THERE = b"/* %b */" % LISTEN
"""A statement that does nothing, and is answered; `pg_stat_activity` shows it."""
NAME = "imi-registry doorbell"
"""Application name of the session that listens."""
HEARD_SECONDS = 10.0
"""So often it is asked whether it is still there."""
MOST_BYTES = 4 * 1024 * 1024
"""More is not listened to in that time. A ring of a writer says nothing, and counts as ten bytes: 40,000 a second."""
FLOODED = (
    "session {pid} rings without end, perhaps with others: nobody is heard meanwhile, and events wait for the next "
    "heartbeat. Find it by SELECT * FROM pg_stat_activity WHERE pid = {pid}, end it by SELECT "
    "pg_terminate_backend({pid}), and keep strangers out: REVOKE CONNECT ON DATABASE {database} FROM PUBLIC"
)


async def set_doorbell(conn: AsyncConnection, *, is_armed: bool) -> None:
    """While the doorbell is armed, each transaction that writes an event notifies `CHANNEL` as it commits."""
    with translated():
        await conn.execute("SELECT setval('public.publisher_doorbell', %s)", [int(is_armed)])


class Doorbell:
    """Hears the rings of one database. While it cannot, as when there are too many, who waits looks without one."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._ring = asyncio.Event()
        self._bytes = 0
        """Of rings, since the session that listens was asked last."""
        self._outage = Outage("doorbell")

    async def rung(self, timeout_seconds: float) -> bool:
        """Wait until there was a ring, or one may have been missed: True; or for `timeout_seconds`: False."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._ring.wait()
        is_rung = self._ring.is_set()
        self._ring.clear()
        return is_rung

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hears inside the block, as soon as it can, on one connection after the other."""
        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(self._run())
            try:
                yield
            finally:
                await end([hearing])

    async def _run(self) -> None:
        retry = Backoff()
        while True:
            try:
                with translated():
                    conn = await open_connection(self._database_url, NAME, direct(NO_TIME_LIMITS))
                    try:
                        await self._hear(conn.pgconn)
                    finally:
                        await conn.close()
            except RegistryError as error:
                self._outage.failed(error)
            await retry.sleep()

    async def _hear(self, pgconn: PGconn) -> None:
        """Hear until the connection is lost, or brings too much: raises `Unavailable`, or what psycopg raises.

        psycopg itself keeps what comes before an answer, and wakes ten times a second while it waits for rings.
        """
        loop, socket = asyncio.get_running_loop(), pgconn.socket
        lost: asyncio.Future[Exception] = loop.create_future()

        def read() -> None:
            try:
                while self._take(pgconn):
                    pass
            except Exception as error:  # raised again below: here it would be the event loop's
                loop.remove_reader(socket)
                lost.set_result(error)
                self._ring.set()

        loop.add_reader(socket, read)
        try:
            pgconn.send_query(LISTEN)
            while not lost.done():
                self._bytes = 0
                await asyncio.wait([lost], timeout=HEARD_SECONDS)
                if not lost.done():
                    self._check_answered(pgconn)
                    pgconn.send_query(STILL_THERE)
            raise lost.result()
        finally:
            loop.remove_reader(socket)

    def _take(self, pgconn: PGconn) -> bool:
        """Take what has arrived; returns whether there were rings, behind which there may be more."""
        pgconn.consume_input()
        while not pgconn.is_busy() and (answer := pgconn.get_result()) is not None:
            if answer.status == ExecStatus.FATAL_ERROR:
                raise error_from_result(answer)
            if answer.status == ExecStatus.COMMAND_OK:  # it listens from now on, and missed who rang before
                self._ring.set()
        is_rung = False
        while (ring := pgconn.notifies()) is not None:
            is_rung = True
            self._bytes += len(ring.relname) + len(ring.extra)
            if self._bytes > MOST_BYTES:
                database = Identifier(pgconn.db.decode()).as_string()
                raise Unavailable(FLOODED.format(pid=ring.be_pid, database=database))
        if is_rung:
            self._ring.set()
        return is_rung

    def _check_answered(self, pgconn: PGconn) -> None:
        if pgconn.transaction_status == TransactionStatus.ACTIVE:
            raise Unavailable("PostgreSQL does not answer on a connection that stands")
        self._outage.over()
