"""Retention of a large outbox: its oldest tenth is deleted as the publisher does it, or dropped as a partition.

The partitioned outbox is built here alone. Its parts are ranges of ids, which leaves it the primary key it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from time import perf_counter
from typing import NamedTuple

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.types.json import Jsonb
from psycopg.types.numeric import Int8

from benchmarks.harness.beside import Load, Writers
from benchmarks.harness.cpu import process_seconds
from benchmarks.harness.measure import Report, Target, ratio
from benchmarks.harness.servers import Servers
from benchmarks.harness.sizes import Sizes
from benchmarks.writers import WORKTREES
from publisher.outbox.connection import LEADER, connect
from publisher.outbox.retention import remove_old

PARTS = 10
"""Of the outbox, each as old as a month; one is removed a round."""
MOST_ROUNDS = 3
"""A part is removed in each; until it is gone takes twenty seconds."""
MONTH = timedelta(days=30)
BATCH = 1_000
DELETED, DROPPED = "deleted from one table", "dropped as a partition"
MOST_OF_A_WRITE = 0.05
MOST_SLOWER = 1.15

# Activities are most of what an outbox holds.
ACTIVITY = """
INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, file_path)
SELECT 'agent-1', id, 'modified', 'Tell the reader of a file that ends in the middle of a line', 'src/reader/lines.py'
FROM worktrees
LIMIT 1
"""
BY_ID = """
ALTER TABLE outbox RENAME TO outbox_before;
CREATE TABLE outbox (LIKE outbox_before INCLUDING ALL) PARTITION BY RANGE (id);
CREATE TABLE outbox_other PARTITION OF outbox DEFAULT;
CREATE TRIGGER outbox_append_only
    BEFORE UPDATE OR TRUNCATE ON outbox
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_refuse_rewrite();
CREATE TRIGGER outbox_doorbell
    AFTER INSERT ON outbox
    FOR EACH ROW WHEN (pg_sequence_last_value('publisher_doorbell'::regclass) = 1) EXECUTE FUNCTION outbox_ring();
