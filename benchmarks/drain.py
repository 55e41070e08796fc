"""Drain: a backlog in the outbox to the stream, against the bare publish of the same bytes, and against peers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from statistics import median
from time import perf_counter
from typing import NamedTuple
from uuid import uuid4

import orjson
import psutil
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.js.api import StreamConfig
from psycopg import AsyncConnection

from benchmarks.harness import backlog
from benchmarks.harness.bounds import bounded
from benchmarks.harness.cpu import process_seconds, tree_seconds
from benchmarks.harness.measure import Report, Target, interleaved, ratio
from benchmarks.harness.peers import OUTBOX_PEER, PEERS, PURE_PYTHON
from benchmarks.harness.servers import Servers, drop_stream, fill_seconds, new_prefix
from benchmarks.harness.sizes import Sizes
from publisher.outbox.connection import LEADER, connect
from publisher.outbox.cursor import Batch, Cursor, advance
from publisher.outbox.lead import try_lead
from publisher.outbox.page import Unseen, next_page
from publisher.outbox.ranges import RangeSet
from publisher.settings import load, profile_of
from publisher.stream import fence, protocol
from registry.broker.connection import connect_nats
from registry.events.message import CONTENT_TYPE, EVENT_ID_HEADER, OUTBOX_ID_HEADER, Message
from registry.subjects import Names

BATCH = 1000
SERVE = "imi-registry serve"
NATS_PY, AS_THE_RELAY = "bare atomic batches, nats-py", "bare atomic batches, as the relay"
READ, COPIED = "the outbox read, nothing sent", "a raw COPY of the outbox"
LEAST = "the least drain: read and sent as the relay does, nothing noted"
NOTED = "the least drain, and the cursor stored behind each batch"
JUDGED = {OUTBOX_PEER: f"{OUTBOX_PEER}'s outbox mode"} | dict.fromkeys(PURE_PYTHON, "the fastest pure-Python peer")
"""What a target says instead of the name of a side."""


class Spent(NamedTuple):
    """CPU seconds of an event."""

    everywhere: float
    """Of all processes, both servers among them."""
    python: float
    """Of the one process that reads and sends."""


async def run(servers: Servers, sizes: Sizes) -> Report:
    """Events a second from outbox to stream: `serve`, the bare atomic batch publish, peers."""
    report = Report(
        "drain",
        f"A backlog of {sizes.backlog:,} outbox rows goes to the stream. Baseline: the same bytes from memory, in "
        f"atomic batches of {BATCH}; once by nats-py's `publish`, once written as the relay writes them; and the rows "
        "read and made into messages as the relay does, which are not sent; and a raw COPY of the table to Python, "
        "without parsing it. The least drain reads the next page while a batch is stored, as the relay does, and has "
        "nothing besides: no cursor, no lead, no whole transactions, no lane, no metrics; once more with the cursor, "
        "and with it the record of the order, stored behind each batch. CPU is that of all "
        "processes, both servers among them, or of the one Python process, and of `serve` from its start. Peers drain "
        "the same payloads from tables of their own, set up as their "
        f"documentation says: mq-bridge, in Rust, as many, nats-outbox and faststream-outbox, in pure Python, "
        f"{sizes.peer_backlog:,}; none of the three promises order or a single copy. Rates by nats-server's own clock, "
        "first message to last.",
    )
    async with connect_nats(servers.nats_url, "bench") as client:
        with servers.database() as url:
            total = await asyncio.to_thread(backlog.fill, url, sizes.backlog)
            messages = await read(url, total)
            contestants: dict[str, Callable[[], Awaitable[float]]] = {
                SERVE: lambda: drained(servers, client, url, total, spent[SERVE]),
                NATS_PY: lambda: bare(client, messages, by_nats_py, spent[NATS_PY]),
                AS_THE_RELAY: lambda: bare(client, messages, as_the_relay, spent[AS_THE_RELAY]),
                READ: lambda: _timed(read(url, total), total, spent[READ]),
                COPIED: lambda: _timed(_copied(url), total, spent[COPIED]),
                LEAST: lambda: least(client, url, total, spent[LEAST]),
                NOTED: lambda: least(client, url, total, spent[NOTED], is_noted=True),
            }
            spent: dict[str, list[Spent]] = {name: [] for name in contestants}
            payloads = [message.payload for message in messages]
            for name, peer in PEERS.items():
                given = payloads[: sizes.peer_backlog] if name in PURE_PYTHON else payloads
                contestants[name] = partial(peer, servers, client, given)
            values = await interleaved(contestants, sizes.rounds)
    record(report, values, {name: found[1:] for name, found in spent.items()})
    return report


def record(report: Report, values: Mapping[str, Sequence[float]], spent: Mapping[str, Sequence[Spent]]) -> None:
    """Add the rate of each side, what an event takes of those whose CPU time is known, and the targets."""
    for name, rates in values.items():
        report.add(name, "events/s", rates)
    for name, found in spent.items():
        report.add(f"{name}: CPU of all processes", "µs an event", [1e6 * each.everywhere for each in found])
        report.add(f"{name}: CPU of Python", "µs an event", [1e6 * each.python for each in found])
    reading, sending = (
        Spent(*(1e6 * median(found) for found in zip(*spent[name], strict=True))) for name in (READ, AS_THE_RELAY)
    )
    limit = (psutil.cpu_count() or 1) * 1e6 / (reading.everywhere + sending.everywhere)
    alone = 1e6 / (reading.python + sending.python)
    fastest = max(PURE_PYTHON, key=lambda name: median(values[name]))
    for name, at_least in {NATS_PY: 0.8, AS_THE_RELAY: 0.8, OUTBOX_PEER: 1.0, fastest: 10.0}.items():
        figure, times = f"drain, against {JUDGED.get(name, name)}", ratio(values[SERVE], values[name])
        less = {side: ratio(values[side], values[name]) for side in (READ, COPIED, LEAST, NOTED)} | {
            "all processors at nothing but reading and sending": limit / median(values[name]),
            "one Python at nothing but these, never waiting": alone / median(values[name]),
        }
        target = Target(figure, "times", times, at_least=at_least)
        report.targets.append(bounded(target, less, "what is looked at besides"))
    report.notes.append(
        f"Reading an event takes {reading.everywhere:.0f} µs of all processes, {reading.python:.0f} of them Python's, "
        f"sending it {sending.everywhere:.0f} and {sending.python:.0f}: at nothing else all processors would have "
        f"{limit:,.0f} events a second, one Python that never waits {alone:,.0f}."
    )


async def drained(servers: Servers, client: Client, database_url: str, total: int, spent: list[Spent]) -> float:
    """`serve` publishes the whole outbox of `total` rows into a stream of its own; events a second.

    The CPU seconds of an event are appended to `spent`; the start of `serve` is among them.
    """
    prefix = new_prefix()
    before = tree_seconds(os.getpid())
    async with servers.service(database_url, prefix) as pid:
        seconds = await fill_seconds(client, prefix, total)
        spent.append(Spent((tree_seconds(os.getpid()) - before) / total, process_seconds(pid) / total))
    await drop_stream(client, prefix)
    return total / seconds


async def read(database_url: str, total: int) -> list[Message]:
    """All messages of the outbox, as the relay would publish them."""
    profile = profile_of(load(prefix="bench"))
    messages: list[Message] = []
    seen = RangeSet()
    async with connect(database_url, "bench", LEADER) as conn:
        while len(messages) < total:
            page = await next_page(conn, Unseen.outside(seen), 2 * BATCH, short_bytes=1 << 20)
            seen.add_all(row.id for row in page.rows)
            messages += [profile.encode(row, 1 << 20) for row in page.rows]
    return messages


async def _copied(database_url: str) -> None:
    """The whole outbox as PostgreSQL's COPY gives it, row by row."""
    async with connect(database_url, "bench", LEADER) as conn, conn.cursor().copy("COPY outbox TO STDOUT") as copy:
        async for row in copy:
            bytes(row)


