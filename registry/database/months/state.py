"""How the log of agents is kept, and the months there are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection
from psycopg.rows import tuple_row

from registry.database.errors import translated
from registry.database.months.patience import row

MONTHS: LiteralString = """
SELECT
    m.name,
    m.begins_at,
    m.ends_at,
    greatest(c.reltuples, 0)::bigint AS activities,
    pg_total_relation_size(c.oid) AS size_bytes
FROM public.activity_months() AS m
JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass('public.' || m.name)
ORDER BY m.begins_at
"""
STATE: LiteralString = (
    "SELECT public.activities_are_by_month(), to_regclass('public.agent_activities_next') IS NOT NULL"
)


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


class Ends(NamedTuple):
    """What is made and dropped next."""

    first_not_made: datetime
    """When the month begins that is made next."""
    oldest: Month | None
    """The month that is dropped next; None where none is over."""
    oldest_days: int
    """For how many whole days it is over: retention that keeps so many, or fewer, drops it."""


class State(NamedTuple):
    """How the log is kept."""

    by_month: bool
    is_moving: bool
    """Whether a move was begun, and has not ended."""
    months: list[Month]


def ends(found: Sequence[Month], now: datetime) -> Ends | None:
    """What is made and dropped next of months, oldest first; None where there are none."""
    ended = [(month.ends_at, month) for month in found if month.ends_at is not None]
    if not ended:
        return None
    first_ends_at, first = ended[0]
    if first_ends_at > now:
        return Ends(ended[-1][0], None, 0)
    return Ends(ended[-1][0], first, (now - first_ends_at).days)


def state(conn: Connection[Any]) -> State:
    """How the log is kept, and its months, oldest first. Raises `Unavailable`."""
    with translated(), conn.transaction():
        by_month, is_moving = row(conn, STATE)
        with conn.cursor(row_factory=tuple_row) as cursor:
            return State(by_month, is_moving, [Month(*row) for row in cursor.execute(MONTHS).fetchall()])
