"""Commands: sent, carried out and answered, against calling the SQL function directly with the same concurrency."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import cycle
from time import perf_counter
from uuid import UUID, uuid4

import psycopg
from psycopg import AsyncConnection

from benchmarks.commands.least import Caller, caller
from benchmarks.harness import backlog
from benchmarks.harness.bounds import bounded
from benchmarks.harness.cpu import tree_seconds
from benchmarks.harness.measure import Report, Target, interleaved, percentile, ratio
from benchmarks.harness.servers import Servers, new_prefix
from benchmarks.harness.sizes import Sizes
from registry.broker.connection import connect_nats
from registry.client import RegistryClient

COMMAND, LEDGER, FUNCTION = "RegistryClient", "apply_command", "the SQL function"
LEAST = "stream and back"
NOTED = "stream and back, noted"
SIDES = (LEAST, NOTED, LEDGER)
"""What does less than a command."""
CALL = "SELECT update_worktree_git_state(%(worktree)s, p_ahead := %(ahead)s)"
APPLY = """
SELECT verdict FROM apply_command(
    %(id)s, 'worktree.update_git_state', jsonb_build_object('worktree_id', %(worktree)s::uuid, 'ahead', %(ahead)s::int),
    sha256(uuid_send(%(id)s)), %(id)s
)
"""

MANY = 64
"""So many under way at once fill the transactions of the applier."""

Change = Callable[[UUID, int], Awaitable[object]]


async def run(servers: Servers, sizes: Sizes) -> Report:
    """Commands a second, their p99 and CPU time, of the client and of direct calls, for so many under way at once."""
    report = Report(
        "commands",
        f"Tasks update the git state of 100 worktrees, {sizes.commands:,} updates in all. A command goes through the "
        "stream and the ledger, and its outcome comes back as a reply. Baseline: as many database connections call the "
        "function that the command ends in; both commit durably and write the event. `apply_command` is what the "
        "applier calls, with the ledger and the outcome event but without any message. `stream and back` is a work "
        "queue, the function for all calls that wait, up to as many a transaction as the applier takes, an answer and "
        "an acknowledgement, without ledger and outcome event; noted, it is the same with `apply_command`. CPU is that "
        "of all processes: client, both servers, and the service, which publishes the events of every side.",
    )
    prefix = new_prefix()
    async with AsyncExitStack() as stack:
        url = stack.enter_context(servers.database())
        with psycopg.connect(url) as conn:
            backlog.prepare(conn)
            worktrees = [row[0] for row in conn.execute("SELECT id FROM worktrees ORDER BY name")]
        await stack.enter_async_context(servers.service(url, prefix))
        client = await stack.enter_async_context(RegistryClient.connect(servers.nats_url, prefix=prefix))
        bare = await stack.enter_async_context(connect_nats(servers.nats_url, "bench"))
        least = await stack.enter_async_context(caller(bare, servers.nats_url, url))
        noted = await stack.enter_async_context(caller(bare, servers.nats_url, url, is_noted=True))
        for clients in sizes.command_clients:
            conns = [
                await stack.enter_async_context(await AsyncConnection.connect(url, autocommit=True))
                for _ in range(clients)
            ]
            await _compare(client, {LEAST: least, NOTED: noted}, conns, worktrees, sizes, report)
    return report


async def _compare(
    client: RegistryClient,
    least: Mapping[str, Caller],
    conns: list[AsyncConnection],
    worktrees: list[UUID],
    sizes: Sizes,
    report: Report,
) -> None:
    """As many of each side under way at once as there are connections."""

    async def by_command(worktree: UUID, ahead: int) -> None:
        await client.update_git_state(worktree_id=worktree, ahead=ahead)

    async def by_function(conn: AsyncConnection, worktree: UUID, ahead: int) -> None:
        await conn.execute(CALL, {"worktree": worktree, "ahead": ahead}, prepare=True)

    async def by_ledger(conn: AsyncConnection, worktree: UUID, ahead: int) -> None:
        await conn.execute(APPLY, {"id": uuid4(), "worktree": worktree, "ahead": ahead}, prepare=True)

    ways: dict[str, list[Change]] = {
        COMMAND: [by_command] * len(conns),
        **{name: [one.call] * len(conns) for name, one in least.items()},
        LEDGER: [partial(by_ledger, conn) for conn in conns],
        FUNCTION: [partial(by_function, conn) for conn in conns],
    }
    slowest: dict[str, list[float]] = {name: [] for name in ways}
    spent: dict[str, list[float]] = {name: [] for name in ways}

    async def measure(name: str) -> float:
        before = tree_seconds(os.getpid())
        rate, p99 = await per_second(ways[name], worktrees, sizes.commands)
        spent[name].append((tree_seconds(os.getpid()) - before) / sizes.commands * 1000)
        slowest[name].append(p99)
        return rate

    values = await interleaved({name: partial(measure, name) for name in ways}, sizes.rounds)
    of_rounds = ({name: found[1:] for name, found in figures.items()} for figures in (slowest, spent))
    record(report, len(conns), values, *of_rounds)


def record(
    report: Report,
    under_way: int,
    values: Mapping[str, Sequence[float]],
    slowest: Mapping[str, Sequence[float]],
    spent: Mapping[str, Sequence[float]],
) -> None:
    """Add the calls a second of each side with so many under way, their p99 and CPU time, and the targets."""
    for name, rates in values.items():
        report.add(f"{name}, {under_way} under way", "calls/s", rates)
        report.add(f"{name}, {under_way} under way: p99", "ms", slowest[name])
        report.add(f"{name}, {under_way} under way: CPU", "ms/call", spent[name])
    against = f"{under_way} under way, against the SQL function"
    at_least = 1.0 if under_way >= MANY else 0.6
    rate, p99 = (ratio(figures[COMMAND], figures[FUNCTION]) for figures in (values, slowest))
    for target, figures in (
        (Target(f"commands, {against}", "times", rate, at_least=at_least), values),
        (Target(f"p99 of commands, {against}", "times", p99, at_most=1.0), slowest),
    ):
        less = {f"{name}, {under_way} under way": ratio(figures[name], figures[FUNCTION]) for name in SIDES}
        report.targets.append(bounded(target, less, "keys, order, retries, dead letters, and the models of the client"))
    report.notes.append(
        f"With {under_way} under way the CPU time of a direct call is "
        f"{ratio(spent[FUNCTION], spent[COMMAND]):.2f} of that of a command. Ledger and outcome event, in "
        f"transactions of one, leave {ratio(values[LEDGER], values[FUNCTION]):.2f} of the rate of direct calls."
    )


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
