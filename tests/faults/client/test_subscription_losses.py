"""A durable subscription goes on by itself after whatever was lost: nothing skipped, nothing handled again by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
import structlog

from publisher.embedded.nats_server import nats_server
from publisher.history.rebuild import rebuild
from registry.client import Delivery, RegistryClient
from registry.client.subscriber import WINDOW
from tests.faults.relay.test_stream_history import Losing
from tests.support.client.subscriptions import Seen, change_projects, subscribed
from tests.support.proxy import Direction, nats_proxy
from tests.support.servers.restartable import Restartable
from tests.support.world import World

MANY = WINDOW + 44


def assert_each_once(seen: Seen, count: int) -> None:
    """Each of `count` events was handled once, those of each project in order."""
    seen.assert_in_order()
    assert sorted(sequence for sequences in seen.sequences.values() for sequence in sequences) == list(
        range(1, count + 1)
    )


def once(matches: Callable[[Direction, bytes], bool]) -> Callable[[Direction, bytes], bool]:
    """True for the first chunk that matches, and no other."""
    found: list[bytes] = []

    def first(direction: Direction, data: bytes) -> bool:
        if found or not matches(direction, data):
            return False
        found.append(data)
        return True

    return first


@pytest.mark.parametrize("is_connection_lost", [True, False])
async def test_acknowledgements_that_are_lost_with_the_connection_or_alone(
    world: World, is_connection_lost: bool
) -> None:
    seen = Seen()
    async with (
        world.relay(),
        nats_proxy(world.nats_url) as (proxy, url),
        RegistryClient.connect(url, prefix=world.prefix) as client,
        subscribed(client, seen, durable="d", from_start=True),
    ):
        # given a window of events whose acknowledgements do not arrive
        proxy.swallow = lambda direction, data: direction == "to_server" and b"$JS.ACK" in data
        change_projects(world.database, MANY)
        await seen.until(WINDOW)
        await proxy.quiet()
        # when
        proxy.go_on()
        if is_connection_lost:
            proxy.cut()
        # then
        await seen.until(MANY)
    assert_each_once(seen, MANY)


async def test_a_delivery_that_is_lost_does_not_wait_for_the_next_event(world: World) -> None:
    seen = Seen()
    async with (
        world.relay(),
        nats_proxy(world.nats_url) as (proxy, url),
        RegistryClient.connect(url, prefix=world.prefix) as client,
        subscribed(client, seen, durable="d", from_start=True),
    ):
        change_projects(world.database, 2, projects=1)
        await seen.until(2)
        proxy.swallow = once(
            lambda direction, data: direction == "to_client" and b"HMSG" in data and b"$JS.ACK" in data
        )
        change_projects(world.database, 1, projects=1)
        await seen.until(3)
    assert_each_once(seen, 3)


async def test_a_server_that_is_killed_while_events_are_acknowledged(world: World, state_dir: Path) -> None:
    seen = Seen()
    half = asyncio.Event()

    async def handler(delivery: Delivery) -> None:
        await asyncio.sleep(0)
        seen.note(delivery)
        if len(seen.distinct) >= MANY // 2:
            half.set()

    with Restartable(partial(nats_server, state_dir)) as server:
        async with world.at(nats_url=server.url).relay():
            change_projects(world.database, MANY)
            await world.drained()
            async with (
                RegistryClient.connect(server.url, prefix=world.prefix) as client,
                subscribed(client, handler, durable="d", from_start=True, concurrency=4),
            ):
                await half.wait()
                await server.stop(is_crash=True)
                await server.start()
                change_projects(world.database, 8)
                await seen.until(MANY + 8)
    assert_each_once(seen, MANY + 8)


@pytest.mark.parametrize("from_start", [False, True])
@pytest.mark.parametrize("events_before", [0, 8])
async def test_a_consumer_that_is_deleted_is_made_again_behind_what_was_handled(
    world: World, from_start: bool, events_before: int
) -> None:
    seen = Seen()
    stream = world.stream
    jetstream = world.nats.jetstream()
    async with (
        world.relay(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
        subscribed(client, seen, durable="d", from_start=from_start),
    ):
        async with asyncio.timeout(20):
            while not await jetstream.consumers_info(stream):
                await asyncio.sleep(0.01)
        change_projects(world.database, events_before)
        await seen.until(events_before)
        # when
        await jetstream.delete_consumer(stream, "d-1")
        change_projects(world.database, 8)
        await world.drained()
        # then
        await seen.until(events_before + 8)
        change_projects(world.database, 8)
        await seen.until(events_before + 16)
    assert_each_once(seen, events_before + 16)


async def test_a_stream_that_is_rebuilt_goes_on_behind_what_was_handled(world: World) -> None:
    seen = Seen()
    async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        async with world.relay():
            change_projects(world.database, 8)
            await world.drained()
        async with subscribed(client, seen, durable="d", from_start=True):
            await seen.until(8)
            await world.nats.jetstream().delete_stream(world.stream)
            change_projects(world.database, 8)
            await rebuild(world.settings())
            async with world.relay():
                await seen.until(16)
    assert_each_once(seen, 16)


async def test_who_stands_by_waits_for_a_stream_that_is_rebuilt_as_who_reads_does(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.broker.durable.POLL_SECONDS", 0.02)
    seen = Seen()
    async with world.relay():
        change_projects(world.database, 8)
        await world.drained()
    async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        one, other = (subscribed(client, seen, durable="d", from_start=True) for _ in range(2))
        async with one, AsyncExitStack() as stack:
            await seen.until(8)
            with structlog.testing.capture_logs() as logged:
                await stack.enter_async_context(other)
                async with asyncio.timeout(30):
                    while not any("has no reader" in str(line["event"]) for line in logged):
                        await asyncio.sleep(0.02)
            await world.nats.jetstream().delete_stream(world.stream)
            await asyncio.sleep(0.5)  # both look many times
            change_projects(world.database, 8)
            await rebuild(world.settings())
            async with world.relay():
                await seen.until(16)
    assert_each_once(seen, 16)


async def test_a_stream_that_lost_its_tail_is_waited_for_and_nothing_is_handled_again(
    world: World, state_dir: Path
) -> None:
    """The relay completes it with the same events at the same sequences; until then the subscription waits."""
    seen = Seen()
    with Restartable(partial(nats_server, state_dir)) as server:
        losing, there = Losing(state_dir, server), world.at(nats_url=server.url)
        async with there.relay():
            change_projects(world.database, 8)
            await world.drained()
        await losing.remember()
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(RegistryClient.connect(server.url, prefix=world.prefix))
            await stack.enter_async_context(subscribed(client, seen, durable="d", from_start=True))
            async with there.relay():
                change_projects(world.database, 8)
                await seen.until(16)
            # when its tail is lost while nobody publishes
            with structlog.testing.capture_logs() as logged:
                await losing.lose()
                async with asyncio.timeout(30):
                    while not any("but 16 was read from it" in str(line.get("reason")) for line in logged):
                        await asyncio.sleep(0.02)
            assert len(seen.distinct) == 16
            # then
            async with there.relay():
                change_projects(world.database, 8)
                await seen.until(24)
    assert_each_once(seen, 24)


async def test_a_first_start_with_new_events_stays_one_when_its_consumer_is_deleted_at_once(world: World) -> None:
    """What was there before is none of its events; what came since is, although no event was handled yet."""
    seen = Seen()
    jetstream = world.nats.jetstream()
    async with world.relay(), RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        change_projects(world.database, 8)
        await world.drained()
        async with subscribed(client, seen, durable="d"):
            async with asyncio.timeout(20):
                while not await jetstream.consumers_info(world.stream):
                    await asyncio.sleep(0.01)
            await jetstream.delete_consumer(world.stream, "d-1")
            change_projects(world.database, 8)
            await seen.until(8)
            change_projects(world.database, 8)
            await seen.until(16)
    seen.assert_in_order()
    assert sorted(sequence for each in seen.sequences.values() for sequence in each) == list(range(9, 25))


async def test_a_handler_that_runs_while_the_connection_is_lost_is_neither_ended_nor_repeated(world: World) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()
    seen = Seen()

    async def handler(delivery: Delivery) -> None:
        if delivery.sequence == 1:
            begun.set()
            await may_end.wait()
        seen.note(delivery)

    async with (
        world.relay(),
        nats_proxy(world.nats_url) as (proxy, url),
        RegistryClient.connect(url, prefix=world.prefix) as client,
        subscribed(client, handler, durable="d", from_start=True, concurrency=2),
    ):
        change_projects(world.database, 8)
        await begun.wait()
        proxy.cut()
        async with asyncio.timeout(30):  # the consumer after the one that was interrupted
            while "d-2" not in {info.name for info in await world.nats.jetstream().consumers_info(world.stream)}:
                await asyncio.sleep(0.01)
        may_end.set()
        await seen.until(8)
    assert_each_once(seen, 8)


async def test_an_applier_notices_a_server_that_falls_silent(world: World) -> None:
    async with (
        nats_proxy(world.nats_url) as (proxy, url),
        world.at(nats_url=url).applier() as metrics,
    ):
        proxy.swallow = lambda direction, _: direction == "to_client"
        async with asyncio.timeout(30):
            while not metrics.problems():
                await asyncio.sleep(0.01)
