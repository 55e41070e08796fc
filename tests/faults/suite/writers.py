"""Writers: they change, make and end rows of the registry by SQL and by commands, and note what was confirmed to them.

Several share each row. A change's number is taken under the row's lock, so numbers are in the order of the commits.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg
from psycopg import AsyncConnection

from registry.client import RegistryClient, Sending
from registry.errors import NotFound, OutcomeUnknown, Unavailable
from tests.faults.suite.changes.lives import LIVES, step
from tests.faults.suite.changes.numbered import CHANGE, CHANGE_WORKTREE, change
from tests.faults.suite.entries import MARK, Command, Entry, origin_of
from tests.faults.suite.history import COMMANDED, WRITTEN, Notes

ROWS = [f"s{number}" for number in range(8)]
"""Projects that are always written, each with a worktree."""
QUIET_ROWS = [f"q{number}" for number in range(100)]
"""Projects of which mostly nothing waits."""
COMMAND_ROWS = ["c0", "c1"]
MARKER = "marker"
"""The row by which the schedule sees that events flow."""
IDLE = "idle"
"""The row that a transaction changes and then keeps locked for minutes."""
ROLLED_BACK, HELD_OPEN, BULK, TWICE, QUIET = 0.15, 0.02, 0.003, 0.1, 0.3
LIVING = 0.25
"""Transactions in which something comes or goes; in half of them nothing else happens."""
BULK_ENTRIES = 1_200
"""More than one batch of the stream holds."""
REJECTED = 20
"""Commands with numbers that this divides, every tenth, are for projects that are not there."""
LOCK_TIMEOUT = "2s"
ASKED = Sending(timeout=3)
RETRY_SECONDS = 0.05
LOST = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
"""The connection was lost. InternalError: in the middle of the answer to COMMIT, which has two results then."""
CONNECT: dict[str, Any] = {"connect_timeout": 5, "tcp_user_timeout": 5000, "autocommit": True}

TABLES = """
CREATE TABLE entry_ledger (row text NOT NULL, number int NOT NULL, token text NOT NULL);
CREATE TABLE entry_number (row text PRIMARY KEY, number int NOT NULL DEFAULT 0);
"""
BULK_CHANGE = """
INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)
SELECT 'bulk', (SELECT id FROM worktrees WHERE name = 's0'), 'modified', %(mark)s || ' ' || row || ' 1 ' || %(token)s
FROM (SELECT 'bulk-' || %(token)s || '-' || n AS row FROM generate_series(1, %(entries)s) AS n) AS rows
"""
BULK_NOTE = """
INSERT INTO entry_ledger (row, number, token)
SELECT 'bulk-' || %(token)s || '-' || n, 1, %(token)s FROM generate_series(1, %(entries)s) AS n
"""


class RolledBack(Exception):
    """Ends a transaction on purpose."""


class Setting(NamedTuple):
    """What kind of writer one is."""

    is_durable: bool
    """Whether its COMMIT waits for the disk."""
    pause_seconds: float
    is_pooled: bool = False
    """Whether it writes through PgBouncer, where there is one."""


def prepare(conn: psycopg.Connection[Any]) -> None:
    """Make the ledger, and the rows that are written; those that come and go are not there yet."""
    conn.execute(TABLES)
    for row in [*ROWS, *QUIET_ROWS, *COMMAND_ROWS, MARKER, IDLE]:
        (project,) = conn.execute("SELECT register_project(%s, %s)", [row, origin_of(row)]).fetchone() or ()
        conn.execute("INSERT INTO entry_number (row) VALUES (%s)", [row])
        conn.execute("SELECT register_worktree(%s, 'feat', %s, %s, %s)", [project, row, f"feat/{row}", f"/w/{row}"])
    for row in LIVES:
        conn.execute("INSERT INTO entry_number (row) VALUES (%s)", [row])


class Writers:
    """What the writers of one run share."""

    def __init__(self, database_url: str, pooled_url: str | None, folder: Path) -> None:
        self._database_url = database_url
        self._pooled_url = pooled_url or database_url
        self._written, self._commanded = Notes(folder, WRITTEN), Notes(folder, COMMANDED)
        self._stopping = asyncio.Event()
        self.commits = 0
        self.applied = 0

    def stop(self) -> None:
        """Let every writer end what it does."""
        self._stopping.set()

    def close(self) -> None:
        """Close the notes."""
        self._written.close()
        self._commanded.close()

    async def write_sql(self, rng: random.Random, setting: Setting) -> None:
        """Write until told to stop; connect again whenever the connection is lost."""
        while not self._stopping.is_set():
            try:
                url = self._pooled_url if setting.is_pooled else self._database_url
                async with await AsyncConnection.connect(url, prepare_threshold=None, **CONNECT) as conn:
                    while not self._stopping.is_set():
                        await self._transaction(conn, rng, setting)
                        await asyncio.sleep(rng.random() * 2 * setting.pause_seconds)
            except LOST:
                await asyncio.sleep(RETRY_SECONDS)

    async def write_commands(self, client: RegistryClient, row: str) -> None:
        """Number one row by commands, each number once, until told to stop; some are for a row that is not there."""
        number = 0
        while not self._stopping.is_set():
            number += 2  # the one between is the outcome's
            is_there = number % REJECTED != 0
            entry = Entry(row if is_there else f"{row}-{number}", number, uuid4().hex[:12])
            command, sent_at = Command(str(uuid4()), entry, "applied" if is_there else "rejected"), monotonic()
            outcome = await send(client, command, ASKED)
            if outcome is not None:
                self.applied += outcome == "applied"
                note = command._asdict() | {"outcome": outcome, "sent_at": sent_at, "answered_at": monotonic()}
                self._commanded.add(**note)
            await asyncio.sleep(RETRY_SECONDS)

    async def _transaction(self, conn: AsyncConnection, rng: random.Random, setting: Setting) -> None:
        made: list[Entry] = []
        outcome = "unknown"
        try:
            async with conn.transaction():
                await conn.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                await conn.execute(f"SET LOCAL synchronous_commit = {'on' if setting.is_durable else 'off'}")
                is_living = rng.random() < LIVING
                if is_living:
                    made += await step(conn, rng)
                for row in [] if is_living and rng.random() < 0.5 else _some_rows(rng):
                    for _ in range(2 if rng.random() < TWICE else 1):
                        made.append(await change(conn, row, rng.choice((CHANGE, CHANGE_WORKTREE))))
                if rng.random() < BULK:
                    await _bulk(conn, BULK_ENTRIES)
                if rng.random() < HELD_OPEN:
                    await asyncio.sleep(rng.random())
                if rng.random() < ROLLED_BACK:
                    raise RolledBack
            outcome = "committed"
            self.commits += 1
        except (RolledBack, psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            outcome = "rolled back"
        finally:
            self._written.add(outcome=outcome, is_durable=setting.is_durable, entries=made)


async def send(client: RegistryClient, command: Command, sending: Sending) -> str | None:
    """What the sender of a command is told: applied, rejected, or unknown; None when it was certainly not sent."""
    row, text = command.entry.row, command.entry.text
    sending = replace(sending, command_id=UUID(command.id))
    try:
        await client.update_project(remote_origin=origin_of(row), description=text, sending=sending)
    except NotFound:
        return "rejected"
    except OutcomeUnknown:
        return "unknown"
    except Unavailable:
        return None
    return "applied"


def ledger(database_url: str) -> list[Entry]:
    """The entries that were committed, as that database has it."""
    with psycopg.connect(database_url) as conn:
        return [Entry(*row) for row in conn.execute("SELECT row, number, token FROM entry_ledger")]


async def write_bulk(database_url: str, entries: int) -> None:
    """Write so many entries in one transaction."""
    async with await AsyncConnection.connect(database_url, **CONNECT) as conn, conn.transaction():
        await _bulk(conn, entries)


async def _bulk(conn: AsyncConnection, entries: int) -> None:
    values = {"token": uuid4().hex[:12], "entries": entries, "mark": MARK}
    await conn.execute(BULK_CHANGE, values)
    await conn.execute(BULK_NOTE, values)


def _some_rows(rng: random.Random) -> list[str]:
    if rng.random() < QUIET:
        return rng.sample(QUIET_ROWS, rng.choices((1, 2), (90, 10))[0])
    return rng.sample(ROWS, rng.choices((1, 2, 4, len(ROWS)), (70, 20, 8, 2))[0])
