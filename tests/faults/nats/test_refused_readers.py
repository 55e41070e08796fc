"""Who may not read: only what was refused to himself counts, and only as long as it is so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig
from structlog.testing import capture_logs

from publisher.applier.metrics import ApplierMetrics
from registry.broker.connection import check_permitted, connect_nats, flushed
from registry.broker.permitted import REMEMBERED, NotPermitted, refusal_of
from registry.broker.pull import Pull
from registry.client import RegistryClient
from registry.client.sender import Sending
from registry.concurrency.tasks import end
from registry.errors import Unavailable, Unprepared
from tests.faults.applier.test_takeover import until_role
from tests.faults.nats.test_permissions import Accounts, accounts, restarted
from tests.support.client.subscriptions import Seen, change_projects, subscribed
from tests.support.nats.reading import connected
from tests.support.parts import part_named, until
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


async def test_a_subscription_that_may_acknowledge_again_goes_on_over_its_connection(
    world: World, accounts: Accounts
) -> None:
    seen = Seen()
    there = world.at(nats_url=accounts.url("all"))
    await restarted(accounts, {"publish": ["$JS.ACK.>"]})
    async with there.relay(), RegistryClient.connect(accounts.url("service"), prefix=world.prefix) as client:
        with capture_logs() as logged:
            async with subscribed(client, seen, durable="d", from_start=True):
                change_projects(world.database, 8)
                await until_refused(logged, "d")
                accounts.reload({})
                async with asyncio.timeout(60):
                    while not any(line["event"] == "subscription goes on" for line in logged):
                        await asyncio.sleep(0.02)
                logged.clear()
                change_projects(world.database, 8)
                await seen.until(16)
                seen.assert_in_order()
                await until_acknowledged(world.at(nats_url=accounts.url("all")))
                assert not any("permissions" in str(line.get("reason")) for line in logged)


async def until_acknowledged(world: World) -> None:
    """Wait until the server has all acknowledgements of the subscription."""
    async with connected(world.nats_url) as client, asyncio.timeout(30):
        while True:
            (info,) = [one for one in await client.jetstream().consumers_info(world.stream) if one.name[:2] == "d-"]
            if info.num_pending == 0 and info.num_ack_pending == 0:
                return
            await asyncio.sleep(0.05)


async def test_a_client_whose_inbox_was_refused_goes_on_over_its_connection(world: World, accounts: Accounts) -> None:
    seen = Seen()
    there = world.at(nats_url=accounts.url("all"))
    async with there.relay(), there.applier(), there.queries(), there.history():
        change_projects(world.database, 8)
        await restarted(accounts, {"subscribe": ["_INBOX.>"]})
        async with RegistryClient.connect(accounts.url("service"), prefix=world.prefix) as client:
            calls = {
                "query": client.queries.stats,
                "snapshot": client.snapshot,
                "command": lambda: client.send("worktree_type.add", {"name": "given"}, Sending(timeout=2)),
            }
            with capture_logs() as logged:
                async with subscribed(client, seen, durable="d", from_start=True):
                    await until_refused(logged, "d")
                    for call in [*calls.values()] * 2:
                        with pytest.raises(Unprepared, match="permissions violation for subscription to _INBOX"):
                            await call()
                    # when
                    accounts.reload({})
                    # then
                    for call in calls.values():
                        async with asyncio.timeout(30):
                            while not await has_answered(call):
                                await asyncio.sleep(0.05)
                    await seen.until(9)


async def has_answered(call: Callable[[], Awaitable[object]]) -> bool:
    try:
        await call()
    except Unprepared:
        return False
    return True


async def test_a_service_whose_subjects_are_refused_while_it_runs_says_so_and_goes_on_when_it_has_them(
    world: World, accounts: Accounts
) -> None:
    part = part_named("queries", world.at(nats_url=accounts.url("service")))
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(part.run())
        await part.settled.wait()
        accounts.reload({"subscribe": [f"{world.prefix}.qry.>"]})
        await until(part, f"permissions violation for subscription to {world.prefix}.qry.v1.")
        accounts.reload({})
        await until(part, "")
        async with RegistryClient.connect(accounts.url("all"), prefix=world.prefix) as client:
            assert (await client.queries.stats()).total_projects == 0
        await end([task])


async def test_a_reader_of_what_was_refused_to_an_earlier_one_tells_silence_and_no_refusal(accounts: Accounts) -> None:
    asked = f"{NEXT}.S.C"
    async with connected(accounts.url("all")) as client:
        await client.jetstream().add_stream(name="S", subjects=["s"])
        await client.jetstream().add_consumer("S", ConsumerConfig(durable_name="C", ack_policy=AckPolicy.EXPLICIT))
    await restarted(accounts, {"publish": [asked]})
    async with connect_nats(accounts.url("service"), "test") as client:
        with pytest.raises(Unprepared):
            await check_permitted(client, "asked", [asked])
        accounts.reload({"publish": ["other.*"]})
        async with asyncio.timeout(20):
            while not await is_permitted(client, asked):
                await asyncio.sleep(0.02)

        # when
        reading = asyncio.ensure_future(Pull(client, "S", "C", 1).run())
        await asyncio.sleep(0)  # it has begun
        for number in range(REMEMBERED):
            await client.publish(f"other.{number}")
        await flushed(client)
        assert refusal_of(client, asked) is None
        accounts.suspend(True)
        try:
            with pytest.raises(Unavailable, match="NATS is silent"):
                await reading
        finally:
            accounts.suspend(False)


async def is_permitted(client: Client, subject: str) -> bool:
    try:
        await client.request(subject, b'{"no_wait":true}', timeout=5)
    except NotPermitted:
        return False
    return True


async def test_an_applier_whose_rights_are_taken_while_it_stands_by_leads_once_it_has_them_again(
    world: World, accounts: Accounts
) -> None:
    standby = part_named("applier", world.at(nats_url=accounts.url("service")))
    assert isinstance(standby.health, ApplierMetrics)
    async with asyncio.TaskGroup() as tasks:
        async with world.at(nats_url=accounts.url("all")).applier() as leader:
            await until_role(leader, "leader")
            task = tasks.create_task(standby.run())
            await until_role(standby.health, "standby")
            async with connect_nats(accounts.url("service"), "test") as client, asyncio.timeout(20):
                accounts.reload({"publish": ["$JS.ACK.>"]})
                while refusal_of(client) is None:
                    await client.publish("$JS.ACK.any")
                    await client.flush()
            assert standby.health.role == "standby"
        with capture_logs() as logged:
            await until(standby, "permissions violation for publish to $js.ack.")
            assert not any(line["event"] == "applying" for line in logged)
        accounts.reload({})
        await until_role(standby.health, "leader")
        await end([task])
