"""The ledger side of the applier: one call to the database carries out commands (migrations/004_commands.sql)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import orjson
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row

from publisher.outbox.connection import KEEPALIVE
from registry.commands import Outcome
from registry.commands.reading import Command
from registry.database.connection import from_database, uninterrupted
from registry.errors import Conflict, Invalid, RegistryError, Unavailable

Connection = AsyncConnection[Outcome]

# One row of arguments a command, carried out in that order.
APPLY = """
SELECT outcome.command_id, outcome.verdict, outcome.code, outcome.message, outcome.result
FROM unnest(
    %s::uuid[], %s::text[], %s::text[], %s::bytea[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[]
) WITH ORDINALITY AS command (
    id, name, data, digest, correlation_id, idempotency_key, actor, traceparent, problem, number
)
CROSS JOIN LATERAL public.apply_command(
    id, name, data::jsonb, digest, correlation_id, idempotency_key, actor, traceparent, problem
) AS outcome
ORDER BY number
"""

SESSION = """
SET jit = off;
SET timezone = 'UTC';
SET statement_timeout = '60s';
SET idle_session_timeout = 0;
"""
BUSY = {"40001", "40P01", "55P03", "57014"}
"""SQLSTATEs that tell of this command and its neighbours, not of the server: serialization, deadlock, timeouts."""


class Busy(Unavailable):
    """The command met another one, or took too long; the database is well."""


class NoConnection(Unavailable):
    """There is no connection to the database, or no usable one."""


class IdTaken(Conflict):
    """The command's id is in the ledger as that of another command."""


@asynccontextmanager
async def connect(database_url: str, name: str, lock_seconds: float) -> AsyncIterator[Connection]:
    """A connection for `apply`, where a command waits `lock_seconds` for each lock: one that needs longer is `Busy`.

    Raises `NoConnection` when it cannot be made.
    """
    try:
        conn: Connection = await uninterrupted(
            AsyncConnection.connect(
                database_url,
                autocommit=True,
                application_name=name,
                prepare_threshold=0,
                row_factory=class_row(Outcome),
                **KEEPALIVE,
            )
        )
    except psycopg.Error as error:
        raise _no_connection(error) from error
    try:
        try:
            await conn.execute(SESSION, prepare=False)
            await conn.execute("SELECT set_config('lock_timeout', %s, false)", [f"{lock_seconds * 1000:.0f}"])
        except psycopg.Error as error:
            raise _no_connection(error) from error
        yield conn
    finally:
        await conn.close()


def _no_connection(error: psycopg.Error) -> RegistryError:
    known = from_database(error)
    return NoConnection(str(known)) if isinstance(known, Unavailable) else known


async def apply(conn: Connection, commands: Sequence[Command]) -> list[Outcome]:
    """Carry out `commands` in one transaction, or find of any that this was done before; returns once it is committed.

    Raises a `RegistryError` when nothing was changed, or, with `conn` lost, may have been. It can be the fault of any
    one command: `apply_one` tells.
    """
    rows = [
        (
            command.id,
            command.name,
            orjson.dumps(command.data).decode(),
            command.digest,
            command.correlation_id,
            command.idempotency_key,
            command.actor,
            command.traceparent,
            command.problem,
        )
        for command in commands
    ]
    try:
        return await (await conn.execute(APPLY, [list(column) for column in zip(*rows, strict=True)])).fetchall()
    except psycopg.Error as error:
        raise _translated(error) from error


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


def _translated(error: psycopg.Error) -> RegistryError:
    known = from_database(error)
    if error.sqlstate in BUSY:
        return Busy(str(known))
    if error.diag.constraint_name == "command_ledger_pkey":
        return IdTaken(str(known))
    return known
