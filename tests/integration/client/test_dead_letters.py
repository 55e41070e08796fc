"""Subscriptions that survive an event on which their handler always fails, and what becomes of such an event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from nats.js.api import StreamConfig

from registry.client import Delivery, RegistryClient
from registry.dead_letters import DeadLetter, Failure
from registry.dead_letters.letter import number_in
from registry.dead_letters.stream import LetterStream
from registry.errors import Conflict, Invalid, NotFound, Unavailable
from tests.support.client.subscriptions import Seen, change_projects, subscribed
from tests.support.proxy import nats_proxy
from tests.support.world import World

DURABLE = "d"
NOW = datetime.now(UTC)
FAILED = Failure("ValueError: no", 3, NOW, NOW)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.client.subscriber.RETRY_SECONDS", (0.01, 0.02))
    monkeypatch.setattr("registry.client.poison.LOOK_SECONDS", 0.05)


@pytest.fixture
async def client(world: World) -> AsyncIterator[RegistryClient]:
    async with RegistryClient.connect(
        world.nats_url, prefix=world.prefix, profile=world.settings().profile, name="here"
    ) as connected:
        yield connected


class Choosy(Seen):
    """A handler that fails on some events while it refuses them."""

    def __init__(self, *refused: int) -> None:
        super().__init__()
        self.refused = set(refused)
        self.tries: list[int] = []
        self.redelivered: list[int] = []

    async def __call__(self, delivery: Delivery) -> None:
        self.tries.append(delivery.sequence)
        if delivery.sequence in self.refused:
            raise ValueError(f"cannot take {delivery.sequence}, try {len(self.tries)}")
        if delivery.is_redelivered:
            self.redelivered.append(delivery.sequence)
        self.note(delivery)


async def letters(client: RegistryClient, count: int) -> list[DeadLetter]:
    """The dead letters, once there are so many."""
    async with asyncio.timeout(20):
        while True:
            try:
                found = [letter async for letter in client.dead_letters.find(DURABLE)]
            except NotFound:  # not subscribed yet
                found = []
            if len(found) == count:
                return found
            await asyncio.sleep(0.02)


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
    assert any("maximum messages" in str(line.get("reason")) for line in logged)


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


async def _limit(world: World, messages: int) -> None:
    jetstream = world.nats.jetstream()
    info = await jetstream.stream_info(world.names.letters.stream(DURABLE))
    await jetstream.update_stream(info.config.evolve(max_msgs=messages))
