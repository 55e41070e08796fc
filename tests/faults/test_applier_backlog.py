"""A long backlog of commands: it stays in the stream, so the memory of the applier's process does not grow with it."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from pathlib import Path

import pytest
from nats.aio.client import Client

from publisher.applier.command_stream import WINDOW
from registry.subjects import Names
from tests.support.appliers import envelope, outcome_events, publish, rows, running_applier, until_empty
from tests.support.relay_process import relay_process

PROJECTS = 50
MOST_GROWTH_MIB = 20
"""How much more memory a process may take for a backlog of any length than for a small one."""
CHUNK = 2_000
"""Messages sent before the server confirms one: it drops what exceeds 10,000, or 128 MiB."""

PROC = Path("/proc/self/status")


async def fill(nats: Client, prefix: str, commands: int, padding: int, first: int = 0) -> None:
    """Store `commands` commands that name a few projects anew, of over `padding` bytes each."""
    subject = Names(prefix).commands.command_subject("project.register")
    for number in range(first, first + commands):
        data = {"name": f"name-{number}", "remote_origin": f"git@github.com:a/p{number % PROJECTS}.git"}
        payload = envelope("project.register", data, padding="x" * padding)
        if (number + 1) % CHUNK and number < first + commands - 1:
            await nats.publish(subject, payload)
        else:
            await publish(nats, prefix, "project.register", payload)


async def peak_of_applying(database: str, nats_url: str, prefix: str, applied: int) -> float:
    """The most memory, in MiB, that `imi-registry serve` took until it got to `applied` commands; it is killed then."""
    with relay_process(database, nats_url, prefix) as process:
        async with asyncio.timeout(300):
            while rows(database, "SELECT count(*) FROM command_ledger")[0][0] < applied:
                assert process.is_running, process.log()
                await asyncio.sleep(0.05)
        return peak_mib(process.pid)


def peak_mib(pid: int) -> float:
    """The most memory that a process has had, in MiB."""
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(peak) / 1024


@pytest.mark.skipif(not PROC.exists(), reason="the peak of a process is read from /proc")
@pytest.mark.parametrize(
    ("small", "backlog", "padding", "part"),
    [(2 * WINDOW, 10_000, 1_024, 1_500), pytest.param(5_000, 1_000_000, 0, 60_000, marks=pytest.mark.long)],
)
async def test_a_backlog_of_any_length_takes_no_more_memory_than_a_small_one(
    database: str, nats_url: str, prefix: str, nats: Client, small: int, backlog: int, padding: int, part: int
) -> None:
    jetstream, stream = nats.jetstream(), Names(prefix).commands.stream
    async with running_applier(database, nats_url, prefix):
        pass  # it has created the stream
    # given
    await fill(nats, prefix, small, padding)
    expected = await peak_of_applying(database, nats_url, prefix, small)
    async with running_applier(database, nats_url, prefix):
        await until_empty(nats, prefix)
    await fill(nats, prefix, backlog, padding, first=small)
    assert (await jetstream.stream_info(stream)).state.messages == backlog
    # when
    peak = await peak_of_applying(database, nats_url, prefix, small + part)
    # then
    print(f"peak {peak:.0f} MiB with {backlog} commands waiting, {expected:.0f} MiB with {small}")
    assert peak < expected + MOST_GROWTH_MIB
    # and what is done is done right
    told = outcome_events(database)
    assert len({command_id for command_id, *_ in told}) == len(told) >= small + part
    assert {verdict for *_, verdict in told} == {"applied"}
    names: dict[str, list[str]] = defaultdict(list)
    query = "SELECT data ->> 'remote_origin', data ->> 'name' FROM outbox WHERE entity = 'project' ORDER BY id"
    for origin, name in rows(database, query):
        names[origin].append(name)
    for project in range(PROJECTS):
        done = names[f"git@github.com:a/p{project}.git"]
        assert done == [f"name-{project + PROJECTS * turn}" for turn in range(len(done))]
    left = (await jetstream.stream_info(stream)).state.messages
    assert 0 <= left - (small + backlog - len(told)) <= WINDOW
    await jetstream.delete_stream(stream)
