"""How often an event failed is known to who reads next: no restart gives it all its attempts anew."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from registry.client import Delivery, RegistryClient
from registry.dead_letters.stream import LetterStream
from tests.support.client.dead_letters import DURABLE, Choosy, letters
from tests.support.client.subscriptions import change_projects, subscribed
from tests.support.world import World


class Ending(Choosy):
    """A handler whose process is ended when it is to try event 1 once more after `failures`."""

    def __init__(self, failures: int) -> None:
        super().__init__(1)
        self._failures = failures
        self.is_over = asyncio.Event()

    async def __call__(self, delivery: Delivery) -> None:
        if len(self.tries) == self._failures:
            self.is_over.set()
            await asyncio.Event().wait()
        await super().__call__(delivery)


async def ended(client: RegistryClient, failures: int, max_attempts: int) -> None:
    """A subscription that ends when event 1 has failed so often."""
    handler = Ending(failures)
    options = {"durable": DURABLE, "from_start": True, "max_attempts": max_attempts}
    async with subscribed(client, handler, **options), asyncio.timeout(40):
        await handler.is_over.wait()
    assert handler.tries == [1] * failures


async def kept(world: World, count: int) -> None:
    """Wait until the failures of so many events are kept."""
    stream = LetterStream(world.nats, world.profile.letters, DURABLE)
    async with asyncio.timeout(40):
        while len([failing async for failing in stream.failing()]) != count:
            await asyncio.sleep(0.02)


async def test_a_poison_event_has_its_attempts_over_all_restarts(world: World, client: RegistryClient) -> None:
    async with world.relay():
        change_projects(world.database, 2, projects=1)
        await ended(client, 2, max_attempts=4)
        await ended(client, 1, max_attempts=4)
        restarted_at = datetime.now(UTC)
        await kept(world, 1)
        # when
        handler = Choosy(1)
        async with subscribed(client, handler, durable=DURABLE, max_attempts=4):
            (letter,) = await letters(client, 1)
            await handler.until(1)
    # then the fourth failure was the last one
    assert handler.tries == [1, 2]
    assert (letter.sequence, letter.failure.attempts) == (1, 4)
    assert letter.failure.first_failed_at < restarted_at < letter.failure.failed_at
    assert letter.payload == (await world.nats.jetstream().get_msg(world.stream, 1)).data
    assert await client.dead_letters.counts() == {DURABLE: 1}


async def test_of_one_that_is_handled_in_the_end_nothing_is_kept(world: World, client: RegistryClient) -> None:
    async with world.relay():
        change_projects(world.database, 1)
        await ended(client, 2, max_attempts=3)
        handler = Choosy()
        async with subscribed(client, handler, durable=DURABLE, max_attempts=3):
            await handler.until(1)
            await kept(world, 0)
    assert await client.dead_letters.counts() == {DURABLE: 0}


async def test_what_was_handled_by_one_who_could_not_say_so_is_forgotten(world: World, client: RegistryClient) -> None:
    async with world.relay():
        change_projects(world.database, 2, projects=1)
        await ended(client, 1, max_attempts=3)
        # given a reader without max_attempts, who does not know of it
        plain = Choosy()
        async with subscribed(client, plain, durable=DURABLE):
            await plain.until(2)
            async with asyncio.timeout(40):
                while not await acknowledged(world, 2):
                    await asyncio.sleep(0.02)
        await kept(world, 1)
        # when
        async with subscribed(client, Choosy(), durable=DURABLE, max_attempts=3):
            await kept(world, 0)


async def acknowledged(world: World, sequence: int) -> bool:
    found = await world.nats.jetstream().consumers_info(world.stream)
    return any(info.ack_floor is not None and info.ack_floor.stream_seq >= sequence for info in found)
