"""Where a stream ends for who reads it: nothing is passed over there, and it is said when there is no more."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.msg import Msg
from nats.js.api import StreamInfo

from registry.broker.ordered import OrderedReader, ordered_reader
from registry.broker.stream import Extent
from registry.client.replay import replay
from registry.concurrency.tasks import end
from tests.support.nats.foreign import stream_of
from tests.support.world import World


async def test_what_is_published_while_the_end_is_looked_at_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, left = OrderedReader.state, 5

    async def after_one_more(reader: OrderedReader) -> tuple[int, int]:
        nonlocal left
        if left:
            left -= 1
            world.write(projects=1, worktrees=0, renames=0)
            await world.drained()
        return await state(reader)

    world.write(projects=1, worktrees=0, renames=0)
    async with world.relay(), asyncio.timeout(20):
        await world.drained()
        monkeypatch.setattr(OrderedReader, "state", after_one_more)
        async with replay(world.nats, world.profile, follow=True) as events:
            assert [(await anext(events)).sequence for _ in range(6)] == [1, 2, 3, 4, 5, 6]


async def test_a_message_that_was_lost_on_the_way_is_read_again_though_none_follows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stream_of(world, "x", "x")
    stored, left = OrderedReader._on_stored, 2

    def losing(reader: OrderedReader, message: Msg) -> None:
        nonlocal left
        left -= 1
        if left != 0:
            stored(reader, message)

    monkeypatch.setattr(OrderedReader, "_on_stored", losing)
    read: list[int] = []
    async with (
        asyncio.timeout(20),
        ordered_reader(world.nats, world.stream, f"{world.prefix}.evt.v1.>", patience_seconds=0) as reader,
    ):
        reader.end = 2
        await reader.start(0)
        while len(read) < 2:
            read += [one.sequence for one in await reader.next()]

    assert read == [1, 2]


async def test_what_was_deleted_before_it_was_asked_for_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    jetstream = await stream_of(world, "x", "x")
    monkeypatch.setattr("registry.broker.ordered.BATCH", 1)

    async with (
        asyncio.timeout(20),
        ordered_reader(world.nats, world.stream, f"{world.prefix}.evt.v1.>", patience_seconds=0) as reader,
    ):
        await reader.start(0)
        while not reader._received:
            await asyncio.sleep(0.01)
        await jetstream.delete_msg(world.stream, 2)
        assert [one.sequence for one in await reader.next()] == [1]
        assert await reader.next() == []


async def test_what_came_and_went_while_a_reader_was_cut_off_is_told_from_the_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[OrderedReader] = []
    received = OrderedReader._on_message
    is_cut_off = False

    async def unless_cut_off(reader: OrderedReader, message: Msg) -> None:
        if not is_cut_off:
            readers[:] = [reader]
            await received(reader, message)

    monkeypatch.setattr(OrderedReader, "_on_message", unless_cut_off)
    caught_up = asyncio.Event()

    async def told_so() -> None:
        caught_up.set()

    world.write(projects=1, worktrees=0, renames=0)
    async with world.relay(), world.history(), asyncio.timeout(20):
        await world.drained()
        async with replay(world.nats, world.profile, follow=True, caught_up=told_so) as events:
            assert (await anext(events)).sequence == 1
            next_one = asyncio.ensure_future(anext(events))
            await caught_up.wait()
            is_cut_off = True
            world.write(projects=2, worktrees=0, renames=0)
            await world.drained()
            await world.trim(4)
            is_cut_off = False
            readers[0]._is_broken = True
            assert (await next_one).sequence == 2
            assert (await anext(events)).sequence == 3


async def test_it_is_said_that_there_is_no_more_however_fast_messages_come(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    jetstream = await stream_of(world, "x")
    info = Extent.info

    async def from_far_away(extent: Extent) -> StreamInfo:
        told = await info(extent)
        await asyncio.sleep(0.2)
        return told

    async def publish_on() -> None:
        while True:
            await jetstream.publish(f"{world.prefix}.evt.v1.x", b"")
            await asyncio.sleep(0.02)

    async with ordered_reader(world.nats, world.stream, f"{world.prefix}.evt.v1.>", patience_seconds=0) as reader:
        await reader.start(0)
        monkeypatch.setattr(Extent, "info", from_far_away)
        publishing = asyncio.create_task(publish_on())
        try:
            async with asyncio.timeout(20):
                while await reader.next():
                    pass
        finally:
            await end([publishing])
