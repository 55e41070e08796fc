"""The subscription of a replica: whether it runs, how far the initial copy and what is applied are, what failed."""

from __future__ import annotations

from typing import Any, LiteralString, NamedTuple

from psycopg import AsyncConnection

from publisher.outbox.connection import translated

# What applies: not who copies a table, nor who helps with a large transaction (PostgreSQL 16 has `leader_pid`).
FOUND: LiteralString = """
SELECT
    sub.oid::bigint,
    sub.subname::text,
    sub.subenabled,
    worker.pid,
    worker.latest_end_lsn::text,
    extract(epoch FROM clock_timestamp() - worker.last_msg_receipt_time)::float8,
    ARRAY(
        SELECT rel.srrelid::regclass::text
        FROM pg_catalog.pg_subscription_rel AS rel
        WHERE rel.srsubid = sub.oid AND rel.srsubstate <> 'r'
        ORDER BY 1
    ),
    (SELECT count(*) FROM pg_catalog.pg_subscription_rel AS rel WHERE rel.srsubid = sub.oid),
    coalesce((
        SELECT jsonb_object_agg(rel.srrelid::text, rel.srrelid::regclass::text)
        FROM pg_catalog.pg_subscription_rel AS rel
        WHERE rel.srsubid = sub.oid AND rel.srsubstate = 'f'
    ), '{}'),
    coalesce((
        SELECT sum(copy.tuples_processed)
        FROM pg_catalog.pg_stat_progress_copy AS copy
        JOIN pg_catalog.pg_subscription_rel AS rel ON rel.srrelid = copy.relid AND rel.srsubid = sub.oid
        WHERE copy.datid = sub.subdbid AND copy.command = 'COPY FROM'
    ), 0)::bigint
FROM pg_catalog.pg_subscription AS sub
LEFT JOIN LATERAL (
    SELECT stat.*
    FROM pg_catalog.pg_stat_subscription AS stat
    WHERE stat.subid = sub.oid
        AND stat.relid IS NULL
        AND stat.pid IS NOT NULL
        AND to_jsonb(stat) ->> 'leader_pid' IS NULL
    LIMIT 1
) AS worker ON true
WHERE sub.subname = %s
    AND sub.subdbid = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
"""
STATISTICS_SINCE = 150_000
"""PostgreSQL 15 counts errors (18 conflicts by their kind as well), and has a log of JSON lines."""
ERRORS: LiteralString = "SELECT to_jsonb(stat) FROM pg_catalog.pg_stat_subscription_stats AS stat WHERE stat.subid = %s"
APPLIED: LiteralString = """
SELECT coalesce(bool_or(latest_end_lsn >= %(lsn)s::pg_lsn), false)
FROM pg_catalog.pg_stat_subscription AS stat
WHERE stat.subname = %(name)s AND stat.relid IS NULL AND to_jsonb(stat) ->> 'leader_pid' IS NULL
"""


class Subscription(NamedTuple):
    """What a replica's subscription is like."""

    oid: int
    name: str
    is_enabled: bool
    pid: int | None
    """Of the worker that applies; None while there is none, as after an error, until it is started again."""
    applied_lsn: str | None
    heard_seconds: float | None
    """Since when nothing was heard of the source."""
    uncopied: list[str]
    """Tables whose initial copy is not complete."""
    tables: int
    half_copied: dict[int, str]
    """Those of which the rows are here, by their oid, and what came since is not."""
    rows_copied: int
    """By copies that are under way."""
    apply_errors: int = 0
    copy_errors: int = 0
    conflicts: dict[str, int] | None = None
    """By PostgreSQL's name of their kind; None before PostgreSQL 18."""

    @property
    def copy_told(self) -> str:
        """How far the initial copy is."""
        rows = f", {self.rows_copied:,} rows of those under way" if self.rows_copied else ""
        return f"{self.tables - len(self.uncopied)} of {self.tables} tables are copied{rows}"


async def read_subscription(conn: AsyncConnection[Any], name: str) -> Subscription | None:
    """The subscription of this name; None where there is none. Raises `Unavailable`."""
    with translated():
        row = await (await conn.execute(FOUND, [name])).fetchone()
        if row is None:
            return None
        found = Subscription(*row)
        found = found._replace(half_copied={int(oid): table for oid, table in found.half_copied.items()})
        if conn.info.server_version < STATISTICS_SINCE:
            return found
        row = await (await conn.execute(ERRORS, [found.oid])).fetchone()
    told: dict[str, Any] = {} if row is None else row[0]
    conflicts = {key.removeprefix("confl_"): count for key, count in told.items() if key.startswith("confl_")}
    return found._replace(
        apply_errors=told.get("apply_error_count", 0),
        copy_errors=told.get("sync_table_error_count", told.get("sync_error_count", 0)),
        conflicts={kind: count for kind, count in conflicts.items() if count} if conflicts else None,
    )


async def has_applied(conn: AsyncConnection[Any], name: str, lsn: str) -> bool:
    """Whether everything up to this place in the source's WAL is applied. Raises `Unavailable`."""
    with translated():
        (is_applied,) = await (await conn.execute(APPLIED, {"name": name, "lsn": lsn})).fetchone() or (False,)
    return bool(is_applied)
