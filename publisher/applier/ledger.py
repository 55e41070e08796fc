"""The ledger side of the applier: one call to the database carries out commands (migrations/022_keys.sql)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row

from registry import exact
from registry.commands import Outcome
from registry.commands.reading import Command
from registry.database.blockers import Session, blockers_told
from registry.database.connection import direct, open_connection
from registry.database.errors import from_database
from registry.errors import Conflict, Invalid, RegistryError, Unavailable

Connection = AsyncConnection[Any]

# One object a command, carried out in that order: psycopg needs a tenth of the time for one text that it needs for ten
# arrays.
APPLY = """
SELECT outcome.command_id, outcome.verdict, outcome.code, outcome.message, outcome.result
FROM ROWS FROM (
    json_to_recordset(%s::json) AS (
        id uuid, name text, data jsonb, digest bytea, correlation_id uuid, idempotency_key text, actor text,
        traceparent text, problem text, actor_is_verified boolean, sender text
    )
) WITH ORDINALITY AS command (
    id, name, data, digest, correlation_id, idempotency_key, actor, traceparent, problem, actor_is_verified, sender,
    number
)
CROSS JOIN LATERAL public.apply_command(
    id, name, data, digest, correlation_id, idempotency_key, actor, traceparent, problem, actor_is_verified, sender
) AS outcome
ORDER BY number
"""
ARGUMENTS = (
    "id",
    "name",
    "data",
    "correlation_id",
    "idempotency_key",
    "actor",
    "traceparent",
    "problem",
    "actor_is_verified",
    "sender",
)

# A row that a policy hides is an error that is waited for, and no verdict: the command is not to blame.
SESSION = """
SET row_security = off;
SET jit = off;
SET statement_timeout = '60s';
SELECT set_config('transaction_timeout', '0', false) WHERE current_setting('transaction_timeout', true) IS NOT NULL;
"""
BUSY = {"40001", "40P01", "57014"}
"""SQLSTATEs that tell of this command and its neighbours, not of the server: serialization, deadlock, time limit."""
LOCKED = "55P03"


class Busy(Unavailable):
    """The command met another one, or took too long; the database is well."""


class Locked(Busy):
    """Somebody has held a lock that the command needs for as long as it waited."""


class NoConnection(Unavailable):
    """There is no connection to the database, or no usable one."""


class IdTaken(Conflict):
    """The command's id is in the ledger as that of another command."""


@asynccontextmanager
async def connect(database_url: str, name: str, lock_seconds: float) -> AsyncIterator[Connection]:
    """A connection for `apply`, where a command waits `lock_seconds` for each lock: one that needs longer is `Locked`.

    Raises `NoConnection` when it cannot be made.
    """
    conn = await open_session(database_url, name, lock_seconds)
    try:
        yield conn
    finally:
        await conn.close()


async def open_session(database_url: str, name: str, lock_seconds: float) -> Connection:
    """As `connect`, for whoever closes it himself."""
    settings = f"{SESSION} SET lock_timeout = {lock_seconds * 1000:.0f};"
    try:
        return await open_connection(database_url, name, direct(settings))
    except Unavailable as error:
        raise NoConnection(str(error)) from error


async def answered(conn: Connection) -> None:
    """Return once PostgreSQL answers on `conn`. Raises `NoConnection`; `conn` is closed then."""
    try:
        await conn.execute("SELECT")
    except psycopg.Error as error:
        await conn.close()
        raise NoConnection(str(_translated(error))) from error


async def apply(conn: Connection, commands: Sequence[Command]) -> list[Outcome]:
    """Carry out `commands` in one transaction, or find of any that this was done before; returns once it is committed.

    Raises a `RegistryError` when nothing was changed, or, with `conn` lost, may have been. It can be the fault of any
    one command: `apply_one` tells.
    """
    arguments = exact.dumps([_arguments(command) for command in commands]).decode()
    try:
        cursor = conn.cursor(row_factory=class_row(Outcome))
        return await (await cursor.execute(APPLY, [arguments])).fetchall()
    except psycopg.Error as error:
        raise _translated(error) from error


def _arguments(command: Command) -> dict[str, Any]:
    """A row of what `APPLY` is given, as JSON has it; what is not there is NULL."""
    values = {name: getattr(command, name) for name in ARGUMENTS}
    given = {name: value for name, value in values.items() if value is not None}
    return given | {"digest": f"\\x{command.digest.hex()}"}


async def apply_one(conn: Connection, command: Command) -> Outcome:
    """Carry out one command, or find that this was done before; returns once it is committed.

    Raises `IdTaken`; `Busy` or another `Unavailable` when nothing was changed, or, with `conn` lost, may have been:
    calling again with the same command is right then.
    """
    try:
        (outcome,) = await apply(conn, [command])
    except Invalid as error:
        # A value that PostgreSQL does not even read, as a text with NUL.
        (outcome,) = await apply(conn, [command._replace(data={}, problem=str(error))])
    return outcome


async def apply_alone(conn: Connection, database_url: str, command: Command, looking: asyncio.Lock) -> Outcome:
    """As `apply_one`; `Locked` names the session that holds the lock, where it could be seen.

    Who holds `looking` may look, so that of many commands that wait only one needs a second connection.
    """
    if looking.locked():
        return await apply_one(conn, command)
    holders: list[Session] = []
    try:
        async with looking, blockers_told(database_url, conn.info.backend_pid, holders.append):
            return await apply_one(conn, command)
    except Locked as error:
        if not holders:
            raise
        raise Locked(f"{holders[-1]} holds or asks for a lock that it needs") from error


def _translated(error: psycopg.Error) -> RegistryError:
    known = from_database(error)
    if error.sqlstate in BUSY:
        return Busy(str(known))
    if error.sqlstate == LOCKED:
        return Locked(f"{known}: somebody holds what it needs")
    if error.diag.constraint_name == "command_ledger_pkey":
        return IdTaken(str(known))
    return known
