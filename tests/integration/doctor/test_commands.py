"""Commands that wait: doctor tells them from those that are under way."""

from __future__ import annotations

import asyncio

from publisher.doctor.commands import MANY, command_findings
from tests.support.world import World


async def test_commands_that_nobody_takes_and_those_that_are_too_many_are_told(world: World) -> None:
    async def told() -> list[str]:
        return [finding.text for finding in await command_findings(world.nats, world.settings())]

    assert await told() == [], "no applier ever ran"
    async with world.applier():
        assert await told() == []

    # nobody takes them
    await world.send("project.register", b"nonsense")
    assert await told() == [
        "1 command waits and nobody takes it: start imi-registry serve, with IMI_PARTS all or applier"
    ]

    # somebody would, and has left too many
    names = world.names.commands
    await world.nats.jetstream().add_consumer(names.stream, name="busy", durable_name="busy", ack_policy="explicit")
    assert await told() == []
    for number in range(MANY):
        await world.nats.publish(names.command_subject("project.register"), b"%d" % number)
    async with asyncio.timeout(20):
        while not (lines := await told()):  # until the stream has stored them
            await asyncio.sleep(0.02)
    assert lines[0].startswith("1,001 commands wait: the applier does not keep up")
