"""From a rate of writes and a time to keep events to what PostgreSQL, NATS and the publisher need.

A straight calculation: each result is a figure that was measured times what is asked for. docs/capacity.md says how
the figures were taken, and what is not in them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

DAY_SECONDS = 86_400.0
USED = 0.7
"""Share of a publisher's rate that is in use at the peak at most: with the rest a restart catches up."""
ROOM = 4 / 3
"""Disk for each byte of data: pages that are not full, and what vacuum has not given back yet."""
WAL_KEPT_BYTES = 2 * 1024**3
"""What PostgreSQL keeps of its WAL: twice the usual max_wal_size, since that is no hard limit."""


class Figures(NamedTuple):
    """What one write and one event cost."""

    outbox_bytes: float
    """Of an event in PostgreSQL: its row, its entry in the index, its share of the record of the order."""
    stream_bytes: float
    """Of an event in one copy of the stream."""
    wal_bytes: float
    """Of a write of one event, the event and the cursor that passes it."""
    write_cpu_seconds: float
    """Of PostgreSQL, publisher and NATS for such a write, in a transaction of its own, and its event."""
    row_cpu_seconds: float
    """Of PostgreSQL for one more row of the same statement, and its event."""
    publish_cpu_seconds: float
    """Of publisher, PostgreSQL and NATS to bring an event of many into the stream."""
    publish_rate: float
    """Events a second that one publisher brings into its stream at most."""
    source: str
    """Where the bytes of an event are from."""


MEASURED = Figures(
    outbox_bytes=1_193 + 132,
    stream_bytes=1_791,
    wal_bytes=1_841,
    write_cpu_seconds=1_433 / 1_000_000,
    row_cpu_seconds=79 / 1_000_000,
    publish_cpu_seconds=2 / 40_646,
    publish_rate=40_646,
    source="docs/performance.md",
)
"""Of the machine of docs/performance.md, two cores for everything, the load generator included; written here by
`python docs/figures.py`. An event's place in the stream is recorded in 132 bytes."""


class Load(NamedTuple):
    """What is asked for."""

    writes_per_second: float
    """On average, day and night."""
    peak_per_second: float
    """While most is written."""
    keep_seconds: float
    """How long events stay in the outbox."""
    stream_keep_seconds: float
    """How long they stay in the stream."""
    events_per_write: float = 1.0
    replicas: int = 1
    """Copies of the stream."""


class Estimate(NamedTuple):
    """What it takes."""

    outbox_events: float
    outbox_bytes: float
    stream_events: float
    stream_bytes: float
    """Of one copy."""
    database_disk_bytes: float
    """What PostgreSQL's disk should have for outbox and WAL."""
    nats_disk_bytes: float
    """What the disk of each nats-server with a copy should have."""
    nats_disks: int
    wal_bytes_per_day: float
    cores: float
    """In use on average, of all servers together."""
    peak_cores: float
    """In use at the peak."""
    streams: int
    """How many registries, each with a stream and a database, share the peak; one, where one publisher is enough."""
    publishers: int
    """Processes: one that leads, and one that stands by, for each stream."""
    day_events: float
    """What waits in the outbox after a day without NATS."""
    catch_up_seconds: float
    """How long those take afterwards, while writers go on."""


def estimate(load: Load, figures: Figures) -> Estimate:
    """What `load` takes by `figures`."""
    events_per_second = load.writes_per_second * load.events_per_write
    peak_events = load.peak_per_second * load.events_per_write
    outbox_events = events_per_second * load.keep_seconds
    stream_events = events_per_second * load.stream_keep_seconds
    outbox_bytes, stream_bytes = outbox_events * figures.outbox_bytes, stream_events * figures.stream_bytes
    streams = max(math.ceil(peak_events / (USED * figures.publish_rate)), 1)
    spare = streams * figures.publish_rate - events_per_second  # the peak leaves a part of the rate unused
    day_events = events_per_second * DAY_SECONDS
    return Estimate(
        outbox_events=outbox_events,
        outbox_bytes=outbox_bytes,
        stream_events=stream_events,
        stream_bytes=stream_bytes,
        database_disk_bytes=outbox_bytes * ROOM + WAL_KEPT_BYTES,
        nats_disk_bytes=stream_bytes * ROOM,
        nats_disks=load.replicas,
        wal_bytes_per_day=load.writes_per_second * DAY_SECONDS * _wal_of_write(load, figures),
        cores=_cores(load.writes_per_second, events_per_second, load, figures),
        peak_cores=_cores(load.peak_per_second, peak_events, load, figures),
        streams=streams,
        publishers=2 * streams,
        day_events=day_events,
        catch_up_seconds=day_events / spare,
    )


def _wal_of_write(load: Load, figures: Figures) -> float:
    """Further events of a write add what their rows have."""
    return figures.wal_bytes + max(load.events_per_write - 1, 0) * figures.outbox_bytes


def _cores(writes: float, events: float, load: Load, figures: Figures) -> float:
    """Copies of the stream beyond the first cost their servers what publishing costs, at most."""
    further = max(events - writes, 0) * (figures.row_cpu_seconds + figures.publish_cpu_seconds)
    copies = (load.replicas - 1) * events * figures.publish_cpu_seconds
    return writes * figures.write_cpu_seconds + further + copies
