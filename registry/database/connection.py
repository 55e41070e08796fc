"""Every connection to PostgreSQL is made here: as this project needs it, whatever was set around it.

Database, role, environment (PGDATESTYLE, PGOPTIONS, …), connection string and pooler may each set what changes the
values that are read and written. A connection made here has its own say on all of that, and SQL names what it means:
`public.outbox`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, LiteralString

import orjson
import psycopg
from psycopg import AsyncConnection, Connection, IsolationLevel
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from registry import exact
from registry.authority import check_hosts, written
from registry.database.connecting.kept import check_session_is_kept
from registry.database.connecting.silence import HeardBlockingConnection, HeardConnection
from registry.database.connecting.times import NearestTime, NearestTimeOfBinary
from registry.database.connecting.uninterrupted import uninterrupted
from registry.database.errors import translated
from registry.errors import Conflict, Invalid, Unavailable
from registry.urls import is_cut_in_password

LEAST_POSTGRES = 14
"""Its first version that can do what the migrations ask for."""

SetUp = Callable[[AsyncConnection[Any]], Awaitable[None]]
"""Makes the settings of a connection that is new."""

# A dead peer is noticed within about ten seconds, whatever the network does with the packets.
KEEPALIVE: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 10_000,
}
FALLBACK_NAME: dict[str, Any] = {"fallback_application_name": "imi-registry"}
CONNECTION: dict[str, Any] = {"autocommit": True, "client_encoding": "UTF8", **KEEPALIVE}

# What a pooler in transaction mode keeps for each of its clients, since PostgreSQL reports these by itself
# (https://www.pgbouncer.org/features.html). Anything else that is set would be met by another client.
REPORTED: LiteralString = """
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET DateStyle = 'ISO, MDY';
SET TimeZone = 'UTC';
"""

# Our own SQL names the schema; the path is for triggers that others put on these tables. Triggers and foreign keys
# hold, whatever a superuser has set. What was committed outlives a crash of PostgreSQL; a stronger promise, as
# remote_apply, stays. default_transaction_read_only stays too: who sets it wants no writer until it is taken back.
SESSION: LiteralString = (
    REPORTED
    + """
SET search_path = public, pg_temp;
SET IntervalStyle = 'postgres';
SET bytea_output = 'hex';
SET extra_float_digits = 1;
SET array_nulls = on;
SET transform_null_equals = off;
SET quote_all_identifiers = off;
SET gin_fuzzy_search_limit = 0;
SET exit_on_error = off;
SET default_transaction_isolation = 'read committed';
SET default_transaction_deferrable = off;
SET client_min_messages = warning;
SET idle_session_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SELECT set_config(name, value, false)
FROM (VALUES ('session_replication_role', 'replica', 'origin'), ('synchronous_commit', 'off', 'on'))
    AS setting (name, found, value)
WHERE current_setting(name) = found;
"""
)
"""Settings of every session that is this process's alone."""

NO_TIME_LIMITS: LiteralString = """
SET statement_timeout = 0;
SET lock_timeout = 0;
SELECT set_config('transaction_timeout', '0', false) WHERE current_setting('transaction_timeout', true) IS NOT NULL;
"""
"""Settings beside those of `SESSION` for what may take its time: a migration, an import, a vacuum."""

# As PostgreSQL sees this session, and whether it is the one that greeted us: a pooler greets with a number of its own.
_SERVER_SESSION = """
SELECT
    pg_backend_pid(),
    current_setting('default_transaction_isolation'),
    current_setting('session_replication_role')
"""


def check_url(database_url: str) -> None:
    """Raise `Invalid` for a URL, or connection string, that is none; what is wrong in it may be of a password."""
    try:
        is_good = not is_cut_in_password(database_url)
        given = conninfo_to_dict(database_url)
    except psycopg.ProgrammingError:
        is_good = False
    if not is_good:
        raise Invalid(
            "the database URL, not shown as it may have a password in it, is not of the form "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, "
            'where "@", "/" and "%" in a password are written as %40, %2F and %25'
        )
    if given.get("hostaddr") or os.environ.get("PGHOSTADDR"):
        return
    try:
        check_hosts(str(given.get("host") or os.environ.get("PGHOST") or ""))
    except ValueError as error:
        raise Invalid(f"the database URL, not shown as it may have a password in it, or PGHOST: {error}") from None


@asynccontextmanager
async def connect(database_url: str, name: str, settings: str = "") -> AsyncIterator[AsyncConnection[Any]]:
    """A direct connection that PostgreSQL lists as `name`, in autocommit, with `settings` beside those of `SESSION`.

    Statements are prepared at once. Raises `Unavailable` when it cannot be made, `Conflict` for a PostgreSQL before 14.
    """
    async with await open_connection(database_url, name, direct(settings)) as conn:
        yield conn


async def open_connection(database_url: str, name: str, set_up: SetUp) -> AsyncConnection[Any]:
    """A connection that `set_up` has set up, for whoever closes it himself. Raises as `connect` does."""
    check_url(database_url)
    with translated(), _connecting(database_url):
        conn = await uninterrupted(
            HeardConnection.connect(database_url, application_name=name[:63], prepare_threshold=0, **CONNECTION)
        )
    read_exactly(conn)
    try:
        check_version(conn)
        with translated():
            await set_up(conn)
    except BaseException:
        await conn.close()
        raise
    return conn


