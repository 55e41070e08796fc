"""The log of agents goes into months and back, beside its writers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import tuple_row

from registry.database.backfill import no_progress
from registry.database.months.patience import EVERYTHING, patiently, row
from registry.database.months.state import state
from registry.database.roles.ownership import as_owner
from registry.database.stepping.lock import exclusive
from registry.errors import Conflict

BLOCKS = 128
"""Copied in one transaction: a megabyte of the table."""

COPY: LiteralString = "SELECT public.copy_activities(%s::regclass, %s::bigint, %s::integer)"
PARTS: LiteralString = """
SELECT p.relid::regclass::text, pg_relation_size(p.relid) / current_setting('block_size')::integer
FROM pg_partition_tree('public.agent_activities') AS p
WHERE p.isleaf
UNION ALL
SELECT c.oid::regclass::text, pg_relation_size(c.oid) / current_setting('block_size')::integer
FROM pg_catalog.pg_class AS c
WHERE c.oid = 'public.agent_activities'::regclass AND c.relkind = 'r'
"""
STILL: LiteralString = "SELECT public.check_activity_move()"
"""Refuses what was hung on the table since the move began, as it did then."""
# Everybody sees the locks of everybody. Only what is older than the copy could see it as it was before it was complete.
RUNNING: LiteralString = """
SELECT l.virtualtransaction
FROM pg_catalog.pg_locks AS l
JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid' AND l.pid <> pg_backend_pid() AND a.datname = current_database()
"""


def move(
    conn: Connection[Any], *, by_month: bool, progress: Callable[[int, int], None] = no_progress, blocks: int = BLOCKS
) -> int:
    """Keep the log by month, or as one table again, while others write; returns how many activities were copied.

    Cut off, it is run again, and goes on. `progress` is called with the blocks copied and those there are. None of the
    locks it asks for is waited for longer than half a second, nor held for long. For the owner alone.

    Raises `Conflict` where something hangs on the table that would be left behind, or the same id is in two months.
    """
    with exclusive(conn), as_owner(conn):
        if not patiently(conn, "SELECT public.begin_activity_move(%s)", by_month):
            return 0
        copied = _copy(conn, progress, blocks)
        conn.execute("ANALYZE public.agent_activities_next")
        _compare(conn)
        _wait_for_those_before(conn)
        patiently(conn, "SELECT public.finish_activity_move()", first=(*EVERYTHING, STILL))
        return copied


def cancel(conn: Connection[Any]) -> bool:
    """Give up a move that was begun: the log stays as it is. Whether there was one. For the owner alone."""
    with exclusive(conn), as_owner(conn):
        if not state(conn).is_moving:
            return False
        return bool(patiently(conn, "SELECT public.cancel_activity_move()", first=EVERYTHING))


def _copy(conn: Connection[Any], progress: Callable[[int, int], None], blocks: int) -> int:
    with conn.cursor(row_factory=tuple_row) as cursor:
        parts = cursor.execute(PARTS).fetchall()
    total, done, copied = sum(size for _, size in parts), 0, 0
    for part, size in parts:
        for block in range(0, size, blocks):
            began = time.monotonic()
            copied += row(conn, COPY, part, block, blocks)[0]
            progress(done + min(block + blocks, size), total)
            time.sleep(time.monotonic() - began)  # at most half of what one connection can do
        done += size
    return copied


def _compare(conn: Connection[Any]) -> None:
    count, example = row(conn, "SELECT count(*), min(m::text) FROM public.missed_by_activity_move() AS m")
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
