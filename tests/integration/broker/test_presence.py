"""Who leads is asked for where it listens: gone is only who was there before, and whose connection has ended."""

from __future__ import annotations

import asyncio

import pytest

from registry.broker.access import Access
from registry.broker.connection import connect_nats
from registry.broker.presence import LISTENS_ON, Presence
from tests.support.nats.process import nats_process
from tests.support.services import scratch_directory
from tests.support.world import World

LOOK_SECONDS = 0.2


async def test_who_listened_and_listens_no_more_is_gone(world: World) -> None:
    async with connect_nats(world.nats_url, "standby") as client:
        presence = Presence(client)
        async with connect_nats(world.nats_url, "leader") as there:
            leader = Presence(there)
            await leader.show()
            await there.flush()
            assert [await presence.is_over(leader.metadata, LOOK_SECONDS) for _ in range(2)] == [False, False]
        async with asyncio.timeout(20):
            while not await presence.is_over(leader.metadata, LOOK_SECONDS):
                pass


async def test_who_may_not_ask_says_that_nobody_is_gone_and_asks_once() -> None:
    users = [{"user": "asks", "password": "w", "permissions": {"publish": {"deny": ["_INBOX.leader.>"]}}}]
    with scratch_directory() as folder, nats_process(folder, authorization={"users": users}) as server:
        access = Access(user="asks", password="w")  # noqa: S106  # of a test
        async with connect_nats(f"nats://127.0.0.1:{server.port}", "standby", access) as client:
            presence = Presence(client)
            metadata = {LISTENS_ON: "_INBOX.leader.1"}
            assert [await presence.is_over(metadata, LOOK_SECONDS) for _ in range(3)] == [False] * 3
        assert server.log().count("Publish Violation") == 1


@pytest.mark.parametrize("subject", [None, "_INBOX.nobody", ">", "", "_INBOX." + 100_000 * "n"])
async def test_who_was_never_heard_of_is_not(world: World, subject: str | None) -> None:
    metadata = {} if subject is None else {LISTENS_ON: subject}
    async with connect_nats(world.nats_url, "standby", reconnect=False) as client:
        presence = Presence(client)
        assert [await presence.is_over(metadata, LOOK_SECONDS) for _ in range(3)] == [False] * 3