@contextmanager
def connect_blocking(database_url: str, settings: str = NO_TIME_LIMITS) -> Iterator[Connection[Any]]:
    """As `connect`, without an event loop. What psycopg raises in the block is translated as well.

    Raises `Unprepared`, too, before anything is set, for a pooler of transactions.
    """
    check_url(database_url)

    def make() -> Connection[Any]:
        return HeardBlockingConnection.connect(database_url, **FALLBACK_NAME, **CONNECTION)

    with translated(), _connecting(database_url), make() as conn:
        check_version(conn)
        check_session_is_kept(conn, make)
        read_exactly(conn)
        conn.execute((SESSION + settings).encode())
        yield conn


@contextmanager
def _connecting(database_url: str) -> Iterator[None]:
    """Say which server is silent while a connection is made: psycopg says no more than that the time is up."""
    try:
        yield
    except psycopg.errors.ConnectionTimeout as error:
        given = conninfo_to_dict(database_url)
        host, port = (str(given.get(name) or "") for name in ("host", "port"))
        hosts = ",".join(map(written, host.split(",")))
        place = ":".join(filter(None, [hosts, port])) or "its usual place"
        raise Unavailable(
            f"cannot connect to PostgreSQL at {place}: no answer in time (is it stopped, or overloaded?)"
        ) from error


def pool(
    database_url: str, set_up: SetUp, *, min_size: int, max_size: int, timeout: float
) -> AsyncConnectionPool[AsyncConnection[Any]]:
    """A pool that is not open yet, whose connections `set_up` sets up; `timeout` in seconds for one of them.

    Nothing is prepared: a prepared statement belongs to one server session, and a pooler changes that.
    """

    check_url(database_url)

    async def configure(conn: AsyncConnection[Any]) -> None:
        check_version(conn)
        read_exactly(conn)
        await set_up(conn)

    kind: type[AsyncConnection[Any]] = HeardConnection
    return AsyncConnectionPool(
        database_url,
        connection_class=kind,
        kwargs={"prepare_threshold": None, **FALLBACK_NAME, **CONNECTION},
        min_size=min_size,
        max_size=max_size,
        timeout=timeout,
        reconnect_timeout=timeout,  # pauses double: whoever asks after that has it tried anew, at once
        configure=configure,
        open=False,
    )


@asynccontextmanager
async def acquired(connections: AsyncConnectionPool[AsyncConnection[Any]]) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection of the pool inside the block. Raises `Unavailable` when none is free in the pool's time."""
    try:
        async with connections.connection() as conn:
            yield conn
    except PoolTimeout as error:
        raise Unavailable(f"no connection to the database within {connections.timeout:g} s") from error


def direct(settings: str = "") -> SetUp:
    """Sets up a connection that no pooler stands in front of."""

    async def set_up(conn: AsyncConnection[Any]) -> None:
        await conn.execute((SESSION + settings).encode(), prepare=False)

    return set_up


async def passing_json_on(conn: AsyncConnection[Any]) -> None:
    """As `direct_or_pooled`, for whoever passes JSON on: it comes as the text it is, an `orjson.Fragment`.

    As values it would have up to thirty times the bytes: of 1 MiB of `{},{},…` each is a dictionary.
    """
    set_json_loads(orjson.Fragment, conn)
    await direct_or_pooled(conn)


async def direct_or_pooled(conn: AsyncConnection[Any]) -> None:
    """Sets up a connection that may go to a pooler in transaction mode.

    There each transaction may run in another server session, whose settings are everybody's: what cannot be set for
    each client is said with each transaction, where the default differs. Raises `Conflict` when triggers do not fire.
    """
    await conn.execute(REPORTED, prepare=False)
    found = await (await conn.execute(_SERVER_SESSION, prepare=False)).fetchone()
    backend, isolation, replication_role = found or (0, "", "")
    if backend == conn.info.backend_pid:
        await direct()(conn)
        return
    if replication_role != "origin":
        raise Conflict(
            f"database {conn.info.dbname}: session_replication_role is {replication_role}, so no trigger fires; "
            "set it to origin for the role of the pooler"
        )
    if isolation != "read committed":
        await conn.set_autocommit(False)
        await conn.set_isolation_level(IsolationLevel.READ_COMMITTED)


def check_version(conn: Connection[Any] | AsyncConnection[Any]) -> None:
    """Raise `Conflict` where PostgreSQL is too old; some pooler does not say which it is, and may pass."""
    major, minor = divmod(conn.info.server_version, 10_000)
    if 0 < major < LEAST_POSTGRES:
        raise Conflict(f"the server is PostgreSQL {major}.{minor}: PostgreSQL {LEAST_POSTGRES} or later is needed")


def read_exactly(conn: Connection[Any] | AsyncConnection[Any]) -> None:
    """Let values be read with all digits of their numbers, and times that Python has none for as the nearest it has."""
    set_json_loads(exact.loads, conn)
    conn.adapters.register_loader("timestamptz", NearestTime)
    conn.adapters.register_loader("timestamptz", NearestTimeOfBinary)
