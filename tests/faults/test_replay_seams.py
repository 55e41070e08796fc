"""Replay over its seams: record to stream, stream to live, one consumer to the next, one server's life to the next.

In a stream of our own every event has the next sequence, so a replay without filter tells 1, 2, 3 … or has failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client

from publisher.embedded.nats_server import nats_server
from publisher.settings import load, profile_of
from registry.client import RegistryClient
from registry.client.replay import replay
from registry.history.pages import Replayed
from registry.position import After, FromStart, Last, Start
from registry.subjects import Names
from tests.faults.test_relay_server_restarts import Restartable
from tests.integration.history.test_replay import row, write
from tests.support.audit import connected
from tests.support.histories import replayed, running_history, trim
from tests.support.relays import running_relay, settings_for, until_drained
from tests.support.workload import writing


async def last_sequence(client: Client, prefix: str) -> int:
    return (await client.jetstream().stream_info(Names(prefix).event_stream)).state.last_seq


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
async def trimmed_all_the_time(client: Client, prefix: str, kept: int) -> AsyncIterator[None]:
    """The stream holds only about the last `kept` events, as its limits may say."""

    stopping = asyncio.Event()

    async def trim_on() -> None:
        while not stopping.is_set():
            await trim(client, prefix, max(await last_sequence(client, prefix) - kept, 1))
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(trim_on())
        try:
            yield
        finally:
            stopping.set()


@pytest.mark.parametrize("switches", [4, pytest.param(100, marks=pytest.mark.long)])
async def test_switches_from_the_record_over_the_stream_into_live_events_have_no_seam(
    database: str, nats_url: str, prefix: str, nats: Client, switches: int
) -> None:
    profile = profile_of(load(prefix=prefix))
    async with (
        running_relay(database, nats_url, prefix),
        running_history(settings_for(database, nats_url, prefix)),
        writing(database, seed=11) as work,
    ):
        await work.reach(commits=40)
        async with trimmed_all_the_time(nats, prefix, kept=60):
            start: Start = FromStart()
            told: list[Replayed] = []
            for number in range(switches):
                target = await last_sequence(nats, prefix) + 100  # live: not there yet
                async with replay(nats, profile, start, follow=True) as events:
                    before, told = told, await read_until(events, target)
                first = told[0].sequence
                assert [event.sequence for event in told] == list(range(first, first + len(told)))
                assert len({event.position.outbox_id for event in told}) == len(told)
                again = {event.sequence: event for event in before}
                both = [event for event in told if event.sequence in again]
                assert row(both) == [(one, *row([again[one]])[0][1:]) for one in again if one >= first]
                # Next time from somewhere in what was told last: off the stream, mostly.
                start = After(str(told[len(told) // (number % 3 + 2)].position))


async def test_a_reader_that_the_limits_overtake_misses_nothing(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with running_relay(database, nats_url, prefix), running_history(settings_for(database, nats_url, prefix)):
        for _ in range(3):
            write(database, 20)
        await until_drained(database, prefix)
        end = await last_sequence(nats, prefix)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("registry.broker.ordered.BATCH", 10)
            async with replay(nats, profile_of(load(prefix=prefix)), follow=True) as events:
                told = [await anext(events)]
                await trim(nats, prefix, end - 5)
                told += await read_until(events, end)
                write(database, 1)
                await until_drained(database, prefix)
                await trim(nats, prefix, await last_sequence(nats, prefix))
                told += await read_until(events, await last_sequence(nats, prefix))
    assert [event.sequence for event in told] == list(range(1, len(told) + 1))
    assert len(told) > end


async def test_consumers_that_vanish_are_replaced_without_a_gap(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    stream = Names(prefix).event_stream
    vanished = 0
    async with (
        running_relay(database, nats_url, prefix),
        writing(database, writers=4, seed=12) as work,
        replay(nats, profile_of(load(prefix=prefix)), follow=True) as events,
    ):
        told = [await anext(events)]
        for _ in range(8):
            await work.reach(commits=5)
            for consumer in await nats.jetstream().consumers_info(stream):
                vanished += await nats.jetstream().delete_consumer(stream, consumer.name)
            told += await read_until(events, await last_sequence(nats, prefix))
    assert vanished >= 4
    assert [event.sequence for event in told] == list(range(1, len(told) + 1))


@pytest.mark.parametrize("is_crash", [False, True], ids=["restart", "SIGKILL"])
@pytest.mark.parametrize("restarts", [2, pytest.param(20, marks=pytest.mark.long)])
async def test_a_replay_outlasts_restarts_of_the_server(
    database: str, prefix: str, state_dir: Path, restarts: int, is_crash: bool
) -> None:
    with Restartable(lambda: nats_server(state_dir)) as server:
        async with (
            running_relay(database, server.url, prefix),
            running_history(settings_for(database, server.url, prefix)),
            writing(database, writers=4, seed=13) as work,
            RegistryClient.connect(server.url, prefix=prefix) as client,
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
        async with running_relay(database, server.url, prefix), connected(server.url) as client_after:
            await until_drained(database, prefix)
            everything = await replayed(client_after, prefix)
    assert [event.sequence for event in told] == list(range(1, len(told) + 1))
    assert row(told) == row(everything)[: len(told)]


@pytest.mark.parametrize("restarts", [2, pytest.param(20, marks=pytest.mark.long)])
async def test_a_tail_that_has_seen_nothing_yet_goes_on_from_now_over_restarts_of_the_server(
    database: str, prefix: str, state_dir: Path, restarts: int
) -> None:
    with Restartable(lambda: nats_server(state_dir)) as server:
        async with running_relay(database, server.url, prefix), connected(server.url) as before:
            write(database)
            await until_drained(database, prefix)
            last = await last_sequence(before, prefix)
        async with RegistryClient.connect(server.url, prefix=prefix) as client, client.tail() as events:
            for _ in range(restarts):
                await server.stop(is_crash=False)
                await server.start()
            async with running_relay(database, server.url, prefix):
                write(database, 1)
                await until_drained(database, prefix)
            async with asyncio.timeout(25):
                told = [await anext(events) for _ in range(5)]
    assert [event.sequence for event in told] == list(range(last + 1, last + 6))


async def test_the_last_ones_then_live_ones_have_no_seam(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with running_relay(database, nats_url, prefix), writing(database, writers=4, seed=14) as work:
        for _ in range(5):
            await work.reach(commits=5)
            async with replay(nats, profile_of(load(prefix=prefix)), Last(5), follow=True) as events:
                told = await read_until(events, await last_sequence(nats, prefix) + 30)
            first = told[0].sequence
            assert [event.sequence for event in told] == list(range(first, first + len(told)))
            assert len(told) >= 35
