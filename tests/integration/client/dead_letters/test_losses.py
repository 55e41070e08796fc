"""What is lost on the way, or ends in the middle, leaves each event handled or a dead letter: never neither."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from registry.client import RegistryClient
from tests.support.client.dead_letters import DURABLE, Choosy, letters
from tests.support.client.subscriptions import change_projects, subscribed
from tests.support.proxy import nats_proxy
from tests.support.world import World


@pytest.mark.parametrize(
    "lost", [b"STREAM.MSG.DELETE", b".letter."], ids=["a letter is not dropped", "a letter is not stored"]
)
async def test_what_ends_between_two_steps_is_done_again_by_the_next(
    world: World, client: RegistryClient, lost: bytes
) -> None:
    handler = Choosy(1)
    async with world.relay(), nats_proxy(world.nats_url) as (proxy, url):
        change_projects(world.database, 2, projects=1)
        # given a process whose words to NATS do not arrive from some step on
        async with RegistryClient.connect(url, prefix=world.prefix) as lossy:
            if lost == b".letter.":
                proxy.swallow = lambda direction, data: direction == "to_server" and lost in data
            async with subscribed(lossy, handler, durable=DURABLE, max_attempts=1, from_start=True):
                if lost == b".letter.":
                    await _until(lambda: handler.tries.count(1) > 0)
                else:
                    (letter,) = await letters(client, 1)
                    handler.refused.clear()
                    proxy.swallow = lambda direction, data: direction == "to_server" and lost in data
                    await client.dead_letters.redeliver(DURABLE, letter.number, actor="ada")
                    await _until(lambda: handler.redelivered == [1])
        if lost == b".letter.":
            assert await client.dead_letters.counts() == {DURABLE: 0}
            assert handler.distinct == set()  # what waits behind it waits
        # when the next one comes
        async with subscribed(client, handler, durable=DURABLE, max_attempts=1):
            await handler.until(1 if lost == b".letter." else 2)
            await letters(client, 1 if lost == b".letter." else 0)
    # then it is a letter, or was handled again
    assert handler.redelivered == ([] if lost == b".letter." else [1, 1])


async def test_two_at_once_handle_a_letter_once_and_no_request_is_lost(world: World, client: RegistryClient) -> None:
    handler = Choosy(1)
    async with (
        world.relay(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as other,
        subscribed(client, handler, durable=DURABLE, max_attempts=1, from_start=True),
        subscribed(other, handler, durable=DURABLE, max_attempts=1, from_start=True),
    ):
        change_projects(world.database, 1)
        (letter,) = await letters(client, 1)
        handler.refused.clear()
        await asyncio.gather(
            *[desk.dead_letters.redeliver(DURABLE, letter.number, actor="ada") for desk in (client, other)]
        )
        await letters(client, 0)
    assert 1 <= len(handler.redelivered) <= 2  # the second request may have come while it was handled


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0.02)
