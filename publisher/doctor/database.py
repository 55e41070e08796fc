"""What in the database keeps events back or will soon: locks, triggers, transactions, slots, connections, clocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from time import time

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from publisher.doctor.findings import LOCKS, Finding, of_check
from publisher.outbox.blocked import blocked
from publisher.outbox.connection import translated
from registry.database.blockers import quoted

OLD_SECONDS = 60.0
"""A transaction that is open for so long is named."""
SKEW_SECONDS = 5.0
FULL = 0.9
"""Share of the connections that leaves too little for a takeover."""
LISTED = 5

# What a table's trigger is in a month of it, is internal in PostgreSQL 14.
TRIGGERS_OFF = """
SELECT c.relname, t.tgname
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
WHERE (
        c.oid IN (SELECT to_regclass('public.' || t) FROM public.replica_tables() AS t)
        OR c.oid IN (
            SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = 'public.agent_activities'::regclass
        )
    )
    AND (NOT t.tgisinternal OR t.tgparentid <> 0)
    AND t.tgenabled IN ('D', 'R')
ORDER BY c.relname, t.tgname
"""

# Of other roles' sessions only a role with pg_read_all_stats sees since when they are in a transaction.
WRITERS = """
SELECT pid, coalesce(application_name, ''), usename, state,
    extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_catalog.pg_stat_activity
WHERE datname = current_database()
    AND backend_xid IS NOT NULL
    AND xact_start < clock_timestamp() - make_interval(secs => %(seconds)s)
ORDER BY xact_start
LIMIT %(limit)s
"""

PREPARED = """
SELECT gid, owner, extract(epoch FROM clock_timestamp() - prepared)::float8
FROM pg_catalog.pg_prepared_xacts
WHERE database = current_database() AND prepared < clock_timestamp() - make_interval(secs => %(seconds)s)
ORDER BY prepared
LIMIT %(limit)s
"""

IDS_OPEN = """
SELECT coalesce(pg_sequence_last_value('public.outbox_id_seq'), 0)
    - coalesce((
        SELECT sum(upper(part) - lower(part))
        FROM public.publisher_cursor AS cursor
        CROSS JOIN LATERAL unnest(public.published_ids(cursor)) AS part
        WHERE cursor.stream = %(stream)s
    ), 0)::bigint
"""

SLOTS = """
SELECT slot_name, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint
FROM pg_catalog.pg_replication_slots
WHERE NOT active AND restart_lsn IS NOT NULL AND NOT pg_is_in_recovery()
ORDER BY slot_name
LIMIT %(limit)s
"""

SERVER = """
SELECT
    (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'),
    current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer,
    extract(epoch FROM clock_timestamp())::float8
"""


async def lock_findings(conn: AsyncConnection) -> list[Finding]:
    """Who waits for a lock, of whatever table: no table is read. Raises `Unavailable`.

    While publisher or applier wait nothing flows; while others do, events go on.
    """
    found = await blocked(conn)
    ours = [Finding(False, text) for text in found.ours]
    return of_check(LOCKS, [*ours, *(Finding(False, text, is_hindrance=False) for text in found.others)])


async def database_findings(conn: AsyncConnection, stream: str) -> list[Finding]:
    """Look at triggers, transactions, slots, connections and the clock. Raises `Unavailable`."""
    values = {"seconds": OLD_SECONDS, "limit": LISTED, "stream": stream}
    async with conn.cursor() as cursor:

        async def rows(query: str) -> list[TupleRow]:
            with translated():
                return await (await cursor.execute(query, values)).fetchall()

        ((ids_open,),) = await rows(IDS_OPEN)
        before = time()
        (server,) = await rows(SERVER)
        return [
            *of_check("triggers", _triggers(await rows(TRIGGERS_OFF))),
            *of_check("transactions", _writers(await rows(WRITERS), ids_open)),
            *of_check("transactions", _prepared(await rows(PREPARED), ids_open)),
            *of_check("replication slots", _slots(await rows(SLOTS))),
            *of_check("connections and clock", _server(server, (before + time()) / 2)),
        ]


def _triggers(rows: list[TupleRow]) -> Iterator[Finding]:
    for table, trigger in rows:
        yield Finding(
            False,
            f"trigger {trigger} of table {table} is switched off: what it checks or tells is lost from then on; "
            f"ALTER TABLE {table} ENABLE TRIGGER {trigger}, then imi-registry history verify",
        )


def _writers(rows: list[TupleRow], ids_open: int) -> Iterator[Finding]:
    for pid, application, user, state, seconds in rows:
        yield Finding(
            False,
            f"pid {pid} (application {quoted(application)}, user {user}, {state}) has been in a transaction for "
            f"{_time(seconds)}; {_ids(ids_open)} for such; let it end, or SELECT pg_terminate_backend({pid})",
            is_hindrance=False,
        )


def _prepared(rows: list[TupleRow], ids_open: int) -> Iterator[Finding]:
    for gid, owner, seconds in rows:
        yield Finding(
            False,
            f"transaction {quoted(gid)} of {owner} was prepared {_time(seconds)} ago and is neither committed nor "
            f"rolled back; {_ids(ids_open)} for such; COMMIT PREPARED or ROLLBACK PREPARED",
            is_hindrance=False,
        )


def _ids(count: int) -> str:
    return "1 outbox id waits" if count == 1 else f"{count:,} outbox ids wait"


def _slots(rows: list[TupleRow]) -> Iterator[Finding]:
    for name, kept_bytes in rows:
        yield Finding(
            False,
            f"replication slot {name} is used by nobody and keeps {kept_bytes / 1e6:,.0f} MB of WAL, more with every "
            "change, until the disk is full or max_slot_wal_keep_size ends it; start its reader, or "
            "pg_drop_replication_slot",
            is_hindrance=False,
        )


def _server(row: TupleRow, now: float) -> Iterator[Finding]:
    used, most, database_time = row
    if used >= FULL * most:
        yield Finding(
            False,
            f"{used} of {most} connections of PostgreSQL are in use: a publisher that takes over may get none; raise "
            "max_connections, or let clients share them",
            is_hindrance=False,
        )
    skew = database_time - now
    if abs(skew) > SKEW_SECONDS:
        where = "ahead of" if skew > 0 else "behind"
        yield Finding(
            False,
            f"the clock of PostgreSQL is {abs(skew):,.0f} s {where} this host's: ages of "
            "events and --since are off by as much; set both by NTP",
            is_hindrance=False,
        )


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
