"""What the two servers are like: versions, who keeps vacuum back, WAL and disks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta

from nats.aio.client import Client
from psycopg import AsyncConnection

from publisher.doctor.findings import Finding
from publisher.outbox.connection import translated
from registry.broker.errors import translated_nats
from registry.database.blockers import quoted

LEAST_NATS = (2, 10)
"""As for PostgreSQL, no connection is made to one that is too old."""
LONG_SECONDS = 600.0
"""A transaction that has read for so long is named."""
LISTED = 5
LEAST_FREE = 0.1
"""Share of a disk that is to be free."""
MOST_USED = 0.85
"""Share of its storage that an account of NATS may use before it is told."""
LEAST_AGE_SECONDS = 3600.0
"""What grew in less time tells nothing about a day."""
SECONDS_A_DAY = 86_400.0

READERS = """
SELECT pid, coalesce(application_name, ''), usename, state,
    extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_catalog.pg_stat_activity
WHERE datname = current_database()
    AND backend_type = 'client backend'
    AND backend_xmin IS NOT NULL
    AND backend_xid IS NULL
    AND pid <> pg_backend_pid()
    AND xact_start < clock_timestamp() - make_interval(secs => %(seconds)s)
ORDER BY xact_start
LIMIT %(limit)s
"""

ARCHIVER = """
SELECT last_failed_wal, extract(epoch FROM clock_timestamp() - last_failed_time)::float8, failed_count
FROM pg_catalog.pg_stat_archiver
WHERE current_setting('archive_mode') <> 'off' AND last_failed_time > coalesce(last_archived_time, '-infinity')
"""

DISK = """
SELECT
    CASE WHEN inet_server_addr() IS NULL THEN
        (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory')
    END,
    pg_total_relation_size('public.outbox')::float8,
    (
        SELECT extract(epoch FROM clock_timestamp() - occurred_at)::float8
        FROM public.outbox
        WHERE isfinite(occurred_at)
        ORDER BY id
        LIMIT 1
    )
"""


async def server_findings(conn: AsyncConnection, client: Client) -> list[Finding]:
    """Look at both servers. Raises `Unavailable`."""
    values = {"seconds": LONG_SECONDS, "limit": LISTED}
    with translated():
        readers = await (await conn.execute(READERS, values)).fetchall()
        archiver = await (await conn.execute(ARCHIVER)).fetchone()
        directory, size, age_seconds = await (await conn.execute(DISK)).fetchone() or (None, 0.0, None)
    with translated_nats("cannot ask for the account's limits"):
        account = await client.jetstream().account_info()
    version = client.connected_server_version
    numbers = f"{version.major}.{version.minor}.{version.patch}"
    return [
        _versions(conn.info.server_version, (version.major, version.minor), numbers),
        *_readers(readers),
        *_archiver(archiver),
        *_disk(directory, size, age_seconds),
        *_storage(account.storage, account.limits.max_storage),
    ]


def _versions(postgres: int, nats: tuple[int, int], nats_text: str) -> Finding:
    """Whether NATS is new enough; `postgres` is a number as libpq gives it."""
    major, minor = divmod(postgres, 10_000)
    text = f"PostgreSQL {major}.{minor} and nats-server {nats_text}"
    if nats < LEAST_NATS:
        return Finding(False, f"{text}: nats-server {LEAST_NATS[0]}.{LEAST_NATS[1]} or later is needed")
    return Finding(True, text)


def _storage(used: float, most: float | None) -> Iterator[Finding]:
    """What an account of NATS uses of what it may, in bytes; no limit is None, or not positive."""
    if most is not None and most > 0 and used >= MOST_USED * most:
        yield Finding(
            False,
            f"the NATS account has used {used / 1e6:,.0f} of {most / 1e6:,.0f} MB of its storage: at the limit nothing "
            "is published and no command is taken; raise max_file, or set limits of age or size on streams",
            is_hindrance=False,
        )


def _readers(rows: list[tuple[int, str, str, str, float]]) -> Iterator[Finding]:
    for pid, application, user, state, seconds in rows:
        yield Finding(
            False,
            f"pid {pid} (application {quoted(application)}, user {user}, {state}) has read in one transaction for "
            f"{timedelta(seconds=round(seconds))}: what is removed or replaced since stays on disk and is read over; "
            f"let it end, or SELECT pg_terminate_backend({pid})",
            is_hindrance=False,
        )


def _archiver(row: tuple[str, float, int] | None) -> Iterator[Finding]:
    if row is not None:
        segment, seconds, failures = row
        yield Finding(
            False,
            f"PostgreSQL cannot archive its WAL: segment {segment} failed {timedelta(seconds=round(seconds))} ago, "
            f"{failures} failures in all; what is not archived is kept until the disk is full: see archive_command and "
            "the server's log",
            is_hindrance=False,
        )


def _disk(directory: str | None, size: float, age_seconds: float | None) -> Iterator[Finding]:
    """Where PostgreSQL is on this host and its disk is nearly full: how long that lasts as the outbox grew so far."""
    try:
        disk = os.statvfs(directory or "")
    except OSError:
        return
    free, whole = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    if free >= LEAST_FREE * whole:
        return
    lasts = ""
    if age_seconds is not None and age_seconds >= LEAST_AGE_SECONDS and size > 0:
        days = free / (size * SECONDS_A_DAY / age_seconds)
        lasts = f", {days:,.0f} days as the outbox grew so far"
    yield Finding(
        False,
        f"the disk of PostgreSQL has {free / 1e9:,.1f} GB of {whole / 1e9:,.1f} free{lasts}: without room nothing is "
        "written; IMI_OUTBOX_RETENTION_DAYS is how long events stay",
        is_hindrance=False,
    )
