"""A stranger deletes the consumer of a subscription and makes one of his own under its name: nothing is skipped."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
import structlog
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConsumerLimits

from registry.broker.durable import LEANED_ON
from registry.client import Delivery, RegistryClient
from registry.errors import Conflict
from tests.support.client.subscriptions import Seen, change_projects, subscribed
from tests.support.proxy import Proxy, nats_proxy
from tests.support.world import World

NAME = "d-1"
MADE = {
    "with a later start": {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": 17},
    "for new events": {"deliver_policy": DeliverPolicy.NEW},
    "from the start": {"deliver_policy": DeliverPolicy.ALL},
    "without acknowledgements": {"deliver_policy": DeliverPolicy.ALL, "ack_policy": AckPolicy.NONE},
    "that redelivers": {"deliver_policy": DeliverPolicy.ALL, "ack_wait": 0.5, "max_ack_pending": 1},
    "that pushes": {"deliver_policy": DeliverPolicy.ALL, "deliver_subject": "strangers"},
}


@dataclass
class Line:
    """What a subscriber reaches NATS by."""

    proxy: Proxy
    url: str
    is_told: bool
    """Whether the subscriber is told of what it did not hear meanwhile."""

    @asynccontextmanager
    async def deaf(self) -> AsyncIterator[None]:
        """The subscriber hears nothing inside the block."""
        if self.is_told:
            self.proxy.black_hole("to_client")
        else:
            self.proxy.swallow = lambda direction, _: direction == "to_client"
        yield
        self.proxy.go_on()


async def made_anew(world: World, **settings: Any) -> None:
    """Delete the consumer, and make it as `settings` say, eight events later."""
    jetstream = world.nats.jetstream()
    filter_subject = (await jetstream.consumer_info(world.stream, NAME)).config.filter_subject
    await jetstream.delete_consumer(world.stream, NAME)
    change_projects(world.database, 8)
    await world.drained()
    config = ConsumerConfig(**{"filter_subject": filter_subject, "ack_policy": AckPolicy.EXPLICIT} | settings)
    config.name = config.durable_name = NAME
    await jetstream.add_consumer(world.stream, config)


async def until_read(world: World) -> None:
    """Wait until the subscription reads its consumer."""
    async with asyncio.timeout(20):
        while not any(info.num_waiting for info in await world.nats.jetstream().consumers_info(world.stream)):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("events_before", "is_told"),
    [
        (0, True),
        (8, False),
        pytest.param(0, False, marks=pytest.mark.long),
        pytest.param(8, True, marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("how", MADE)
async def test_a_consumer_that_a_stranger_makes_anew_is_not_believed(
    world: World, how: str, events_before: int, is_told: bool
) -> None:
    seen = Seen()
    async with (
        world.relay(),
        nats_proxy(world.nats_url) as (proxy, url),
        RegistryClient.connect(url, prefix=world.prefix) as client,
        subscribed(client, seen, durable="d", from_start=True),
    ):
        await until_read(world)
        change_projects(world.database, events_before)
        await seen.until(events_before)
        await proxy.quiet()
        # when
        with structlog.testing.capture_logs() as logged:
            async with Line(proxy, url, is_told).deaf():
                await made_anew(world, **MADE[how])
            change_projects(world.database, 8)
            # then
            await seen.until(events_before + 16)
    seen.assert_in_order()
    assert sorted(sequence for each in seen.sequences.values() for sequence in each) == list(
        range(1, events_before + 17)
    )
    assert any(NAME in str(line) and "made anew" in line["event"] for line in logged)


CHANGED = {
    "to redeliver soon": {"ack_wait": 0.2},
    "to redeliver at times": {"max_deliver": 3, "backoff": [0.2, 0.2]},
    "to deliver once": {"max_deliver": 1, "ack_wait": 0.2},
    "to have one in hand": {"max_ack_pending": 1},
    "to leave out the data": {"headers_only": True},
    "to go when nobody reads": {"inactive_threshold": 600},
}


@pytest.mark.parametrize("how", CHANGED)
async def test_a_consumer_that_a_stranger_changes_is_replaced_and_the_order_kept(world: World, how: str) -> None:
    jetstream = world.nats.jetstream()
    seen, may_go_on = Seen(), asyncio.Event()

    async def handler(delivery: Delivery) -> None:
        await may_go_on.wait()
        seen.note(delivery)

    async with (
        world.relay(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
        subscribed(client, handler, durable="d", from_start=True),
    ):
        await until_read(world)
        as_made = (await jetstream.consumer_info(world.stream, NAME)).config
        change_projects(world.database, 8, projects=1)
        async with asyncio.timeout(20):
            while (await jetstream.consumer_info(world.stream, NAME)).num_ack_pending != 8:
                await asyncio.sleep(0.01)
        # when
        with structlog.testing.capture_logs() as logged:
            await jetstream.add_consumer(world.stream, dataclasses.replace(as_made, **CHANGED[how]))
            async with asyncio.timeout(30):
                while "d-2" not in {info.name for info in await jetstream.consumers_info(world.stream)}:
                    await asyncio.sleep(0.01)
        may_go_on.set()
        change_projects(world.database, 8, projects=1)
        # then
        await seen.until(16)
        config = (await jetstream.consumer_info(world.stream, "d-2")).config
    assert list(seen.sequences.values()) == [list(range(1, 17))]
    assert [getattr(config, name) for name in LEANED_ON] == [getattr(as_made, name) for name in LEANED_ON]
    assert {"consumer was changed by somebody else"} <= {line["event"] for line in logged}


async def test_an_event_without_its_data_is_not_handed_over(world: World) -> None:
    """It comes before the next look of the subscription at its consumer."""
    jetstream = world.nats.jetstream()
    seen, handled = Seen(), list[bytes]()

    async def handler(delivery: Delivery) -> None:
        handled.append(delivery.payload)
        seen.note(delivery)

    async with (
        world.relay(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
        subscribed(client, handler, durable="d", from_start=True),
    ):
        change_projects(world.database, 8)
        await seen.until(8)
        as_made = (await jetstream.consumer_info(world.stream, NAME)).config
        await jetstream.add_consumer(world.stream, dataclasses.replace(as_made, headers_only=True))
        change_projects(world.database, 8)
        await seen.until(16)
    assert all(handled)
    seen.assert_in_order()


async def test_a_consumer_that_a_stranger_changed_while_nobody_read_is_replaced_behind_its_floor(world: World) -> None:
    jetstream = world.nats.jetstream()
    seen = Seen()
    async with world.relay(), RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        async with subscribed(client, seen, durable="d", from_start=True):
            change_projects(world.database, 8)
            await seen.until(8)
            async with asyncio.timeout(20):
                while (info := await jetstream.consumer_info(world.stream, NAME)).num_ack_pending:
                    await asyncio.sleep(0.01)
        await jetstream.add_consumer(world.stream, dataclasses.replace(info.config, ack_wait=1))
        async with subscribed(client, seen, durable="d", from_start=True):
            change_projects(world.database, 8)
            await seen.until(16)
        assert [info.name for info in await jetstream.consumers_info(world.stream)] == ["d-2"]
    seen.assert_in_order()
    assert sorted(one for each in seen.sequences.values() for one in each) == list(range(1, 17))


async def test_a_consumer_that_a_stranger_lets_serve_small_requests_alone_is_replaced(world: World) -> None:
    seen = Seen()
    async with (
        world.relay(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
        subscribed(client, seen, durable="d", from_start=True),
    ):
        change_projects(world.database, 8)
        await seen.until(8)
        told = await world.nats.request(f"$JS.API.CONSUMER.INFO.{world.stream}.{NAME}")
        config = orjson.loads(told.data)["config"] | {"max_batch": 10}
        request = orjson.dumps({"stream_name": world.stream, "config": config})
        answer = await world.nats.request(f"$JS.API.CONSUMER.DURABLE.CREATE.{world.stream}.{NAME}", request)
        assert orjson.loads(answer.data)["config"]["max_batch"] == 10
        async with asyncio.timeout(30):
            while [info.name for info in await world.nats.jetstream().consumers_info(world.stream)] != ["d-2"]:
                await asyncio.sleep(0.01)
        change_projects(world.database, 8)
        await seen.until(16)
    seen.assert_in_order()
    assert sorted(one for each in seen.sequences.values() for one in each) == list(range(1, 17))


async def test_what_the_stream_lays_down_for_all_consumers_is_no_change_of_a_stranger(world: World) -> None:
    jetstream = world.nats.jetstream()
    seen = Seen()
    async with world.relay(), RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        config = (await jetstream.stream_info(world.stream)).config
        await jetstream.update_stream(config.evolve(consumer_limits=StreamConsumerLimits(inactive_threshold=600)))
        async with subscribed(client, seen, durable="d", from_start=True):
            change_projects(world.database, 8)
            await seen.until(8)
        found = [(info.name, info.config.inactive_threshold) for info in await jetstream.consumers_info(world.stream)]
    assert found == [(NAME, 600)]


async def test_one_for_other_events_is_refused_by_name(world: World) -> None:
    async with (
        world.relay(),
        nats_proxy(world.nats_url) as (proxy, url),
        RegistryClient.connect(url, prefix=world.prefix) as client,
    ):
        subscription = asyncio.create_task(client.subscribe(Seen(), durable="d", from_start=True))
        await until_read(world)
        async with Line(proxy, url, is_told=True).deaf():
            await made_anew(world, filter_subject=f"{world.prefix}.evt.v1.worktree.>")
        async with asyncio.timeout(30):
            with pytest.raises(Conflict, match='durable "d" is a subscription to'):
                await subscription
