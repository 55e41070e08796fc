"""Sustained: the highest write rate that each way to get changes out keeps up with, and what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from time import time

from benchmarks.capture.load import Load
from benchmarks.capture.probe import Cpu, Probe, probe
from benchmarks.capture.publisher import Publisher, publisher
from benchmarks.capture.search import Lengths, highest_steady
from benchmarks.capture.servers import capture_servers
from benchmarks.capture.sides import SIDES, TURNS, Side
from benchmarks.harness.measure import Report
from benchmarks.harness.servers import Servers, reached, server_time
from benchmarks.harness.sizes import Sizes
from benchmarks.sustained.found import BULK, ONE_ROW, Found
from benchmarks.sustained.targets import targets
from registry.broker.connection import connect_nats

UPDATE = "UPDATE worktrees SET ahead_of_trunk = ahead_of_trunk + 1, last_commit_hash = 'all'"
PATIENCE_SECONDS = 300
WHOLE = "CPU of all"
HALF = 2
"""A kill is in the middle of a run half as long as those that find a rate; so are those with nothing to deliver."""


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
        "All sides share one PostgreSQL with wal_level = logical and the same cores, each in turn, once; "
        f"{sizes.sustained_rounds} times, with one row a transaction, those that keep the order of a row. Sides that "
        "deliver nothing are held half as long. At the rate found the publisher is killed "
        "in the middle of one more run, and started again. A judge that shares nothing with any side reads the stream "
        "afterwards. Readers of the WAL work without event triggers; Debezium with REPLICA IDENTITY FULL, mq-bridge "
        "without, as it sends the new row alone.",
    )
    found: dict[Side, Found] = {}
    missing = {side: side.missing for side in sides if side.missing}
    report.notes += [f"{side.name} was not measured: {why}." for side, why in missing.items()]
    with capture_servers() as here:
        async with connect_nats(here.nats_url, "bench") as client:
            for number in range(sizes.sustained_rounds):
                for side in sides:
                    if side in missing or (number and side not in TURNS):
                        continue
                    async with publisher(side, here, client, sizes.capture_rows) as running:
                        if not number:
                            found[side] = await _measure_even(running, sizes)
                        if side.is_searched:
                            await _measure_highest(running, sizes, found[side])
    for side, one in found.items():
        _add(report, side, one)
    report.targets += targets(found, missing)
    return report


async def _measure_even(running: Publisher, sizes: Sizes) -> Found:
    one = _loads(sizes)[ONE_ROW]
    await probe(running, one)  # a first run is thrown away: connections, caches, the compiler of the virtual machine
    even = await probe(running, one)
    if even is None:
        raise RuntimeError(f"{running.side.name} does not keep up with {sizes.capture_rate:g} writes a second")
    return Found(even, await _update_all(running, sizes.capture_rows))


async def _measure_highest(running: Publisher, sizes: Sizes, found: Found) -> None:
    """One round of the search, for each load; in the first, with a kill at the rate that is found."""
    whole = sizes.sustained_seconds / (HALF if running.side.row is None else 1)  # a bound that is too high is none less
    lengths = Lengths(sizes.full_speed_seconds, sizes.probe_seconds, whole, sizes.halvings)
    for name, load in _loads(sizes).items():
        rounds = found.highest[name]
        if rounds and name == BULK:
            continue
        rounds.append(await highest_steady(running, load, lengths, near=rounds[0].rate if rounds else 0.0))
        if len(rounds) == 1 and running.side.row is not None and rounds[0].probe is not None:
            seconds = sizes.sustained_seconds / HALF
            at = replace(load, rows_per_second=rounds[0].rate, seconds=seconds)
            killed = await probe(running, at, kill_after=seconds / 2)
            assert killed is not None
            found.killed[name] = killed


def _loads(sizes: Sizes) -> dict[str, Load]:
    one = Load(sizes.capture_rate, sizes.capture_seconds, sizes.capture_rows, clients=sizes.capture_clients)
    return {ONE_ROW: one, BULK: replace(one, rows_per_second=None, rows_per_transaction=sizes.capture_block)}


async def _update_all(running: Publisher, rows: int) -> float:
    """Seconds from the start of one UPDATE of every row until its last event is in the stream, or is read."""
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


def _add(report: Report, side: Side, found: Found) -> None:
    """The rows of one side."""
    name = side.name
    for load, rounds in found.highest.items():
        if rounds:
            report.add(f"{name}: highest steady rate, {load}", "rows/s", found.rates(load))
            tried = "; ".join(
                f"round {number}: {', '.join(map(str, one.tried))}" for number, one in enumerate(rounds, 1)
            )
            report.notes.append(f"{name}, {load}, rows/s tried: {tried}.")
        held = [one.probe for one in rounds if one.probe is not None]
        if not held:
            continue
        if side.row is not None:
            report.add(f"{name}: p99 at that rate, {load}", "ms", [one.milliseconds(99) for one in held])
        parts = _parts(side) if load == ONE_ROW else {WHOLE: _parts(side)[WHOLE]}
        _add_cpu(report, f"{name}, {load} at that rate", [one.cpu for one in held], parts)
    _add_cpu(report, f"{name}, one row at the even rate", [found.even.cpu], _parts(side))
    report.add(f"{name}: WAL of a write", "bytes", [found.even.wal_bytes])
    if side.row is not None:
        report.add(f"{name}: p50 at the even rate", "ms", [found.even.milliseconds(50)])
        report.add(f"{name}: p99 at the even rate", "ms", [found.even.milliseconds(99)])
    report.add(f"{name}: UPDATE of all rows, start to last event", "s", [found.update_seconds])
    if found.runs:
        report.notes.append(f"{name}, lost, doubled, reordered: {'; '.join(_judged(found.runs))}.")


def _parts(side: Side) -> dict[str, Callable[[Cpu], float]]:
    """What is told of its CPU time: all of it, and what it consists of; of the publisher where there is one."""
    parts: dict[str, Callable[[Cpu], float]] = {WHOLE: lambda cpu: cpu.whole}
    if side.start is not None:
        parts["CPU of PostgreSQL"] = lambda cpu: cpu.postgresql
    parts["CPU of PostgreSQL's sessions of writers"] = lambda cpu: cpu.writing
    if side.start is not None:
        parts["CPU of PostgreSQL's sessions of the publisher"] = lambda cpu: cpu.publishing
        parts["CPU of the publisher"] = lambda cpu: cpu.publisher
        parts["CPU of nats-server"] = lambda cpu: cpu.nats_server
    return parts


def _add_cpu(report: Report, name: str, found: Sequence[Cpu], parts: Mapping[str, Callable[[Cpu], float]]) -> None:
    for part, seconds in parts.items():
        report.add(f"{name}: {part}", "s a million", [seconds(cpu) for cpu in found])


def _judged(runs: Mapping[str, Probe]) -> Iterator[str]:
    for name, one in runs.items():
        verdict = one.verdict
        assert verdict is not None
        yield f"{name} {verdict.lost}, {verdict.doubled}, {verdict.reordered} of {verdict.written:,}"
