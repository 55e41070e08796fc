"""What the log says of dead letters: with the ids that join, and few lines however many there are."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from registry.client import Delivery, RegistryClient
from tests.support.client.subscriptions import change_projects, subscribed
from tests.support.world import World

COUNT = 20
TOLD = [1, 2, 3, 4, 5, 6, 7, 8, 16]


async def test_of_many_events_that_are_buried_a_few_are_told_with_their_ids(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.client.subscriber.RETRY_SECONDS", (0.01, 0.01))

    async def never(_: Delivery) -> None:
        raise ValueError("never")

    with structlog.testing.capture_logs() as logged:
        async with world.relay(), RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
            change_projects(world.database, COUNT)
            async with subscribed(client, never, durable="d", from_start=True, max_attempts=1), asyncio.timeout(30):
                while (await client.dead_letters.counts()).get("d", 0) < COUNT:
                    await asyncio.sleep(0.02)

    buried = [line for line in logged if line["event"] == "event buried"]
    assert [line["buried"] for line in buried] == TOLD
    events = {event.envelope["id"]: event.envelope["correlationid"] for event in await world.published()}
    assert all(events[line["event_id"]] == line["correlation_id"] for line in buried)
    failed = [line for line in logged if line["event"] == "handler failed"]
    assert 1 <= len(failed) <= len(TOLD)
    assert all(events[line["event_id"]] == line["correlation_id"] for line in failed)


async def test_of_many_commands_that_are_none_a_few_are_told(world: World) -> None:
    with structlog.testing.capture_logs() as logged:
        async with world.applier():
            for _ in range(COUNT):
                await world.send("project.register", b"no command")
            await world.commands_done()
    assert [line["buried"] for line in logged if line["event"] == "dead letter"] == TOLD