async def _timed(work: Awaitable[object], total: int, spent: list[Spent]) -> float:
    start = perf_counter()
    with _spending(total, spent):
        await work
    return total / (perf_counter() - start)


@contextmanager
def _spending(events: int, spent: list[Spent]) -> Iterator[None]:
    """What the block spends on an event is appended to `spent`; Python is this process."""
    everywhere, python = tree_seconds(os.getpid()), process_seconds(os.getpid())
    yield
    spent.append(
        Spent(
            (tree_seconds(os.getpid()) - everywhere) / events,
            (process_seconds(os.getpid()) - python) / events,
        )
    )


Send = Callable[[Client, list[Message], int, str], Awaitable[None]]
"""Sends a batch of messages to be stored behind a sequence; the answer goes to the reply subject."""


async def bare(client: Client, messages: list[Message], send: Send, spent: list[Spent] | None = None) -> float:
    """The limit: atomic batches from memory, one in flight, nothing read and nothing stored; events a second.

    The CPU seconds of an event are appended to `spent`.
    """
    prefix = await _stream(client)
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    ours = [message._replace(subject=message.subject.replace("bench", prefix, 1)) for message in messages]
    with _spending(len(messages), [] if spent is None else spent):
        for start in range(0, len(ours), BATCH):
            await send(client, ours[start : start + BATCH], start, inbox)
            await _stored(answers)
        await answers.unsubscribe()
        seconds = await fill_seconds(client, prefix, len(messages))
    await drop_stream(client, prefix)
    return len(messages) / seconds


