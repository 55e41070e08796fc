"""Who keeps a session of PostgreSQL waiting: other sessions, which hold a lock that it needs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row

from registry.concurrency.tasks import end
from registry.database.connecting.look import LOOKER
from registry.database.connection import connect_blocking, direct_or_pooled, open_connection
from registry.database.errors import translated
from registry.errors import RegistryError

LOOK_SECONDS = 1.0
"""What takes no longer is not looked at, and what does so often."""
FORGOTTEN_LOOKS = 5

# PostgreSQL shows these columns of a session to everybody, but for the last: that is null of another role's session,
# unless who asks may see it (pg_read_all_stats). Who builds an index concurrently waits for each statement under
# way, that of a session which looks, too: that ends by itself, at once. Somebody else may call himself so.
_BLOCKERS: LiteralString = """
SELECT
    blocker.pid,
    coalesce(session.application_name, '') AS application,
    coalesce(session.usename, '')::text AS "user",
    session.xact_start AS since
FROM unnest(pg_blocking_pids(%s)) AS blocker (pid)
LEFT JOIN pg_stat_activity AS session ON session.pid = blocker.pid
WHERE blocker.pid <> pg_backend_pid()
    AND (session.application_name, session.usename) IS DISTINCT FROM (%s, session_user)
ORDER BY blocker.pid
"""


def quoted(text: str) -> str:
    """What somebody else has chosen, in quotes that he cannot end."""
    return json.dumps(text, ensure_ascii=False)


class Session(NamedTuple):
    """A session of PostgreSQL, as others see it."""

    pid: int
    """Of its server process; 0 is a prepared transaction, which has none."""
    application: str
    user: str
    since: datetime | None = None
    """When the transaction that it is in began; None where that is not known."""

    def __str__(self) -> str:
        if self.pid == 0:
            return "a prepared transaction (see pg_prepared_xacts)"
        since = ""
        if self.since is not None:
            since = f", in a transaction since {self.since.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
        return f"pid {self.pid} (application {quoted(self.application)}, user {self.user}{since})"


class Told:
    """Tells each session that is in the way once, and again when it comes back after `FORGOTTEN_LOOKS`.

    Who waits in attempts, as a migration does, is in nobody's way between them.
    """

    def __init__(self, tell: Callable[[Session], None]) -> None:
        self._tell = tell
        self._looks_without: dict[Session, int] = {}

    def found(self, sessions: Iterable[Session]) -> None:
        """Those that are in the way now."""
        looks_without = {session: looks + 1 for session, looks in self._looks_without.items()}
        for session in sessions:
            if session not in looks_without:
                self._tell(session)
            looks_without[session] = 0
        self._looks_without = {one: looks for one, looks in looks_without.items() if looks < FORGOTTEN_LOOKS}


@contextmanager
def looking(database_url: str) -> Iterator[Connection[Any]]:
    """A connection for `blockers`. Raises as `connect_blocking` does."""
    with connect_blocking(database_url) as conn:
        conn.execute("SELECT set_config('application_name', %s, false)", [LOOKER])
        yield conn


def blockers(conn: Connection[Any], pid: int) -> list[Session]:
    """The sessions behind whose locks the session `pid` waits now, but for those that look. Raises `Unavailable`."""
    with translated(), conn.cursor(row_factory=class_row(Session)) as cursor:
        return cursor.execute(_BLOCKERS, [pid, LOOKER]).fetchall()


@asynccontextmanager
async def blockers_told(database_url: str, pid: int, tell: Callable[[Session], None]) -> AsyncIterator[None]:
    """Inside the block, each session that keeps the session `pid` waiting is told once.

    It costs nothing while nothing waits for `LOOK_SECONDS`. Then a connection of its own looks; where none is to be
    had, nothing is told. So it is behind a pooler, which has a session of PostgreSQL for one transaction only.
    """
    looking: list[asyncio.Task[None]] = []
    loop = asyncio.get_running_loop()
    timer = loop.call_later(
        LOOK_SECONDS, lambda: looking.append(loop.create_task(_look(database_url, pid, Told(tell))))
    )
    try:
        yield
    finally:
        timer.cancel()
        await end(looking)


async def _look(database_url: str, pid: int, told: Told) -> None:
    with suppress(RegistryError), translated():
        async with await open_connection(database_url, LOOKER, direct_or_pooled) as conn:
            (own_pid,) = await (await conn.execute("SELECT pg_backend_pid()", prepare=False)).fetchone() or (0,)
            while own_pid == conn.info.backend_pid:  # else a pooler made up `pid`, too
                cursor = await conn.cursor(row_factory=class_row(Session)).execute(_BLOCKERS, [pid, LOOKER])
                told.found(await cursor.fetchall())
                await asyncio.sleep(LOOK_SECONDS)
