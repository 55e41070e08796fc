"""Drain: a backlog in the outbox to the stream, against the bare publish of the same bytes, and against peers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from uuid import uuid4

import orjson
from nats.aio.client import Client
from nats.js.api import StreamConfig

from benchmarks.harness import backlog
from benchmarks.harness.measure import Report, Target, interleaved, ratio
from benchmarks.harness.peers import OUTBOX_PEER, PEERS, PURE_PYTHON
from benchmarks.harness.servers import Servers, drop_stream, fill_seconds, new_prefix
from benchmarks.harness.sizes import Sizes
from publisher.outbox.connection import LEADER, connect
from publisher.outbox.page import Unseen, next_page
from publisher.outbox.ranges import RangeSet
from publisher.settings import load, profile_of
from publisher.stream import fence, protocol
from registry.broker.connection import connect_nats
from registry.events.message import CONTENT_TYPE, EVENT_ID_HEADER, OUTBOX_ID_HEADER, Message
from registry.subjects import Names

BATCH = 1000
NATS_PY, AS_THE_RELAY = "bare atomic batches, nats-py", "bare atomic batches, as the relay"
READ = "the outbox read, nothing sent"


async def run(servers: Servers, sizes: Sizes) -> Report:
    """Events a second from outbox to stream: `serve`, the bare atomic batch publish, peers."""
    report = Report(
        "drain",
        f"A backlog of {sizes.backlog:,} outbox rows goes to the stream. Baseline: the same bytes from memory, in "
        f"atomic batches of {BATCH}; once by nats-py's `publish`, once written as the relay writes them; and the rows "
        "read and made into messages as the relay does, which are not sent. Peers drain "
        f"{sizes.peer_backlog:,} rows of the same payloads from tables of their own, set up as their documentation "
        "says. nats-outbox and faststream-outbox are pure Python, mq-bridge is Rust; none of the three promises order "
        "or a single copy. Rates by nats-server's own clock, first message to last.",
    )
    async with connect_nats(servers.nats_url, "bench") as client:
        with servers.database() as url:
            total = await asyncio.to_thread(backlog.fill, url, sizes.backlog)
            messages = await read(url, total)
            contestants: dict[str, Callable[[], Awaitable[float]]] = {
                "imi-registry serve": lambda: drained(servers, client, url, total),
                NATS_PY: lambda: bare(client, messages, by_nats_py),
                AS_THE_RELAY: lambda: bare(client, messages, as_the_relay),
                READ: lambda: _read_alone(url, total),
            }
            samples = [orjson.loads(message.payload) for message in messages[: sizes.peer_backlog]]
            for name, peer in PEERS.items():
                contestants[name] = lambda peer=peer: peer(servers, client, samples)  # type: ignore[misc]
            values = await interleaved(contestants, sizes.rounds)
    for name, rates in values.items():
        report.add(name, "events/s", rates)
    ours = values["imi-registry serve"]
    for name in (NATS_PY, AS_THE_RELAY):
        report.targets.append(
            Target(
                f"drain, against {name}",
                "times",
                ratio(ours, values[name]),
                at_least=0.8,
                bound=f"reading them takes {ratio(values[name], values[READ]):.2f} of the time of sending them, on two "
                "cores that both share with PostgreSQL and nats-server",
            )
        )
    report.targets.append(
        Target(f"drain, against {OUTBOX_PEER}'s outbox mode", "times", ratio(ours, values[OUTBOX_PEER]), at_least=1)
    )
    fastest = max((values[name] for name in PURE_PYTHON), key=lambda rates: sum(rates))
    report.targets.append(
        Target(
            "drain, against the fastest pure-Python peer",
            "times",
            ratio(ours, fastest),
            at_least=10,
            bound=f"`{NATS_PY}`, out of memory, have {ratio(values[NATS_PY], fastest):.1f} times its rate",
        )
    )
    return report


async def drained(servers: Servers, client: Client, database_url: str, total: int) -> float:
    """`serve` publishes the whole outbox of `total` rows into a stream of its own; events a second."""
    prefix = new_prefix()
    async with servers.service(database_url, prefix):
        seconds = await fill_seconds(client, prefix, total)
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


async def _read_alone(database_url: str, total: int) -> float:
    start = perf_counter()
    await read(database_url, total)
    return total / (perf_counter() - start)


Send = Callable[[Client, list[Message], int, str], Awaitable[None]]
"""Sends a batch of messages to be stored behind a sequence; the answer goes to the reply subject."""


async def bare(client: Client, messages: list[Message], send: Send) -> float:
    """The limit: atomic batches from memory, one in flight, nothing read and nothing stored; events a second."""
    prefix = new_prefix()
    names = Names(prefix)
    config = StreamConfig(
        name=names.event_stream, subjects=[names.event_subjects], allow_atomic=True, allow_direct=True
    )
    await client.jetstream().add_stream(config)
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    ours = [message._replace(subject=message.subject.replace("bench", prefix, 1)) for message in messages]
    for start in range(0, len(ours), BATCH):
        await send(client, ours[start : start + BATCH], start, inbox)
        assert "error" not in orjson.loads((await answers.next_msg(10)).data)
    await answers.unsubscribe()
    seconds = await fill_seconds(client, prefix, len(messages))
    await drop_stream(client, prefix)
    return len(messages) / seconds


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
