"""A stream of others that is created anew: what its sequences are nobody knows, so a subscription reads all of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from publisher.history.rebuild import rebuild
from registry.client import Delivery, RegistryClient
from registry.dead_letters.letter import sendable
from tests.faults.client.test_subscription_losses import once
from tests.support.client.subscriptions import Seen, change_projects, subscribed
from tests.support.proxy import nats_proxy
from tests.support.world import World

MSG_ID = "Nats-Msg-Id"


@pytest.fixture(autouse=True)
async def _shared(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setenv("IMI_PROFILE", "bloodbank")
    monkeypatch.setenv("IMI_BLOODBANK_PROPOSED", "true")
    await world.create_shared_stream()
    yield
    await world.nats.jetstream().delete_stream(world.stream)


@pytest.mark.parametrize("is_interrupted", [False, True])
async def test_a_shared_stream_that_is_created_anew_is_read_from_its_start(world: World, is_interrupted: bool) -> None:
    """Those handled before come again: nothing is skipped. Interrupted, when it was seen and not read yet."""
    handled: Counter[bytes] = Counter()
    seen = Seen()

    async def handler(delivery: Delivery) -> None:
        handled[delivery.payload] += 1
        seen.note(delivery)

    async with (
        nats_proxy(world.nats_url) as (proxy, url),
        RegistryClient.connect(url, prefix=world.prefix, profile="bloodbank", proposed=True) as client,
    ):
        async with world.relay():
            change_projects(world.database, 8)
            await world.drained()
        async with subscribed(client, handler, durable="d", from_start=True):
            await seen.until(8)
            if is_interrupted:  # the first thing that is asked of a stream that is there
                proxy.swallow = once(lambda direction, data: direction == "to_server" and b"CONSUMER.LIST" in data)
            await world.delete_stream()
            change_projects(world.database, 8)
            await rebuild(world.settings())
            async with world.relay(), asyncio.timeout(30):
                while handled.total() < 24:
                    await asyncio.sleep(0.01)
    assert sorted(handled.values()) == [1] * 8 + [2] * 8


async def test_what_was_in_hand_and_handled_of_the_stream_before_is_nothing_to_the_new_one(world: World) -> None:
    jetstream = world.nats.jetstream()
    handled: list[bytes] = []
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def handler(delivery: Delivery) -> None:
        if delivery.sequence == 1 and not begun.is_set():
            begun.set()
            await may_end.wait()
        handled.append(delivery.payload)

    async def until_handled(*payloads: bytes) -> None:
        async with asyncio.timeout(20):
            while not set(payloads) <= set(handled):
                await asyncio.sleep(0.01)

    async with RegistryClient.connect(
        world.nats_url, prefix=world.prefix, profile="bloodbank", proposed=True
    ) as client:
        async with world.relay():
            change_projects(world.database, 2)
            await world.drained()
        stored = [await jetstream.get_msg(world.stream, sequence) for sequence in (1, 2)]
        before = [one.data or b"" for one in stored]
        async with subscribed(client, handler, durable="d", from_start=True):
            # given one that is still in hand, and one behind it that is handled
            await begun.wait()
            await until_handled(before[1])
            # when other events come to these places
            await world.delete_stream()
            others = [payload.replace(b"name-", b"other-") for payload in before]
            for one, payload in zip(stored, others, strict=True):
                headers = sendable(one.headers or {}) | {MSG_ID: (one.headers or {})[MSG_ID]}
                await jetstream.publish(one.subject or "", payload, headers=headers)
            async with asyncio.timeout(20):
                while [info.delivered.stream_seq for info in await jetstream.consumers_info(world.stream)] != [2]:
                    await asyncio.sleep(0.01)
            may_end.set()
            # then
            await until_handled(*others)
    assert Counter(handled) == Counter([*before, *others])
