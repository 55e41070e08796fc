"""Open gaps: what an event beside a long transaction costs, in time and in WAL, by the rollbacks since that began."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from statistics import median

from psycopg import AsyncConnection

from benchmarks.harness import backlog
from benchmarks.harness.measure import Curve, Report, Target, interleaved, percentile, ratio
from benchmarks.harness.servers import Servers, new_prefix
from benchmarks.harness.sizes import Sizes
from benchmarks.latency import latencies
from registry.subjects import Names

RATE = 20
"""Commits a second: each is a batch of its own."""
LIMIT_MS = 20.0
MOST_ROUNDS = 3
"""Nothing here is near its limit."""

# An event that is committed, an id that never will be, and so on; one transaction, so that all of it takes seconds.
ALTERNATE = """
DO $$
BEGIN
    FOR number IN 1..{gaps} LOOP
        INSERT INTO outbox (entity, action, entity_id, data)
        VALUES ('worktree', 'updated', gen_random_uuid(), '{{"changed": {{}}}}');
        PERFORM nextval('outbox_id_seq');
    END LOOP;
END
$$
"""
WRITTEN = """
SELECT
    sum(size.bytes)::float8 / greatest(sum(size.calls), 1)
FROM (
    SELECT wal_bytes AS bytes, calls
    FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND query LIKE '%UPDATE public.publisher_cursor%published_batch%'
) AS size
"""


async def run(servers: Servers, sizes: Sizes) -> Report:
    """Milliseconds from commit to delivery, and bytes of WAL for each cursor stored, with ever more gaps."""
    report = Report(
        "gaps",
        f"{RATE} commits a second while another transaction, which holds an outbox id, is idle, and so many ids were "
        "rolled back since it began. From the acknowledged COMMIT to the delivery, and what storing the cursor with "
        "its record adds to the WAL. Sizes take turns within each round.",
    )
    bytes_of: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        contestants = {}
        for gaps in (0, *sizes.gaps):
            url, prefix = await stack.enter_async_context(_held_open(servers, gaps))
            contestants[str(gaps)] = partial(_round, servers, url, prefix, sizes, bytes_of.setdefault(str(gaps), []))
        times = await interleaved(contestants, min(sizes.rounds, MOST_ROUNDS))
    record(report, times, {gaps: values[1:] for gaps, values in bytes_of.items()})  # without the round to warm up
    return report


def record(report: Report, times: Mapping[str, Sequence[float]], written: Mapping[str, Sequence[float]]) -> None:
    """Add the milliseconds of a delivery and the bytes of a cursor by the number of gaps, and the targets."""
    _add(report, "commit to delivery, p50", "ms", times)
    _add(report, "WAL of storing the cursor", "bytes", written)
    most = list(times)[-1]
    report.targets.append(Target(f"latency p50 with {int(most):,} gaps", "ms", median(times[most]), at_most=LIMIT_MS))
    for name, values in (("latency p50", times), ("WAL of storing the cursor", written)):
        times_as_much = ratio(values[most], values["0"])
        report.targets.append(Target(f"{name}, {int(most):,} gaps against none", "times", times_as_much, at_most=2))


@asynccontextmanager
async def _held_open(servers: Servers, gaps: int) -> AsyncIterator[tuple[str, str]]:
    """A database and a prefix whose relay has `gaps` gaps open, all behind one idle transaction's."""
    prefix = new_prefix()
    with servers.database() as url:
        async with (
            await AsyncConnection.connect(url, autocommit=True) as conn,
            await AsyncConnection.connect(url) as idle,
        ):
            await asyncio.to_thread(backlog.fill, url, 0)
            await conn.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            await idle.execute("UPDATE projects SET description = 'held open'")
            if gaps:
                await conn.execute(ALTERNATE.format(gaps=gaps))
            async with servers.service(url, prefix):
                await _until_published(conn, prefix)
                yield url, prefix


async def _until_published(conn: AsyncConnection, prefix: str) -> None:
    query = """
        SELECT public.published_ids(cursor) @> (SELECT max(id) FROM outbox)
        FROM publisher_cursor AS cursor
        WHERE stream = %s
    """
    async with asyncio.timeout(300):
        while await (await conn.execute(query, [Names(prefix).event_stream])).fetchone() != (True,):  # noqa: ASYNC110  # a table is asked, it does not call
            await asyncio.sleep(0.1)


async def _round(servers: Servers, url: str, prefix: str, sizes: Sizes, written: list[float]) -> float:
    async with await AsyncConnection.connect(url, autocommit=True) as conn:
        await conn.execute("SELECT pg_stat_statements_reset()")
        times = await latencies(servers.nats_url, url, prefix, rate=RATE, seconds=sizes.latency_seconds)
        row = await (await conn.execute(WRITTEN)).fetchone()
    written.append(row[0] if row and row[0] else 0.0)
    return percentile(times, 50)


def _add(report: Report, figure: str, unit: str, values: Mapping[str, Sequence[float]]) -> None:
    points: list[tuple[float, float]] = []
    for gaps, measured in values.items():
        report.add(f"{figure}, {int(gaps):,} gaps", unit, measured)
        points.append((max(int(gaps), 1), report.series[-1].median))
    report.curves.append(Curve(f"{figure.split(',')[0]} by open gaps", "open gaps", unit, {"": points}))
