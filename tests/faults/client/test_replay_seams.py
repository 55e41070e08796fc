"""Replay over its seams: record to stream, stream to live, one consumer to the next, one server's life to the next.

In a stream of our own every event has the next sequence, so a replay without filter tells 1, 2, 3 … or has failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from publisher.embedded.nats_server import nats_server
from registry.broker.ordered import OrderedReader
from registry.client import RegistryClient
from registry.client.replay import replay
from registry.history.pages import Replayed
from registry.position import After, FromStart, Last, Start
from tests.support.histories import row
from tests.support.nats.reading import connected
from tests.support.servers.restartable import Restartable
from tests.support.workload import writing
from tests.support.world import World


async def last_sequence(world: World) -> int:
    return (await world.nats.jetstream().stream_info(world.names.event_stream)).state.last_seq


async def read_until(events: AsyncIterator[Replayed], sequence: int) -> list[Replayed]:
    """The events up to this sequence."""
    told = []
    async with asyncio.timeout(25):
        async for event in events:
            told.append(event)
            if event.sequence >= sequence:
                return told
    raise AssertionError(f"the replay ended before sequence {sequence}")


@asynccontextmanager
async def trimmed_all_the_time(world: World, kept: int) -> AsyncIterator[None]:
    """The stream holds only about the last `kept` events, as its limits may say."""

    stopping = asyncio.Event()

    async def trim_on() -> None:
        while not stopping.is_set():
            await world.trim(max(await last_sequence(world) - kept, 1))
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(trim_on())
        try:
            yield
        finally:
            stopping.set()


@pytest.mark.parametrize("switches", [4, pytest.param(100, marks=pytest.mark.long)])
async def test_switches_from_the_record_over_the_stream_into_live_events_have_no_seam(
    world: World, switches: int
) -> None:
    profile = world.profile

    async with (
        world.relay(),
        world.history(),
        writing(world.database, seed=11) as work,
    ):
        await work.reach(commits=40)
        async with trimmed_all_the_time(world, kept=60):
            start: Start = FromStart()
            told: list[Replayed] = []
            for number in range(switches):
                target = await last_sequence(world) + 100  # live: not there yet
                async with replay(world.nats, profile, start, follow=True) as events:
                    before, told = told, await read_until(events, target)
                first = told[0].sequence
                assert [event.sequence for event in told] == list(range(first, first + len(told)))
                assert len({event.position.outbox_id for event in told}) == len(told)
                again = {event.sequence: event for event in before}
                both = [event for event in told if event.sequence in again]
                assert row(both) == [(one, *row([again[one]])[0][1:]) for one in again if one >= first]
                # Next time from somewhere in what was told last: off the stream, mostly.
                start = After(str(told[len(told) // (number % 3 + 2)].position))


async def test_a_reader_that_the_limits_overtake_misses_nothing(world: World) -> None:
    async with world.relay(), world.history():
        for _ in range(3):
            world.write(20)
        await world.drained()
        end = await last_sequence(world)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("registry.broker.ordered.BATCH", 10)
            async with replay(world.nats, world.profile, follow=True) as events:
                told = [await anext(events)]
                await world.trim(end - 5)
                told += await read_until(events, end)
                world.write(1)
                await world.drained()
                await world.trim(await last_sequence(world))
                told += await read_until(events, await last_sequence(world))

    assert [event.sequence for event in told] == list(range(1, len(told) + 1))
    assert len(told) > end


async def test_consumers_that_vanish_are_replaced_without_a_gap(world: World) -> None:
    stream = world.names.event_stream
    vanished = 0

    async with (
        world.relay(),
        writing(world.database, writers=4, seed=12) as work,
        replay(world.nats, world.profile, follow=True) as events,
    ):
        told = [await anext(events)]
        for _ in range(8):
            await work.reach(commits=5)
            for consumer in await world.nats.jetstream().consumers_info(stream):
                vanished += await world.nats.jetstream().delete_consumer(stream, consumer.name)
            told += await read_until(events, await last_sequence(world))

    assert vanished >= 4
    assert [event.sequence for event in told] == list(range(1, len(told) + 1))


@pytest.mark.parametrize("is_crash", [False, True], ids=["restart", "SIGKILL"])
@pytest.mark.parametrize("restarts", [2, pytest.param(20, marks=pytest.mark.long)])
async def test_a_replay_outlasts_restarts_of_the_server(
    world: World, state_dir: Path, restarts: int, is_crash: bool
) -> None:
    with Restartable(partial(nats_server, state_dir)) as server:
        there = world.at(nats_url=server.url)
        async with (
            there.relay(),
            there.history(),
            writing(world.database, writers=4, seed=13) as work,
            RegistryClient.connect(server.url, prefix=world.prefix) as client,
            client.replay(follow=True) as events,
        ):
            told = [await anext(events)]
            for _ in range(restarts):
                await work.reach(commits=10)
                await server.stop(is_crash=is_crash)
                await work.reach(commits=10)
                await server.start()
                await work.reach(commits=10)
                told += await read_until(events, told[-1].sequence + 40)
        async with there.relay(), connected(server.url) as client_after:
            await world.drained()
            everything = await world.at(nats=client_after).replayed()

    assert [event.sequence for event in told] == list(range(1, len(told) + 1))
    assert row(told) == row(everything)[: len(told)]


@pytest.mark.parametrize("restarts", [2, pytest.param(20, marks=pytest.mark.long)])
async def test_a_tail_that_has_seen_nothing_yet_goes_on_from_now_over_restarts_of_the_server(
    world: World, state_dir: Path, restarts: int
) -> None:
    with Restartable(partial(nats_server, state_dir)) as server:
        there = world.at(nats_url=server.url)
        async with there.relay(), connected(server.url) as before:
            world.write()
            await world.drained()
            last = await last_sequence(world.at(nats=before))
        async with RegistryClient.connect(server.url, prefix=world.prefix) as client, client.tail() as events:
            for _ in range(restarts):
                await server.stop(is_crash=False)
                await server.start()
            async with there.relay():
                world.write(1)
                await world.drained()
            async with asyncio.timeout(25):
                told = [await anext(events) for _ in range(5)]

    assert [event.sequence for event in told] == list(range(last + 1, last + 6))


async def test_the_last_ones_then_live_ones_have_no_seam(world: World) -> None:
    async with world.relay(), writing(world.database, writers=4, seed=14) as work:
        for _ in range(5):
            await work.reach(commits=5)
            async with replay(world.nats, world.profile, Last(5), follow=True) as events:
                told = await read_until(events, await last_sequence(world) + 30)
            first = told[0].sequence
            assert [event.sequence for event in told] == list(range(first, first + len(told)))
            assert len(told) >= 35


@pytest.mark.parametrize("follow", [False, True])
async def test_the_last_ones_are_so_many_while_more_arrive_than_are_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch, follow: bool
) -> None:
    state = OrderedReader.state
    asked = 0

    async def state_before_more_come(reader: OrderedReader) -> tuple[int, int]:
        nonlocal asked
        answer = await state(reader)
        asked += 1
        if asked < 4:
            await asyncio.to_thread(world.write)
            await world.drained()
        return answer

    async with world.relay():
        await asyncio.to_thread(world.write)
        await world.drained()
        monkeypatch.setattr(OrderedReader, "state", state_before_more_come)
        async with asyncio.timeout(25), replay(world.nats, world.profile, Last(5), follow=follow) as events:
            told = [await anext(events) for _ in range(5)]
            rest = [] if follow else [event async for event in events]

    first = told[0].sequence
    assert [event.sequence for event in told] == list(range(first, first + 5))
    assert asked > 1
    assert rest == []
