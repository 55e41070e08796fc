"""A relay inside the test's own event loop, and a reader of what it put into the stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import orjson
import psycopg
from nats.aio.client import Client

from publisher.relay.metrics import RelayMetrics
from publisher.relay.relay import Relay
from publisher.settings import Settings, load, profile_of
from registry.concurrency.tasks import end
from registry.subjects import Names


class Published(NamedTuple):
    """One message of the event stream."""

    sequence: int
    subject: str
    headers: dict[str, str]
    envelope: dict[str, Any]


def settings_for(database: str, nats_url: str, prefix: str, **overrides: object) -> Settings:
    """Settings of a relay on the test's own database and stream."""
    return load(database_url=database, nats_url=nats_url, prefix=prefix, **overrides)


@asynccontextmanager
async def running_relay(database: str, nats_url: str, prefix: str, **overrides: object) -> AsyncIterator[RelayMetrics]:
    """A relay that leads or stands by inside the block. An error that ends it fails the test."""
    metrics = RelayMetrics()
    relay = Relay(settings_for(database, nats_url, prefix, **overrides), metrics)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(relay.run())
        async with asyncio.timeout(20):
            await relay.settled.wait()
        yield metrics
        await end([running])


async def published(client: Client, prefix: str, stream: str | None = None) -> list[Published]:
    """Everything in the prefix's event stream (or in `stream`), in its order."""
    jetstream = client.jetstream()
    name = stream or Names(prefix).event_stream
    info = await jetstream.stream_info(name)
    state, direct = info.state, bool(info.config.allow_direct)
    messages = []
    for sequence in range(state.first_seq, state.last_seq + 1):
        raw = await jetstream.get_msg(name, sequence, direct=direct)
        messages.append(Published(sequence, raw.subject, dict(raw.headers or {}), orjson.loads(raw.data)))
    return messages


async def until_drained(database: str, prefix: str, timeout_seconds: float = 30, *, stream: str | None = None) -> None:
    """Wait until every outbox id that was handed out is published to the event stream (or `stream`), or dead."""
    query = """
        SELECT cursor.published = int8multirange(int8range(1, ids.last_value + 1))
        FROM publisher_cursor AS cursor, outbox_id_seq AS ids
        WHERE cursor.stream = %s AND ids.is_called
    """
    stream = stream or profile_of(load(prefix=prefix)).event_stream
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as conn:
        async with asyncio.timeout(timeout_seconds):
            while (await (await conn.execute(query, [stream])).fetchone()) != (True,):
                await asyncio.sleep(0.01)  # the cursor tells nobody when it moves
