"""Sustained: the highest write rate that each way to get changes out keeps up with, and what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from time import time

import nats.errors
import psycopg

from benchmarks.capture.load import Load
from benchmarks.capture.probe import Kills, probe
from benchmarks.capture.publisher import Publisher, publisher
from benchmarks.capture.search import Lengths, highest_steady
from benchmarks.capture.servers import capture_servers
from benchmarks.capture.sides import SIDES, TURNS, Side
from benchmarks.harness.measure import Report
from benchmarks.harness.servers import Servers, reached, server_time
from benchmarks.harness.sizes import Sizes
from benchmarks.sustained.found import BULK, HOT, HOT_KILLED, ONE_ROW, Found
from benchmarks.sustained.record import record
from registry.broker.connection import connect_nats

UPDATE = "UPDATE worktrees SET ahead_of_trunk = ahead_of_trunk + 1, last_commit_hash = 'all'"
PATIENCE_SECONDS = 300
THIRD = 3
"""A kill is in the middle of a run a third as long as those that find a rate; so are those with nothing to deliver."""
KILL_AFTER, HOT_KILLS = 0.15, 3
"""Of the time in which few rows are written, and how often: who is ready again at once is killed while they are."""
FAILURES = (RuntimeError, TimeoutError, AssertionError, psycopg.Error, nats.errors.Error)
"""Of one side: the others are measured all the same."""


async def run(servers: Servers, sizes: Sizes, sides: Sequence[Side] = SIDES) -> Report:  # noqa: ARG001  # its own
    """Every side in turn, on one server with `wal_level = logical`."""
    report = Report(
        "sustained",
        f"{sizes.capture_clients} pgbench clients update the git state of random worktrees at a steady rate, whether "
        "the database keeps up or not (open loop): one row a transaction, and "
        f"{sizes.capture_block:,}. A rate is steady when 99 of 100 events are in the stream within a second of their "
        "COMMIT, 99 of 100 transactions begin within a second of their schedule, and neither delay grows. Found by "
        f"halving with runs of {sizes.probe_seconds:g} s, then held for {sizes.sustained_seconds:g} s, and nothing "
        "lost. The time runs from the acknowledged COMMIT (pgbench's log) to nats-server's stamp of the message. "
        f"All sides share one PostgreSQL with wal_level = logical and the same cores. With one row a transaction those "
        f"that a target judges, or that bound one, take {sizes.sustained_rounds} turns, all else is measured once. "
        "Sides that deliver nothing are held a third as long. The even rate, the same for all, is "
        f"{sizes.capture_rate:,.0f} rows a second for {sizes.capture_seconds:g} s, behind the search. At the rate "
        "found the publisher is killed in the middle of one more run, and started again. Hot rows are "
        f"{sizes.hot_rows:,}, written as fast as it goes for {sizes.hot_seconds:g} s, without a fault and while the "
        f"publisher is killed {HOT_KILLS} times. A judge that shares nothing with any side reads the stream "
        "afterwards. Readers of the WAL work without event triggers; Debezium with REPLICA IDENTITY FULL, mq-bridge "
        "without, as it sends the new row alone.",
    )
    missing = {side: side.missing for side in sides if side.missing}
    found = {side: Found() for side in sides if side not in missing}
    report.notes += [f"{side.name} was not measured: {why}." for side, why in missing.items()]
    with capture_servers() as here:
        async with connect_nats(here.nats_url, "bench") as client:
            for number in range(sizes.sustained_rounds):
                for side in _turns(found, number):
                    try:
                        async with publisher(side, here, client, sizes.capture_rows) as running:
                            await _measure(running, sizes, found[side])
                    except FAILURES as error:
                        missing[side] = f"it ended with {error!r}"
                        report.notes.append(f"{side.name}, round {number + 1}: {missing[side]}.")
    record(report, found, missing)
    return report


def _turns(sides: Iterable[Side], number: int) -> list[Side]:
    """Whose turn it is in a round; every second one goes backwards, so that nobody is always behind the same one."""
    turns = [side for side in sides if not number or side in TURNS]
    return turns if number % 2 == 0 else turns[::-1]


async def _measure(running: Publisher, sizes: Sizes, found: Found) -> None:
    """One round of a side."""
    one = _loads(sizes)[ONE_ROW]
    await _measure_highest(running, sizes, found)
    even = await probe(running, one)
    if even is not None:
        found.even.append(even)
    if not found.update_seconds:
        found.update_seconds.append(await _update_all(running, sizes.capture_rows))
    if running.side.row is not None and not found.killed:
        await _measure_killed(running, sizes, found)
    if running.side.row is not None and not found.hot:
        await _measure_hot(running, sizes, found)


async def _measure_highest(running: Publisher, sizes: Sizes, found: Found) -> None:
    """One round of the search, of single rows, and in the first of bulk."""
    whole = sizes.sustained_seconds / (
        THIRD if running.side.row is None else 1
    )  # a bound that is too high is none less
    halvings = sizes.halvings if running.side.row is not None else max(sizes.halvings - 1, 0)
    lengths = Lengths(sizes.full_speed_seconds, sizes.probe_seconds, whole, halvings)
    for name, load in _loads(sizes).items():
        rounds = found.highest[name]
        if rounds and name == BULK:
            continue
        rounds.append(await highest_steady(running, load, lengths, near=rounds[0].rate if rounds else 0.0))


async def _measure_killed(running: Publisher, sizes: Sizes, found: Found) -> None:
    """A kill in the middle of a run at the rate that was found, for each load."""
    seconds = sizes.sustained_seconds / THIRD
    for name, load in _loads(sizes).items():
        rate = next((one.rate for one in found.highest[name]), 0.0)
        if rate:
            at = replace(load, rows_per_second=rate, seconds=seconds)
            killed = await probe(running, at, kills=Kills(seconds / 2))
            assert killed is not None
            found.killed[name] = killed


async def _measure_hot(running: Publisher, sizes: Sizes, found: Found) -> None:
    """Few rows, written as fast as it goes: writes of one row follow each other closely, and so do their events."""
    load = Load(None, sizes.hot_seconds, sizes.hot_rows, clients=sizes.capture_clients)
    kills = Kills(sizes.hot_seconds * KILL_AFTER, HOT_KILLS)
    for kind, of_this in {HOT: None, HOT_KILLED: kills}.items():
        judged = await probe(running, load, kills=of_this)
        assert judged is not None
        found.hot[kind] = judged


def _loads(sizes: Sizes) -> dict[str, Load]:
    one = Load(sizes.capture_rate, sizes.capture_seconds, sizes.capture_rows, clients=sizes.capture_clients)
    return {ONE_ROW: one, BULK: replace(one, rows_per_second=None, rows_per_transaction=sizes.capture_block)}


async def _update_all(running: Publisher, rows: int) -> float:
    """Seconds from the start of one UPDATE of every row until its last event is in the stream, or is read."""
    await asyncio.to_thread(running.conn.execute, "VACUUM worktrees")
    before = await running.stored()
    start = time()
    await asyncio.to_thread(running.conn.execute, UPDATE)
    if running.side.row is not None:
        state = await reached(running.client, running.place.prefix, before + rows, PATIENCE_SECONDS)
        return server_time(state["last_ts"]).timestamp() - start
    if running.side.start is not None:
        position = running.wal_position()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while running.confirmed_position() < position:  # noqa: ASYNC110  # a slot cannot be waited for
                await asyncio.sleep(0.05)
    return time() - start
