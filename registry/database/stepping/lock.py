"""One migration of a database at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from registry.database.errors import from_database
from registry.errors import Invalid, Unavailable

LOCK = 0x696D695F6D696772
"""Number of the session's advisory lock."""
ATTEMPT_MS = 200


@contextmanager
def exclusive(conn: Connection[Any]) -> Iterator[None]:
    """Hold the migration lock of the database; inside, `conn.transaction()` is a transaction of its own."""
    if (state := conn.info.transaction_status) != TransactionStatus.IDLE:
        raise Invalid(f"cannot migrate: the connection must have no open transaction, it is {state.name.lower()}")
    autocommit = conn.autocommit
    conn.autocommit = True
    try:
        with _only_one(conn):
            yield
    except psycopg.Error as error:
        raise from_database(error) from error
    finally:
        if not conn.closed:
            conn.autocommit = autocommit


@contextmanager
def _only_one(conn: Connection[Any]) -> Iterator[None]:
    """Inside the block this session holds the lock; a `lock_timeout` of the connection ends the wait.

    It waits in short attempts: a session that waits on and on holds a snapshot, and who builds an index concurrently
    waits for that to end.
    """
    limit_ms = lock_timeout_ms(conn)
    given_up = time.monotonic() + limit_ms / 1000
    try:
        while not _locked(conn, min(limit_ms or ATTEMPT_MS, ATTEMPT_MS)):
            if limit_ms and time.monotonic() >= given_up:
                raise Unavailable("canceling statement due to lock timeout: another migration of this database runs")
    finally:
        if not conn.closed:
            conn.execute("SELECT set_config('lock_timeout', %s, false)", (f"{limit_ms}ms",))
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))


def _locked(conn: Connection[Any], wait_ms: int) -> bool:
    conn.execute("SELECT set_config('lock_timeout', %s, false)", (f"{wait_ms}ms",))
    try:
        conn.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
    except psycopg.errors.LockNotAvailable:
        return False
    return True


def lock_timeout_ms(conn: Connection[Any]) -> int:
    """How long this session waits for a lock now; 0 is without limit."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute("SELECT setting::integer FROM pg_settings WHERE name = 'lock_timeout'").fetchone()
    return int(row[0]) if row else 0
