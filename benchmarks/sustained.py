"""Sustained: the highest write rate that each way to get changes out keeps up with, and what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import time

from benchmarks.capture.load import Load
from benchmarks.capture.probe import Probe, probe
from benchmarks.capture.publisher import Publisher, publisher
from benchmarks.capture.search import Lengths, highest_steady
from benchmarks.capture.servers import capture_servers
from benchmarks.capture.sides import DEBEZIUM, KEEP_ORDER, MQ_BRIDGE, NOBODY, OURS, SIDES, Side
from benchmarks.harness.measure import Report, Target
from benchmarks.harness.servers import Servers, reached, server_time
from benchmarks.harness.sizes import Sizes
from registry.broker.connection import connect_nats

UPDATE = "UPDATE worktrees SET ahead_of_trunk = ahead_of_trunk + 1, last_commit_hash = 'all'"
PATIENCE_SECONDS = 300
PARTS = ("PostgreSQL", "publisher", "nats-server")
DATABASE = (
    "PostgreSQL's CPU time: triggers compare, and the outbox keeps the whole row, its names and its previous values in "
    "the transaction that changes it, which a reader of the WAL does not (`--only writer-cpu` has the parts)"
)

BEHIND_COMMIT = (
    "a relay asks for what was committed when it hears of the COMMIT, and publishes after it; a reader of the WAL is "
    "handed the change while the client is still told: `--only latency` has the time of a COMMIT and a bare publish"
)


@dataclass
class Found:
    """What was measured of one side. None: not steady at any rate, or nothing is delivered."""

    even: Probe
    """At the rate that all sides are given."""
    update_seconds: float
    one_row: Probe | None = None
    bulk: Probe | None = None
    killed: Probe | None = None


RATES: dict[str, Callable[[Found], float]] = {
    "one row": lambda found: _rate(found.one_row),
    "bulk": lambda found: _rate(found.bulk),
}


async def run(servers: Servers, sizes: Sizes, sides: Sequence[Side] = SIDES) -> Report:  # noqa: ARG001  # its own
    """Every side in turn, on one server with `wal_level = logical`."""
    report = Report(
        "sustained",
        f"{sizes.capture_clients} pgbench clients update the git state of random worktrees at a steady rate, whether "
        "the database keeps up or not (open loop): one row a transaction, and "
        f"{sizes.capture_block:,}. A rate is steady when 99 of 100 events are in the stream within a second of their "
        "COMMIT, 99 of 100 transactions begin within a second of their schedule, and neither delay grows. Found by "
        f"halving with runs of {sizes.probe_seconds:g} s, then held for {sizes.sustained_seconds:g} s. The time runs "
        "from the acknowledged COMMIT (pgbench's log) to nats-server's stamp of the message. All sides share one "
        "PostgreSQL with wal_level = logical and the same cores; each in turn, once. A judge that shares nothing with "
        "any side reads the stream afterwards. Readers of the WAL work without event triggers; Debezium with REPLICA "
        "IDENTITY FULL, mq-bridge without, as it sends the new row alone.",
    )
    found: dict[Side, Found] = {}
    missing: dict[Side, str] = {}
    with capture_servers() as here:
        async with connect_nats(here.nats_url, "bench") as client:
            for side in sides:
                if side.missing:
                    missing[side] = side.missing
                    report.notes.append(f"{side.name} was not measured: {side.missing}.")
                    continue
                async with publisher(side, here, client, sizes.capture_rows) as running:
                    found[side] = await _measure(running, sizes)
                _add(report, side, found[side])
    report.targets += _targets(found, missing)
    return report


async def _measure(running: Publisher, sizes: Sizes) -> Found:
    one = Load(sizes.capture_rate, sizes.capture_seconds, sizes.capture_rows, clients=sizes.capture_clients)
    bulk = Load(None, 0, sizes.capture_rows, sizes.capture_block, sizes.capture_clients)
    await probe(running, one)  # a first run is thrown away: connections, caches, the compiler of the virtual machine
    even = await probe(running, one)
    if even is None:
        raise RuntimeError(f"{running.side.name} does not keep up with {sizes.capture_rate:g} writes a second")
    found = Found(even, await _update_all(running, sizes.capture_rows))
    if running.side.row is None:
        return found
    lengths = Lengths(sizes.full_speed_seconds, sizes.probe_seconds, sizes.sustained_seconds, sizes.halvings)
    found.one_row = await highest_steady(running, one, lengths)
    found.bulk = await highest_steady(running, bulk, lengths)
    seconds = sizes.capture_seconds
    found.killed = await probe(running, one, kill_after=seconds / 2)
    return found


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
    for label, one in {"one row": found.one_row, "bulk": found.bulk}.items():
        if one is not None:
            report.add(f"{name}: highest steady rate, {label}", "rows/s", [one.rows_per_second])
            report.add(f"{name}: p99 at that rate, {label}", "ms", [one.milliseconds(99)])
            report.add(f"{name}: CPU of all three at that rate, {label}", "s a million", [sum(one.cpu)])
        elif side.row is not None:
            report.notes.append(f"{name}: no rate was steady, {label}.")
    for part, seconds in zip(PARTS, found.even.cpu, strict=True):
        report.add(f"{name}: CPU of {part} at the even rate", "s a million", [seconds])
    report.add(f"{name}: WAL of a write", "bytes", [found.even.wal_bytes])
    if side.row is not None:
        report.add(f"{name}: p50 at the even rate", "ms", [found.even.milliseconds(50)])
        report.add(f"{name}: p99 at the even rate", "ms", [found.even.milliseconds(99)])
    report.add(f"{name}: UPDATE of all rows, start to last event", "s", [found.update_seconds])
    for label, one in {"no fault": found.even, "a kill": found.killed}.items():
        if one is not None and one.verdict is not None:
            counts = one.verdict
            for what in ("lost", "doubled", "reordered"):
                report.add(f"{name}: {what}, {label}", f"of {counts.written:,}", [getattr(counts, what)])


def _targets(found: Mapping[Side, Found], missing: Mapping[Side, str]) -> list[Target]:
    """Ours against each peer, and against what the readers of the WAL add to bare writes."""
    ours = found[OURS]
    targets = []
    for peer, at_least in {**dict.fromkeys(KEEP_ORDER, 1.4), MQ_BRIDGE: 0.9}.items():
        for label, rate in RATES.items():
            ratio = _against(peer, f"highest steady rate, {label}, against", rate, found, missing)
            targets.append(replace(ratio, at_least=at_least, bound=DATABASE))
    cpu = _against(DEBEZIUM, "CPU of all three an event, against", lambda one: sum(one.even.cpu), found, missing)
    p50 = _against(MQ_BRIDGE, "p50 from COMMIT, against", lambda one: one.even.milliseconds(50), found, missing)
    targets += [replace(cpu, at_most=1.0, bound=DATABASE), replace(p50, at_most=2.0, bound=BEHIND_COMMIT)]
    over = (ours.even.cpu[0] - found[NOBODY].even.cpu[0]) / 10
    targets.append(Target("PostgreSQL's CPU over bare writes, 100,000 events", "s", over, at_most=22, bound=DATABASE))
    targets.append(
        Target("WAL of a write", "bytes", ours.even.wal_bytes, at_most=900, bound="the event's row: `--only wal`")
    )
    assert ours.killed is not None
    assert ours.killed.verdict is not None
    verdict = ours.killed.verdict
    wrong = verdict.lost + verdict.doubled + verdict.reordered
    targets.append(Target("lost, doubled or reordered over a kill", "", wrong, at_most=0))
    return targets


def _against(
    peer: Side,
    figure: str,
    value: Callable[[Found], float],
    found: Mapping[Side, Found],
    missing: Mapping[Side, str],
) -> Target:
    """Our value divided by the peer's; without a limit yet."""
    name = f"{figure} {peer.name}"
    theirs = value(found[peer]) if peer in found else 0.0
    if theirs > 0:
        return Target(name, "times", value(found[OURS]) / theirs)
    reason = "the peer is steady at no rate" if peer in found else missing.get(peer, "it was not asked for")
    return Target(name, "times", None, reason=reason)


def _rate(found: Probe | None) -> float:
    return found.rows_per_second if found is not None else 0.0
