"""The canary: heartbeats come out of the stream, and where they do not, it is said at which stage they stand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import psycopg
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from publisher.canary import Canary, CanaryHealth
from publisher.canary.heartbeat import SESSION, Heartbeat, stage, write
from publisher.history.verification import verify
from publisher.outbox.connection import connect
from registry.client import RegistryClient
from tests.support.processes import COMMAND
from tests.support.relay_process import ServiceProcess
from tests.support.world import World, running

SECONDS = 0.05


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("publisher.canary.canary.GRACE_SECONDS", 0.3)
    monkeypatch.setattr("publisher.canary.canary.LOOK_SECONDS", 0.05)


@asynccontextmanager
async def canary(world: World, seconds: float = SECONDS, stale_seconds: float = 0.2) -> AsyncIterator[CanaryHealth]:
    """A canary that runs inside the block; its patience is half a second unless it is to stale longer."""
    health = CanaryHealth(CollectorRegistry())
    after = asyncio.Event()
    after.set()
    async with running(Canary(world.settings(canary_seconds=seconds, stale_seconds=stale_seconds), health, after)):
        yield health


async def until(health: CanaryHealth, text: str, seconds: float = 20) -> None:
    """Wait until it has one problem, with this text; or none, for no text."""
    async with asyncio.timeout(seconds):
        while not (any(text in problem for problem in health.problems()) if text else health.problems() == []):
            await asyncio.sleep(0.01)


def back(health: CanaryHealth) -> int:
    """How many heartbeats came back."""
    lines = generate_latest(health.registry).decode().splitlines()
    return int(float(next(line for line in lines if line.startswith("imi_canary_seconds_count")).split()[1]))


async def test_heartbeats_of_several_services_come_back_and_are_events_that_change_nothing(world: World) -> None:
    world.write(1)
    async with world.relay(), canary(world, stale_seconds=30) as first, canary(world, stale_seconds=30) as second:
        async with asyncio.timeout(30):
            while min(back(first), back(second)) < 3:
                await asyncio.sleep(0.01)
        assert first.problems() == second.problems() == []
        assert first.waiting_seconds < 30
    await world.assert_exactly_once()

    beats = [event for event in await world.published() if "registry.heartbeat" in event.envelope["type"]]
    assert len(beats) >= 6
    assert all(beat.envelope["data"]["service"].startswith("imi-registry canary ") for beat in beats)
    assert all("partitionkey" not in beat.envelope for beat in beats)
    verified = await verify(world.settings())
    assert (verified.differences, verified.equal["projects"]) == ([], 1)


async def test_where_heartbeats_do_not_go_none_is_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMI_PROFILE", "bloodbank")
    monkeypatch.setenv("IMI_BLOODBANK_PROPOSED", "true")
    after = asyncio.Event()
    after.set()

    async with asyncio.timeout(30):
        await Canary(world.settings(canary_seconds=0.01), CanaryHealth(CollectorRegistry()), after).run()

    assert world.rows("SELECT FROM outbox") == []


async def test_a_projection_and_a_snapshot_pass_over_heartbeats(world: World) -> None:
    async with (
        world.relay(),
        world.history(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
        client.projection() as kept,
    ):
        before = await client.snapshot()
        async with canary(world, stale_seconds=30) as health, asyncio.timeout(30):
            while back(health) < 2:
                await asyncio.sleep(0.01)
        world.write(1)
        async with asyncio.timeout(30):
            while not kept.projects:
                await asyncio.sleep(0.01)
        after = await client.snapshot()
    assert (before.projects, len(after.projects)) == ({}, 1)


async def test_one_that_nobody_publishes_is_said_to_wait_for_the_publisher_that_is_named(world: World) -> None:
    async with world.relay() as metrics:
        world.write(1)
        await world.drained()
        assert metrics.role == "leader"
    async with canary(world) as health:
        await until(health, "it was written 1 s ago and is not published: publisher imi-registry ")
        assert health.waiting_seconds > 0.4
        assert health.problems()[0].startswith("no heartbeat comes out of the stream: it was written ")
        async with world.relay():
            await until(health, "")
            async with asyncio.timeout(20):
                while back(health) == 0:
                    await asyncio.sleep(0.01)
    async with canary(world) as health:
        await until(health, "is not published")


async def test_one_that_cannot_be_written_is_said_to_wait_for_the_database(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("publisher.canary.canary.SESSION", SESSION.replace("5s", "50ms"))
    async with world.relay(), canary(world) as health:
        async with asyncio.timeout(20):
            while back(health) == 0:
                await asyncio.sleep(0.01)
        with psycopg.connect(world.database) as conn:
            conn.execute("LOCK TABLE outbox IN EXCLUSIVE MODE")
            await until(health, "it cannot be written: ")
        await until(health, "")


async def test_where_one_stands_that_is_published_is_said(world: World) -> None:
    async with connect(world.database, "test", SESSION) as conn, world.relay():
        beat = await write(conn, "s", monotonic())
        await world.drained()

        async def place(heartbeat: Heartbeat = beat) -> str:
            return await stage(conn, world.nats, world.profile, heartbeat, 7)

        assert await place() == (
            f"it was written 7 s ago and published, and stands in stream {world.stream} at sequence 1, which does not "
            "deliver it to its readers"
        )
        await world.nats.jetstream().purge_stream(world.stream)
        lost = f"it was written 7 s ago and published, and stream {world.stream} does not hold it: was the stream "
        assert (await place()).startswith(lost)
        gone = await place(beat._replace(outbox_id=10**6))
    assert gone == "it was written 7 s ago and is gone from the outbox: was the database restored?"


async def test_before_anything_was_published_that_is_said(world: World) -> None:
    async with connect(world.database, "test", SESSION) as conn:
        beat = await write(conn, "s", monotonic())
        said = await stage(conn, world.nats, world.profile, beat, 0)
    assert said.endswith(f"is not published: nobody ever published to stream {world.stream}")


async def test_serve_has_one_unless_it_is_told_otherwise(world: World) -> None:
    places = {"DATABASE_URL": world.database, "NATS_URL": world.nats_url, "IMI_PREFIX": world.prefix}
    process = ServiceProcess([*COMMAND, "serve"], places)
    try:
        await process.ready()
        async with asyncio.timeout(30):
            while not world.rows("SELECT FROM outbox WHERE entity = 'registry' AND action = 'heartbeat'"):
                await asyncio.sleep(0.05)
    finally:
        process.close()


@pytest.mark.parametrize("seconds", [0, None])
async def test_where_it_is_switched_off_nothing_is_written(world: World, seconds: float | None) -> None:
    health = CanaryHealth(CollectorRegistry())
    after = asyncio.Event()
    after.set()
    await Canary(world.settings(canary_seconds=seconds), health, after).run()
    assert (health.problems(), world.rows("SELECT count(*) FROM outbox")) == ([], [(0,)])


async def test_a_service_is_not_ready_while_heartbeats_do_not_come_back(world: World) -> None:
    with world.process(canary_seconds=0.2, stale_seconds=1, heartbeat_seconds=0.3) as process:
        await process.ready()
        async with asyncio.timeout(30):
            while not world.rows("SELECT FROM outbox WHERE action = 'heartbeat' OFFSET 1"):
                await asyncio.sleep(0.05)
        assert (await process.readyz())[0] == 200
        with psycopg.connect(world.database) as conn:
            conn.execute("LOCK TABLE outbox IN EXCLUSIVE MODE")
            async with asyncio.timeout(60):
                while "no heartbeat comes out" not in str((found := await process.readyz())[1]["problems"]):
                    await asyncio.sleep(0.1)
            assert found[0] == 503
        async with asyncio.timeout(60):
            while (await process.readyz())[0] != 200:
                await asyncio.sleep(0.1)
