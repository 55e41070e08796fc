"""A long backlog of commands: it stays in the stream, so the memory of the applier's process does not grow with it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path

import pytest

from publisher.applier.command_stream import WINDOW
from tests.support.commands import envelope
from tests.support.processes import COMMAND, peak_mib
from tests.support.world import World

PROJECTS = 50
MOST_GROWTH_MIB = 20
"""How much more memory a process may take for a backlog of any length than for a small one."""
CHUNK = 2_000
"""Messages sent before the server confirms one: it drops what exceeds 10,000, or 128 MiB."""

UNLIMITED = {"commands_max_messages": 2_000_000, "commands_max_bytes": 2**31, "commands_max_per_sender": 0}
"""A stream that takes a backlog of any length: by default it refuses it, long before that."""

PROC = Path("/proc/self/status")


async def fill(world: World, commands: int, padding: int, first: int = 0) -> None:
    """Store `commands` commands that change a few projects, of over `padding` bytes each."""
    subject = world.names.commands.command_subject("project.register")
    for number in range(first, first + commands):
        origin = f"git@github.com:a/p{number % PROJECTS}.git"
        data = {"name": "p", "remote_origin": origin, "metadata": {"last": f"name-{number}"}}
        payload = envelope("project.register", data, padding="x" * padding)
        if (number + 1) % CHUNK and number < first + commands - 1:
            await world.nats.publish(subject, payload)
        else:
            await world.send("project.register", payload)


async def peak_of_applying(world: World, applied: int) -> float:
    """The most memory, in MiB, that `imi-registry serve` took until it got to `applied` commands; it is killed then."""
    with world.process(command=COMMAND, **UNLIMITED) as process:
        async with asyncio.timeout(1800):
            while world.rows("SELECT count(*) FROM command_ledger")[0][0] < applied:
                assert process.is_running, process.log()
                await asyncio.sleep(0.05)
        return peak_mib(process.pid)


@pytest.mark.skipif(not PROC.exists(), reason="the peak of a process is read from /proc")
@pytest.mark.parametrize(
    ("small", "backlog", "padding", "part"),
    [(2 * WINDOW, 10_000, 1_024, 1_500), pytest.param(5_000, 1_000_000, 0, 60_000, marks=pytest.mark.long)],
)
async def test_a_backlog_of_any_length_takes_no_more_memory_than_a_small_one(
    world: World, small: int, backlog: int, padding: int, part: int
) -> None:
    jetstream, stream = world.nats.jetstream(), world.names.commands.stream

    async with world.applier(**UNLIMITED):
        pass  # it has created the stream

    # given
    await fill(world, small, padding)
    expected = await peak_of_applying(world, small)
    async with world.applier(**UNLIMITED):
        await world.commands_done()
    await fill(world, backlog, padding, first=small)
    assert (await jetstream.stream_info(stream)).state.messages == backlog

    # when
    peak = await peak_of_applying(world, small + part)

    # then
    print(f"peak {peak:.0f} MiB with {backlog} commands waiting, {expected:.0f} MiB with {small}")
    assert peak < expected + MOST_GROWTH_MIB

    # and what is done is done right
    told = world.outcome_events()
    assert len({command_id for command_id, *_ in told}) == len(told) >= small + part
    assert {verdict for *_, verdict in told} == {"applied"}
    names: dict[str, list[str]] = defaultdict(list)
    query = (
        "SELECT data ->> 'remote_origin', data #>> '{metadata, last}' FROM outbox WHERE entity = 'project' ORDER BY id"
    )
    for origin, name in world.rows(query):
        names[origin].append(name)
    for project in range(PROJECTS):
        done = names[f"git@github.com:a/p{project}.git"]
        assert done == [f"name-{project + PROJECTS * turn}" for turn in range(len(done))]
    left = (await jetstream.stream_info(stream)).state.messages
    assert 0 <= left - (small + backlog - len(told)) <= WINDOW
    await jetstream.delete_stream(stream)
