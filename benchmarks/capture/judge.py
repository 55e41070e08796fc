"""What the stream holds against what was written: a judge that shares nothing with any publisher.

It reads the whole stream afterwards, in the order in which it is stored, and takes the times from nats-server's own
stamps: that no side has to feed a subscriber while it is measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from benchmarks.capture.load import Written

PAGE = 1_000

Row = Callable[[dict[str, Any]], dict[str, Any]]
"""The row after the change, in an event of one side."""


@dataclass(frozen=True)
class Stored:
    """One message of the stream that tells of a row."""

    token: str
    path: str
    version: int
    at: float
    """Seconds since the epoch, by nats-server."""


@dataclass(frozen=True)
class Verdict:
    """What became of the rows of one run."""

    written: int
    lost: int
    """Acknowledged, and in no message."""
    doubled: int
    """Messages that tell again what one before told."""
    reordered: int
    """Messages behind one of a later version of the same row."""
    milliseconds: list[float]
    """From the acknowledged COMMIT to the stream, of each row, in the order of the stream."""


async def read(client: Client, stream: str, first: int, row: Row) -> list[Stored]:
    """The messages of `stream` from the sequence `first` on."""
    jetstream = client.jetstream()
    last = (await jetstream.stream_info(stream)).state.last_seq
    if last < first:
        return []
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=first,
        ack_policy=AckPolicy.NONE,
        mem_storage=True,
        inactive_threshold=300,
    )
    subscription = await jetstream.pull_subscribe("", stream=stream, config=config)
    found: list[Stored] = []
    sequence = first - 1
    while sequence < last:
        for message in await subscription.fetch(min(PAGE, last - sequence), timeout=60):
            metadata = message.metadata
            sequence = metadata.sequence.stream
            after = row(orjson.loads(message.data))
            found.append(
                Stored(
                    after["last_commit_hash"], after["path"], after["ahead_of_trunk"], metadata.timestamp.timestamp()
                )
            )
    await subscription.unsubscribe()
    return found


def judge(written: Written, stored: list[Stored], rows_per_transaction: int) -> Verdict:
    """Compare the rows that one run wrote with all that was stored since its start."""
    seen: set[tuple[str, int]] = set()
    highest: dict[str, int] = {}
    rows: Counter[str] = Counter()
    doubled = reordered = 0
    milliseconds: list[float] = []
    for one in stored:
        if one.token not in written.committed:
            continue
        key = (one.path, one.version)
        if key in seen:
            doubled += 1
            continue
        seen.add(key)
        rows[one.token] += 1
        reordered += one.version < highest.get(one.path, 0)
        highest[one.path] = max(one.version, highest.get(one.path, 0))
        milliseconds.append(max(one.at - written.committed[one.token], 0.0) * 1000)
    lost = sum(rows_per_transaction - rows[token] for token in written.committed)
    return Verdict(len(written.committed) * rows_per_transaction, lost, doubled, reordered, milliseconds)
