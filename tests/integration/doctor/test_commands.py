"""Commands that wait: doctor tells them from those that are under way."""

from __future__ import annotations

import asyncio
import re

import psycopg

from publisher.doctor.commands import LONG_SECONDS, MANY, command_findings
from registry.concurrency.tasks import end
from tests.support.commands import PROJECT, envelope
from tests.support.world import World

TIME = re.compile(r"for \d+:\d\d:\d\d")


async def told(world: World, long_seconds: float = LONG_SECONDS) -> list[str]:
    """What doctor says, without the times."""
    found = await command_findings(world.nats, world.settings(), long_seconds)
    return [TIME.sub("for TIME", finding.text) for finding in found if not finding.is_well]


async def test_commands_that_nobody_takes_and_those_that_are_too_many_are_told(world: World) -> None:
    assert await told(world) == [], "no applier ever ran"
    async with world.applier():
        assert await told(world) == []

    # nobody takes them
    await world.send("project.register", b"nonsense")
    assert await told(world) == [
        "1 command waits, for TIME, and nobody takes it: "
        "start imi-registry serve, with IMI_PARTS all or applier; see the log of one that runs"
    ]

    # somebody would, and has left too many
    names = world.names.commands
    await world.nats.jetstream().add_consumer(names.stream, name="busy", durable_name="busy", ack_policy="explicit")
    assert await told(world) == []
    for number in range(MANY):
        await world.nats.publish(names.command_subject("project.register"), b"%d" % number)
    async with asyncio.timeout(20):
        while not (lines := await told(world)):  # until the stream has stored them
            await asyncio.sleep(0.02)
    assert lines[0].startswith("1,001 commands wait, the oldest for TIME: the applier does not keep up")


async def test_commands_that_have_waited_for_long_are_told_although_somebody_takes_them(world: World) -> None:
    async with world.applier():
        await world.ask("project.register", envelope("project.register", PROJECT))
        with psycopg.connect(world.database) as conn:
            conn.execute("SELECT FROM projects FOR UPDATE")  # until the block ends
            for name in ("one", "other"):
                await world.send("project.register", envelope("project.register", PROJECT | {"name": name}))
            assert await told(world) == [], "they were sent just now"
            (line,) = await told(world, long_seconds=0)
            assert line.startswith("2 commands wait, the oldest for TIME: the applier does not keep up, is interrupted")
        await world.commands_done()
        assert await told(world, long_seconds=0) == []


async def test_a_long_queue_that_is_worked_off_is_well(world: World) -> None:
    async with world.applier():
        pass
    names, jetstream = world.names.commands, world.nats.jetstream()
    for _ in range(MANY):
        await world.send("project.register", b"{}")
    busy = await jetstream.pull_subscribe(names.filter, durable="busy", stream=names.stream)

    async def work() -> None:
        while True:
            for message in await busy.fetch(1, timeout=60):
                await message.ack_sync()
            await asyncio.sleep(0.02)

    working = asyncio.create_task(work())
    try:
        assert await told(world, long_seconds=0) == []
        assert await world.commands_waiting() > 0
    finally:
        await end([working])
    assert await told(world, long_seconds=0) != [], "nobody works at them any more"
