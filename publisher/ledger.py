"""The ledger side of the applier: one call to the database carries out one command (migrations/004_commands.sql)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row

from publisher.outbox import KEEPALIVE
from registry.command_reader import Command
from registry.commands import Outcome
from registry.errors import Conflict, Invalid, RegistryError, Unavailable, from_database
from registry.pool import whole

Connection = AsyncConnection[Outcome]

APPLY = """
SELECT command_id, verdict, code, message, result
FROM public.apply_command(%s, %s, %s::text::jsonb, %s, %s, %s, %s, %s, %s)
"""

# A command that waits for a lock longer than this gives way to others, and is tried again.
SESSION = """
SET jit = off;
SET timezone = 'UTC';
SET lock_timeout = '10s';
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
async def connect(database_url: str, name: str) -> AsyncIterator[Connection]:
    """A connection for `apply`. Raises `NoConnection` when it cannot be made."""
    try:
        conn: Connection = await whole(
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
        except psycopg.Error as error:
            raise _no_connection(error) from error
        yield conn
    finally:
        await conn.close()


def _no_connection(error: psycopg.Error) -> RegistryError:
    known = from_database(error)
    return NoConnection(str(known)) if isinstance(known, Unavailable) else known


async def apply(conn: Connection, command: Command) -> Outcome:
    """Carry out `command`, or find that this was done before; returns once that is committed.

    Raises `IdTaken`; `Busy` or another `Unavailable` when nothing was changed, or, with `conn` lost, may have been:
    calling again with the same command is right then.
    """
    try:
        return await _call(conn, command, command.problem)
    except Invalid as error:
        # A value that PostgreSQL does not even read, as a text with NUL.
        return await _call(conn, command._replace(data={}), str(error))


async def _call(conn: Connection, command: Command, problem: str | None) -> Outcome:
    values = (
        command.id,
        command.name,
        orjson.dumps(command.data).decode(),
        command.digest,
        command.correlation_id,
        command.idempotency_key,
        command.actor,
        command.traceparent,
        problem,
    )
    try:
        outcome = await (await conn.execute(APPLY, values)).fetchone()
    except psycopg.Error as error:
        raise _translated(error) from error
    if outcome is None:
        raise Conflict("apply_command returned no outcome")
    return outcome


def _translated(error: psycopg.Error) -> RegistryError:
    known = from_database(error)
    if error.sqlstate in BUSY:
        return Busy(str(known))
    if error.diag.constraint_name == "command_ledger_pkey":
        return IdTaken(str(known))
    return known
