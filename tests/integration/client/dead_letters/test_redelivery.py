"""What becomes of dead letters: found, redelivered, dropped, and what is refused."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from nats.js.api import StreamConfig

from registry.client import RegistryClient
from registry.dead_letters import DeadLetter
from registry.dead_letters.letter import number_in
from registry.errors import Conflict, Invalid, NotFound
from tests.support.client.dead_letters import DURABLE, Choosy, letters
from tests.support.client.subscriptions import Seen, change_projects, subscribed
from tests.support.world import World

NOW = datetime.now(UTC)


async def test_a_dead_letter_is_redelivered_marked_and_dropped_and_that_is_recorded(
    world: World, client: RegistryClient
) -> None:
    handler = Choosy(1)
    async with (
        world.relay(),
        subscribed(client, handler, durable=DURABLE, max_attempts=2, from_start=True),
    ):
        change_projects(world.database, 2, projects=1)
        (letter,) = await letters(client, 1)
        await handler.until(1)
        handler.refused.clear()

        asked = await client.dead_letters.redeliver(DURABLE, letter.number, actor="ada")

        await handler.until(2)
        await letters(client, 0)
    assert asked == letter
    assert (handler.redelivered, [*handler.sequences.values()]) == ([1], [[2, 1]])
    (record,) = [record async for record in client.dead_letters.records()]
    assert (record.actor, record.action, record.durable, record.number) == ("ada", "redeliver", DURABLE, letter.number)
    assert (record.event, record.event_id, record.sequence) == ("project.registered", letter.event_id, 1)
    assert NOW < record.at < datetime.now(UTC)
    stream = await world.nats.jetstream().stream_info(world.names.letters.stream(DURABLE))
    assert stream.state.messages == 0  # neither letter nor request


async def test_a_letter_that_is_redelivered_again_and_again_is_handled_each_time_and_never_lost(
    world: World, client: RegistryClient
) -> None:
    """The same event asked for over and over, within any dedupe window."""
    handler = Choosy(1)
    async with (
        world.relay(),
        subscribed(client, handler, durable=DURABLE, max_attempts=1, from_start=True),
    ):
        change_projects(world.database, 1)
        (letter,) = await letters(client, 1)
        for attempts in (2, 3, 4):
            number = letter.number
            await client.dead_letters.redeliver(DURABLE, number, actor="ada")
            async with asyncio.timeout(20):
                while (letter := (await letters(client, 1))[0]).number == number:
                    await asyncio.sleep(0.02)
            assert letter.failure.attempts == attempts == len(handler.tries)
            assert letter.failure.first_failed_at < letter.failure.failed_at
            assert letter.failure.reason.endswith(f"try {attempts}")
        with pytest.raises(NotFound, match=f"dead letter {number} of d"):
            await client.dead_letters.get(DURABLE, number)

    assert len([record async for record in client.dead_letters.records(DURABLE)]) == 3


async def test_a_redelivery_that_is_asked_for_while_nobody_subscribes_waits_for_who_does(
    world: World, client: RegistryClient
) -> None:
    handler = Choosy(1)
    async with world.relay():
        change_projects(world.database, 1)
        async with subscribed(client, handler, durable=DURABLE, max_attempts=1, from_start=True):
            (letter,) = await letters(client, 1)
        await client.dead_letters.redeliver(DURABLE, letter.number, actor="ada")
        (waiting,) = await letters(client, 1)
        assert waiting.redelivery is not None
        assert waiting.redelivery.actor == "ada"

        handler.refused.clear()
        async with subscribed(client, handler, durable=DURABLE, max_attempts=1):
            await handler.until(1)
            await letters(client, 0)


async def test_many_that_are_redelivered_at_once_are_each_dropped(world: World, client: RegistryClient) -> None:
    """Of many projects, so that several handlers are done with theirs at the same time, and drop them together."""
    handler = Choosy(*range(1, 81))
    async with world.relay():
        change_projects(world.database, 80, projects=40)
        async with subscribed(client, handler, durable=DURABLE, max_attempts=1, from_start=True, concurrency=16):
            found = await letters(client, 80)
            handler.refused.clear()
            for letter in found:
                await client.dead_letters.redeliver(DURABLE, letter.number, actor="ada")
            await letters(client, 0)
    assert len(handler.redelivered) == 80


async def test_all_that_match_are_redelivered_and_the_others_stay(world: World, client: RegistryClient) -> None:
    handler = Choosy(*range(1, 9))
    async with (
        world.relay(),
        subscribed(client, handler, durable=DURABLE, max_attempts=1, from_start=True),
    ):
        change_projects(world.database, 8, projects=2)
        found = await letters(client, 8)
        ((project,),) = world.rows("SELECT id::text FROM projects WHERE remote_origin = 'git@github.com:a/p1.git'")
        matching = [letter async for letter in client.dead_letters.find(DURABLE, action="updated", project_id=project)]
        of_error = [letter async for letter in client.dead_letters.find(reason="CANNOT TAKE 3")]
        handler.refused.clear()
        for letter in matching:
            await client.dead_letters.redeliver(DURABLE, letter.number, actor="ada")
        left = await letters(client, 5)

    assert [letter.sequence for letter in matching] == [4, 6, 8]
    assert [letter.sequence for letter in of_error] == [3]
    assert sorted(handler.redelivered) == [4, 6, 8]
    assert left == [letter for letter in found if letter.sequence not in {4, 6, 8}]


async def test_a_letter_that_is_dropped_is_gone_and_with_it_what_asked_for_it(
    world: World, client: RegistryClient
) -> None:
    handler = Choosy(1)
    async with world.relay():
        change_projects(world.database, 2, projects=1)
        async with subscribed(client, handler, durable=DURABLE, max_attempts=1, from_start=True):
            (letter,) = await letters(client, 1)
            await handler.until(1)
        await client.dead_letters.redeliver(DURABLE, letter.number, actor="ada")
        await client.dead_letters.drop(DURABLE, letter.number, actor="bob")
        tries = len(handler.tries)
        async with subscribed(client, handler, durable=DURABLE, max_attempts=1):
            change_projects(world.database, 1, projects=1)
            await handler.until(2)

    assert handler.tries[tries:] == [3]
    assert [(record.actor, record.action) async for record in client.dead_letters.records()] == [
        ("ada", "redeliver"),
        ("bob", "drop"),
    ]
    with pytest.raises(NotFound, match="there is none of that number"):
        await client.dead_letters.drop(DURABLE, letter.number, actor="bob")


async def test_what_is_given_wrongly_is_said(world: World, client: RegistryClient) -> None:
    for attempts in (0, 1001):
        with pytest.raises(Invalid, match=f"max_attempts: {attempts}: it must be 1 to 1000"):
            await client.subscribe(Seen(), durable=DURABLE, max_attempts=attempts)
    desk = client.dead_letters
    with pytest.raises(Invalid, match="actor"):
        await desk.redeliver(DURABLE, 1, actor=" ")
    with pytest.raises(Invalid, match="dead letter 0"):
        await desk.get(DURABLE, 0)
    with pytest.raises(Invalid, match=r'durable "a\.b"'):
        await desk.get("a.b", 1)
    with pytest.raises(NotFound, match="was it started with max_attempts"):
        await letters_of_nobody(client)
    assert await desk.counts() == {}
    assert [record async for record in desk.records()] == []
    config = StreamConfig(name=world.names.letters.stream(DURABLE), subjects=[f"{world.prefix}.elsewhere"])
    await world.nats.jetstream().add_stream(config)
    async with world.relay():
        with pytest.raises(Conflict, match="cannot be used: subjects are"):
            await client.subscribe(Seen(), durable=DURABLE, max_attempts=1)


async def letters_of_nobody(client: RegistryClient) -> list[DeadLetter]:
    return [letter async for letter in client.dead_letters.find("nobody")]


async def test_messages_of_somebody_else_among_the_letters_disturb_nothing(
    world: World, client: RegistryClient
) -> None:
    handler = Choosy(1)
    async with (
        world.relay(),
        subscribed(client, handler, durable=DURABLE, max_attempts=1, from_start=True),
    ):
        change_projects(world.database, 1)
        await letters(client, 1)
        root = world.names.letters.subject_root
        for subject in ("letter.x", "redeliver.nobody", "else"):
            await world.nats.jetstream().publish(f"{root}.{DURABLE}.{subject}", b"\xff")
        ours, foreign = await letters(client, 2)
        handler.refused.clear()
        await client.dead_letters.redeliver(DURABLE, ours.number, actor="ada")
        await handler.until(1)
        await client.dead_letters.drop(DURABLE, foreign.number, actor="ada")
        await letters(client, 0)
    assert (foreign.event_id, foreign.failure.reason, number_in("x")) == ("", "", 0)
