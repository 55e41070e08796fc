"""A connection to PostgreSQL that stands and carries nothing more, as behind a proxy that hangs, is given up.

Where the network ends, TCP tells within ten seconds; where something on the way still takes bytes, nothing does. A
statement may work, or wait for a lock, as long as it likes: which it is, PostgreSQL says on another connection.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import RV, PQGen
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import Row

from registry.concurrency.tasks import end, in_time
from registry.database.connecting.uninterrupted import uninterrupted
from registry.errors import Unavailable

LOOKER = "imi-registry look"
"""Application name of the sessions that look."""
SILENT_SECONDS = 10.0
"""A statement to which PostgreSQL has said nothing for so long is looked at."""
LOOK_SECONDS = 5.0
"""PostgreSQL that takes no other connection in this time, or says nothing on it, does not answer at all."""
ARRIVING_SECONDS = 2.0
"""What it had said when it was looked at may be on its way for so long."""

# Of what is not shown nothing is known: with track_activities off, or to another role.
LOOK = """
SELECT pg_catalog.pg_backend_pid(), coalesce(
    (
        SELECT coalesce(state LIKE 'idle%%' OR wait_event IN ('ClientRead', 'ClientWrite'), false)
        FROM pg_catalog.pg_stat_activity
        WHERE pid = %s
    ),
    true
)
"""

END = "SELECT pg_catalog.pg_terminate_backend(%s)"


class HeardConnection(AsyncConnection[Row]):
    """One on which a statement ends with `OperationalError` when it carries nothing more, within 20 s."""

    _made_with = ""
    """What it was made with; another one is made so, to the same server."""
    _heard_at = 0.0
    _is_over = False
    """Whether nothing more will come."""
    _watching: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """As psycopg's."""
        conn = await super().connect(conninfo, **options)
        conn._made_with = conninfo
        return conn

    async def wait(self, gen: PQGen[RV], *args: Any, **options: Any) -> RV:
        """As psycopg's, which waits for ever. Who is answered at once is not watched."""
        self._heard_at = monotonic()
        timer = asyncio.get_running_loop().call_later(SILENT_SECONDS, self._begin_to_watch)
        try:
            return await super().wait(self._noting(gen), *args, **options)
        except psycopg.OperationalError as error:
            if self._is_over:
                raise psycopg.OperationalError("PostgreSQL does not answer on a connection that stands") from error
            raise
        finally:
            timer.cancel()
            if self._watching is not None:
                await end([self._watching])
                self._watching = None

    def _noting(self, gen: PQGen[RV]) -> PQGen[RV]:
        """As `gen`, which psycopg goes on with at each word of the server, and ten times a second."""
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    self._heard_at = monotonic()
                elif self._is_over and self._watching is not None and self._watching.done():
                    self.pgconn.finish()
                wanted = gen.send(ready)
        except StopIteration as ended:
            value: RV = ended.value
            return value

    def _begin_to_watch(self) -> None:
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        """Return once nothing more will come."""
        while not self._is_over:
            heard_at = self._heard_at
            due_seconds = heard_at + SILENT_SECONDS - monotonic()
            if due_seconds > 0:
                await asyncio.sleep(due_seconds)
            elif self.pgconn.transaction_status == TransactionStatus.ACTIVE and await self._is_silent():
                self._is_over |= self._heard_at == heard_at  # whose session was ended may have heard of that
            else:  # it is worked on, or a notification is waited for
                await asyncio.sleep(SILENT_SECONDS)

    async def _is_silent(self) -> bool:
        """Whether PostgreSQL has nothing to say to what it was asked here, or does not answer anybody."""
        try:
            return await in_time(self._look(), LOOK_SECONDS + ARRIVING_SECONDS, "PostgreSQL")
        except (Unavailable, psycopg.errors.ConnectionTimeout):
            return True
        except psycopg.Error:  # it answers, if only to refuse
            return False

    async def _look(self) -> bool:
        """Whether PostgreSQL has nothing to say here; then it ends the session, whose locks nobody else would get.

        Behind a pooler, which makes up numbers of sessions, nothing is known.
        """
        here, heard_at = self.info, self._heard_at
        made_with = make_conninfo(
            self._made_with,
            host=here.host,
            hostaddr=here.hostaddr,
            port=here.port,
            application_name=LOOKER,
            target_session_attrs="any",
            connect_timeout=int(LOOK_SECONDS),
        )
        async with await uninterrupted(AsyncConnection.connect(made_with, autocommit=True)) as conn:
            found = await (await conn.execute(LOOK, [here.backend_pid])).fetchone()
            number, has_nothing_to_say = found or (0, False)
            if not has_nothing_to_say or number != conn.info.backend_pid:
                return False
            await asyncio.sleep(ARRIVING_SECONDS)
            self._is_over = self._heard_at == heard_at
            if self._is_over:
                with suppress(psycopg.errors.InsufficientPrivilege):
                    await conn.execute(END, [here.backend_pid])
            return True
