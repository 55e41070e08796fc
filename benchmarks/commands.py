"""Commands: sent, carried out and answered, against calling the SQL function directly with the same concurrency."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from itertools import cycle
from statistics import median
from time import perf_counter
from uuid import UUID, uuid4

import psycopg
from psycopg import AsyncConnection

from benchmarks.harness import backlog
from benchmarks.harness.measure import Report, Target, interleaved, percentile, ratio
from benchmarks.harness.servers import Servers, new_prefix
from benchmarks.harness.sizes import Sizes
from registry.client import RegistryClient

COMMAND, LEDGER, FUNCTION = "RegistryClient", "apply_command", "the SQL function"
CALL = "SELECT update_worktree_git_state(%(worktree)s, p_ahead := %(ahead)s)"
APPLY = """
SELECT verdict FROM apply_command(
    %(id)s, 'worktree.update_git_state', jsonb_build_object('worktree_id', %(worktree)s::uuid, 'ahead', %(ahead)s::int),
    sha256(uuid_send(%(id)s)), %(id)s
)
"""

Change = Callable[[UUID, int], Awaitable[object]]


async def run(servers: Servers, sizes: Sizes) -> Report:
    """Commands a second and their p99, of the client and of direct calls."""
    report = Report(
        "commands",
        f"{sizes.command_clients} tasks update the git state of 100 worktrees, {sizes.commands:,} updates in all. A "
        "command goes through the stream and the ledger, and its outcome comes back as a reply. Baseline: as many "
        "database connections call the function that the command ends in; both commit durably and write the event. "
        "`apply_command` is what the applier calls, with the ledger and the outcome event but without any message.",
    )
    prefix = new_prefix()
    async with AsyncExitStack() as stack:
        url = stack.enter_context(servers.database())
        with psycopg.connect(url) as conn:
            backlog.prepare(conn)
            worktrees = [row[0] for row in conn.execute("SELECT id FROM worktrees ORDER BY name")]
        await stack.enter_async_context(servers.service(url, prefix))
        client = await stack.enter_async_context(RegistryClient.connect(servers.nats_url, prefix=prefix))
        conns = [
            await stack.enter_async_context(await AsyncConnection.connect(url, autocommit=True))
            for _ in range(sizes.command_clients)
        ]
        slowest: dict[str, list[float]] = {COMMAND: [], LEDGER: [], FUNCTION: []}

        async def by_command(worktree: UUID, ahead: int) -> None:
            await client.update_git_state(worktree_id=worktree, ahead=ahead)

        async def by_function(conn: AsyncConnection, worktree: UUID, ahead: int) -> None:
            await conn.execute(CALL, {"worktree": worktree, "ahead": ahead}, prepare=True)

        async def by_ledger(conn: AsyncConnection, worktree: UUID, ahead: int) -> None:
            await conn.execute(APPLY, {"id": uuid4(), "worktree": worktree, "ahead": ahead}, prepare=True)

        ways: dict[str, list[Change]] = {
            COMMAND: [by_command] * sizes.command_clients,
            LEDGER: [partial(by_ledger, conn) for conn in conns],
            FUNCTION: [partial(by_function, conn) for conn in conns],
        }

        async def measure(name: str) -> float:
            rate, p99 = await per_second(ways[name], worktrees, sizes.commands)
            slowest[name].append(p99)
            return rate

        values = await interleaved({name: partial(measure, name) for name in ways}, sizes.rounds)
    for name, rates in values.items():
        report.add(name, "calls/s", rates)
        report.add(f"{name}, p99", "ms", slowest[name][1:])
    report.targets.append(
        Target("commands, against the SQL function", "times", ratio(values[COMMAND], values[FUNCTION]), at_least=0.6)
    )
    report.notes.append(
        f"p99 of a command is {median(slowest[COMMAND][1:]):.1f} ms, of a direct call "
        f"{median(slowest[FUNCTION][1:]):.1f} ms, with {sizes.command_clients} under way at once. Ledger and outcome "
        f"event leave {ratio(values[LEDGER], values[FUNCTION]):.2f} of the rate of direct calls before there is any "
        "message; client, stream and applier then share the CPUs with PostgreSQL."
    )
    return report


async def per_second(ways: list[Change], worktrees: list[UUID], count: int) -> tuple[float, float]:
    """Every one of `ways` makes changes in turn, `count` in all: changes a second, and their p99 in milliseconds."""
    times: list[float] = []

    async def work(number: int, change: Change) -> None:
        mine = cycle(worktrees[number :: len(ways)])  # of its own: the rate is not that of waiting for one row
        for ahead in range(number + 1, count + 1, len(ways)):
            start = perf_counter()
            await change(next(mine), ahead)
            times.append((perf_counter() - start) * 1000)

    start = perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number, change in enumerate(ways):
            tasks.create_task(work(number, change))
    return count / (perf_counter() - start), percentile(times, 99)
