"""The stream's own limits, by age and by size: NATS drops the oldest events, a replay has them from the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import StreamConfig

from publisher.embedded.nats_server import nats_server
from registry.broker.connection import flushed
from registry.client.replay import replay
from registry.position import After, FromSequence, FromStart, Last
from registry.profiles.bloodbank import STREAM
from tests.support.histories import row
from tests.support.nats.reading import connected
from tests.support.workload import writing
from tests.support.world import World

AGE_SECONDS = 1.0
BYTES = 24_000
"""Room for about twenty events."""
LIMITS = {
    "age": {"stream_max_age_days": AGE_SECONDS / 86400},
    "size": {"stream_max_bytes": BYTES, "batch_size": 5},
}


@pytest.fixture(params=LIMITS)
async def limits(
    request: pytest.FixtureRequest, profile: str, nats: Client, monkeypatch: pytest.MonkeyPatch
) -> dict[str, float]:
    """Settings of a relay with a limit; the stream that others create has it already."""
    settings: dict[str, float] = LIMITS[request.param]
    if profile == "bloodbank":
        age, size = (AGE_SECONDS, -1) if request.param == "age" else (0, BYTES)
        config = StreamConfig(
            name=STREAM, subjects=["bloodbank.evt.>"], max_age=age, max_bytes=size, duplicate_window=age
        )
        # A dedupe window cannot be longer than the age; nothing is published twice within this test.
        monkeypatch.setattr("publisher.stream.shared_stream.LEAST_DEDUPE_SECONDS", AGE_SECONDS)
        await nats.jetstream().delete_stream(STREAM)
        await nats.jetstream().add_stream(config)
    return settings


@asynccontextmanager
async def heard(world: World) -> AsyncIterator[list[bytes]]:
    """Every event as it was published, in that order: what a history must tell, wherever it comes from."""
    payloads: list[bytes] = []

    async def hear(message: Msg) -> None:
        payloads.append(message.data)

    subscription = await world.nats.subscribe(world.profile.event_subjects, cb=hear)
    await flushed(world.nats)
    yield payloads
    await subscription.unsubscribe()


async def until_trimmed(world: World, above: int) -> int:
    """Wait until the limit has taken the event at sequence `above` away; returns where the stream begins."""
    async with asyncio.timeout(20):
        while (state := (await world.nats.jetstream().stream_info(world.stream)).state).first_seq <= above:
            await asyncio.sleep(0.02)  # the server tells nobody
    return state.first_seq


async def test_what_a_limit_took_away_is_told_from_the_outbox(
    world: World, profile: str, limits: dict[str, float]
) -> None:
    async with (
        world.relay(**limits),
        world.history(),
        heard(world) as published,
    ):
        world.write(6)
        await world.drained()
        old = len(published)
        await until_trimmed(world, above=old // 2)
        world.write(1)  # young: in the stream, unless they are past the limit already
        await world.drained()

        told = await world.replayed()
        assert [event.payload for event in told] == published
        assert len(told) > old
        if profile == "imi":
            assert [event.sequence for event in told] == list(range(1, len(told) + 1))
            assert row(await world.replayed(FromSequence(old // 2))) == row(told[old // 2 - 1 :])
        assert [one.payload for one in await world.replayed(After(str(told[3].position)))] == published[4:]
        assert [one.payload for one in await world.replayed(Last(old))] == published[-old:]


async def test_a_reader_follows_without_a_gap_while_a_limit_takes_away_what_it_has_not_read(
    world: World, profile: str, limits: dict[str, float]
) -> None:
    async with (
        world.relay(**limits),
        world.history(),
        heard(world) as published,
    ):
        world.write()
        await world.drained()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("registry.broker.ordered.BATCH", 4)
            async with replay(world.nats, world.profile, FromStart(), follow=True) as events:
                told = [(await anext(events)).payload]
                async with writing(world.database, writers=2, seed=31) as load_:
                    await load_.reach(commits=30)
                await world.drained()
                await until_trimmed(world, above=20)
                world.write(1)
                await world.drained()
                async with asyncio.timeout(20):
                    while len(told) < len(published):
                        told.append((await anext(events)).payload)

    assert told == published
    assert len(told) > 60


@pytest.mark.parametrize("is_away", [False, True], ids=["while the server runs", "while the server is away"])
async def test_a_stream_that_age_has_emptied_is_not_taken_for_a_lost_one(
    world: World, state_dir: Path, is_away: bool
) -> None:
    limit = LIMITS["age"]

    with nats_server(state_dir) as server:
        async with connected(server.url) as client:
            there = world.at(nats_url=server.url, nats=client)
            async with there.relay(**limit):
                there.write()
                await there.drained()
                before = await there.replayed()
            if not is_away:
                await until_trimmed(there, above=len(before))
    if is_away:
        await asyncio.sleep(AGE_SECONDS)  # the age itself: no server is there to ask

    with nats_server(state_dir) as server:
        async with connected(server.url) as client:
            there = world.at(nats_url=server.url, nats=client)
            async with there.relay(**limit), there.history():
                assert await until_trimmed(there, above=len(before)) == len(before) + 1
                there.write(1)
                await there.drained()
                assert row(await there.replayed())[: len(before)] == row(before)


async def test_a_batch_larger_than_the_limit_is_published_all_the_same(world: World) -> None:
    limit = {"stream_max_bytes": 4_000}
    world.write(10)

    async with (
        world.relay(**limit),
        world.history(),
        heard(world) as published,
    ):
        await world.drained()

        told = await world.replayed()
        assert [event.sequence for event in told] == list(range(1, len(told) + 1))
        assert len(told) == 60
        assert (await world.nats.jetstream().stream_info(world.stream)).state.bytes <= 4_000
        assert set(published) <= {event.payload for event in told}


@pytest.mark.parametrize("days", [1.1, 7.0, 0.7, 1 / 3])
async def test_a_relay_knows_the_age_limit_it_set_again(world: World, days: float) -> None:
    for _ in range(2):
        async with world.relay(stream_max_age_days=days):
            world.write(1)
            await world.drained()

    config = (await world.nats.jetstream().stream_info(world.stream)).config
    assert config.max_age == pytest.approx(days * 86400)
