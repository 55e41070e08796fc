"""Subscriptions that the server refuses: each is made anew once it is permitted, and none is asked for all the time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from time import monotonic

from nats.aio.client import Client
from nats.aio.msg import Msg

from registry.broker.connection import connect_nats, flushed
from registry.broker.permitted import AGAIN_SECONDS, REMEMBERED, refusal_of
from registry.client import Delivery, RegistryClient
from registry.concurrency.tasks import end
from registry.errors import Unprepared
from tests.faults.nats.test_permissions import Accounts, accounts, restarted
from tests.support.client.subscriptions import Seen, change_projects
from tests.support.nats.reading import connected
from tests.support.world import World

__all__ = ["accounts"]
TAILS = REMEMBERED + 8
ATTEMPTS = 4


async def test_tails_whose_inboxes_are_refused_ask_once_a_second_and_go_on(world: World, accounts: Accounts) -> None:
    there = world.at(nats_url=accounts.url("all"))
    seen = [Seen() for _ in range(TAILS)]
    async with (
        there.relay(),
        RegistryClient.connect(accounts.url("service"), prefix=world.prefix) as client,
        AsyncExitStack() as stack,
        asyncio.TaskGroup() as tasks,
    ):
        reading = [tasks.create_task(note(await stack.enter_async_context(client.tail()), one)) for one in seen]

        # when
        accounts.reload({"subscribe": ["_INBOX.>"]})
        async with asyncio.timeout(60):
            while not accounts.refused():
                await asyncio.sleep(0.02)
            began = monotonic()
            while max(accounts.refused().values()) <= ATTEMPTS:
                await asyncio.sleep(0.02)

        # then
        assert monotonic() - began > (ATTEMPTS - 1) * AGAIN_SECONDS
        assert accounts.refused().total() <= (ATTEMPTS + 2) * (TAILS + 1)
        accounts.reload({})
        change_projects(world.database, 8)
        for one in seen:
            await one.until(8)
            one.assert_in_order()
        await end(reading)


async def note(events: AsyncIterator[Delivery], seen: Seen) -> None:
    async for event in events:
        seen.note(event)


async def test_all_subscriptions_of_one_subject_are_made_anew(accounts: Accounts) -> None:
    heard = [asyncio.Event(), asyncio.Event()]

    async def hear(event: asyncio.Event, message: Msg) -> None:
        event.set()

    await restarted(accounts, {"subscribe": ["refused"]})
    async with connect_nats(accounts.url("service"), "test") as client, connected(accounts.url("all")) as sender:
        for event in heard:
            await client.subscribe("refused", cb=partial(hear, event))
        await until_refused(client)
        accounts.reload({})
        async with asyncio.timeout(20):
            while not await has_all(client):
                await asyncio.sleep(0.02)
        await sender.publish("refused")
        for event in heard:
            async with asyncio.timeout(20):
                await event.wait()


async def test_a_subscription_counts_as_refused_until_the_server_takes_it(accounts: Accounts) -> None:
    await restarted(accounts, {"subscribe": ["refused"]})
    async with connect_nats(accounts.url("service"), "test") as client:
        subscription = await client.subscribe("refused")
        await until_refused(client)
        asking = asyncio.ensure_future(has_all(client))
        while not asking.done():  # also while it is made anew
            assert refusal_of(client, "refused") is not None
            await asyncio.sleep(0)
        assert not await asking
        await subscription.unsubscribe()
        assert await has_all(client)


async def test_a_request_is_answered_while_another_inbox_is_refused(accounts: Accounts) -> None:
    await restarted(accounts, {"subscribe": ["_INBOX.refused"]})
    async with connect_nats(accounts.url("service"), "test") as client, connected(accounts.url("all")) as service:

        async def answer(message: Msg) -> None:
            await client.subscribe("_INBOX.refused")
            await until_refused(client)
            await message.respond(b"answered")

        await service.subscribe("asked", cb=answer)
        await flushed(service)
        assert (await client.request("asked", timeout=20)).data == b"answered"


async def until_refused(client: Client) -> None:
    """Return once the server has refused what was made."""
    async with asyncio.timeout(20):
        while refusal_of(client) is None:
            with suppress(Unprepared):
                await flushed(client)


async def has_all(client: Client) -> bool:
    try:
        await flushed(client)
    except Unprepared:
        return False
    return True
