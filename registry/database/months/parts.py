"""Months made and dropped by hand: `serve` makes them ahead, and retention drops what is old."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from registry.database.months.patience import patiently
from registry.database.roles.ownership import as_owner
from registry.database.stepping.lock import exclusive


def make_ahead(conn: Connection[Any], months: int) -> int:
    """Make this month and so many after it; returns how many were not there. For the owner alone."""
    with exclusive(conn), as_owner(conn):
        return int(patiently(conn, "SELECT public.make_activity_months(%s::integer)", months))


def drop(conn: Connection[Any], name: str) -> int:
    """Drop a month, with its activities; returns how many. For the owner alone. Raises `NotFound` for no month."""
    with exclusive(conn), as_owner(conn):
        return int(patiently(conn, "SELECT public.drop_activity_month(%s)", name))
