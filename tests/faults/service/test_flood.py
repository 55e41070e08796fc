"""Somebody who may write to the stream of events writes to it without end: events wait, which is told, and come.

Each of his messages moves the stream's end, and so meets the relay's fence: docs/adr/0012-shared-stream.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from registry.concurrency.tasks import end
from tests.support.nats.reading import connected
from tests.support.world import World

BURST = 5
"""Messages that a sender has under way: as many are stored while the relay reads where the stream ends."""


@asynccontextmanager
async def flood(world: World, senders: int) -> AsyncIterator[None]:
    """Messages on a subject of an event, without end, by so many connections; at least 500 before it begins."""
    many = asyncio.Event()
    sent = 0

    async def send() -> None:
        nonlocal sent
        async with connected(world.nats_url) as client:
            while True:
                for _ in range(BURST):
                    await client.publish(world.foreign_subject, b"{}")
                await client.flush()
                sent += BURST
                if sent >= 500:
                    many.set()

    tasks = [asyncio.create_task(send()) for _ in range(senders)]
    async with asyncio.timeout(60):
        await many.wait()
    try:
        yield
    finally:
        await end(tasks)


async def test_a_flood_of_messages_in_the_stream_is_told_and_nothing_is_lost_by_it(world: World) -> None:
    async with world.relay() as metrics:
        world.write(1)
        await world.drained()
        async with flood(world, senders=1):
            async with asyncio.timeout(120):
                while not any("so fast that nothing gets between" in problem for problem in metrics.problems()):
                    await asyncio.to_thread(world.write, 2)
        world.write(1)
        await world.drained()
        foreign = (await world.audit()).foreign
        await world.assert_exactly_once(foreign=foreign)
        assert foreign > 500
        assert metrics.problems() == []