async def least(client: Client, database_url: str, total: int, spent: list[Spent], *, is_noted: bool = False) -> float:
    """The outbox of `total` rows into a stream, one batch in flight and one page asked for ahead; events a second.

    With `is_noted` the cursor is stored behind each batch, by the relay's own code.
    """
    prefix = await _stream(client)
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    profile = profile_of(load(prefix=prefix))
    seen = RangeSet()
    sent = 0
    with _spending(total, spent):
        async with connect(database_url, "bench", LEADER) as conn:
            cursor = await try_lead(conn, profile.event_stream, "bench") if is_noted else None
            if is_noted and cursor is None:
                raise RuntimeError("another publisher leads")
            batch: list[Message] = []
            asked = asyncio.create_task(next_page(conn, Unseen.outside(seen), 2 * BATCH, short_bytes=1 << 20))
            while sent < total:
                page = await asked
                seen.add_all(row.id for row in page.rows)
                asked = asyncio.create_task(next_page(conn, Unseen.outside(seen), 2 * BATCH, short_bytes=1 << 20))
                messages = [profile.encode(row, 1 << 20) for row in page.rows]
                for start in range(0, len(messages), BATCH):
                    before, batch = batch, messages[start : start + BATCH]
                    if before:
                        await _stored(answers)
                    await as_the_relay(client, batch, sent, inbox)
                    if before and cursor is not None:
                        await _note(conn, cursor, before, sent)
                    sent += len(batch)
            await _stored(answers)
            await asked
            if cursor is not None:
                await _note(conn, cursor, batch, sent)
        await answers.unsubscribe()
        seconds = await fill_seconds(client, prefix, total)
    await drop_stream(client, prefix)
    return total / seconds


async def _note(conn: AsyncConnection, cursor: Cursor, batch: list[Message], sequence: int) -> None:
    """Store that `batch` stands in the stream up to a sequence."""
    ids = [message.outbox_id for message in batch]
    cursor.stream_sequence = sequence
    cursor.published.add_all(ids)
    cursor.unrecorded.append(Batch(sequence, ids))
    await advance(conn, cursor)


async def _stream(client: Client) -> str:
    """A new stream that takes batches; returns the prefix of its subjects."""
    prefix = new_prefix()
    names = Names(prefix)
    config = StreamConfig(
        name=names.event_stream, subjects=[names.event_subjects], allow_atomic=True, allow_direct=True
    )
    await client.jetstream().add_stream(config)
    return prefix


async def _stored(answers: Subscription) -> None:
    assert "error" not in orjson.loads((await answers.next_msg(10)).data)


async def by_nats_py(client: Client, batch: list[Message], expected: int, reply: str) -> None:
    """One `publish` of nats-py a message."""
    batch_id = uuid4().hex
    for number, message in enumerate(batch, start=1):
        headers = {
            "content-type": CONTENT_TYPE,
            EVENT_ID_HEADER: message.event_id,
            OUTBOX_ID_HEADER: str(message.outbox_id),
            "Nats-Batch-Id": batch_id,
            "Nats-Batch-Sequence": str(number),
        }
        if number == 1:
            headers["Nats-Expected-Last-Sequence"] = str(expected)
        is_last = number == len(batch)
        if is_last:
            headers["Nats-Batch-Commit"] = "1"
        await client.publish(message.subject, message.payload, reply=reply if is_last else "", headers=headers)


async def as_the_relay(client: Client, batch: list[Message], expected: int, reply: str) -> None:
    """By the relay's own code."""
    await protocol.write(client, fence.atomic_batch(batch, expected, reply))
