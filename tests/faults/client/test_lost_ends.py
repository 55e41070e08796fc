"""Who reads a stream that is not what it was: it lost its end, or was created anew."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest
import structlog

from publisher.embedded.nats_server import nats_server
from registry.broker import ordered
from registry.broker.ordered import OrderedReader, Stored, ordered_reader
from registry.client import RegistryClient
from registry.client.replay import replay
from registry.errors import Conflict
from registry.position import FromSequence, FromStart, Last, Start
from tests.faults.client.test_replay_seams import read_until
from tests.faults.relay.test_stream_history import Losing
from tests.support.client.subscriptions import change_projects
from tests.support.servers.restartable import Restartable
from tests.support.world import World


@pytest.mark.parametrize("how", ["tail", "replay"])
async def test_who_follows_waits_for_a_stream_that_lost_its_tail_and_is_told_nothing_again(
    world: World, state_dir: Path, how: str
) -> None:
    """The relay completes it with the same events at the same sequences."""
    with Restartable(partial(nats_server, state_dir)) as server:
        losing, there = Losing(state_dir, server), world.at(nats_url=server.url)
        async with there.relay():
            change_projects(world.database, 8)
            await world.drained()
        await losing.remember()
        async with (
            RegistryClient.connect(server.url, prefix=world.prefix) as client,
            client.tail() if how == "tail" else client.replay(FromSequence(9), follow=True) as events,
        ):
            async with there.relay(), asyncio.timeout(25):
                change_projects(world.database, 8)
                told = [(await anext(events)).sequence for _ in range(8)]
            # when
            with structlog.testing.capture_logs() as logged:
                await losing.lose()
                next_one = asyncio.ensure_future(anext(events))
                async with asyncio.timeout(30):
                    while not any("but 16 was read from it" in str(line.get("reason")) for line in logged):
                        assert not next_one.done()
                        await asyncio.sleep(0.02)
            # then
            async with there.relay(), asyncio.timeout(30):
                change_projects(world.database, 8)
                told += [(await next_one).sequence]
                told += [(await anext(events)).sequence for _ in range(7)]

    assert told == list(range(9, 25))


@pytest.mark.parametrize(("start", "follow"), [(FromStart(), False), (Last(16), True)])
async def test_a_replay_up_to_an_end_that_the_stream_lost_before_it_was_read_tells_what_comes_back(
    world: World, state_dir: Path, monkeypatch: pytest.MonkeyPatch, start: Start, follow: bool
) -> None:
    monkeypatch.setattr(ordered, "BATCH", 2)
    with Restartable(partial(nats_server, state_dir)) as server:
        losing, there = Losing(state_dir, server), world.at(nats_url=server.url)
        async with there.relay():
            change_projects(world.database, 8)
            await world.drained()
        await losing.remember()
        async with there.relay():
            change_projects(world.database, 8)
            await world.drained()
        begun, go_on = asyncio.Event(), asyncio.Event()
        give = OrderedReader.next
        told: list[int] = []

        async def hesitate(reader: OrderedReader) -> list[Stored]:
            messages = await give(reader)
            begun.set()
            await go_on.wait()
            return messages

        async def read() -> None:
            async with (
                RegistryClient.connect(server.url, prefix=world.prefix) as client,
                client.replay(start, follow=follow) as events,
            ):
                async for event in events:
                    told.append(event.sequence)
                    if event.sequence == 17:
                        return

        monkeypatch.setattr(OrderedReader, "next", hesitate)
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(read())
            await begun.wait()
            # when
            with structlog.testing.capture_logs() as logged:
                await losing.lose()
                go_on.set()
                while not any("ends at sequence 8, but 16 was" in str(line.get("reason")) for line in logged):
                    assert not reading.done()
                    await asyncio.sleep(0.02)
            # then
            async with there.relay():
                if follow:
                    change_projects(world.database, 1)
                await reading
    assert told == list(range(1, 18 if follow else 17))


async def test_who_follows_is_told_when_the_stream_was_created_anew(world: World) -> None:
    """Nobody knows what comes there at the sequences that were read."""
    jetstream = world.nats.jetstream()
    async with world.relay():
        change_projects(world.database, 8)
        await world.drained()
    async with replay(world.nats, world.profile, follow=True) as events:
        await read_until(events, 8)
        await jetstream.delete_stream(world.stream)
        await jetstream.add_stream(name=world.stream, subjects=[world.names.event_subjects])
        with pytest.raises(Conflict, match="ends at sequence 0, but 8 was read from it: it was created anew"):
            await read_until(events, 9)


@pytest.mark.parametrize("keeps_sequences", [True, False])
async def test_a_stream_that_was_created_anew_and_is_as_long_again_is_read_on_only_where_its_events_are_the_same(
    world: World, keeps_sequences: bool
) -> None:
    jetstream, subjects = world.nats.jetstream(), world.names.event_subjects

    async def make(messages: int) -> None:
        await jetstream.add_stream(name=world.stream, subjects=[subjects])
        for _ in range(messages):
            await jetstream.publish(subjects.replace(">", "one"))

    await make(3)
    opening = ordered_reader(world.nats, world.stream, ">", patience_seconds=0, keeps_sequences=keeps_sequences)
    async with opening as reader, asyncio.timeout(30):
        await reader.start(0)
        await read_on(reader, 3)
        await jetstream.delete_stream(world.stream)
        await make(5)
        if keeps_sequences:
            await read_on(reader, 5)
        else:
            with pytest.raises(Conflict, match="was created anew since 3 was read from it"):
                await read_on(reader, 5)


async def read_on(reader: OrderedReader, sequence: int) -> None:
    """Read up to this sequence."""
    while reader.position < sequence:
        await reader.next()
