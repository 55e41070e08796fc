"""Snapshot: the state of the registry through the client, against COPY of the same rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import perf_counter

import orjson
import psycopg
from psycopg import AsyncConnection

from benchmarks.harness import population
from benchmarks.harness.bounds import bounded
from benchmarks.harness.measure import Curve, Report, Target, interleaved, ratio
from benchmarks.harness.servers import Servers, new_prefix
from benchmarks.harness.sizes import Sizes
from publisher.history.snapshot import table_lines
from registry.client import RegistryClient
from registry.history.snapshot import Snapshot, grouped_lines

SNAPSHOT, MODELS, COPY = "RegistryClient.snapshot", "COPY into models", "COPY, not parsed"
PARSED = "COPY, parsed"
"""What any reader of JSON pays, without a model, a type of a value or NATS."""
MEMORY = "the same lines, from memory, into models"
"""What the client pays when PostgreSQL and NATS cost nothing."""
WORKTREES_PER_PROJECT = 10

ROWS = """
COPY (
    SELECT row_to_json(t) FROM public.worktree_types AS t
    UNION ALL
    SELECT row_to_json(p) FROM public.projects AS p
    UNION ALL
    SELECT row_to_json(w)
    FROM (
        SELECT
            worktrees.*, projects.name AS project_name, worktree_types.name AS type_name,
            public.worktree_status(has_uncommitted_changes, ahead_of_trunk, behind_trunk) AS status
        FROM public.worktrees
        JOIN public.projects ON projects.id = worktrees.project_id
        JOIN public.worktree_types ON worktree_types.id = worktrees.type_id
    ) AS w
) TO STDOUT
"""


async def run(servers: Servers, sizes: Sizes) -> Report:
    """Rows a second at each size."""
    report = Report(
        "snapshot",
        "The client asks for a snapshot over NATS and holds it as validated models. Baselines: COPY of the same rows "
        "as JSON to the same process, without a position; made into the same models, parsed by orjson alone, and not "
        "even parsed; and the lines that the publisher sends, out of memory made into models by the client's code. "
        f"A project has {WORKTREES_PER_PROJECT} worktrees.",
    )
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in (SNAPSHOT, MEMORY, MODELS, PARSED, COPY)}
    for worktrees in sizes.snapshot_worktrees:
        prefix = new_prefix()
        with servers.database() as url:
            with psycopg.connect(url) as conn:
                await asyncio.to_thread(population.load, conn, worktrees // WORKTREES_PER_PROJECT, worktrees, 0)
            async with (
                servers.service(url, prefix),
                RegistryClient.connect(servers.nats_url, prefix=prefix) as client,
                await AsyncConnection.connect(url, autocommit=True) as conn,
            ):
                async with conn.transaction():
                    kept = [piece async for piece in grouped_lines(table_lines(conn))]
                values = await interleaved(
                    {
                        SNAPSHOT: lambda client=client, rows=worktrees: taken(client, rows),  # type: ignore[misc]
                        MEMORY: lambda kept=kept, rows=worktrees: made(kept, rows),  # type: ignore[misc]
                        MODELS: lambda conn=conn, rows=worktrees: copied_into_models(conn, rows),  # type: ignore[misc]
                        PARSED: lambda conn=conn, rows=worktrees: copied(conn, rows, orjson.loads),  # type: ignore[misc]
                        COPY: lambda conn=conn, rows=worktrees: copied(conn, rows),  # type: ignore[misc]
                    },
                    sizes.rounds,
                )
        record(report, worktrees, values)
        for name, rates in values.items():
            lines[name].append((worktrees, median(rates)))
    report.curves.append(Curve("Snapshot", "worktrees", "worktrees/s", lines))
    judge(report, values)
    return report


def record(report: Report, worktrees: int, values: Mapping[str, Sequence[float]]) -> None:
    """Add the worktrees a second of each side, with so many of them."""
    for name, rates in values.items():
        report.add(f"{name}, {worktrees:,} worktrees", "worktrees/s", rates)


def judge(report: Report, values: Mapping[str, Sequence[float]]) -> None:
    """Add the targets, of the most worktrees."""
    for baseline, at_least in ((MODELS, 0.8), (COPY, 0.5)):
        times = {name: ratio(rates, values[baseline]) for name, rates in values.items()}
        target = Target(f"snapshot, against {baseline}", "times", times[SNAPSHOT], at_least=at_least)
        report.targets.append(bounded(target, {name: times[name] for name in (MEMORY, PARSED)}, "models, and NATS"))


async def taken(client: RegistryClient, worktrees: int) -> float:
    """Worktrees a second of one snapshot, which must hold them all."""
    start = perf_counter()
    snapshot = await client.snapshot()
    seconds = perf_counter() - start
    assert len(snapshot.worktrees) == worktrees
    return worktrees / seconds


async def made(lines: list[list[bytes]], worktrees: int) -> float:
    """Worktrees a second of the lines of one snapshot, from memory."""
    start = perf_counter()
    snapshot = Snapshot()
    for piece in lines:
        snapshot.put_lines(piece)
    assert len(snapshot.worktrees) == worktrees
    return worktrees / (perf_counter() - start)


async def copied_into_models(conn: AsyncConnection, worktrees: int) -> float:
    """Worktrees a second of one COPY that ends in the models of a snapshot."""
    start = perf_counter()
    snapshot = Snapshot()
    async with conn.transaction():
        async for lines in grouped_lines(table_lines(conn)):
            snapshot.put_lines(lines)
    assert len(snapshot.worktrees) == worktrees
    return worktrees / (perf_counter() - start)


async def copied(conn: AsyncConnection, worktrees: int, taken_by: Callable[[bytes], object] = bytes) -> float:
    """Worktrees a second of one COPY; each row is handed to `taken_by`."""
    start = perf_counter()
    async with conn.cursor().copy(ROWS.encode()) as copy:
        async for row in copy:
            taken_by(bytes(row))
    return worktrees / (perf_counter() - start)
