"""Subscriptions that survive an event on which their handler always fails: it becomes a dead letter."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

from registry.client import Delivery, RegistryClient
from registry.dead_letters import DeadLetter, Failure
from registry.dead_letters.stream import LetterStream
from registry.errors import Unavailable
from tests.support.client.dead_letters import DURABLE, Choosy, letters
from tests.support.client.subscriptions import change_projects, subscribed
from tests.support.proxy import nats_proxy
from tests.support.world import World

NOW = datetime.now(UTC)
FAILED = Failure("ValueError: no", 3, NOW, NOW)


async def test_an_event_that_always_fails_becomes_a_dead_letter_and_those_behind_it_go_on(
    world: World, profile: str, client: RegistryClient
) -> None:
    handler = Choosy(2)
    async with world.relay():
        change_projects(world.database, 4, projects=1)
        async with subscribed(client, handler, durable=DURABLE, from_start=True, max_attempts=3):
            await handler.until(3)
            (letter,) = await letters(client, 1)

    (project,) = handler.sequences
    assert handler.sequences[project] == [1, 3, 4]
    assert handler.tries == [1, 2, 2, 2, 3, 4]
    event = (await world.published())[1]
    assert (letter.durable, letter.sequence, letter.subject) == (DURABLE, 2, event.subject)
    assert letter.event_id == event.envelope["id"]
    assert letter.event_name == "project.updated"
    assert letter.failure.reason == "ValueError: cannot take 2, try 4"
    assert letter.failure.attempts == 3
    assert NOW - timedelta(seconds=1) < letter.failure.first_failed_at < letter.failure.failed_at < datetime.now(UTC)
    assert letter.payload == (await world.nats.jetstream().get_msg(world.stream, 2)).data
    assert letter.headers == {n: v for n, v in event.headers.items() if not n.startswith("Nats-")}
    assert await client.dead_letters.counts() == {DURABLE: 1}


async def test_what_waiting_heals_is_no_poison(world: World, client: RegistryClient) -> None:
    tries = 0
    done = asyncio.Event()

    async def handler(delivery: Delivery) -> None:
        nonlocal tries
        tries += 1
        if tries < 6:
            raise Unavailable("the database of the dashboard is away")
        done.set()

    async with (
        world.relay(),
        subscribed(client, handler, durable=DURABLE, max_attempts=2, from_start=True),
        asyncio.timeout(20),
    ):
        change_projects(world.database, 1)
        await done.wait()
    assert await client.dead_letters.counts() == {DURABLE: 0}


async def test_when_there_is_no_room_for_dead_letters_the_event_stays_and_nothing_is_lost(
    world: World, client: RegistryClient
) -> None:
    handler = Choosy(1, 2)
    async with world.relay():
        change_projects(world.database, 4, projects=1)
        with structlog.testing.capture_logs() as logged:
            # given a stream that takes one, as somebody set it by hand
            stream = LetterStream(world.nats, world.profile.letters, DURABLE)
            await stream.open()
            await _limit(world, 1)
            async with subscribed(client, handler, durable=DURABLE, max_attempts=1, from_start=True):
                (letter,) = await letters(client, 1)
                async with asyncio.timeout(20):
                    while handler.tries.count(2) < 3:
                        await asyncio.sleep(0.02)
                assert handler.distinct == set()
                # when there is room
                await client.dead_letters.drop(DURABLE, letter.number, actor="ada")
                # then
                await handler.until(2)
                (letter,) = await letters(client, 1)
    assert (letter.sequence, handler.sequences[next(iter(handler.sequences))]) == (2, [3, 4])
    assert any("it is full" in str(line.get("reason")) for line in logged)


async def test_letters_leave_room_to_ask_for_each_of_them(world: World, client: RegistryClient) -> None:
    events = range(1, 13)
    handler = Choosy(*events)
    stream = LetterStream(world.nats, world.profile.letters, DURABLE)
    await stream.open()
    await _limit(world, 10)
    async with (
        world.relay(),
        asyncio.timeout(30),
        subscribed(client, handler, durable=DURABLE, max_attempts=1, from_start=True, concurrency=1),
    ):
        change_projects(world.database, len(events), projects=len(events))
        while sum(handler.tries.count(event) > 1 for event in events) < 3:  # the others are letters
            await asyncio.sleep(0.02)
        first, second, *_ = await letters(client, 9)
        # one that fails again takes the place of its letter
        await client.dead_letters.redeliver(DURABLE, first.number, actor="ada")
        while (again := await stream.of_event(first.event_id)) is None or again.failure.attempts != 2:
            await asyncio.sleep(0.02)
        # one that is handled makes room for the next
        handler.refused.discard(second.sequence)
        await client.dead_letters.redeliver(DURABLE, second.number, actor="ada")
        await handler.until(1)
        while second.sequence in {letter.sequence for letter in await letters(client, 9)}:
            await asyncio.sleep(0.02)
    assert handler.redelivered == [second.sequence]


async def test_an_event_that_was_buried_and_comes_again_is_one_letter(world: World, client: RegistryClient) -> None:
    """As when its acknowledgement is lost together with the process."""
    handler = Choosy(1)
    async with world.relay(), nats_proxy(world.nats_url) as (proxy, url):
        change_projects(world.database, 1)
        proxy.swallow = lambda direction, data: direction == "to_server" and b"$JS.ACK" in data
        async with (
            RegistryClient.connect(url, prefix=world.prefix) as lossy,
            subscribed(lossy, handler, durable=DURABLE, max_attempts=1, from_start=True),
        ):
            (first,) = await letters(client, 1)
        async with subscribed(client, handler, durable=DURABLE, max_attempts=1):
            async with asyncio.timeout(20):
                while (await letters(client, 1))[0].number == first.number:
                    await asyncio.sleep(0.02)
    (letter,) = await letters(client, 1)
    assert letter.event_id == first.event_id


async def test_a_stream_of_dead_letters_that_is_deleted_is_made_again(world: World, client: RegistryClient) -> None:
    handler = Choosy(1, 2)
    async with (
        world.relay(),
        subscribed(client, handler, durable=DURABLE, max_attempts=1, from_start=True),
    ):
        change_projects(world.database, 1)
        await letters(client, 1)
        await world.nats.jetstream().delete_stream(world.names.letters.stream(DURABLE))
        change_projects(world.database, 2, projects=1)
        (letter,) = await letters(client, 1)
    assert letter.sequence == 2


async def test_an_event_as_large_as_a_message_may_be_fits_with_what_is_said_of_it(world: World) -> None:
    stream = LetterStream(world.nats, world.profile.letters, DURABLE)
    await stream.open()
    headers = {"content-type": "application/cloudevents+json", "Imi-Outbox-Id": "9" * 18}
    payload = b"x" * (world.nats.max_payload - 512)
    subject = f"{world.prefix}.evt.v1.worktree.git_state_updated.{'a' * 36}"
    failure = FAILED._replace(reason="RuntimeError: \nü " + "long" * 1000, attempts=1000)
    letter = DeadLetter(DURABLE, 0, "e" * 36, subject, 2**53, failure, headers, payload)

    await stream.bury(letter)
    await stream.bury(letter._replace(event_id="f" * 36, payload=b"short"))

    whole, short = [found async for found in stream.all()]
    assert (whole.payload, whole.headers, whole.failure.attempts) == (payload, headers, 1000)
    assert short.failure.reason.startswith("RuntimeError: \\xfc longlong")
    assert len(short.failure.reason) == 500


async def _limit(world: World, messages: int) -> None:
    jetstream = world.nats.jetstream()
    info = await jetstream.stream_info(world.names.letters.stream(DURABLE))
    await jetstream.update_stream(info.config.evolve(max_msgs=messages))
