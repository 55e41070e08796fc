"""The log of agents by month: from one table into partitions and back, beside writers (docs/adr/0021-months.md)."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import Connection
from psycopg.rows import tuple_row

from registry.database.backfill import no_progress
from registry.database.errors import translated
from registry.database.roles.ownership import as_owner
from registry.database.stepping.lock import exclusive
from registry.database.stepping.script import PAUSE_SECONDS
from registry.errors import Conflict

BLOCKS = 128
"""Copied in one transaction: a megabyte of the table."""

MONTHS: LiteralString = """
SELECT m.name, m.begins_at, m.ends_at, greatest(c.reltuples, 0)::bigint, pg_total_relation_size(c.oid)
FROM public.activity_months() AS m
JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass('public.' || m.name)
ORDER BY m.begins_at
"""
STATE: LiteralString = (
    "SELECT public.activities_are_by_month(), to_regclass('public.agent_activities_next') IS NOT NULL"
)
PARTS: LiteralString = """
SELECT p.relid::regclass::text, pg_relation_size(p.relid) / current_setting('block_size')::integer
FROM pg_partition_tree('public.agent_activities') AS p
WHERE p.isleaf
UNION ALL
SELECT c.oid::regclass::text, pg_relation_size(c.oid) / current_setting('block_size')::integer
FROM pg_catalog.pg_class AS c
WHERE c.oid = 'public.agent_activities'::regclass AND c.relkind = 'r'
"""
# Everybody sees the locks of everybody. Only what is older than the copy could see it as it was before it was complete.
RUNNING: LiteralString = """
SELECT l.virtualtransaction
FROM pg_catalog.pg_locks AS l
JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid' AND l.pid <> pg_backend_pid() AND a.datname = current_database()
"""


class Month(NamedTuple):
    """A part of the log."""

    name: str
    begins_at: datetime | None
    """None for the part that has all other times."""
    ends_at: datetime | None
    activities: int
    """As PostgreSQL estimates."""
    size_bytes: int
    """With its indexes."""


class State(NamedTuple):
    """How the log is kept."""

    by_month: bool
    is_moving: bool
    """Whether a move was begun, and has not ended."""
    months: list[Month]


def state(conn: Connection[Any]) -> State:
    """How the log is kept, and its months, oldest first. Raises `Unavailable`."""
    with translated(), conn.transaction():
        by_month, is_moving = _row(conn, STATE)
        with conn.cursor(row_factory=tuple_row) as cursor:
            return State(by_month, is_moving, [Month(*row) for row in cursor.execute(MONTHS).fetchall()])


def move(
    conn: Connection[Any], *, by_month: bool, progress: Callable[[int, int], None] = no_progress, blocks: int = BLOCKS
) -> int:
    """Keep the log by month, or as one table again, while others write; returns how many activities were copied.

    Cut off, it is run again, and goes on. `progress` is called with the blocks copied and those there are. None of the
    locks it asks for is waited for longer than half a second, nor held for long. For the owner alone.

    Raises `Conflict` where something hangs on the table that would be left behind, or the same id is in two months.
    """
    with exclusive(conn), as_owner(conn):
        if not _patiently(conn, "SELECT public.begin_activity_move(%s)", by_month):
            return 0
        copied = _copy(conn, progress, blocks)
        _compare(conn)
        _wait_for_those_before(conn)
        _patiently(conn, "SELECT public.finish_activity_move()")
        conn.execute("ANALYZE public.agent_activities")
        return copied


def cancel(conn: Connection[Any]) -> bool:
    """Give up a move that was begun: the log stays as it is. Whether there was one. For the owner alone."""
    with exclusive(conn), as_owner(conn):
        return bool(_patiently(conn, "SELECT public.cancel_activity_move()"))


def make_ahead(conn: Connection[Any], months: int) -> int:
    """Make this month and so many after it; returns how many were not there. For the owner alone."""
    with exclusive(conn), as_owner(conn):
        return int(_patiently(conn, "SELECT public.make_activity_months(%s)", months))


def drop(conn: Connection[Any], name: str) -> int:
    """Drop a month, with its activities; returns how many. For the owner alone. Raises `NotFound` for no month."""
    with exclusive(conn), as_owner(conn):
        return int(_patiently(conn, "SELECT public.drop_activity_month(%s)", name))


def _copy(conn: Connection[Any], progress: Callable[[int, int], None], blocks: int) -> int:
    with conn.cursor(row_factory=tuple_row) as cursor:
        parts = cursor.execute(PARTS).fetchall()
    total, done, copied = sum(size for _, size in parts), 0, 0
    for part, size in parts:
        for block in range(0, size, blocks):
            began = time.monotonic()
            copied += _row(conn, "SELECT public.copy_activities(%s::regclass, %s, %s)", part, block, blocks)[0]
            progress(done + min(block + blocks, size), total)
            time.sleep(time.monotonic() - began)  # at most half of what one connection can do
        done += size
    return copied


def _compare(conn: Connection[Any]) -> None:
    count, example = _row(conn, "SELECT count(*), min(m::text) FROM public.missed_by_activity_move() AS m")
    if count:
        raise Conflict(
            f"the copy of agent_activities is not the same: {count} activities are in one of the two alone, as "
            f"{example}; an id that is in two months cannot be in one table, and what was written with triggers off "
            "is missing: imi-registry months cancel, mend it, and begin anew"
        )


def _wait_for_those_before(conn: Connection[Any]) -> None:
    with conn.cursor(row_factory=tuple_row) as cursor:
        before = set(cursor.execute(RUNNING).fetchall())
        while before:
            time.sleep(0.1)
            before &= set(cursor.execute(RUNNING).fetchall())


def _patiently(conn: Connection[Any], query: LiteralString, *values: object) -> Any:
    """The one value of `query`, asked for until the locks are to be had that it needs; writers go on in between."""
    while True:
        try:
            with conn.transaction():
                return _row(conn, query, *values)[0]
        except psycopg.errors.LockNotAvailable:
            time.sleep(PAUSE_SECONDS)


def _row(conn: Connection[Any], query: LiteralString, *values: object) -> tuple[Any, ...]:
    with conn.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query, values).fetchone() or ()
