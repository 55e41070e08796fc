"""Writer cost: what a transaction pays for its event, and what it would pay for a NOTIFY each time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from statistics import median
from time import perf_counter

import psycopg
from psycopg import AsyncConnection

from benchmarks.harness.bounds import bounded
from benchmarks.harness.measure import Curve, Report, Target, interleaved, ratio
from benchmarks.harness.pgbench import tps
from benchmarks.harness.servers import Servers
from benchmarks.harness.sizes import Sizes
from benchmarks.triggers.sides import OWNED, STEPS, drop_event_triggers, write_ids_alone, write_old_and_new

WORKTREES = """
WITH project AS (
    SELECT register_project('bench', 'git@github.com:bench/bench.git') AS id
)
INSERT INTO worktrees (project_id, type_id, name, branch_name, path)
SELECT project.id, 1, 'feat-' || number, 'feat/' || number, '/bench/feat-' || number
FROM project, generate_series(1, %s) AS number
"""
SCRIPT = """
\\set number random(1, {rows})
\\set ahead random(1, 1000000)
UPDATE worktrees SET ahead_of_trunk = :ahead WHERE path = '/bench/feat-' || :number::text AND active;
"""
BULK = {
    "UPDATE": "UPDATE worktrees SET ahead_of_trunk = ahead_of_trunk + 1",
    "INSERT": """
        INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)
        SELECT 'agent-1', id, 'modified', 'bulk' FROM worktrees
    """,
}
BULK_ROUNDS = 3
"""A bulk statement takes less than a second: more rounds tell more."""
BARE, IDS, BY_HAND = "no triggers", "ids alone", "old and new row, by hand"
EVENTS, NOTIFY = "with events", "with events and a NOTIFY each"
OTHER_TRIGGERS = {
    BARE: drop_event_triggers,
    IDS: write_ids_alone,
    BY_HAND: write_old_and_new,
    OWNED: STEPS[OWNED],
}


async def run(servers: Servers, sizes: Sizes) -> Report:
    """Transactions a second without triggers, with them, and with a NOTIFY in each transaction."""
    report = Report(
        "writers",
        "pgbench updates the git state of random worktrees, one row a transaction. Baseline: the same schema without "
        "the triggers that write events. `ids alone` writes outbox rows of the ids without data, the least an outbox "
        "can cost; `by hand` is a row-level trigger that writes the old and the new row, not compared and without the "
        f"names of project and type; `{OWNED}` has what an event has besides. The last side has the doorbell armed all "
        "the time, so that every commit notifies a listener: what most outbox publishers do. Commits are durable "
        "(fsync and synchronous_commit on).",
    )
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in (*OTHER_TRIGGERS, EVENTS, NOTIFY)}
    async with AsyncExitStack() as stack:
        urls = {name: stack.enter_context(servers.database()) for name in lines}
        for name, url in urls.items():
            with psycopg.connect(url, autocommit=True) as conn:
                if name in OTHER_TRIGGERS:
                    OTHER_TRIGGERS[name](conn)
                conn.execute(WORKTREES, [sizes.bulk_rows])
                conn.execute("VACUUM ANALYZE")
                conn.execute("SELECT setval('publisher_doorbell', %s)", [int(name == NOTIFY)])
        await stack.enter_async_context(listener(urls[NOTIFY]))
        most = sizes.writer_clients[-1]
        script = SCRIPT.format(rows=sizes.bulk_rows)
        for clients in sizes.writer_clients:
            values = await interleaved(
                {
                    name: partial(tps, url, script, clients, sizes.writer_seconds)
                    for name, url in urls.items()
                    if name != OWNED or clients == most
                },
                sizes.rounds,
                warm_up=clients == sizes.writer_clients[0],
            )
            record(report, clients, values)
            for name, rates in values.items():
                lines[name].append((clients, median(rates)))
        judge(report, most, values)
        report.curves.append(Curve("Writers", "clients", "transactions/s", lines))
        for kind, statement in BULK.items():
            bulk: dict[str, Callable[[], Awaitable[float]]] = {
                name: partial(rows_per_second, urls[name], statement) for name in (BARE, BY_HAND, OWNED, EVENTS)
            }
            record_bulk(report, kind, sizes.bulk_rows, await interleaved(bulk, BULK_ROUNDS * sizes.rounds))
    return report


def record(report: Report, clients: int, values: Mapping[str, Sequence[float]]) -> None:
    """Add the transactions a second of each side with so many clients."""
    for name, rates in values.items():
        report.add(f"{name}, {clients} clients", "tps", rates)


def judge(report: Report, most: int, values: Mapping[str, Sequence[float]]) -> None:
    """Add the targets, of the most clients."""
    for baseline, words, at_least, less in (
        (BARE, "no triggers", 0.7, (IDS, BY_HAND, OWNED)),
        (NOTIFY, "a NOTIFY each", 3.0, (BARE, IDS, BY_HAND)),
    ):
        times = {name: ratio(rates, values[baseline]) for name, rates in values.items()}
        target = Target(f"writes, {most} clients, against {words}", "times", times[EVENTS], at_least=at_least)
        report.targets.append(bounded(target, {name: times[name] for name in less}, "the form of the event"))
    shares = [f"`{name}` {ratio(values[name], values[BARE]):.2f}" for name in (IDS, BY_HAND, OWNED, EVENTS)]
    report.notes.append(f"With {most} clients, of the rate without triggers: {', '.join(shares)}.")


def record_bulk(report: Report, kind: str, rows: int, values: Mapping[str, Sequence[float]]) -> None:
    """Add the rows a second of bulk statements of a kind, and their target."""
    for name, rates in values.items():
        report.add(f"{name}, {kind} of {rows:,} rows", "rows/s", rates)
    times = {name: ratio(rates, values[BARE]) for name, rates in values.items()}
    target = Target(f"{kind} of {rows:,} rows, against no triggers", "times", times[EVENTS], at_least=0.5)
    rest = "the form of the event; told by statement many rows cost less, and one row more: `writer-cpu`"
    report.targets.append(bounded(target, {name: times[name] for name in (BY_HAND, OWNED)}, rest))


async def rows_per_second(database_url: str, statement: str) -> float:
    """Rows a second of one bulk statement and its commit."""
    async with await AsyncConnection.connect(database_url, autocommit=True) as conn:
        start = perf_counter()
        cursor = await conn.execute(statement)
        return cursor.rowcount / (perf_counter() - start)


@asynccontextmanager
async def listener(database_url: str) -> AsyncIterator[None]:
    """Somebody who takes the notifications, as a publisher would."""
    async with await AsyncConnection.connect(database_url, autocommit=True) as conn:
        await conn.execute("LISTEN imi_outbox")

        async def take() -> None:
            async for _ in conn.notifies():
                pass

        taking = asyncio.create_task(take())
        try:
            yield
        finally:
            taking.cancel()
            await asyncio.wait([taking])
