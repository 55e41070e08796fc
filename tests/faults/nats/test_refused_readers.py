"""A durable subscription that may not read: only what was refused to itself counts, and only as long as it is so."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from registry.client import RegistryClient
from tests.faults.nats.test_permissions import Accounts, accounts, restarted
from tests.support.client.subscriptions import Seen, change_projects, subscribed
from tests.support.world import World

__all__ = ["accounts"]
NEXT = "$JS.API.CONSUMER.MSG.NEXT"


async def until_refused(logged: list[dict[str, object]], durable: str) -> None:
    """Wait until the log has it."""
    async with asyncio.timeout(60):
        while not any(line.get("durable") == durable and "permissions" in str(line.get("reason")) for line in logged):
            await asyncio.sleep(0.02)


async def test_a_reader_that_was_refused_goes_on_as_soon_as_it_may_read(world: World, accounts: Accounts) -> None:
    seen = Seen()
    there = world.at(nats_url=accounts.url("service"))
    async with there.relay():
        pass
    await restarted(accounts, {"publish": [f"{NEXT}.>"]})
    async with there.relay(), RegistryClient.connect(accounts.url("service"), prefix=world.prefix) as client:
        with capture_logs() as logged:
            async with subscribed(client, seen, durable="d", from_start=True):
                await until_refused(logged, "d")
                await restarted(accounts, {})
                change_projects(world.database, 8)
                await seen.until(8)


async def test_what_is_refused_to_another_reader_of_the_connection_is_not_taken_for_its_own(
    world: World, accounts: Accounts
) -> None:
    seen = Seen()
    there = world.at(nats_url=accounts.url("service"))
    async with there.relay():
        pass
    await restarted(accounts, {"publish": [f"{NEXT}.*.D-1"]})
    async with there.relay(), RegistryClient.connect(accounts.url("service"), prefix=world.prefix) as client:
        with capture_logs() as logged:
            async with (
                subscribed(client, seen, durable="d", from_start=True),
                subscribed(client, Seen(), durable="D", from_start=True),
            ):
                for _ in range(2):
                    logged.clear()
                    await until_refused(logged, "D")
                change_projects(world.database, 8)
                await seen.until(8)
                assert not any(line.get("durable") == "d" and "reason" in line for line in logged)
