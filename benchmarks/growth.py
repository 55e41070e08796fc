"""Growth: the same work with ever more rows, projects and subscribers around it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from functools import partial

import psycopg
from nats.aio.client import Client
from psycopg.types.numeric import Int8

from benchmarks.drain import as_the_relay, bare, read
from benchmarks.harness import backlog
from benchmarks.harness.bounds import bounded
from benchmarks.harness.measure import Curve, Report, Target, interleaved, percentile, ratio
from benchmarks.harness.pgbench import tps
from benchmarks.harness.servers import Servers, drop_stream, fill_seconds, new_prefix
from benchmarks.harness.sizes import Sizes
from benchmarks.latency import latencies
from registry.broker.connection import connect_nats
from registry.subjects import Names

FLAT = 0.9
NOTHING: Mapping[str, float] = {}
WRITERS = 16
SUBSCRIBER_RATE = 10
MORE_ROUNDS = 3
"""Rates of writes differ by a sixth from one round to the next: many short rounds tell more than few long ones."""
FILLER = """
INSERT INTO outbox (entity, action, entity_id, data)
SELECT 'worktree', 'updated', gen_random_uuid(), '{"changed": {}}'
FROM generate_series(1, %s)
"""
PUBLISHED = "INSERT INTO publisher_cursor (stream, published) VALUES (%s, int8multirange(int8range(1, %s + 1)))"
WRITE_WORKTREE = """
\\set number random(0, 99)
\\set ahead random(1, 1000000)
UPDATE worktrees SET ahead_of_trunk = :ahead WHERE path = '/bench/feat-' || :number::text AND active;
"""
WRITE_PROJECT = """
\\set number random(1, {projects})
\\set tag random(1, 1000000)
UPDATE projects SET description = :tag::text WHERE name = 'p' || :number::text AND active;
"""
PROJECTS = """
INSERT INTO projects (name, remote_origin, trunk_path)
SELECT 'p' || number, 'git@github.com:growth/p' || number || '.git', '/growth/p' || number
FROM generate_series(1, %s) AS number
"""
CHANGES = """
UPDATE projects SET description = 'round ' || %s WHERE name IN (SELECT 'p' || n FROM generate_series(1, %s) AS n)
"""


async def run(servers: Servers, sizes: Sizes) -> Report:
    """Drain and write rates with a growing outbox and registry, delivery to a growing number of subscribers."""
    report = Report(
        "growth",
        f"Drain: a backlog of {sizes.growth_backlog:,} events behind outbox rows that are published already, or spread "
        f"over many projects. Writes: {WRITERS} pgbench clients. Sizes take turns within each round.",
    )
    async with connect_nats(servers.nats_url, "bench") as client:
        await _outbox(servers, sizes, client, report)
        await _projects(servers, sizes, client, report)
    await _subscribers(servers, sizes, report)
    return report


async def _outbox(servers: Servers, sizes: Sizes, client: Client, report: Report) -> None:
    with ExitStack() as stack:
        urls = {rows: stack.enter_context(servers.database()) for rows in sizes.outbox_rows}
        totals = {}
        for rows, url in urls.items():
            await asyncio.to_thread(_fill_outbox, url, rows)
            totals[rows] = await asyncio.to_thread(backlog.fill, url, sizes.growth_backlog)
        drains: dict[str, Callable[[], Awaitable[float]]] = {
            str(rows): partial(_drained, servers, client, url, rows, totals[rows] - rows) for rows, url in urls.items()
        }
        record(report, "outbox rows", "drain, events/s", await interleaved(drains, sizes.rounds))
        scripts = {rows: (url, WRITE_WORKTREE) for rows, url in urls.items()}
        record(report, "outbox rows", "writes/s", await _write_rates(scripts, sizes))


async def _projects(servers: Servers, sizes: Sizes, client: Client, report: Report) -> None:
    with ExitStack() as stack:
        urls = {projects: stack.enter_context(servers.database()) for projects in sizes.growth_projects}
        totals, published = {}, {}
        for projects, url in urls.items():
            published[projects], totals[projects] = await asyncio.to_thread(
                _fill_projects, url, projects, sizes.growth_backlog
            )
        drains: dict[str, Callable[[], Awaitable[float]]] = {
            str(projects): partial(_drained, servers, client, url, published[projects], totals[projects])
            for projects, url in urls.items()
        }
        least, *_, most = urls
        for projects in (least, most):
            messages = (await read(urls[projects], published[projects] + totals[projects]))[published[projects] :]
            drains[_bare(projects)] = partial(bare, client, messages, as_the_relay)
        values = await interleaved(drains, sizes.rounds)
        limits = [values.pop(_bare(projects)) for projects in (least, most)]
        less = {f"{_bare(most)} against {least:,}": ratio(limits[1], limits[0])}
        record(report, "projects", "drain, events/s", values, less)
        for projects, rates in zip((least, most), limits, strict=True):
            report.add(_bare(projects), "events/s", rates)
        few, many = (ratio(values[str(count)], limit) for count, limit in zip((least, most), limits, strict=True))
        report.notes.append(
            f"Atomic batches from memory have {ratio(limits[1], limits[0]):.3f} of their rate when they are about "
            f"{most:,} projects instead of {least:,}: nats-server keeps state for each subject. "
            f"Against them the drain has {many / few:.2f} times the ratio that it has with {least:,}."
        )
        figure = f"drain, {most:,} projects, against bare batches with as many subjects"
        target = Target(figure, "times", many, at_least=FLAT)
        report.targets.append(bounded(target, {f"drain, {least:,} projects, against its bare batches": few}))
        scripts = {projects: (url, WRITE_PROJECT.format(projects=projects)) for projects, url in urls.items()}
        record(report, "projects", "writes/s", await _write_rates(scripts, sizes))


async def _write_rates(scripts: dict[int, tuple[str, str]], sizes: Sizes) -> dict[str, list[float]]:
    """Size to the rates of its script on its database."""
    writes: dict[str, Callable[[], Awaitable[float]]] = {
        str(size): partial(tps, url, script, WRITERS, sizes.writer_seconds / MORE_ROUNDS)
        for size, (url, script) in scripts.items()
    }
    return await interleaved(writes, MORE_ROUNDS * sizes.rounds)


async def _subscribers(servers: Servers, sizes: Sizes, report: Report) -> None:
    prefix = new_prefix()
    points: list[tuple[float, float]] = []
    with servers.database() as url:
        with psycopg.connect(url) as conn:
            backlog.prepare(conn)
        async with servers.service(url, prefix):
            for subscribers in sizes.subscribers:
                times = await latencies(
                    servers.nats_url,
                    url,
                    prefix,
                    rate=SUBSCRIBER_RATE,
                    seconds=sizes.latency_seconds,
                    subscribers=subscribers,
                )
                report.add(f"{subscribers} subscribers: delivery to each, p50", "ms", [percentile(times, 50)])
                points.append((subscribers, report.series[-1].median))
    report.curves.append(
        Curve("Delivery to each of many subscribers", "subscribers", "ms, p50", {"all in one Python process": points})
    )


def _bare(projects: int) -> str:
    return f"bare atomic batches, {projects:,} projects"


def record(
    report: Report, size: str, figure: str, values: dict[str, list[float]], less: Mapping[str, float] = NOTHING
) -> None:
    """Add the rates of each size of `size`, by its number, and how those of the largest compare with the smallest's."""
    points: list[tuple[float, float]] = []
    for number, rates in values.items():
        report.add(f"{figure.split(',')[0]}, {int(number):,} {size}", figure.split(" ")[-1], rates)
        points.append((int(number), report.series[-1].median))
    report.curves.append(Curve(f"{figure.split(',')[0]} by {size}", size, figure, {"": points}))
    smallest, *_, largest = values
    name = f"{figure.split(',')[0]}, {int(largest):,} {size} against {int(smallest):,}"
    target = Target(name, "times", ratio(values[largest], values[smallest]), at_least=FLAT)
    report.targets.append(bounded(target, less))


async def _drained(servers: Servers, client: Client, database_url: str, published: int, events: int) -> float:
    """Events a second of a drain that begins behind `published` rows."""
    prefix = new_prefix()
    with psycopg.connect(database_url) as conn:
        conn.execute(PUBLISHED, [Names(prefix).event_stream, Int8(published)])
    async with servers.service(database_url, prefix):
        seconds = await fill_seconds(client, prefix, events)
    await drop_stream(client, prefix)
    return events / seconds


def _fill_outbox(database_url: str, rows: int) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("SET synchronous_commit = off")
        conn.execute(FILLER, [Int8(rows)])


def _fill_projects(database_url: str, projects: int, events: int) -> tuple[int, int]:
    """Register `projects`, then change them until there are `events` more; how many rows came before, and behind."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("SET synchronous_commit = off")
        conn.execute(PROJECTS, [projects])
        left = events
        while left > 0:
            conn.execute(CHANGES, [left, min(left, projects)])
            left -= min(left, projects)
        conn.execute("VACUUM ANALYZE")
    return projects, events
