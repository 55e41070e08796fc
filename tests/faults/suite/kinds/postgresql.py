"""Faults of PostgreSQL: ended in every way, frozen, and sessions that hold what others need."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from uuid import uuid4

import psutil
import psycopg

from tests.faults.suite.changes.numbered import change
from tests.faults.suite.fault import ALONE, fault
from tests.faults.suite.installation import Installation
from tests.faults.suite.writers import IDLE, ROWS
from tests.support.servers.replicas import Pair

POSTGRESQL = "postgresql"


def _declare(name: str, by: signal.Signals | None) -> None:
    @fault(name, POSTGRESQL, longest_seconds=2)
    async def ended(there: Installation, rng: random.Random) -> AsyncIterator[None]:
        if by is None:
            await there.database.stop(is_crash=False)
        else:
            await there.database.stop(is_crash=True, by=by)
        yield
        await there.database.start()


_declare("postgresql stopped fast", None)
_declare("postgresql stopped immediately", signal.SIGQUIT)
_declare("postgresql killed", signal.SIGKILL)


def _declare_frozen(name: str, processes_of: Callable[[Pair], list[psutil.Process]]) -> None:
    @fault(name, POSTGRESQL, longest_seconds=8)
    async def frozen(there: Installation, rng: random.Random) -> AsyncIterator[None]:
        processes = processes_of(there.database)
        for process in processes:
            _signal(process, signal.SIGSTOP)
        yield
        for process in processes:
            _signal(process, signal.SIGCONT)


_declare_frozen("postgresql frozen", Pair.processes)
_declare_frozen("synchronous standby frozen", Pair.standby_processes)  # and no synchronous COMMIT ends meanwhile


@fault("postgresql backend killed", POSTGRESQL, longest_seconds=1)
async def backend_killed(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    _, *others = there.database.processes()
    _signal(rng.choice(others), signal.SIGKILL)  # the server ends all others, and recovers
    yield


@fault("every session ended", POSTGRESQL, longest_seconds=1)
async def sessions_ended(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    async with await psycopg.AsyncConnection.connect(there.database.url, autocommit=True) as conn:
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
    yield


@fault("rows locked by an idle transaction", POSTGRESQL, longest_seconds=6)
async def idle_in_transaction(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    conn = await psycopg.AsyncConnection.connect(there.database.url)
    await conn.execute("UPDATE projects SET metadata = '{}' WHERE name = %s", [rng.choice(ROWS)])
    yield
    await conn.close()


@fault("transaction idle for minutes", ALONE, longest_seconds=120, weight=0.3)
async def idle_for_minutes(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    """It has changed a row of its own, and ends either way."""
    async with await psycopg.AsyncConnection.connect(there.database.url) as conn:
        await change(conn, IDLE)
        yield
        await (conn.commit() if rng.random() < 0.5 else conn.rollback())


@fault("transaction prepared", POSTGRESQL, longest_seconds=6)
async def prepared(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    gid = uuid4().hex
    async with await psycopg.AsyncConnection.connect(there.database.url, autocommit=True) as conn:
        await conn.execute("BEGIN")
        await conn.execute("SET LOCAL imi.doorbell = 'off'")
        await change(conn, rng.choice(ROWS))
        await conn.execute(f"PREPARE TRANSACTION '{gid}'")
    yield
    async with await psycopg.AsyncConnection.connect(there.database.url, autocommit=True) as conn:
        await conn.execute(f"{rng.choice(['COMMIT', 'ROLLBACK'])} PREPARED '{gid}'")


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process.pid, number)
