"""Other sites: how long a change takes to a mirror and to a replica, side by side, and how fast both catch up."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import psycopg
from prometheus_client import CollectorRegistry
from psycopg import AsyncConnection

from benchmarks.harness.measure import Report, Target, percentile
from benchmarks.harness.servers import POSTGRES_SETTINGS, Servers, new_prefix
from benchmarks.harness.sizes import Sizes
from publisher.embedded.postgres import postgres
from publisher.mirror.follower import Follower
from publisher.mirror.health import MirrorHealth
from publisher.replica.publication import publish
from publisher.replica.replication import copied, create, drop
from publisher.replica.source import connect_source
from publisher.settings import load
from registry.concurrency.tasks import end
from registry.subjects import Names

RATE = 100
PERCENTILES = {"p50": 50.0, "p99": 99.0}
MOST_MS = 250.0
"""What a reader at another site does not notice."""
MIRROR, REPLICA = "mirror", "replica"
NUMBER = "SELECT coalesce(max(ahead_of_trunk), 0) FROM worktrees"
CHANGE = "UPDATE worktrees SET ahead_of_trunk = %s"
BLOCK = 500
MANY = (
    "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
    " SELECT 'bench', id, 'synced', 'row ' || n FROM worktrees, generate_series(1, %s) AS n"
)
PATIENCE_SECONDS = 600


class Sites(NamedTuple):
    """URLs of the source and of its copies, which are on another server."""

    source: str
    copies: Mapping[str, str]


async def run(servers: Servers, sizes: Sizes) -> Report:
    """Lag of each change at a steady rate, and rows a second of a backlog."""
    report = Report(
        "sites",
        f"{RATE} changes a second of one row in the source; both copies, on another server of PostgreSQL on the same "
        "machine, are asked again and again which change they have. Then rows are inserted in transactions of "
        f"{BLOCK}, and the time runs from the first of them until all are there.",
    )
    prefix = new_prefix()
    with sites(servers) as found:
        await prepared(found, prefix)
        async with servers.service(found.source, prefix), following(servers, found.copies[MIRROR], prefix):
            for url in found.copies.values():
                await until(url, "SELECT count(*) FROM worktrees", 1)
            lags = await lag_of_each(found, sizes.latency_seconds)
            rates = await rates_of_backlog(found, sizes.growth_backlog)
        await drop(found.copies[REPLICA], found.source)
    record(report, lags, rates)
    return report


def record(report: Report, lags: Mapping[str, Sequence[float]], rates: Mapping[str, float]) -> None:
    """Add the seconds of each change to each copy, the rows a second of a backlog, and the targets."""
    for name, values in lags.items():
        for label, percent in PERCENTILES.items():
            report.add(f"{name}: from COMMIT until it is there, {label}", "ms", [percentile(values, percent) * 1000])
        figure = f"{name}: p99 at {RATE} changes a second"
        report.targets.append(Target(figure, "ms", percentile(values, 99.0) * 1000, at_most=MOST_MS))
    for name, rate in rates.items():
        report.add(f"{name}: rows of a backlog", "rows/s", [rate])


@contextmanager
def sites(servers: Servers) -> Iterator[Sites]:
    """Two more servers: a registry on one, and two that are to be copies of it on the other."""
    settings = POSTGRES_SETTINGS | {"wal_level": "logical"}
    with ExitStack() as stack:
        near, far = (
            Servers(stack.enter_context(postgres(Path(folder), settings=settings)).url, servers.nats_url)
            for folder in [stack.enter_context(tempfile.TemporaryDirectory(prefix="imi-bench-")) for _ in range(2)]
        )
        source, mirror, replica = (stack.enter_context(server.database()) for server in (near, far, far))
        yield Sites(source, {MIRROR: mirror, REPLICA: replica})


async def prepared(found: Sites, prefix: str) -> None:
    """One worktree in the source, and both copies set up."""
    with psycopg.connect(found.source, autocommit=True) as conn:
        conn.execute(
            "SELECT register_worktree(register_project('p', 'git@github.com:o/p.git'), 'feat', 'w', 'w', '/w')"
        )
    with psycopg.connect(found.copies[MIRROR], autocommit=True) as conn:
        conn.execute("SELECT begin_mirror('source', %s)", [Names(prefix).event_stream])
    async with connect_source(found.source) as source:
        await publish(source, None)
    replica = found.copies[REPLICA]
    await create(replica, "source", "imi_replica", found.source, None, may_replace=False)
    await copied(replica, found.source, lambda _done, _all: None)


@asynccontextmanager
async def following(servers: Servers, mirror: str, prefix: str) -> AsyncIterator[None]:
    """The mirror follows inside the block. The replica needs nobody."""
    settings = load(
        database_url=mirror,
        nats_url=servers.nats_url,
        prefix=f"{prefix}m",
        mirror_nats_url=servers.nats_url,
        mirror_prefix=prefix,
    )
    follower = asyncio.ensure_future(Follower(settings, MirrorHealth(CollectorRegistry())).run())
    try:
        yield
    finally:
        await end([follower])


async def until(url: str, query: str, at_least: int) -> None:
    """Wait until a number in a database is that high."""
    async with await AsyncConnection.connect(url, autocommit=True) as conn, asyncio.timeout(PATIENCE_SECONDS):
        found = 0
        while found < at_least:
            await asyncio.sleep(0.02)
            ((found,),) = await (await conn.execute(query.encode())).fetchall()


async def lag_of_each(found: Sites, seconds: float) -> dict[str, list[float]]:
    """Seconds from the COMMIT of each change until each copy has it, or a later one."""
    committed: dict[int, float] = {}
    last = int(seconds * RATE)

    async def watched(url: str) -> list[float]:
        lags: list[float] = []
        async with await AsyncConnection.connect(url, autocommit=True) as conn:
            seen = 0
            while seen < last:
                ((number,),) = await (await conn.execute(NUMBER)).fetchall()
                now = perf_counter()
                lags += [now - committed[one] for one in range(seen + 1, number + 1) if one in committed]
                seen = number
                await asyncio.sleep(0.001)
        return lags

    async def write() -> None:
        async with await AsyncConnection.connect(found.source, autocommit=True) as conn:
            begin = perf_counter()
            for number in range(1, last + 1):
                await asyncio.sleep(max(0.0, begin + number / RATE - perf_counter()))
                await conn.execute(CHANGE, [number])
                committed[number] = perf_counter()

    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        watching = {name: tasks.create_task(watched(url)) for name, url in found.copies.items()}
        tasks.create_task(write())
    return {name: task.result() for name, task in watching.items()}


async def rates_of_backlog(found: Sites, rows: int) -> dict[str, float]:
    """Rows a second from the begin of the first transaction until the last one is there, of each copy."""
    begin = perf_counter()
    blocks = max(1, rows // BLOCK)

    async def arrived(url: str) -> float:
        await until(url, "SELECT count(*) FROM agent_activities", blocks * BLOCK)
        return blocks * BLOCK / (perf_counter() - begin)

    async with asyncio.TaskGroup() as tasks:
        waiting = {name: tasks.create_task(arrived(url)) for name, url in found.copies.items()}
        async with await AsyncConnection.connect(found.source, autocommit=True) as conn:
            for _ in range(blocks):
                await conn.execute(MANY, [BLOCK])
    return {name: task.result() for name, task in waiting.items()}
