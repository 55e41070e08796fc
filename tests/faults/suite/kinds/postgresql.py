"""Faults of PostgreSQL: ended in every way, frozen, full of connections, and sessions that hold what others need."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import uuid4

import psutil
import psycopg

from tests.faults.suite.fault import fault
from tests.faults.suite.installation import MAX_CONNECTIONS, Installation
from tests.faults.suite.writers import ROWS

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


@fault("primary lost and synchronous standby promoted", POSTGRESQL, longest_seconds=1, weight=2)
async def promoted(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    await there.database.fail_over()
    yield
    await there.database.add_standby()


@fault("synchronous standby killed", POSTGRESQL, longest_seconds=4)
async def standby_killed(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    await there.database.stop_standby()
    yield
    await there.database.start_standby()


@fault("postgresql frozen", POSTGRESQL, longest_seconds=8)
async def frozen(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    processes = there.database.processes()
    for process in processes:
        _signal(process, signal.SIGSTOP)
    yield
    for process in processes:
        _signal(process, signal.SIGCONT)


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


@fault("no connection left", POSTGRESQL, longest_seconds=5)
async def no_connection_left(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    taken = []
    with suppress(psycopg.OperationalError):
        for _ in range(MAX_CONNECTIONS):
            taken.append(await psycopg.AsyncConnection.connect(there.database.url))
    if rng.random() < 0.5:  # who leads must find another connection
        await taken[0].execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'imi-registry%'"
        )
    yield
    for conn in taken:
        await conn.close()


@fault("rows locked by an idle transaction", POSTGRESQL, longest_seconds=6)
async def idle_in_transaction(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    conn = await psycopg.AsyncConnection.connect(there.database.url)
    await conn.execute("UPDATE projects SET metadata = '{}' WHERE name = %s", [rng.choice(ROWS)])
    yield
    await conn.close()


@fault("transaction prepared", POSTGRESQL, longest_seconds=6)
async def prepared(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    gid = uuid4().hex
    async with await psycopg.AsyncConnection.connect(there.database.url, autocommit=True) as conn:
        await conn.execute("BEGIN")
        await conn.execute("SET LOCAL imi.doorbell = 'off'")
        await conn.execute("UPDATE projects SET trunk_path = %s WHERE name = %s", [f"/{gid}", rng.choice(ROWS)])
        await conn.execute(f"PREPARE TRANSACTION '{gid}'")
    yield
    async with await psycopg.AsyncConnection.connect(there.database.url, autocommit=True) as conn:
        await conn.execute(f"{rng.choice(['COMMIT', 'ROLLBACK'])} PREPARED '{gid}'")


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process.pid, number)
