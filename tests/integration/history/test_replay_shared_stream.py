"""Replay, snapshot and rebuild on the pipeline's shared stream (profile bloodbank), among other producers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager

import psycopg
import pytest

from publisher.embedded.nats_server import nats_server
from publisher.history.rebuild import rebuild
from registry.client import RegistryClient
from registry.errors import Conflict
from registry.history.pages import Replayed
from registry.position import After, FromStart, Last, Start
from registry.profiles.bloodbank import STREAM
from tests.integration.history.test_snapshot import comparable
from tests.support import services
from tests.support.workload import writing
from tests.support.world import World


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    """A nats-server of this module's own: the shared stream has one name."""
    with services.scratch_directory() as directory, nats_server(directory) as server:
        yield server.url


@pytest.fixture
async def world(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """In the profile bloodbank, with the shared stream."""
    monkeypatch.setenv("IMI_PROFILE", "bloodbank")
    monkeypatch.setenv("IMI_BLOODBANK_PROPOSED", "true")
    await world.create_shared_stream()
    yield world
    await world.nats.jetstream().delete_stream(STREAM)


def connect(world: World) -> AbstractAsyncContextManager[RegistryClient]:
    return RegistryClient.connect(world.nats_url, prefix=world.prefix, profile="bloodbank", proposed=True)


async def told(world: World, start: Start | None = None, **wanted: object) -> list[Replayed]:
    """Every event that a component's own client replays."""
    async with (
        asyncio.timeout(30),
        connect(world) as client,
        client.replay(start, **wanted) as events,  # type: ignore[arg-type]
    ):
        return [event async for event in events]


async def write_among_others(world: World, times: int = 4) -> None:
    for _ in range(times):
        await world.nats.jetstream().publish("bloodbank.evt.artifact.build.created", b"{}")
        await world.nats.jetstream().publish("bloodbank.evt.workspace.project.updated", b"{}")
        await asyncio.to_thread(world.write, 1)
        await world.drained()


def payloads(events: list[Replayed]) -> list[bytes]:
    return [event.payload for event in events]


async def test_replay_tokens_and_filters_over_the_seam(world: World) -> None:
    async with (
        world.relay(),
        world.history(),
    ):
        await write_among_others(world)
        before = await told(world)

        with psycopg.connect(world.database) as conn:
            rows = conn.execute("SELECT count(*) FROM outbox").fetchone()
            (project,) = conn.execute("SELECT id FROM projects ORDER BY created_at LIMIT 1").fetchone() or ("",)
        assert (len(before),) == rows
        last = (await world.nats.jetstream().stream_info(STREAM)).state.last_seq
        for first in (1, last // 3, last // 2, last + 1):
            await world.nats.jetstream().purge_stream(STREAM, seq=first)
            everything = await told(world)
            assert payloads(everything) == payloads(before)
            for index, event in enumerate(everything):
                assert payloads(await told(world, After(str(event.position)))) == payloads(before)[index + 1 :]
            assert payloads(await told(world, Last(3))) == payloads(before)[-3:]
            ours = [one for one in payloads(before) if f'"partitionkey":"{project}"'.encode() in one]
            assert payloads(await told(world, project_id=project)) == ours
            created = [one for one in payloads(before) if b'"change": "created"' in one]
            assert payloads(await told(world, entity="worktree", action="created")) == created
            assert created


async def test_the_last_ones_are_so_many_behind_messages_of_others_with_our_subjects(world: World) -> None:
    async with world.relay():
        await write_among_others(world)
        before = await told(world)
        for _ in range(40):
            await world.nats.jetstream().publish(before[-1].subject, b"{}")

        assert payloads(await told(world, Last(3))) == payloads(before)[-3:]
        assert payloads(await told(world, Last(10_000))) == payloads(before)


async def test_a_token_of_before_the_trim_goes_on_after_it(world: World) -> None:
    async with (
        world.relay(),
        world.history(),
    ):
        await write_among_others(world)
        before = await told(world)
        await world.nats.jetstream().purge_stream(STREAM, seq=before[-3].sequence)

        for index, event in enumerate(before):
            assert payloads(await told(world, After(str(event.position)))) == payloads(before)[index + 1 :]


@pytest.mark.parametrize("switches", [3, pytest.param(100, marks=pytest.mark.long)])
async def test_switches_into_live_events_have_no_seam(world: World, switches: int) -> None:
    jetstream = world.nats.jetstream()
    followed: list[Replayed] = []

    async with (
        world.relay(),
        world.history(),
        connect(world) as client,
    ):
        async with writing(world.database, seed=22) as load:
            await load.reach(commits=20)
            for _ in range(switches):
                await jetstream.publish("bloodbank.evt.workspace.project.updated", b"{}")
                last = (await jetstream.stream_info(STREAM)).state.last_seq
                await jetstream.purge_stream(STREAM, seq=last - 20)
                start = After(str(followed[-1].position)) if followed else FromStart()
                async with asyncio.timeout(25), client.replay(start, follow=True) as events:
                    async for event in events:
                        followed.append(event)
                        if event.sequence >= last + 40:  # live: was not there when the replay began
                            break
        await world.drained()
        everything = payloads(await told(world))

    assert payloads(followed) == everything[: len(followed)]
    assert len(followed) >= 40 * switches // 2


async def test_snapshots_and_the_events_behind_them_are_the_tables(world: World) -> None:
    async with connect(world) as client:
        snapshots = []

        async with (
            world.relay(),
            world.history(),
        ):
            async with writing(world.database, writers=4, seed=21) as load:
                for _ in range(6):
                    await load.reach(commits=8)
                    await world.nats.jetstream().publish("bloodbank.evt.artifact.build.created", b"{}")
                    snapshots.append(await client.snapshot())
            await world.drained()
            final = comparable(await client.snapshot())
            for snapshot in snapshots:
                async with client.replay(After(snapshot.position)) as events:
                    async for event in events:
                        snapshot.apply(event.payload)
                assert comparable(snapshot) == final


async def test_a_lost_shared_stream_gets_our_events_again_and_the_relay_goes_on(world: World) -> None:
    settings = world.settings()

    async with world.relay():
        await write_among_others(world)
        before = await told(world)
        with pytest.raises(Conflict, match="a publisher leads"):
            await rebuild(settings)
    with pytest.raises(Conflict, match="lacks nothing"):
        await rebuild(settings)
    await world.nats.jetstream().delete_stream(STREAM)
    await world.nats.jetstream().add_stream(name=STREAM, subjects=["bloodbank.evt.>"])
    await world.nats.jetstream().publish("bloodbank.evt.artifact.build.created", b"{}")
    done = await rebuild(settings)
    assert done.events == len(before)
    assert payloads(await told(world)) == payloads(before)

    async with (
        world.relay(),
        world.history(),
    ):
        await write_among_others(world, times=1)
        await world.nats.jetstream().purge_stream(STREAM)
        assert payloads(await told(world, FromStart()))[: len(before)] == payloads(before)
