"""One run of a side at one load: is it steady, how late are its events, what does it spend."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import NamedTuple

from benchmarks.capture.judge import Verdict, judge, read
from benchmarks.capture.load import Load, Writing, Written, writing
from benchmarks.capture.publisher import Publisher
from benchmarks.capture.sessions import Sessions
from benchmarks.harness.measure import percentile

LIMIT_MS = 1000.0
"""Of the 99th percentile from COMMIT to the stream, and of how late transactions begin."""
SETTLED_SECONDS, QUIET_SECONDS = 0.2, 3.0
"""So long nothing comes any more, when all is over: longer behind a fault, or when nobody knows how much is to come."""
PATIENCE_SECONDS = 120.0


class Kills(NamedTuple):
    """The publisher is killed so many times, each so many seconds after it was ready, and started again at once."""

    after: float
    times: int = 1


class Cpu(NamedTuple):
    """Seconds a million rows."""

    postgresql: float
    publisher: float
    nats_server: float
    writing: float
    """Of PostgreSQL's, in the sessions of the writers."""
    publishing: float
    """Of PostgreSQL's, in those of the publisher."""

    @property
    def whole(self) -> float:
        """Of all three."""
        return self.postgresql + self.publisher + self.nats_server


@dataclass(frozen=True)
class Probe:
    """What was found. Without `verdict` it was given up, or nothing is delivered."""

    is_steady: bool
    verdict: Verdict | None
    cpu: Cpu
    wal_bytes: float
    """A row."""
    rows_per_second: float

    def milliseconds(self, percent: float) -> float:
        """From COMMIT to the stream; 0 when nothing was delivered."""
        times = self.verdict.milliseconds if self.verdict is not None else []
        return percentile(times, percent) if times else 0.0


async def probe(publisher: Publisher, load: Load, *, kills: Kills | None = None) -> Probe | None:
    """Write `load` and judge what became of it; None when it was given up, as the stream fell too far behind.

    With `kills` it is not given up.
    """
    before = await publisher.stored()
    cpu, wal = publisher.cpu_seconds(), publisher.wal_position()
    sessions = Sessions(publisher.conn)
    async with writing(publisher.place.database_url, load) as running:
        finished = asyncio.create_task(running.finished())
        try:
            if kills is not None:
                for _ in range(kills.times):
                    await asyncio.sleep(kills.after)
                    await publisher.kill()
                    await publisher.start()
            elif await _fell_behind(publisher, load, running, before, sessions):
                running.give_up()
        finally:
            await asyncio.wait([finished])
    if finished.exception() is not None or not finished.result().is_whole:
        await settled(publisher, before, QUIET_SECONDS)
        if (error := finished.exception()) is not None:
            raise error
        return None
    written = finished.result()
    rows = len(written.committed) * load.rows_per_transaction
    wal_bytes = (publisher.wal_position() - wal) / max(rows, 1)
    await settled(publisher, before + rows, SETTLED_SECONDS if kills is None else QUIET_SECONDS)
    sessions.look()
    spent = [after - earlier for after, earlier in zip(publisher.cpu_seconds(), cpu, strict=True)]
    spent += [sessions.writing, sessions.publishing]
    verdict = None
    if publisher.side.row is not None:
        stored = await read(publisher.client, publisher.place.stream, before + 1, publisher.side.row)
        verdict = judge(written, stored, load.rows_per_transaction)
    return Probe(
        is_steady(written, verdict),
        verdict,
        Cpu(*(seconds * 1e6 / max(rows, 1) for seconds in spent)),
        wal_bytes,
        written.transactions_per_second * load.rows_per_transaction,
    )


def is_steady(written: Written, verdict: Verdict | None) -> bool:
    """Whether nothing is lost, and neither delay is long or grows."""
    if verdict is not None and verdict.lost:
        return False
    times = verdict.milliseconds if verdict is not None else []
    late = [1000 * seconds for seconds in written.late]
    return bool(written.committed) and all(
        not values or (percentile(values, 99) < LIMIT_MS and not grows(values)) for values in (times, late)
    )


def grows(values: Sequence[float]) -> bool:
    """Whether the last quarter of delays, in milliseconds, is far above the second one: then it only starts to."""
    quarter = len(values) // 4
    if quarter == 0:
        return False
    return median(values[-quarter:]) > 2 * median(values[quarter : 2 * quarter]) + LIMIT_MS / 10


async def _fell_behind(publisher: Publisher, load: Load, running: Writing, before: int, sessions: Sessions) -> bool:
    """Wait for the end of the writing; or less, when the stream is so far behind that it cannot be steady."""
    start = perf_counter()
    while not running.is_over:
        await asyncio.sleep(0.25)
        sessions.look()
        if load.rows_per_second is None or publisher.side.row is None:
            continue
        seconds = min(perf_counter() - start, load.seconds) - 2 * LIMIT_MS / 1000
        due = seconds * load.rows_per_second - 3 * load.rows_per_transaction
        if await publisher.stored() - before < due:
            return True
    return False


async def settled(publisher: Publisher, messages: int, seconds: float = SETTLED_SECONDS) -> None:
    """Wait until the stream holds so many and got no more for `seconds`; not for ever, as some may be lost."""
    if publisher.side.row is None:
        return
    start = last_change = perf_counter()
    held = await publisher.stored()
    while held < messages or perf_counter() - last_change < seconds:
        if perf_counter() - start > PATIENCE_SECONDS or perf_counter() - last_change > PATIENCE_SECONDS / 4:
            return
        await asyncio.sleep(0.1)
        now = await publisher.stored()
        if now != held:
            held, last_change = now, perf_counter()
