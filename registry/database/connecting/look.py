"""What PostgreSQL says, on another connection, of a statement to which it has said nothing for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from time import monotonic
from typing import Any

import psycopg
from psycopg import AsyncConnection, BaseConnection
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus

from registry.concurrency.patience import WORDLESS_SECONDS
from registry.concurrency.tasks import in_time
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

SILENT = "does not answer on a connection that stands"
TOO_LONG = "has worked on a statement for {:g} s without a word, and is given up (does it hang? is it overloaded?)"

# Of what is not shown nothing is known: with track_activities off, or to another role.
LOOK = """
SELECT pg_catalog.pg_backend_pid(), coalesce(
    (
        SELECT CASE
            WHEN state LIKE 'idle%%' OR wait_event IN ('ClientRead', 'ClientWrite') THEN 'is silent'
            WHEN wait_event_type = 'Lock' AND pg_catalog.cardinality(pg_catalog.pg_blocking_pids(pid)) > 0
                THEN 'waits'
            ELSE 'works'
        END
        FROM pg_catalog.pg_stat_activity
        WHERE pid = %s
    ),
    'is silent'
)
"""

END = "SELECT pg_catalog.pg_terminate_backend(%s)"


class Hearing:
    """What is heard of one statement, and what is known of it where nothing is."""

    def __init__(self, conn: BaseConnection[Any], made_with: str) -> None:
        """`made_with` is what the connection was made with: another one is made so, to the same server."""
        self._conn = conn
        self._made_with = made_with
        self._most_seconds = WORDLESS_SECONDS.get()
        self._heard_at = self._working_since = self._looked_at = monotonic()
        self._is_looking = False
        self.over: psycopg.OperationalError | None = None
        """Why nothing more will come."""

    def heard(self) -> None:
        """Note a word of PostgreSQL."""
        self._heard_at = self._working_since = monotonic()

    @property
    def is_due(self) -> bool:
        """Whether to look now. Where nothing was asked a notification is waited for, as long as that takes."""
        if self._is_looking or self.over is not None:
            return False
        is_active = self._conn.pgconn.transaction_status == TransactionStatus.ACTIVE
        return is_active and monotonic() - max(self._heard_at, self._looked_at) >= SILENT_SECONDS

    def end_if_over(self) -> None:
        """Give up the connection when nothing more will come, and its session was told to end."""
        if self.over is not None and not self._is_looking:
            self._conn.pgconn.finish()

    def look(self) -> Coroutine[Any, Any, None]:
        """Look, beside what waits: in this loop, or in another thread."""
        self._is_looking = True
        here = self._conn.info
        place = make_conninfo(
            self._made_with,
            host=here.host,
            hostaddr=here.hostaddr,
            port=here.port,
            application_name=LOOKER,
            target_session_attrs="any",
            connect_timeout=int(LOOK_SECONDS),
        )
        return self._look(place, here.backend_pid)

    async def _look(self, place: str, pid: int) -> None:
        heard_at = self._heard_at
        try:
            reason = await self._reason(place, pid)
            if reason is not None and self._heard_at == heard_at:
                self.over = psycopg.OperationalError(reason)
        finally:
            self._looked_at = monotonic()
            self._is_looking = False

    async def _reason(self, place: str, pid: int) -> str | None:
        """Why nothing more will come; None where something may."""
        too_long = None
        if self._most_seconds is not None and monotonic() - self._working_since >= self._most_seconds:
            too_long = TOO_LONG.format(self._most_seconds)
        try:
            return await in_time(self._seen(place, pid, too_long), LOOK_SECONDS + ARRIVING_SECONDS, "PostgreSQL")
        except (Unavailable, psycopg.errors.ConnectionTimeout):
            return SILENT
        except psycopg.Error:  # it answers, if only to refuse
            return too_long

    async def _seen(self, place: str, pid: int, too_long: str | None) -> str | None:
        """As `_reason`, of what PostgreSQL shows; then it ends the session, whose locks nobody else would get.

        Behind a pooler, which makes up numbers of sessions, nothing is known.
        """
        heard_at = self._heard_at
        async with await uninterrupted(AsyncConnection.connect(place, autocommit=True)) as conn:
            number, does = await (await conn.execute(LOOK, [pid])).fetchone() or (0, "works")
            if number != conn.info.backend_pid:
                return too_long
            if does == "waits":
                self._working_since = monotonic()
                return None
            reason = SILENT if does == "is silent" else too_long
            if reason is None:
                return None
            await asyncio.sleep(ARRIVING_SECONDS)
            if self._heard_at == heard_at:
                self.over = psycopg.OperationalError(reason)  # before the session says that it was ended
                with suppress(psycopg.errors.InsufficientPrivilege):
                    await conn.execute(END, [pid])
            return reason
