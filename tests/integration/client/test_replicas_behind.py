"""A consumer may be on a replica that is behind the stream's leader: what it leaves out is read all the same, once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, ConsumerInfo

from registry.broker.ordered import OrderedReader, ordered_reader
from registry.broker.stored import first_message
from registry.client import Delivery, RegistryClient
from registry.client.replay import replay
from registry.concurrency.tasks import end
from registry.errors import Unavailable, Unprepared
from tests.support.nats.foreign import stream_of
from tests.support.world import World


def behind(monkeypatch: pytest.MonkeyPatch, times: int, **changed: Any) -> None:
    """Have the next consumers made as on a replica that holds what `changed` says of their configuration."""
    add_consumer = JetStreamContext.add_consumer
    left = times

    async def add(self: JetStreamContext, stream: str, config: ConsumerConfig) -> ConsumerInfo:
        nonlocal left
        left -= 1
        return await add_consumer(self, stream, replace(config, **changed) if left >= 0 else config)

    monkeypatch.setattr(JetStreamContext, "add_consumer", add)


@pytest.mark.parametrize("times", [1, 3])
async def test_a_replay_ends_where_the_leader_does_though_a_replica_has_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    world.write(projects=3, worktrees=0, renames=0)
    async with world.relay():
        await world.drained()
    behind(monkeypatch, times, filter_subject=f"{world.prefix}.evt.v1.nothing")

    async with replay(world.nats, world.profile) as events:
        assert [event.sequence async for event in events] == [1, 2, 3]


async def test_a_replica_that_stays_behind_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await stream_of(world, "x")
    behind(monkeypatch, 1000, filter_subject=f"{world.prefix}.evt.v1.nothing")

    async with ordered_reader(world.nats, world.stream, f"{world.prefix}.evt.v1.>", patience_seconds=0) as reader:
        reader.end = 1
        await reader.start(0)
        with pytest.raises(Unavailable, match=f"the replica of stream {world.stream} that is read from is behind"):
            await reader.next()


async def test_what_is_left_out_because_it_is_not_wanted_is_the_end(world: World) -> None:
    await stream_of(world, "x", "y")

    async with ordered_reader(world.nats, world.stream, f"{world.prefix}.evt.v1.x", patience_seconds=0) as reader:
        reader.end = 2
        await reader.start(0)
        assert [one.sequence for one in await reader.next()] == [1]
        assert await reader.next() == []


async def test_a_consumer_that_begins_before_what_was_read_repeats_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stream_of(world, "x", "x", "x")
    behind(monkeypatch, 1, opt_start_seq=1)

    async with ordered_reader(world.nats, world.stream, f"{world.prefix}.evt.v1.>", patience_seconds=0) as reader:
        await reader.start(2)
        assert [one.sequence for one in await first(reader)] == [3]


async def test_who_follows_goes_on_where_a_replica_has_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write(projects=3, worktrees=0, renames=0)
    async with world.relay():
        await world.drained()
    behind(monkeypatch, 1, filter_subject=f"{world.prefix}.evt.v1.nothing")
    told: list[int] = []

    async def caught_up() -> None:
        told.append(0)

    async with (
        asyncio.timeout(20),
        replay(world.nats, world.profile, follow=True, caught_up=caught_up) as events,
    ):
        async for event in events:
            told.append(event.sequence)
            if event.sequence == 3:
                break

    assert told == [1, 2, 3]


async def test_what_the_record_gave_while_a_replica_was_empty_is_not_told_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an account that may not ask the leader for a message."""
    world.write(projects=5, worktrees=0, renames=0)
    async with world.relay(), world.history():
        await world.drained()
        await world.trim(3)
        behind(monkeypatch, 1, filter_subject=f"{world.prefix}.evt.v1.nothing")

        async def refused(*_: Any, **__: Any) -> None:
            raise Unprepared("not permitted")

        monkeypatch.setattr("registry.broker.stream.first_message", refused)
        told: list[int] = []
        async with asyncio.timeout(20), replay(world.nats, world.profile, follow=True) as events:
            async for event in events:
                told.append(event.sequence)
                if event.sequence == 5:  # what was behind the replica's end comes by the next consumer
                    monkeypatch.setattr(OrderedReader, "_check_permission", broken)
                    world.write(projects=1, worktrees=0, renames=0)
                if event.sequence == 6:
                    break

        assert told == [1, 2, 3, 4, 5, 6]


async def test_what_a_replica_has_a_part_of_is_read_whole_before_it_is_said_that_there_is_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stream_of(world, "x", "x", "y")
    behind(monkeypatch, 1, filter_subject=f"{world.prefix}.evt.v1.x")

    read: list[int] = []
    async with (
        asyncio.timeout(20),
        ordered_reader(world.nats, world.stream, f"{world.prefix}.evt.v1.>", patience_seconds=None) as reader,
    ):
        await reader.start(0)
        while messages := await reader.next():
            read += [one.sequence for one in messages]

    assert read == [1, 2, 3]
    assert reader.reached == 3


async def test_one_refusal_in_passing_does_not_end_a_replay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write(projects=3, worktrees=0, renames=0)
    async with world.relay():
        await world.drained()
    behind(monkeypatch, 1, filter_subject=f"{world.prefix}.evt.v1.nothing")
    left = 1

    async def refused_once(*asked: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise Unprepared("the account has as many subscriptions as it may have")
        return await first_message(*asked)

    monkeypatch.setattr("registry.broker.stream.first_message", refused_once)

    async with replay(world.nats, world.profile) as events:
        assert [event.sequence async for event in events] == [1, 2, 3]


def broken(reader: OrderedReader) -> None:
    """Have a reader begin anew where it is, as after a reconnect."""
    reader._is_broken = True


@pytest.mark.parametrize("changed", [{"opt_start_seq": 1}, {}], ids=["behind", "level"])
async def test_a_first_subscription_begins_behind_what_the_leader_had(
    world: World, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    world.write(projects=3, worktrees=0, renames=0)
    handled: list[int] = []

    async def handle(delivery: Delivery) -> None:
        handled.append(delivery.sequence)

    async with world.relay(), RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        await world.drained()
        behind(monkeypatch, 1, **changed)
        async with asyncio.TaskGroup() as tasks, asyncio.timeout(20):
            subscription = tasks.create_task(client.subscribe(handle, durable="d"))
            while not await world.nats.jetstream().consumers_info(world.stream):
                await asyncio.sleep(0.01)
            world.write(projects=1, worktrees=0, renames=0)
            while not handled:
                await asyncio.sleep(0.01)
            await end([subscription])

    assert handled == [4]


async def first(reader: OrderedReader) -> list[Any]:
    """The first messages, also where it looks as if there were none."""
    return await reader.next() or await reader.next()
