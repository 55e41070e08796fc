"""One value of the database, asked for until a lock is to be had, in attempts that no writer waits for longer."""

from __future__ import annotations

import time
from typing import Any, LiteralString

import psycopg
from psycopg import Connection
from psycopg.rows import tuple_row

from registry.database.stepping.script import PAUSE_SECONDS


def patiently(conn: Connection[Any], query: LiteralString, *values: object) -> Any:
    """The one value of `query`, asked for until the locks are to be had that it needs; writers go on in between."""
    while True:
        try:
            with conn.transaction():
                return row(conn, query, *values)[0]
        except psycopg.errors.LockNotAvailable:
            time.sleep(PAUSE_SECONDS)


def row(conn: Connection[Any], query: LiteralString, *values: object) -> tuple[Any, ...]:
    """The first row of `query`."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query, values).fetchone() or ()