SELECT setval(pg_get_serial_sequence('outbox', 'id'), (SELECT max(id) FROM outbox_before));
"""
PART = "CREATE TABLE {} PARTITION OF outbox FOR VALUES FROM ({}) TO ({})"
EVENTS = """
INSERT INTO outbox (entity, action, project_id, entity_id, data)
SELECT 'activity', 'logged', %(project)s, gen_random_uuid(), %(data)s
FROM generate_series(1, %(rows)s)
"""
RECORD = """
INSERT INTO published_batch (stream, last_sequence, ids, published_at)
SELECT 'BENCH', start + %(batch)s - 1, ARRAY[int8range(start, start + %(batch)s)], now() - %(age)s
FROM generate_series(%(first)s::bigint, %(behind)s::bigint - 1, %(batch)s) AS start
"""
CURSOR = """
INSERT INTO publisher_cursor (stream, published, stream_sequence)
SELECT 'BENCH', int8multirange(int8range(1, max(id) + 1)), max(id)
FROM outbox
"""


class Removal(NamedTuple):
    """What it took to remove a part."""

    seconds: float
    microseconds: float
    """CPU time of PostgreSQL for each event, the vacuum that follows included."""


class Side:
    """A database whose outbox gives up its oldest part, round by round, while others write."""

    def __init__(self, database_url: str, writers: Writers, part_rows: int, *, is_by_id: bool) -> None:
        self._database_url = database_url
        self._writers = writers
        self._part_rows = part_rows
        self._is_by_id = is_by_id
        self._removed = 0

    async def at_rest(self, seconds: float) -> Load:
        """Writers alone."""
        return await self._writers.beside(asyncio.sleep(seconds))

    async def meanwhile(self, seconds: float) -> tuple[Removal, Load]:
        """Writers while a part is removed, and for `seconds` at least."""
        async with connect(self._database_url, "imi-registry retention", LEADER) as conn:
            removing = asyncio.create_task(self._remove(conn))
            load = await self._writers.beside(asyncio.gather(removing, asyncio.sleep(seconds)))
        self._removed += 1
        return removing.result(), load

    async def _remove(self, conn: AsyncConnection) -> Removal:
        backend = conn.info.backend_pid
        before, began = process_seconds(backend), perf_counter()
        if self._is_by_id:
            await conn.execute(sql.SQL("DROP TABLE {}").format(part_name(self._removed)))
            await conn.execute("DELETE FROM published_batch WHERE published_at < now() - %s", [self._keep()])
            seconds = perf_counter() - began
        else:
            removed = await remove_old(conn, self._keep())
            if removed.events != self._part_rows:
                raise RuntimeError(f"{removed.events:,} events were removed instead of {self._part_rows:,}")
            seconds = perf_counter() - began
            await conn.execute("VACUUM outbox")
        await conn.execute("VACUUM published_batch")
        return Removal(seconds, 1e6 * (process_seconds(backend) - before) / self._part_rows)

    def _keep(self) -> timedelta:
        return (PARTS - self._removed) * MONTH - MONTH / 2


async def run(servers: Servers, sizes: Sizes) -> Report:
    """A tenth of a large outbox removed both ways, and writers beside it."""
    part_rows = sizes.retained_events // PARTS
    report = Report(
        "retention",
        f"An outbox of {sizes.retained_events:,} published events gives up its oldest tenth, while "
        f"{sizes.cpu_clients} connections update worktrees, a row a transaction, with their events. Deleted: as the "
        "publisher's retention does it, in steps of 1,000 with pauses, and the vacuum that follows. Dropped: the same "
        "table, partitioned by ranges of ids, which keeps its primary key; no migration makes such a one. CPU time is "
        "that of PostgreSQL's processes as the kernel counts it; a write's is that of its own process.",
    )
    with ExitStack() as stack:
        sides = {
            name: await asyncio.to_thread(_filled, stack, servers, sizes, part_rows, is_by_id=name == DROPPED)
            for name in (DELETED, DROPPED)
        }
        await _measure(sides, sizes, report)
    return report


async def _measure(sides: dict[str, Side], sizes: Sizes, report: Report) -> None:
    rest: dict[str, list[Load]] = {name: [] for name in sides}
    beside: dict[str, list[Load]] = {name: [] for name in sides}
    removals: dict[str, list[Removal]] = {name: [] for name in sides}
    for number in range(min(sizes.rounds, MOST_ROUNDS)):
        for name in list(sides) if number % 2 == 0 else reversed(list(sides)):
            rest[name].append(await sides[name].at_rest(sizes.writer_seconds))
            removal, load = await sides[name].meanwhile(sizes.writer_seconds)
            removals[name].append(removal)
            beside[name].append(load)
    for name in sides:
        report.add(f"{name}: until it is gone", "s", [one.seconds for one in removals[name]])
        report.add(f"{name}: CPU for each event removed", "µs", [one.microseconds for one in removals[name]])
    loads: dict[str, Callable[[Load], float]] = {
        "CPU": lambda one: one.microseconds,
        "p99": lambda one: one.p99_ms,
        "slowest": lambda one: one.slowest_ms,
    }
    for name in sides:
        for figure, of in loads.items():
            unit = "µs" if figure == "CPU" else "ms"
            report.add(f"{name}: a write at rest, {figure}", unit, [of(one) for one in rest[name]])
            report.add(f"{name}: a write meanwhile, {figure}", unit, [of(one) for one in beside[name]])
    _judge(rest, beside, removals, report)


def _judge(
    rest: dict[str, list[Load]], beside: dict[str, list[Load]], removals: dict[str, list[Removal]], report: Report
) -> None:
    quiet = {name: [one.microseconds for one in loads] for name, loads in rest.items()}
    busy = {name: [one.microseconds for one in loads] for name, loads in beside.items()}
    deleting = [one.microseconds for one in removals[DELETED]]
    report.targets += [
        Target(
            "what deleting an event takes, against what its writer takes",
            "times",
            ratio(deleting, quiet[DELETED]),
            at_most=MOST_OF_A_WRITE,
        ),
        Target(
            "CPU of a write while the outbox is deleted from, against at rest",
            "times",
            ratio(busy[DELETED], quiet[DELETED]),
            at_most=MOST_SLOWER,
        ),
    ]
    report.notes.append(
        f"While a partition is dropped a write takes {ratio(busy[DROPPED], quiet[DROPPED]):.2f} of what it takes at "
        f"rest. At rest a write with the partitioned outbox takes {ratio(quiet[DROPPED], quiet[DELETED]):.2f} of what "
        "it takes with one table: that is paid by every write, the other only while something is removed."
    )


def part_name(number: int) -> sql.Identifier:
    """The partition that is removed in this round."""
    return sql.Identifier(f"outbox_part_{number}")


def _filled(stack: ExitStack, servers: Servers, sizes: Sizes, part_rows: int, *, is_by_id: bool) -> Side:
    url = stack.enter_context(servers.database())
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("SET synchronous_commit = off")
        conn.execute(WORKTREES, [sizes.bulk_rows])
        conn.execute(ACTIVITY)
        row = conn.execute("SELECT id, project_id, data FROM outbox WHERE action = 'logged'").fetchone()
        assert row is not None
        last_id, project_id, data = row
        if is_by_id:
            conn.execute(BY_ID)
        for number in range(PARTS):
            first = last_id + 1 + number * part_rows
            if is_by_id:
                conn.execute(sql.SQL(PART).format(part_name(number), first, first + part_rows))
            conn.execute(EVENTS, {"project": project_id, "data": Jsonb(data), "rows": part_rows})
            values = {"first": Int8(first), "behind": Int8(first + part_rows), "batch": min(BATCH, part_rows)}
            conn.execute(RECORD, values | {"age": (PARTS - number) * MONTH})
        conn.execute(CURSOR)
        conn.execute("VACUUM (FREEZE, ANALYZE)")
        conn.execute("CHECKPOINT")
    writers = Writers(url, sizes.cpu_clients, sizes.bulk_rows)
    stack.callback(writers.close)
    return Side(url, writers, part_rows, is_by_id=is_by_id)
