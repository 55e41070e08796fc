"""Who leaves a subscription: handlers end in order, and before others handle what they had in hand."""

from __future__ import annotations

import asyncio

import pytest

from registry.broker.consumers import consumers_of
from registry.client import Delivery, RegistryClient
from registry.concurrency import tasks
from registry.concurrency.tasks import end
from tests.support.client.subscriptions import Seen, change_projects
from tests.support.world import World

LOOKS = 10
"""At the consumers, by one who waits: more than he needs to find that one has no reader."""


async def test_a_handler_that_is_cancelled_ends_in_order_and_before_another_process_begins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "CANCEL_AGAIN_SECONDS", 0.01)
    begun, leaving, may_end, ended = (asyncio.Event() for _ in range(4))
    seen = Seen()
    looks = 0

    async def handler(delivery: Delivery) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            leaving.set()
            await may_end.wait()
            ended.set()

    async def counted(*given: object) -> object:
        nonlocal looks
        looks += 1
        return await consumers_of(*given)  # type: ignore[arg-type]

    async with (
        asyncio.timeout(60),
        world.relay(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as other,
    ):
        change_projects(world.database, 1)
        first = asyncio.create_task(client.subscribe(handler, durable="d", from_start=True))
        await begun.wait()
        ending = asyncio.create_task(end([first]))
        await leaving.wait()
        monkeypatch.setattr("registry.broker.durable.consumers_of", counted)
        second = asyncio.create_task(other.subscribe(seen, durable="d"))
        while looks < LOOKS:
            await asyncio.sleep(0.01)
        assert not seen.distinct
        may_end.set()
        await ending
        assert ended.is_set()
        await seen.until(1)
        await end([second])


async def test_a_handler_that_keeps_its_cancellation_to_itself_is_acknowledged_and_the_last(world: World) -> None:
    handled: list[int] = []
    begun = asyncio.Event()

    async def handler(delivery: Delivery) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            handled.append(delivery.sequence)

    async with (
        asyncio.timeout(20),
        world.relay(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
    ):
        change_projects(world.database, 2)
        running = asyncio.create_task(client.subscribe(handler, durable="d", from_start=True, concurrency=1))
        await begun.wait()
        await end([running])
        while (await world.nats.jetstream().consumer_info(world.stream, "d-1")).ack_floor.stream_seq < 1:
            await asyncio.sleep(0.01)
    assert handled == [1]
