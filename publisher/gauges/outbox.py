"""What the outbox holds: events that wait and for how long, its size and growth, and how long the disk lasts."""

from __future__ import annotations

import os
from collections import deque
from typing import NamedTuple

from psycopg import AsyncConnection

from publisher.gauges.level import Level
from publisher.outbox.connection import translated
from publisher.outbox.known import MOST_WAITING, Known

SIZES_KEPT = 24 * 240
"""A day of measurements."""
GROWTH_LEAST_SECONDS = 600.0
"""What was added in less time tells nothing about a day."""
SECONDS_A_DAY = 86_400.0

SIZE = """
SELECT
    extract(epoch FROM clock_timestamp())::float8,
    pg_total_relation_size('public.outbox') + pg_total_relation_size('public.published_batch'),
    (
        SELECT CASE WHEN isfinite(occurred_at) THEN extract(epoch FROM clock_timestamp() - occurred_at)::float8 END
        FROM public.outbox
        ORDER BY id
        LIMIT 1
    ),
    CASE WHEN inet_server_addr() IS NULL THEN
        (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory')
    END
"""


class Size(NamedTuple):
    """How large the outbox was."""

    at: float
    bytes: int


class OutboxGauges:
    """Measures one outbox, and remembers a day of its sizes."""

    def __init__(self, retention_days: float) -> None:
        self._retention_seconds = retention_days * SECONDS_A_DAY or None
        self._sizes: deque[Size] = deque(maxlen=SIZES_KEPT)

    async def measure(self, conn: AsyncConnection, known: Known) -> list[Level]:
        """What it holds now; `known` of the stream that is fed from it. Raises `Unavailable`."""
        with translated():
            row = await (await conn.execute(SIZE)).fetchone()
        at, size, kept, directory = row or (0.0, 0, None, None)
        late = max(known.waiting_seconds or 0.0, 0.0)
        heartbeat = known.heartbeat_age_seconds if known.is_fed else None
        self._sizes.append(Size(at, size))
        growth, free = self._growth(), _free_bytes(directory)
        days = free / growth if free is not None and growth is not None and growth > 0 else None
        return [
            Level.of("imi_outbox_waiting_events", f"Events not yet published, up to {MOST_WAITING:,}", known.waiting),
            Level.of("imi_outbox_oldest_waiting_seconds", "Age of the oldest of them; 0 when none waits", late),
            Level.of("imi_outbox_bytes", "Bytes of the outbox and the record of its order, with indexes", size),
            Level.of("imi_outbox_growth_bytes_per_day", "By how much that grew over the last day, or so far", growth),
            Level.of("imi_outbox_oldest_event_seconds", "Age of the oldest event that is kept", kept),
            Level.of("imi_outbox_retention_seconds", "Age at which they go; absent: never", self._retention_seconds),
            Level.of("imi_publisher_heartbeat_age_seconds", "Since a publisher was heard last", heartbeat),
            Level.of("imi_database_disk_free_bytes", "Free where PostgreSQL, on this host, keeps its data", free),
            Level.of("imi_database_disk_full_days", "Days until that is used up as the outbox grows", days),
        ]

    def _growth(self) -> float | None:
        first, last = self._sizes[0], self._sizes[-1]
        seconds = last.at - first.at
        return (last.bytes - first.bytes) * SECONDS_A_DAY / seconds if seconds >= GROWTH_LEAST_SECONDS else None


def _free_bytes(directory: str | None) -> int | None:
    """Of the disk that `directory` is on; None when it cannot be seen from here."""
    try:
        disk = os.statvfs(directory or "")
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize
