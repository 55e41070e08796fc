"""One value of the database, asked for until a lock is to be had, in attempts that no writer waits for longer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import Connection
from psycopg.rows import tuple_row

from registry.database.stepping.script import PAUSE_SECONDS

# Who holds the first has kept all writers out of the others; autovacuum may be at them, for as long as it takes.
EVERYTHING: Sequence[LiteralString] = (
    "SET LOCAL lock_timeout = '500ms'",
    "LOCK TABLE ONLY public.agent_activities IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE public.agent_activities, public.agent_activities_next IN ACCESS EXCLUSIVE MODE NOWAIT",
)
"""Locks activities, their months and their copy, of which none is waited for while writers wait for the first."""


def patiently(conn: Connection[Any], query: LiteralString, *values: object, first: Sequence[LiteralString] = ()) -> Any:
    """The one value of `query`, asked for until the locks are to be had that it needs; writers go on in between.

    `first` are statements that are run before it, in its transaction.
    """
    while True:
        try:
            with conn.transaction():
                for statement in first:
                    conn.execute(statement)
                return row(conn, query, *values)[0]
        except psycopg.errors.LockNotAvailable:
            time.sleep(PAUSE_SECONDS)


def row(conn: Connection[Any], query: LiteralString, *values: object) -> tuple[Any, ...]:
    """The first row of `query`."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query, values).fetchone() or ()
