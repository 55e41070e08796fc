"""What waits for a reader is more than nats-server keeps for a connection: it comes in portions, cutting nobody off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple
from uuid import uuid4

import pytest
from nats.js.api import AckPolicy, ConsumerConfig, StorageType, StreamConfig

from registry.broker import pull
from registry.broker.connection import connect_nats
from registry.broker.pull import Pull
from registry.concurrency.tasks import run_until
from tests.support.world import World

WINDOW = 256
KEPT_BYTES = 64 * 1024 * 1024
"""The server cuts off a connection that has not taken so much."""


class Backlog(NamedTuple):
    """Messages as large as the server takes them, of which it keeps a third for a connection."""

    stream: str
    messages: int


@pytest.fixture
async def backlog(world: World) -> AsyncIterator[Backlog]:
    name = f"LARGE{uuid4().hex}"
    jetstream = world.nats.jetstream()
    await jetstream.add_stream(StreamConfig(name, subjects=[name], storage=StorageType.MEMORY))
    payload = bytes(world.nats.max_payload)
    messages = 3 * KEPT_BYTES // len(payload)
    for _ in range(messages):
        await jetstream.publish(name, payload)
    yield Backlog(name, messages)
    await jetstream.delete_stream(name)


async def read(world: World, backlog: Backlog) -> None:
    """All of it, in order, by one reader. Raises what it does when it is cut off."""
    async with connect_nats(world.nats_url, "test") as client, asyncio.timeout(120):
        config = ConsumerConfig(name="reader", ack_policy=AckPolicy.EXPLICIT, max_ack_pending=WINDOW)
        await client.jetstream().add_consumer(backlog.stream, config)
        reader = Pull(client, backlog.stream, "reader", WINDOW)
        ended = asyncio.Event()

        async def take() -> None:
            for number in range(1, backlog.messages + 1):
                message = await reader.next()
                assert message.metadata.sequence.stream == number
                await message.ack()
            ended.set()

        await run_until(ended, [reader.run(), take()])
        assert client.stats["reconnects"] == 0


@pytest.mark.parametrize("least_bytes", [pull.LEAST_BYTES, 1], ids=["as it is", "one message at a time"])
async def test_a_backlog_of_large_messages_comes_whole_over_one_connection(
    world: World, backlog: Backlog, least_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "LEAST_BYTES", least_bytes)
    await read(world, backlog)
