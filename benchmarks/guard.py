"""`python -m benchmarks.guard`: fail where a fast path has become slower against its baseline than the repository says.

All figures are CPU time, both sides in turn, so that neither the machine's speed nor what else runs on it is in the
ratio. A baseline runs no code that its figure judges: what became slower on both sides would not be seen. A figure must
fall by more than `TOLERANCE` in each of `ATTEMPTS` attempts to fail. Caches and clock are shared, though: beside other
programs that keep the processors busy, for as long as is waited, nothing is judged.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from typing import Annotated

import orjson
import psycopg
import typer
import uvloop
from nats.aio.client import Client

from benchmarks.capture.sessions import Sessions
from benchmarks.drain import bare, by_nats_py, read
from benchmarks.harness import backlog
from benchmarks.harness.cpu import process_seconds
from benchmarks.harness.measure import interleaved, ratio
from benchmarks.harness.quiet import until_quiet
from benchmarks.harness.servers import Servers, drop_stream, new_prefix, reached, running
from benchmarks.writer_cpu import ONE_ROW, connected
from benchmarks.writers import BULK, BY_HAND, EVENTS
from registry.broker.connection import connect_nats

KEPT = Path(__file__).with_name("guard.json")
TOLERANCE = 0.15
ATTEMPTS = 3
BUSY_PERCENT = 25.0
"""Of all processors, by other programs before anything is measured: beyond it the relay's figure falls by a quarter."""
ROUNDS = 2
BACKLOG = 100_000
ROWS = 2_000
CLIENTS = 2
TRANSACTIONS = 200
WRITER_ROUNDS = 10
"""A round of single rows takes a tenth of a second: more rounds tell more."""

COMMAND = """
    SELECT verdict
    FROM (SELECT gen_random_uuid() AS id, worktrees.id AS worktree FROM worktrees
          WHERE path = '/bench/feat-' || %(number)s AND active) AS command,
        apply_command(
            command.id, 'worktree.update_git_state',
            jsonb_build_object('worktree_id', command.worktree, 'ahead', %(value)s::int),
            sha256(uuid_send(command.id)), command.id
        )
"""
FUNCTION = """
    SELECT update_worktree_git_state(id, p_ahead := %(value)s::int) FROM worktrees
    WHERE path = '/bench/feat-' || %(number)s AND active
"""


async def measured(servers: Servers) -> dict[str, float]:
    """Each figure: the CPU time of its baseline divided by ours, so that less is slower."""
    return {
        "an event, its bytes from memory by nats-py": await relayed(servers),
        **await written(servers),
        "a command, calling its function": await commanded(servers),
    }


async def relayed(servers: Servers) -> float:
    """`serve` with its sessions in PostgreSQL, while it drains a backlog, against nats-py that publishes the same."""
    async with connect_nats(servers.nats_url, "guard") as client:
        with servers.database() as url:
            total = await asyncio.to_thread(backlog.fill, url, BACKLOG)
            messages = await read(url, total)

            async def sent() -> float:
                before = process_time()
                await bare(client, messages, by_nats_py)
                return (process_time() - before) / len(messages)

            values = await interleaved({"bare": sent, "serve": lambda: drained(servers, client, url, total)}, ROUNDS)
    return ratio(values["bare"], values["serve"])


async def drained(servers: Servers, client: Client, url: str, total: int) -> float:
    """CPU seconds an event of `serve` and its sessions, from when it is under way until the stream holds all."""
    first = total
    while first == total:  # it was drained before anybody looked
        prefix = new_prefix()
        async with servers.service(url, prefix) as process_id:
            first = (await reached(client, prefix, total // 10, poll_seconds=0.005))["messages"]
            with psycopg.connect(url, autocommit=True) as conn:
                before, sessions = process_seconds(process_id), Sessions(conn)
                await reached(client, prefix, total, poll_seconds=0.005)
                sessions.look()
            spent = process_seconds(process_id) - before + sessions.publishing
        await drop_stream(client, prefix)
    return spent / (total - first)


async def written(servers: Servers) -> dict[str, float]:
    """Writes with events against the trigger that is written by hand, in the CPU time of PostgreSQL."""
    figures = {}
    with ExitStack() as stack:
        hand, ours = (connected(stack, servers, side, CLIENTS, ROWS) for side in (BY_HAND, EVENTS))
        for name, statement in ONE_ROW.items():
            figures[f"{name}, by hand"] = await _compared(
                *(partial(side.microseconds, statement, TRANSACTIONS) for side in (hand, ours))
            )
        for name, statement in BULK.items():
            figures[f"{name} of {ROWS:,} rows, by hand"] = await _compared(
                *(partial(side.microseconds_a_row, statement) for side in (hand, ours))
            )
    return figures


async def commanded(servers: Servers) -> float:
    """What the applier calls for a command against the function that the command ends in."""
    with ExitStack() as stack:
        clients = connected(stack, servers, EVENTS, CLIENTS, ROWS)
        return await _compared(
            *(partial(clients.microseconds, statement, TRANSACTIONS) for statement in (FUNCTION, COMMAND))
        )


def main(
    keep: Annotated[bool, typer.Option("--keep", help="Write what was measured into the repository.")] = False,
) -> None:
    """Compare the fast paths with their baselines, and the ratios with those that the repository holds."""
    logging.basicConfig(level=logging.ERROR)
    busy_percent = until_quiet(BUSY_PERCENT)
    if busy_percent > BUSY_PERCENT:
        print(f"not judged: other programs keep the processors {busy_percent:.0f} % busy, above {BUSY_PERCENT:.0f}")
        sys.exit(1 if keep else 0)
    with running() as servers:
        if keep:
            runs = [uvloop.run(measured(servers)) for _ in range(ATTEMPTS)]
            kept = {name: round(median(run[name] for run in runs), 3) for name in runs[0]}
            KEPT.write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            return
        sys.exit(judge(orjson.loads(KEPT.read_bytes()), lambda: uvloop.run(measured(servers))))


def judge(kept: dict[str, float], attempt: Callable[[], dict[str, float]]) -> int:
    """Print each figure against the one that is `kept`; 1 when one is too low, or not kept, in every attempt."""
    best: dict[str, float] = {}
    for _ in range(ATTEMPTS):
        best = {name: max(value, best.get(name, 0.0)) for name, value in attempt().items()}
        low = [name for name, value in best.items() if value < (1 - TOLERANCE) * kept.get(name, float("inf"))]
        if not low:
            break
    for name, value in best.items():
        mark = "TOO SLOW" if name in low else "well"
        print(f"{mark:8}  {name}: {value:.3f} of the CPU time, {kept.get(name, float('nan')):.3f} are kept")
    return 1 if low else 0


async def _compared(baseline: Callable[[], Awaitable[float]], ours: Callable[[], Awaitable[float]]) -> float:
    values = await interleaved({"baseline": baseline, "ours": ours}, WRITER_ROUNDS)
    return ratio(values["baseline"], values["ours"])


if __name__ == "__main__":
    typer.run(main)
