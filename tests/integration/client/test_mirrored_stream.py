"""A stream that mirrors another one may be behind what was read of that: of a snapshot, say, and not for long."""

from __future__ import annotations

import asyncio

import pytest

from registry.broker import stream
from registry.broker.ordered import ordered_reader
from registry.concurrency.tasks import end
from registry.errors import Conflict, Unavailable
from tests.support.nats.foreign import stream_of
from tests.support.world import World


async def published(there: World, count: int) -> None:
    for _ in range(count):
        await there.nats.jetstream().publish(f"{there.prefix}.evt.v1.x", b"")


async def test_a_mirror_that_is_behind_is_waited_for_and_read_on_from_there(world: World) -> None:
    jetstream = world.nats.jetstream()
    await jetstream.add_stream(name=world.stream, subjects=[f"{world.prefix}.evt.v1.>"])
    await jetstream.add_stream(name=f"{world.stream}_MIRROR", mirror={"name": world.stream})
    await published(world, 2)
    async with ordered_reader(world.nats, f"{world.stream}_MIRROR", ">", patience_seconds=0) as reader:
        starting = asyncio.create_task(reader.start(3))
        try:
            while (await reader.state())[1] < 2:
                await asyncio.sleep(0.01)
            assert not starting.done()
            await published(world, 2)
            async with asyncio.timeout(20):
                await starting
                while not (messages := await reader.next()):
                    pass
                assert [one.sequence for one in messages] == [4]
        finally:
            await end([starting])


async def test_a_mirror_that_stays_behind_is_told_and_waiting_may_help(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    jetstream = world.nats.jetstream()
    await jetstream.add_stream(name=world.stream, subjects=[f"{world.prefix}.evt.v1.>"])
    await jetstream.add_stream(name=f"{world.stream}_MIRROR", mirror={"name": world.stream})
    monkeypatch.setattr(stream, "BEHIND_SECONDS", 0)
    for name, error, said in (
        (
            f"{world.stream}_MIRROR",
            Unavailable,
            "ends at sequence 0, but 3 was read from what it mirrors: waiting for it",
        ),
        (world.stream, Conflict, "ends at sequence 0, but 3 was read from it: it was created anew"),
    ):
        async with ordered_reader(world.nats, name, ">", patience_seconds=0) as reader:
            with pytest.raises(error, match=said):
                await reader.start(3)


async def test_a_replicated_stream_of_which_a_former_leader_tells_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stream_of(world, "x", "x")
    monkeypatch.setattr(stream, "is_replicated", lambda _: True)

    async with ordered_reader(world.nats, world.stream, ">", patience_seconds=0) as reader:
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            tasks.create_task(reader.start(3))
            await asyncio.sleep(0)
            await published(world, 1)

        monkeypatch.setattr(stream, "BEHIND_SECONDS", 0)
        with pytest.raises(Conflict, match="ends at sequence 3, but 4 was read from it: it was created anew"):
            await reader.start(4)
